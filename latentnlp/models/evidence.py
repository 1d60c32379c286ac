r"""Scores for every word of long documents, from the documents' labels alone.

    units        u = a sentence, or a window of n words, of document d with the class y
    classifier   p(y | u), linear in the n-grams of one unit, held out by folds of documents
    selector     z_u ~ Bernoulli(σ(b · x_u + b₀)), with b₀ for a mean P(z_u = 1) of `rate`
                 climb Σ_d E_z log p(y | mean logit of the units with z_u = 1)     (REINFORCE)
    words        w_v = log P(v | selected) − log P(v | not selected)   (one round of self-training)
    levels       a word's neighbourhoods in w, its sentence, its document and its position, weighted
                 as they tell the gain log p(y | u) − log p(y) of windows
    evidence     what the classifiers say of the sentence for the predicted class
    score        the sum of all these, each in units of its deviation
    P(z_t = 1 | x) = σ(score_t − θ)

The reward of a document tells next to nothing of the single bits of 775 words; it does of those of
36 sentences. And a held-out classifier is a reader that no selector can teach a code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentnlp import config as configuration
from latentnlp.config import at_least, between
from latentnlp.data.documents import Document
from latentnlp.data.ngrams import Corpus, Design, Lexicon
from latentnlp.distributions.bernoulli import Bernoulli
from latentnlp.errors import UserError
from latentnlp.estimators.baselines import LeaveOneOut
from latentnlp.estimators.score_function import ScoreFunction

_NEAR = (2, 5, 10, 20, 40, 80)  # deviations of the neighbourhoods, in words
_SENTENCE = len(_NEAR)  # the column of a sentence's score
_EVERYTHING = tuple(range(len(_NEAR) + 8))
_WIDE = (4, 5, 9, 10, 11, 12, 13)  # the two widest neighbourhoods, and the position
_LEVELS = ((40, _EVERYTHING), (160, _WIDE))  # words of the windows that weigh the columns
_GROUP = 64  # documents of like numbers of units that are sampled together


@dataclass(frozen=True)
class Config:
    windows: tuple[int, ...] = (10, 20, 40, 80)  # words; units besides the sentences
    min_count: int = 4  # documents; n-grams of fewer are not read
    folds: int = 5
    strength: float = 1.5  # of the data against the penalty, in classifiers of units
    text_strength: float = 5.0  # the same in the classifier of whole texts
    rate: float = 0.05  # of the units are selected in learning to select
    selected: float = 2.3  # units of a document, on average, at most: sets a lower rate
    samples: int = 4
    steps: int = 100
    step: float = 3.0
    decay: float = 0.003  # of the selector's weights, a step
    bound: float = 10.0  # of b₀: a selector that has grown beyond it tries more than ``rate``
    share: float = 0.35  # of the units that self-training takes for rather selected than not
    softness: float = 0.5  # of that border, in deviations of the selector's logits
    smoothing: float = 0.5  # units added to every word's count
    ridge: float = 100.0  # penalty on the weights of the levels
    evidence: float = 0.25  # weight of each of the three signed scores; all others have 1
    # A sentence's final punctuation mark belongs to no unit's content, and people leave it out: it
    # is put so many deviations below its sentence.
    final_mark: float = 3.0

    def __post_init__(self) -> None:
        at_least(self, min_count=1, folds=2, samples=2, steps=1, decay=0, bound=0)
        at_least(self, evidence=0, ridge=0, final_mark=0)
        between(self, 0, 1, "rate", "share")
        between(self, 0, float("inf"), "strength", "text_strength", "selected")
        between(self, 0, float("inf"), "step", "softness", "smoothing")
        if min(self.windows, default=1) < 1:
            raise ValueError("windows are of 1 word or more")


# ------------------------------------------------------------------------------- the single steps


def softmax_regression(
    design: Design, labels: Tensor, weight: Tensor, strength: float, classes: int, most: int = 60
) -> Tensor:
    r"""argmin_B ½ |B|² − strength Σ_u weight_u log softmax(x_u B)_{y_u}, [F + 1, C], by L-BFGS."""
    target = torch.nn.functional.one_hot(labels, classes).double()
    # At the optimum the classes' weights sum to 0: C − 1 orthonormal directions hold them.
    centre = torch.eye(classes, dtype=torch.float64) - 1 / classes
    basis = torch.linalg.qr(centre).Q[:, :-1]  # [C, C − 1]
    b = torch.zeros(design.x.shape[1] + 1, classes - 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [b],
        max_iter=most,
        history_size=10,
        tolerance_grad=1e-3,
        tolerance_change=1e-7,
        line_search_fn="strong_wolfe",
    )

    @torch.no_grad()
    def closure() -> Tensor:
        log_p = (design.logits(b) @ basis.T).log_softmax(-1)  # [U, C]
        slope = strength * weight[:, None] * (log_p.exp() - target) @ basis
        b.grad = b + torch.cat([design.transposed @ slope, slope.sum(0, keepdim=True)])
        return 0.5 * b.square().sum() - strength * (weight * (log_p * target).sum(-1)).sum()

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    return b.detach() @ basis.T


def held_out_logits(
    design: Design, labels: Tensor, fold: Tensor, config: Config, classes: int
) -> Tensor:
    """Of every unit, by the classifier that has not seen its document, [U, C]."""
    logits = torch.zeros(len(labels), classes, dtype=torch.float64)
    for k in range(config.folds):
        weights = softmax_regression(design, labels, (fold != k).double(), config.strength, classes)
        logits[fold == k] = design.logits(weights)[fold == k]
    return logits


def learn_selector(
    design: Design,
    logits: Tensor,
    document: np.ndarray,
    labels: Tensor,
    log_shares: Tensor,
    config: Config,
    generator: torch.Generator,
) -> Tensor:
    r"""The selector's logits b · x_u, [U].

        z ~ Π_u Bernoulli(σ(b · x_u + b₀)),   (1/U) Σ_u σ(b · x_u + b₀) = rate,  |b₀| ≤ bound
        climb Σ_d E_z log softmax(Σ_u z_u logits_u / Σ_u z_u)_{y_d}

    logits [U, C]: of the held-out classifier; labels [D]: of the documents. The empty selection has
    the classes' shares. An item of the estimator is a document, its latents are its units.
    """
    estimator = ScoreFunction(samples=config.samples, baselines=[LeaveOneOut()])
    rate = min(config.rate, config.selected * len(labels) / len(document))
    groups = list(_groups(document, len(labels)))
    b = torch.zeros(design.x.shape[1], dtype=torch.float64)
    for _ in range(config.steps):
        u = design.x @ b
        u += offset(u, rate, config.bound)
        slope = torch.zeros_like(u)
        for documents, index, mask in groups:
            q = Bernoulli(u[index].requires_grad_(), mask)

            reward = partial(_reward, logits[index], labels[documents], log_shares)
            estimate = estimator(q, reward, generator=generator)
            (gradient,) = torch.autograd.grad(estimate.surrogate.sum(), q.logits)
            slope[index[mask]] = gradient[mask]
        # b₀ gives back what all units gain together.
        b = (1 - config.decay) * b + config.step * (design.transposed @ (slope - slope.mean()))
    return design.x @ b


def _reward(logits: Tensor, labels: Tensor, log_shares: Tensor, z: Any) -> Tensor:
    """log p(y | the units in z [S, B, U]), [S, B]; logits [B, U, C], labels [B]."""
    count = z.sum(-1)[..., None]  # [S, B, 1]
    total = torch.einsum("sbu,buc->sbc", z, logits)
    mean = torch.where(count > 0, total / count.clamp(min=1), log_shares)
    y = labels.expand(mean.shape[:-1])[..., None]
    return mean.log_softmax(-1).gather(-1, y).squeeze(-1)


def _groups(document: np.ndarray, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Documents of like numbers of units: (which [B], their units [B, U], False at padding)."""
    first = np.searchsorted(document, np.arange(count + 1))
    sizes = np.diff(first)
    order = np.argsort(sizes, kind="stable")
    for at in range(0, count, _GROUP):
        some = order[at : at + _GROUP]
        place = np.arange(sizes[some].max())
        mask = place < sizes[some, None]
        index = np.where(mask, first[some, None] + place, 0)
        yield torch.from_numpy(some), torch.from_numpy(index), torch.from_numpy(mask)


def offset(logits: Tensor, rate: float, bound: float, halvings: int = 40) -> Tensor:
    """b₀ in ±bound with mean σ(logits + b₀) = rate, or the nearest to it."""
    low, high = torch.tensor([-bound, bound], dtype=torch.float64)
    for _ in range(halvings):
        middle = (low + high) / 2
        under = (logits + middle).sigmoid().mean() < rate
        low, high = torch.where(under, middle, low), torch.where(under, high, middle)
    return (low + high) / 2


def soft_labels(logits: Tensor, config: Config) -> Tensor:
    """How far each unit counts as selected, [U] in (0, 1): ``share`` of them above one half."""
    border = logits.quantile(1 - config.share)
    width = config.softness * logits.std(correction=0)
    return ((logits - border) / width.clamp(min=1e-9)).sigmoid()


def naive_bayes(
    design: Design, selected: Tensor, weight: Tensor, words: int, smoothing: float
) -> np.ndarray:
    r"""w_v = log P(v | selected) − log P(v | not selected), [V]: of the n-grams, the words.

    P(v | s) ∝ smoothing + Σ_u weight_u P(s | u) 1[v ∈ u]
    """
    logs = []
    for share in (selected, 1 - selected):
        counts = design.counts(weight * share)[:words] + smoothing
        logs.append((counts / counts.sum()).log())
    return (logs[0] - logs[1]).numpy()


@dataclass(frozen=True, eq=False)
class Level:
    """Weights of some columns of the words' neighbourhoods."""

    columns: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    weights: np.ndarray

    @classmethod
    def learn(cls, a: np.ndarray, gain: np.ndarray, columns: Sequence[int], ridge: float) -> Level:
        r"""argmin_b Σ_u (gain_u − mean − z_u b)² + ridge |b|², z: the standardised columns of a."""
        chosen = a[:, columns]
        mean, deviation = chosen.mean(0), chosen.std(0) + 1e-9
        z = (chosen - mean) / deviation
        square = z.T @ z + ridge * np.eye(len(columns))
        weights = np.linalg.solve(square, z.T @ (gain - gain.mean()))
        return cls(np.array(columns), mean, deviation, weights)

    def scores(self, features: np.ndarray) -> np.ndarray:
        return (features[:, self.columns] - self.mean) / self.deviation @ self.weights


def neighbourhoods(words: np.ndarray, sentences: np.ndarray) -> np.ndarray:
    """The columns of one document, [T, 14]; words: the scores w [T], sentences: where they begin.

    Gaussian means; its sentence's sum over √length, and mean; the text's mean; five of position.
    """
    count = len(words)
    size = np.diff([*sentences, count])
    total = np.add.reduceat(words, sentences)
    place = (np.arange(count) + 0.5) / count
    columns = [_gaussian(words, deviation) for deviation in _NEAR]
    columns += [np.repeat(total / np.sqrt(size), size), np.repeat(total / size, size)]
    columns += [np.full(count, words.mean()), place, place**2, place**3]
    columns += [np.exp(-place / 0.05), np.exp((place - 1) / 0.05)]
    return np.stack(columns, 1)


def _gaussian(values: np.ndarray, deviation: float) -> np.ndarray:
    """The mean of every word's neighbours, the nearer the heavier; beyond the ends is nothing."""
    reach = int(3 * deviation) + 1
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    both = [np.convolve(row, kernel)[reach:-reach] for row in (values, np.ones(len(values)))]
    return both[0] / both[1]


# --------------------------------------------------------------------------------------- the model


@dataclass(frozen=True, eq=False)
class Readers:
    """Classifiers, [F + 1, C] each: of single sentences, of selected ones, of whole texts."""

    sentence: Tensor
    chosen: Tensor
    text: Tensor

    def evidence(self, corpus: Corpus, features: int) -> np.ndarray:
        """What each says for the class predicted from the whole text, [3, N]: its logit less the
        mean of the others'."""
        units = corpus.sentence_units()
        design = Design(corpus, units, features)
        texts = Design(corpus, corpus.text_units(), features).logits(self.text)
        best = texts.argmax(-1)[corpus.document_of(units[:, 0])]  # [Q]
        root = design.norm / (design.norm.square() + 1).sqrt()  # x has the norm 1 already
        parts = (
            design.logits(self.sentence),
            design.logits(self.chosen),
            # Of a whole text's logit, the sentence's part: binary n-grams over √(their number + 1).
            (design.x @ self.text[:-1]) * root[:, None],
        )
        signed = torch.stack([_margin(part, best) for part in parts])
        return np.repeat(signed.numpy(), units[:, 1] - units[:, 0], axis=1)


def _margin(logits: Tensor, best: Tensor) -> Tensor:
    """[U]: the logit of a class less the mean of the others'."""
    one = logits.gather(1, best[:, None]).squeeze(1)
    return one - (logits.sum(1) - one) / (logits.shape[1] - 1)


@dataclass(frozen=True, eq=False)
class Evidence:
    config: Config
    lexicon: Lexicon
    weights: np.ndarray  # w [V]
    levels: tuple[Level, ...]
    readers: Readers
    deviation: np.ndarray  # [6], of every part of the score, over words that training held out
    offset: float = 0.0  # θ

    def scores(self, document: Document) -> np.ndarray:
        """One a word, [T]: the higher, the more it tells the label. Reads this document alone."""
        corpus = Corpus.of([document], self.lexicon)
        parts = _parts(corpus, self.weights, self.levels, self.readers, len(self.lexicon))
        weights = np.array([1.0] * (1 + len(self.levels)) + [self.config.evidence] * 3)
        return weights / self.deviation @ parts - self.config.final_mark * corpus.closing

    def probabilities(self, document: Document) -> np.ndarray:
        """P(z_t = 1 | x) = σ(score_t − θ), [T]."""
        return torch.from_numpy(self.scores(document) - self.offset).sigmoid().numpy()

    def state(self) -> dict[str, Any]:
        """For `checkpoint.save`."""
        return {
            "config": configuration.to_dict(self.config),
            "words": list(self.lexicon.words),
            "pairs": self.lexicon.pairs,
            "weights": torch.from_numpy(self.weights),
            "levels": [
                {k: torch.from_numpy(v) for k, v in vars(one).items()} for one in self.levels
            ],
            "readers": dict(vars(self.readers)),
            "deviation": torch.from_numpy(self.deviation),
            "offset": self.offset,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], where: str = "evidence") -> Evidence:
        """Raises KeyError, TypeError, ValueError, AttributeError: nothing that `state` made."""
        return cls(
            configuration.from_dict(Config, state["config"], where),
            Lexicon(tuple(state["words"]), state["pairs"]),
            state["weights"].numpy(),
            tuple(Level(**{k: v.numpy() for k, v in one.items()}) for one in state["levels"]),
            Readers(**state["readers"]),
            state["deviation"].numpy(),
            state["offset"],
        )


def _parts(
    corpus: Corpus, weights: np.ndarray, levels: Sequence[Level], readers: Readers, features: int
) -> np.ndarray:
    """The score's parts, [6, N]: the sentence's w, the levels, the readers' evidence."""
    columns = _columns(corpus, [weights] * (len(corpus.texts) - 1))
    parts = [columns[:, _SENTENCE], *(level.scores(columns) for level in levels)]
    return np.concatenate([np.stack(parts), readers.evidence(corpus, features)])


def _columns(corpus: Corpus, weights: Sequence[np.ndarray]) -> np.ndarray:
    """`neighbourhoods` of all words, [N, 14]; ``weights``: w [V] for each document."""
    rows = []
    for (first, end), w in zip(corpus.text_units(), weights, strict=True):
        words = corpus.words[first:end]
        low, high = np.searchsorted(corpus.sentences, [first, end])
        known = np.append(w, 0.0)[words]  # −1, not in the lexicon, is the last
        rows.append(neighbourhoods(known, corpus.sentences[low:high] - first))
    return np.concatenate(rows)


def fit(
    documents: Sequence[Document],
    labels: Sequence[int],
    classes: int,
    config: Config | None = None,
    seed: int = 1,
    say: Callable[[str], None] | None = None,
) -> Evidence:
    """Learn from documents with the labels 0 … classes − 1. ``say`` is told how far it is.

    The same documents and seed give the same model. Raises: UserError where no word is frequent
    enough to be read.
    """
    config = config or Config()
    lexicon = Lexicon.of(documents, config.min_count)
    if not lexicon.words:
        raise UserError(
            f"no word stands in {config.min_count} documents or more: lower evidence.min_count or "
            "give more documents"
        )
    training = _Training(config, lexicon, documents, torch.tensor(labels), classes, seed)
    return training.run(say or (lambda _: None))


class _Training:
    def __init__(
        self,
        config: Config,
        lexicon: Lexicon,
        documents: Sequence[Document],
        labels: Tensor,
        classes: int,
        seed: int,
    ) -> None:
        self.config, self.lexicon, self.documents = config, lexicon, documents
        self.labels, self.classes = labels, classes
        shares = torch.bincount(labels, minlength=classes).double() / len(labels)
        self.log_shares = shares.clamp(min=1e-9).log()
        self.corpus = Corpus.of(documents, lexicon)
        self.random = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.fold = torch.from_numpy(self.random.permutation(len(documents)) % config.folds)

    def run(self, say: Callable[[str], None]) -> Evidence:
        words, held_out = self.learn_words(say)
        columns = _columns(self.corpus, [held_out[k] for k in self.fold.tolist()])
        say("weights of the neighbourhoods")
        levels = tuple(self.learn_level(columns, length, some) for length, some in _LEVELS)
        say("classifiers of sentences and texts")
        chosen = torch.from_numpy(columns[self.corpus.sentences[:-1], _SENTENCE])
        chosen = soft_labels(chosen, self.config)
        # What a reader says of its own training texts spreads too far: one fold is left out.
        unseen = [one for one, k in zip(self.documents, self.fold, strict=True) if k == 0]
        parts = _parts(
            Corpus.of(unseen, self.lexicon),
            words,
            levels,
            self.readers(chosen, self.fold != 0),
            len(self.lexicon),
        )
        deviation = np.maximum(parts.std(1), 1e-9)
        readers = self.readers(chosen, torch.ones_like(self.fold))
        return Evidence(self.config, self.lexicon, words, levels, readers, deviation)

    def design(self, units: np.ndarray) -> tuple[Design, np.ndarray]:
        """The units' n-grams, and the documents that they are of, [U]."""
        design = Design(self.corpus, units, len(self.lexicon))
        return design, self.corpus.document_of(units[:, 0])

    def learn_words(self, say: Callable[[str], None]) -> tuple[np.ndarray, list[np.ndarray]]:
        """w, the mean over all kinds of units, and w by sentences without each fold's documents."""
        say("selector of sentences")
        sentences = self.corpus.sentence_units()
        design, fold, selected = self.select(sentences)
        held_out = [self.words(design, selected, fold != k) for k in range(self.config.folds)]
        total = self.words(design, selected, torch.ones_like(fold))
        for length in self.config.windows:
            say(f"selector of windows of {length} words")
            design, fold, selected = self.select(self.corpus.window_units(length, self.random))
            total += self.words(design, selected, torch.ones_like(fold))
        return total / (1 + len(self.config.windows)), held_out

    def select(self, units: np.ndarray) -> tuple[Design, Tensor, Tensor]:
        """The units' n-grams, their folds, and how far each is selected, [U]."""
        design, document = self.design(units)
        labels, fold = self.labels[document], self.fold[document]
        logits = held_out_logits(design, labels, fold, self.config, self.classes)
        s = learn_selector(
            design, logits, document, self.labels, self.log_shares, self.config, self.generator
        )
        return design, fold, soft_labels(s, self.config)

    def words(self, design: Design, selected: Tensor, weight: Tensor) -> np.ndarray:
        count = len(self.lexicon.words)
        return naive_bayes(design, selected, weight.double(), count, self.config.smoothing)

    def learn_level(self, columns: np.ndarray, length: int, some: Sequence[int]) -> Level:
        units = self.corpus.window_units(length, self.random)
        design, document = self.design(units)
        labels = self.labels[document]
        logits = held_out_logits(design, labels, self.fold[document], self.config, self.classes)
        gain = logits.log_softmax(-1).gather(1, labels[:, None]).squeeze(1)
        gain = gain - self.log_shares[labels]
        sums = np.concatenate([np.zeros((1, columns.shape[1])), columns.cumsum(0)])
        means = (sums[units[:, 1]] - sums[units[:, 0]]) / np.diff(units)
        return Level.learn(means, gain.numpy(), some, self.config.ridge)

    def readers(self, chosen: Tensor, weight: Tensor) -> Readers:
        """From documents of the ``weight`` [D]; chosen [Q]: how far a sentence is selected."""
        sentences, document = self.design(self.corpus.sentence_units())
        texts, _ = self.design(self.corpus.text_units())
        labels, strength = self.labels[document], self.config.strength
        weight, one = weight.double(), weight[document].double()
        classes = self.classes
        return Readers(
            softmax_regression(sentences, labels, one, strength, classes),
            softmax_regression(sentences, labels, one * chosen / chosen.mean(), strength, classes),
            softmax_regression(texts, self.labels, weight, self.config.text_strength, classes),
        )
