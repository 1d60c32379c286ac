r"""Fit the neural prior of a lexicon to its expected counts, the multinomials summed out.

With y ~ p(· | x) and p(· | x) ~ Dirichlet(κ m_θ(· | x)), the counts n of a source word have the
exact marginal likelihood (Minka 2000, "Estimating a Dirichlet distribution", section 3)

    log p(n | θ) = Σ_x [ log Γ(κ) - log Γ(n(x) + κ)
                         + Σ_y log Γ(n(x, y) + κ m_θ(y | x)) - log Γ(κ m_θ(y | x)) ]

Its gradient counts a translation about once however often it is seen (as a Kneser-Ney model counts
types), so θ learns what *kind* of words translate each other and is not swamped by the frequent
ones, whose own counts speak for themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from latentnlp import distributed
from latentnlp.config import at_least
from latentnlp.emissions._base import Sample
from latentnlp.emissions.counts import CountEmission
from latentnlp.emissions.type_based import TypeBasedEmission

_LEAST_COUNT = 0.01  # rarer pairs tell nothing and are most of the table


@dataclass(frozen=True)
class Config:
    learning_rate: float = 2e-2
    words_per_step: int = 512  # source words whose whole distributions one step looks at
    frequent: int = 500  # target words that are in every normaliser …
    sampled: int = 1000  # … and how many of the others about: see `sampled_log_normaliser`

    def __post_init__(self) -> None:
        at_least(self, learning_rate=0, words_per_step=1, frequent=0, sampled=1)


class LexiconBatches:
    """(direction, source words, a random number): what and in which order is a function of (seed,
    epoch)."""

    def __init__(self, words: list[np.ndarray], size: int, seed: int) -> None:
        self._words, self._size, self._seed = words, size, seed
        self._counts = [-(-len(one) // size) for one in words]

    def __len__(self) -> int:
        return sum(self._counts)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[int, Tensor, int]]:
        order = np.random.default_rng([self._seed, epoch])
        shuffled = [order.permutation(one) for one in self._words]
        steps = [(k, n) for k, count in enumerate(self._counts) for n in range(count)]
        places, draws = order.permutation(len(steps)), order.integers(2**31, size=len(steps))
        for place, draw in zip(places[start:].tolist(), draws[start:].tolist(), strict=True):
            direction, number = steps[place]
            chosen = shuffled[direction][number * self._size : (number + 1) * self._size]
            yield direction, torch.from_numpy(np.sort(chosen)), draw


class Lexicon:
    """Adam on log p(n | θ) of both directions, per source word."""

    def __init__(
        self,
        config: Config,
        counts: tuple[CountEmission, CountEmission],
        priors: tuple[TypeBasedEmission, TypeBasedEmission],
        device: torch.device,
    ) -> None:
        self.config, self.device = config, device
        self.priors = nn.ModuleList(priors)
        self.tables = [_Rows(emission) for emission in counts]
        self.modules = [  # a prior's NULL is not used
            distributed.wrap(
                _Objective(prior, emission.config.strength, config), device, unused=True
            )
            for prior, emission in zip(priors, counts, strict=True)
        ]
        self.optimizer = _Adam(list(self.priors.parameters()), config.learning_rate)

    def batches(self, seed: int) -> LexiconBatches:
        words = [rows.words.numpy() for rows in self.tables]
        return LexiconBatches(words, self.config.words_per_step, seed)

    def step(self, batch: tuple[int, Tensor, int]) -> dict[str, Tensor]:
        direction, words, draw = batch
        mine = words[distributed.rank() :: distributed.world_size()]
        rows = [tensor.to(self.device) for tensor in self.tables[direction].select(mine)]
        log_likelihood, tokens = self.modules[direction](*rows, draw)
        loss = -log_likelihood * distributed.world_size() / len(words)
        self.priors.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return {"log_likelihood": log_likelihood.detach(), "weight": tokens}

    def end_epoch(self) -> dict[str, float]:
        return {}

    def parts(self) -> dict[str, Any]:
        return {"priors": self.priors, "optimizer": self.optimizer}


class _Adam:
    """`torch.optim.Adam` (fused), whose first use imports torch's compiler: two seconds."""

    def __init__(self, parameters: list[nn.Parameter], learning_rate: float) -> None:
        self.parameters, self.learning_rate = parameters, learning_rate
        self.means = [torch.zeros_like(one) for one in parameters]
        self.squares = [torch.zeros_like(one) for one in parameters]
        self.steps = [torch.zeros((), device=one.device) for one in parameters]

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters that have a gradient."""
        gradients = {n: p.grad for n, p in enumerate(self.parameters) if p.grad is not None}
        everything = (self.parameters, self.means, self.squares, self.steps)
        parameters, means, squares, steps = ([some[n] for n in gradients] for some in everything)
        adam(
            parameters,
            list(gradients.values()),
            means,
            squares,
            [],
            steps,
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.99,
            lr=self.learning_rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )

    def state_dict(self) -> dict[str, list[Tensor]]:
        return {"means": self.means, "squares": self.squares, "steps": self.steps}

    def load_state_dict(self, state: Mapping[str, list[Tensor]]) -> None:
        for name, mine in self.state_dict().items():
            for one, saved in zip(mine, state[name], strict=True):
                one.copy_(saved)


class _Objective(nn.Module):
    def __init__(self, prior: TypeBasedEmission, strength: float, config: Config) -> None:
        super().__init__()
        self.prior, self.strength = prior, strength
        self.sample = Sample.of(config.frequent, config.sampled, len(prior.target_bias))

    def forward(
        self,
        source: Tensor,
        place: Tensor,
        target: Tensor,
        count: Tensor,
        total: Tensor,
        draw: int,
    ) -> tuple[Tensor, Tensor]:
        """log p(n | θ) of source words [U] with totals n(x) [U], whose pairs [N] are
        (source[place], target) with ``count`` n(x, y); and Σ n(x). ``draw`` ≥ 0 says which words
        are sampled for the normalisers."""
        kappa = torch.full_like(total, self.strength)
        sample = replace(self.sample, offset=draw % self.sample.step)
        mean = self.prior.log_prob_pairs(source, place, target, sample).exp()
        prior = (self.strength * mean).clamp_min(1e-8)
        pairs = (torch.lgamma(count + prior) - torch.lgamma(prior)).sum()
        words = (torch.lgamma(kappa) - torch.lgamma(total + kappa)).sum()
        return pairs + words, total.sum()


class _Rows:
    """The counts of one direction, grouped by source word, on the CPU."""

    def __init__(self, emission: CountEmission) -> None:
        kept = (emission.counts > _LEAST_COUNT).nonzero().squeeze(1)
        source, target = emission.pair_words(kept)
        order = source.argsort(stable=True)
        source, self.target = source[order].cpu(), target[order].cpu()
        self.count = emission.counts[kept[order]].cpu()
        self.total = emission.totals.cpu()
        self.words = source.unique()
        self.start = torch.searchsorted(source, torch.arange(len(self.total) + 1))

    def select(self, words: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """The arguments of the objective for some source words [U]."""
        length = self.start[words + 1] - self.start[words]
        place = torch.repeat_interleave(torch.arange(len(words)), length)
        first = self.start[words] - (length.cumsum(0) - length)
        pair = torch.arange(len(place)) + first[place]
        return words, place, self.target[pair], self.count[pair], self.total[words]
