r"""Emissions from expected counts, smoothed by a prior: the lexicon of classical aligners.

    p(y | x) = (n(x, y) + κ m(y | x)) / (n(x) + κ)

is the posterior mean of a Dirichlet prior with mean m and strength κ, given the counts n. The
counts are a sparse table over the word pairs that were seen together (`data.cooccurrences`). m is

    "uniform"   1 / |Y|
    "unigram"   the share of y in the text
    "neural"    p_θ(y | x) of `type_based`: where x is rare, θ says what words spelt and used like
                x become; where x is frequent, the counts speak (an amortised prior)

NULL has counts too, smoothed by the unigram. Pseudo-counts π known from elsewhere are added to all
of them at every M-step; leaving votes out of n leaves π alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from latentnlp.config import at_least, between
from latentnlp.data.batches import Batch
from latentnlp.data.cooccurrences import OUTSIDE, Cooccurrences
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.emissions import type_based
from latentnlp.emissions._base import Emission, Partners, Sample, sampled_log_normaliser
from latentnlp.emissions.type_based import log_unigram, pair_scores

# Words of the normalisers of m besides those that a word meets: see `sampled_log_normaliser`.
_FREQUENT, _SAMPLED = 1000, 2000
_PAIRS_AT_ONCE = 2**20
_LEAST = -80.0  # of log m: its exp() is still a float32


@dataclass(frozen=True)
class Config:
    mean: Literal["uniform", "unigram", "neural"] = "neural"
    strength: float = 10.0  # κ
    null_strength: float = 1000.0  # κ of NULL's own distribution
    prior_weight: float = 1.0  # times the pseudo-counts of a prior model or dictionary, if any
    neural: type_based.Config = field(default_factory=type_based.Config)

    def __post_init__(self) -> None:
        between(self, 0, float("inf"), "strength", "null_strength")
        at_least(self, prior_weight=0)


@dataclass(frozen=True)
class Pseudocounts:
    """π of one direction: what is known of a lexicon before a text is read."""

    source: Tensor  # int64 [K]
    target: Tensor  # int64 [K]
    counts: Tensor  # [K]  π(x, y)
    totals: Tensor  # [|X|]  Π(x), no less than Σ_y π(x, y)
    null_counts: Tensor  # [|Y|]


class CountEmission(Emission):
    """``transposed``: the pairs of the table are (target, source), as in the reverse direction of
    an aligner whose two directions share one table of pairs."""

    pairs: Tensor  # int64 [P], rising: first word · size of the second vocabulary + second word
    counts: Tensor  # [P]  n(x, y)
    totals: Tensor  # [|X|]  n(x)
    null_counts: Tensor  # [|Y|]
    unigram: Tensor  # [|Y|]
    fixed_mean: Tensor  # [|Y|]
    mean_log_z: Tensor  # [|X|], or empty
    prior_counts: Tensor  # [P]  π(x, y), or one 0 for all pairs
    prior_totals: Tensor  # [|X|]
    prior_null_counts: Tensor  # [|Y|]

    def __init__(
        self, config: Config, source: Vocabulary, target: Vocabulary, transposed: bool = False
    ) -> None:
        super().__init__()
        self.config, self.transposed = config, transposed
        self.second_size = len(source) if transposed else len(target)
        unigram = log_unigram(target).exp()
        uniform = torch.full_like(unigram, 1 / len(target))
        self.register_buffer("unigram", unigram, persistent=False)
        fixed = uniform if config.mean == "uniform" else unigram
        self.register_buffer("fixed_mean", fixed, persistent=False)
        self.register_buffer("pairs", torch.zeros(1, dtype=torch.int64))
        self.register_buffer("counts", torch.zeros(1))
        self.register_buffer("totals", torch.zeros(len(source)))
        self.register_buffer("null_counts", torch.zeros(len(target)))
        # Not saved: what is saved is n + π, and who goes on training reads the prior again.
        self.register_buffer("prior_counts", torch.zeros(1), persistent=False)
        self.register_buffer("prior_totals", torch.zeros(len(source)), persistent=False)
        self.register_buffer("prior_null_counts", torch.zeros(len(target)), persistent=False)
        # The normalisers of m, known once somebody has asked for m of all pairs.
        self.register_buffer("mean_log_z", torch.zeros(0))
        self.neural = None
        if config.mean == "neural":
            self.neural = type_based.build(config.neural, source, target)

    def start(self, cooccurrences: Cooccurrences, prior: Pseudocounts | None = None) -> None:
        """No counts but those of ``prior``, whose pairs are among ``cooccurrences``."""
        self.pairs = cooccurrences.keys(self.second_size).to(self.pairs.device)
        self.counts = torch.zeros(len(self.pairs), device=self.pairs.device)
        if prior is None:
            return
        weight, device = self.config.prior_weight, self.pairs.device
        source, target = prior.source.to(device), prior.target.to(device)
        first, second = (target, source) if self.transposed else (source, target)
        keys = first * self.second_size + second
        self.prior_counts = torch.zeros_like(self.counts).index_add_(
            0, torch.searchsorted(self.pairs, keys), weight * prior.counts.to(device)
        )
        self.prior_totals.copy_(weight * prior.totals)
        self.prior_null_counts.copy_(weight * prior.null_counts)
        self.maximise(self.counts, torch.zeros_like(self.null_counts))

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        cells = self.lookup(batch)  # [B, J, I]
        if self.neural is None:
            mean = self.fixed_mean[batch.target].unsqueeze(2)  # [B, J, 1]
        elif len(self.mean_log_z):
            log_z = self.mean_log_z[batch.source].unsqueeze(1)  # [B, 1, I]
            # A pair that nobody has met may be missing from the estimate and exceed it.
            mean = (self.neural.scores(batch) - log_z).clamp(_LEAST, 0.0).exp()
        else:
            mean = self.neural(batch)[0].exp()
        total = self.totals[batch.source].unsqueeze(1)  # [B, 1, I]
        return self.smooth(self.counts[cells], total, mean), self.log_null()[batch.target]

    def smooth(self, count: Tensor, total: Tensor, mean: Tensor) -> Tensor:
        """log of (n(x, y) + κ m(y | x)) / (n(x) + κ)."""
        strength = self.config.strength
        return count.add(mean, alpha=strength).div_(total + strength).log_()

    def log_null(self) -> Tensor:
        """log p(y | NULL), [|Y|]."""
        strength = self.config.null_strength
        counts = self.null_counts + strength * self.unigram
        return counts.log() - (self.null_counts.sum() + strength).log()

    def lookup(self, batch: Batch) -> Tensor:
        """The place of each cell's word pair in the table, [B, J, I]; OUTSIDE if it has none."""
        source, target = batch.source.unsqueeze(1), batch.target.unsqueeze(2)
        first, second = (target, source) if self.transposed else (source, target)
        key = first * self.second_size + second
        place = torch.searchsorted(self.pairs, key).clamp_max(len(self.pairs) - 1)
        return torch.where(self.pairs[place] == key, place, OUTSIDE)

    def pair_words(self, pairs: slice | Tensor = slice(None)) -> tuple[Tensor, Tensor]:
        """The source word and the target word of pairs of the table, [P] each."""
        keys = self.pairs[pairs]
        first = torch.div(keys, self.second_size, rounding_mode="floor")
        second = keys - first * self.second_size
        return (second, first) if self.transposed else (first, second)

    @torch.no_grad()
    def pair_mean(self) -> Tensor | None:
        """m(y | x) of every pair of the table, [P]; None where m does not depend on x.

        Their normalisers are kept for `forward`: ask again after θ has changed.
        """
        if self.neural is None:
            return None
        neural, mean = self.neural, torch.empty_like(self.counts)
        hidden, weight, bias = neural.everything()
        for part in self._parts():
            source, target = self.pair_words(part)
            mean[part] = pair_scores(hidden, weight, source, target) + bias[target]
        sample = Sample.of(_FREQUENT, _SAMPLED, len(bias))
        few = weight[sample.words(len(bias), bias.device)]

        def partners() -> Iterator[Partners]:
            return ((*self.pair_words(part), mean[part]) for part in self._parts())

        self.mean_log_z = sampled_log_normaliser(hidden, few, bias, partners, sample)
        for part in self._parts():
            scores, source = mean[part], self.pair_words(part)[0]
            scores.sub_(self.mean_log_z[source]).clamp_min_(_LEAST).exp_()
        return mean

    def _parts(self) -> list[slice]:
        """The table in parts, so that what is worked out about all pairs takes no room."""
        starts = range(0, len(self.pairs), _PAIRS_AT_ONCE)
        return [slice(start, start + _PAIRS_AT_ONCE) for start in starts]

    def maximise(self, counts: Tensor, null_counts: Tensor) -> None:
        """The M-step: take over the expected counts n of all pairs [P] and of NULL [|Y|]."""
        counts[OUTSIDE] = 0.0
        self.totals.copy_(self.prior_totals)
        for part in self._parts():
            self.totals.index_add_(0, self.pair_words(part)[0], counts[part])
        self.counts = counts.add_(self.prior_counts)
        self.null_counts.copy_(null_counts + self.prior_null_counts)

    def prune(self, least: float) -> None:
        """Drop the pairs with a smaller count; the totals stay, so the prior takes their place."""
        kept = self.counts >= least
        kept[OUTSIDE] = True
        self.pairs, self.counts = self.pairs[kept], self.counts[kept]

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *rest: Any, **more: Any
    ) -> None:
        # Their size belongs to what is loaded, not to the module it is loaded into.
        for name in ("pairs", "counts", "mean_log_z"):
            if prefix + name in state_dict:
                setattr(self, name, getattr(self, name).new_empty(state_dict[prefix + name].shape))
        super()._load_from_state_dict(state_dict, prefix, *rest, **more)


def build(
    config: Config, source: Vocabulary, target: Vocabulary, transposed: bool = False
) -> CountEmission:
    return CountEmission(config, source, target, transposed)
