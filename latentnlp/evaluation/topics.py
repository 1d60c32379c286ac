r"""Scores of document models: what they predict, what topics say, what codes are good for.

Perplexity. Of document d, N_d is the number of words and log p(d) that of its words in their order
(no multinomial coefficient), or a bound:

    per document   exp(−1/D Σ_d log p(d) / N_d)    Replicated Softmax (Salakhutdinov and Hinton
                   2009), DocNADE (Larochelle and Lauly 2012), NVDM (Miao, Yu and Blunsom 2016)
    per corpus     exp(−Σ_d log p(d) / Σ_d N_d)    LDA (Blei, Ng and Jordan 2003)

    elbo           E_q[log p(d, z) − log q(z | d)] in place of log p(d)
    iw             log 1/K Σ_k p(d, z_k) / q(z_k | d), z_k ~ q: between the ELBO and log p(d), and
                   no worse for a larger K (Burda, Grosse and Salakhutdinov 2016)
    completion     log p(second half | code of the first), over the words of the second half; of
                   halves drawn at random, or of those that were published with the corpus

A document without a word (in completion: without a second half) is left out.

Topics. With p(a) the share of the reference's D documents that have the word a, empty documents
counted in D, and p(a, b) of those that have both:

    NPMI(a, b)  = log(p(a, b) / (p(a) p(b))) / −log p(a, b)       (Bouma 2009)
    coherence   = mean over topics of the mean over pairs of a topic's n best words
                  (Aletras and Stevenson 2013; Lau, Newman and Baldwin 2014)
    diversity   = share of distinct words among the n best of all topics (Dieng et al. 2020)

A pair that never stands together has −1, the limit, and so has one with a word that no reference
document has; a pair that stands in every document has 0, for its words are independent. This is
gensim's c_npmi with one window a document, but for the pairs that never stand together: gensim adds
ε = 1e-12 to p(a, b), which gives them −1 + log(p(a) p(b)) / log ε: for two words each in 1 % of the
documents −.67.

Retrieval. A query ranks the database by the cosine of the codes. Of the first m documents,

    precision@m = share with the query's label, mean over queries
    @share s    : m = ⌊s D + ½⌋, at least 1 (rounded as in the published DocNADE evaluation)

Documents without a label are left out on both sides. A code of zeros has cosine 0 with all. Cosines
are rounded to multiples of 2⁻²⁰; of equal ones the earlier document comes first.

Linear probe. Softmax regression on codes, each number standardised by its training mean and
deviation:

    argmin_{W, b} ½ |W|² − C Σ_d log softmax(x_d W + b)_{y_d}

C is the one of `STRENGTHS` with the highest accuracy on dev (of equals the lowest), 1 without dev.

Active units (Burda, Grosse and Salakhutdinov 2016): those whose posterior mean E_q[z_k | d] has a
variance over documents above .01.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from latentnlp.data.bags import Bags
from latentnlp.errors import UserError
from latentnlp.evaluation._scores import Score, interval, percent, resampled_sums, signature
from latentnlp.evaluation.rationale import classification

Kind = Literal["exact", "elbo", "iw", "completion", "completion-of-published-halves"]
Labels = Sequence[str | None]
SHARES = (0.0002, 0.001, 0.004, 0.016, 0.064, 0.256, 1.0)
STRENGTHS = (0.001, 0.01, 0.1, 1.0)

_DOCUMENTS = 1024  # of the reference corpus at a time
_RESAMPLES = 1000  # of the documents, for an interval
_QUERIES = 64  # at a time: [64, D] keys of 8 bytes
_TIE = 2.0**-20  # cosines are multiples of it


# --- prediction -----------------------------------------------------------------------------------


class ImportanceWeights:
    """Of weights w_k that come in chunks, log 1/K Σ_k w_k and 1/K Σ_k log w_k of each document.

    With log w of `log_weights` these are the importance-weighted bound and the ELBO, of the same
    samples. Nothing is kept but two sums, [B] float64.
    """

    def __init__(self) -> None:
        self.samples = 0  # K so far
        self._log_sum: Tensor | None = None
        self._sum_of_logs: Tensor | None = None

    def add(self, log_weights: Tensor) -> None:
        """log w of S further samples, [S, B]; each chunk of the same B documents."""
        log_w = log_weights.detach().double()
        log_sum, sum_of_logs = log_w.logsumexp(0), log_w.sum(0)
        if self._log_sum is not None and self._sum_of_logs is not None:
            if log_sum.shape != self._log_sum.shape:
                raise ValueError(f"{log_w.shape} after chunks of {len(self._log_sum)} documents")
            log_sum = torch.logaddexp(self._log_sum, log_sum)
            sum_of_logs = self._sum_of_logs + sum_of_logs
        self._log_sum, self._sum_of_logs = log_sum, sum_of_logs
        self.samples += len(log_w)

    def bound(self) -> Tensor:
        """log 1/K Σ_k w_k, [B] float64. Raises ValueError before the first sample."""
        if self._log_sum is None or not self.samples:
            raise ValueError("no weights yet")
        return self._log_sum - math.log(self.samples)

    def elbo(self) -> Tensor:
        """1/K Σ_k log w_k, [B] float64. Raises ValueError before the first sample."""
        if self._sum_of_logs is None or not self.samples:
            raise ValueError("no weights yet")
        return self._sum_of_logs / self.samples


@dataclass(frozen=True)
class PerplexityScore(Score):
    """Perplexity as the mean over documents and over the corpus; smaller is better."""

    kind: Kind
    samples: int | None  # K, where log p comes of samples
    documents: int  # scored
    empty: int  # documents without a word to predict, left out
    tokens: int
    per_document: float
    interval: tuple[float, float]  # 95 % of it: percentile bootstrap over the documents
    per_corpus: float

    @property
    def signature(self) -> str:
        """What was scored and how, in the manner of sacrebleu."""
        return signature(
            "perplexity",
            f"log-p:{self.kind}",
            *([] if self.samples is None else [f"samples:{self.samples}"]),
            f"docs:{self.documents}",
            f"empty:{self.empty}",
            f"tokens:{self.tokens}",
        )

    def format(self) -> str:
        """One line, the signature last."""
        low, high = self.interval
        return (
            f"perplexity {self.per_document:.2f} per document (95 %: {low:.2f} to {high:.2f})  "
            f"{self.per_corpus:.2f} per corpus  {self.signature}"
        )


def perplexity(
    log_p: ArrayLike | Tensor, lengths: ArrayLike | Tensor, kind: Kind, samples: int | None = None
) -> PerplexityScore:
    """exp(−1/D Σ_d log p(d) / N_d) and exp(−Σ_d log p(d) / Σ_d N_d) over documents with N_d > 0.

    log_p: [D], natural logarithm of what `kind` says; −inf makes both infinite. lengths: [D], N_d,
    the words that log_p speaks of. `samples`: K, which "iw" must state.
    Raises ValueError for other shapes, a negative length or "iw" without K; UserError for a NaN (of
    a model that diverged) or if no document has a word.
    """
    if kind == "iw" and samples is None:
        raise ValueError("an importance-weighted bound must state its number of samples")
    table = _log_p_and_lengths(log_p, lengths)
    per_word = table[:, :1] / table[:, 1:]
    # 0 · −inf of a document not drawn would be a NaN.
    means = resampled_sums(np.maximum(per_word, -1e300), _RESAMPLES, seed=0) / len(table)
    low, high = interval(-means)
    return PerplexityScore(
        kind=kind,
        samples=samples,
        documents=len(table),
        empty=len(_array(lengths)) - len(table),
        tokens=int(table[:, 1].sum()),
        per_document=_exp(-per_word.mean()),
        interval=(_exp(low), _exp(high)),
        per_corpus=_exp(-table[:, 0].sum() / table[:, 1].sum()),
    )


def _exp(value: float) -> float:
    with np.errstate(over="ignore"):
        return float(np.exp(value))


def _log_p_and_lengths(
    log_p: ArrayLike | Tensor, lengths: ArrayLike | Tensor
) -> NDArray[np.float64]:
    """log p and N of the documents with a word: [D, 2]."""
    log_p, lengths = _array(log_p), _array(lengths)
    if log_p.ndim != 1 or log_p.shape != lengths.shape:
        raise ValueError(f"log p is {log_p.shape}, lengths {lengths.shape}: give both as [D]")
    if not (lengths >= 0).all():
        raise ValueError("a length is negative or NaN")
    table = np.column_stack([log_p, lengths])[lengths > 0]
    if np.isnan(table[:, 0]).any():
        raise UserError(
            "the log-likelihood of a document is not a number: the model has diverged; train it "
            "again with a lower learning rate"
        )
    if not len(table):
        raise UserError("no document has a word to predict: there is no perplexity")
    return table


def _array(values: ArrayLike | Tensor) -> NDArray[np.float64]:
    if isinstance(values, Tensor):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)


# --- topics ---------------------------------------------------------------------------------------


def top_words(scores: ArrayLike | Tensor, count: int) -> NDArray[np.int64]:
    """The `count` best words of each topic, the best first; of two equal ones the lower number.

    scores: [T, V] → [T, min(count, V)].
    """
    return np.argsort(-_array(scores), axis=1, kind="stable")[:, :count]


@dataclass(frozen=True)
class CoherenceScore(Score):
    """NPMI by documents of a reference corpus, from −1 to 1."""

    topics: int
    words: int  # n of each topic
    documents: int  # of the reference
    unseen: int  # of the T · n words, those that no reference document has
    npmi: float  # mean of per_topic
    per_topic: tuple[float, ...]

    @property
    def signature(self) -> str:
        """What was scored and how, in the manner of sacrebleu."""
        return signature(
            "NPMI",
            f"topics:{self.topics}",
            f"top:{self.words}",
            "co-occurrence:document",
            f"reference:{self.documents}",
            "never:-1",
            f"unseen:{self.unseen}",
        )

    def format(self) -> str:
        """One line, the signature last."""
        return f"NPMI {self.npmi:z.4f}  {self.signature}"


def coherence(top: ArrayLike | Tensor, reference: Bags, count: int = 10) -> CoherenceScore:
    """Mean over topics of the mean NPMI of the pairs of their `count` best words; see above.

    top: [T, n] words' numbers in the vocabulary of the reference, the best first; −1 for a word
    that is not in it. Where n < count, n words are taken. Raises ValueError for a number outside
    the vocabulary, a word twice in a topic or fewer than two words; UserError for an empty
    reference.
    """
    words = _ranked(top, count)
    _check_words(words, reference.vocabulary_size)
    if not len(reference):
        raise UserError("the reference corpus has no document: there is no coherence")
    together = _documents_together(words, reference)  # [T, n, n]
    first, second = np.triu_indices(words.shape[1], k=1)
    alone = together.diagonal(dim1=1, dim2=2)  # [T, n]
    pairs = npmi(together[:, first, second], alone[:, first], alone[:, second], len(reference))
    per_topic = pairs.numpy().mean(axis=1)
    return CoherenceScore(
        topics=len(words),
        words=words.shape[1],
        documents=len(reference),
        unseen=int((alone == 0).sum()),
        npmi=float(per_topic.mean()),
        per_topic=tuple(per_topic.tolist()),
    )


def npmi(both: Tensor, a: Tensor, b: Tensor, documents: float) -> Tensor:
    """NPMI of words of which so many of the `documents` have both, a, b; see above."""
    value = (both * documents / (a * b)).log() / -(both / documents).log()
    always = (a == documents) & (b == documents)
    return value.masked_fill(both == 0, -1.0).masked_fill(always, 0.0)


def _documents_together(words: NDArray[np.int64], reference: Bags) -> Tensor:
    """In how many documents the words i and j of topic t both stand, [T, n, n] (i = j: word i)."""
    seen = np.unique(words[words >= 0])
    place = np.where(words < 0, len(seen), np.searchsorted(seen, words))  # [T, n]
    column = np.full(reference.vocabulary_size, -1)
    column[seen] = np.arange(len(seen))
    total = torch.zeros(*words.shape, words.shape[1], dtype=torch.float64)
    for start in range(0, len(reference), _DOCUMENTS):
        offsets = reference.offsets[start : start + _DOCUMENTS + 1]
        columns = column[reference.words[offsets[0] : offsets[-1]]]
        rows = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        has = torch.zeros(len(seen) + 1, len(offsets) - 1)  # [W', chunk]; the last: of no word
        has[columns[columns >= 0], rows[columns >= 0]] = 1
        chosen = has[place]  # [T, n, chunk]
        total += chosen @ chosen.mT
    return total


def _ranked(top: ArrayLike | Tensor, count: int) -> NDArray[np.int64]:
    words = _array(top).astype(np.int64)
    if words.ndim != 2 or not words.size or count < 1:
        raise ValueError(f"top words are {words.shape}, {count=}: give [topics, words], not empty")
    return words[:, :count]


def _check_words(words: NDArray[np.int64], vocabulary_size: int) -> None:
    if words.shape[1] < 2:
        raise ValueError("a topic of one word has no pair")
    if words.min() < -1 or words.max() >= vocabulary_size:
        raise ValueError(f"a top word is outside the vocabulary of {vocabulary_size}")
    ordered = np.sort(words, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise ValueError("a word stands twice among the top words of a topic")


@dataclass(frozen=True)
class DiversityScore(Score):
    """How little topics repeat each other, from 1/T (all the same) to 1."""

    topics: int
    words: int  # n of each topic
    diversity: float

    @property
    def signature(self) -> str:
        """What was scored and how, in the manner of sacrebleu."""
        return signature("topic-diversity", f"topics:{self.topics}", f"top:{self.words}")

    def format(self) -> str:
        """One line, the signature last."""
        return f"diversity@{self.words} {self.diversity:.4f}  {self.signature}"


def diversity(top: ArrayLike | Tensor, count: int = 25) -> DiversityScore:
    """Distinct words among the `count` best of all topics over T · count (Dieng et al. 2020).

    top: [T, n] words' numbers, the best first. Where n < count, n words are taken.
    """
    words = _ranked(top, count)
    return DiversityScore(*words.shape, diversity=len(np.unique(words)) / words.size)


# --- retrieval ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RetrievalScore(Score):
    """Precision of what is retrieved, as fractions, means over queries."""

    queries: int
    database: int  # documents
    unlabelled: int  # documents left out on both sides
    shares: tuple[float, ...]
    precisions: tuple[float, ...]  # one a share
    best: int  # k
    precision_at_best: float  # precision@k

    @property
    def signature(self) -> str:
        """What was scored and how, in the manner of sacrebleu."""
        return signature(
            "retrieval",
            f"queries:{self.queries}",
            f"database:{self.database}",
            f"unlabelled:{self.unlabelled}",
            "cosine",
            "ties:earlier",
        )

    def format(self) -> str:
        """One line in per cent, the signature last."""
        curve = "  ".join(
            f"@{share:g} {percent(precision)}"
            for share, precision in zip(self.shares, self.precisions, strict=True)
        )
        return (
            f"precision@{self.best} {percent(self.precision_at_best)}  shares {curve}  "
            f"{self.signature}"
        )


def retrieval(
    queries: ArrayLike | Tensor,
    query_labels: Labels,
    database: ArrayLike | Tensor,
    database_labels: Labels,
    shares: Sequence[float] = SHARES,
    best: int = 10,
) -> RetrievalScore:
    """Precision at shares of the database and among the `best` (k ≤ D) documents; see above.

    queries: [Q, K] codes, database: [D, K]; as they are, not centred. Memory is bounded in Q · D.
    Raises ValueError for shapes that do not fit or a NaN, UserError if a side has no label.
    """
    codes, wanted, left_out = _labelled(queries, query_labels, "query")
    others, labels, left_out_too = _labelled(database, database_labels, "database")
    if codes.shape[1] != others.shape[1]:
        raise ValueError(f"codes of {codes.shape[1]} numbers against codes of {others.shape[1]}")
    number = {label: n for n, label in enumerate(dict.fromkeys([*labels, *wanted]))}
    best = min(best, len(labels))
    sizes = [min(max(1, math.floor(share * len(labels) + 0.5)), len(labels)) for share in shares]
    cuts = sorted({best, *sizes})
    hits = _hits(
        _directions(codes),
        np.array([number[label] for label in wanted]),
        _directions(others),
        np.array([number[label] for label in labels]),
        cuts,
    )
    precision = {m: float(hits[n] / (m * len(wanted))) for n, m in enumerate(cuts)}
    return RetrievalScore(
        queries=len(wanted),
        database=len(labels),
        unlabelled=left_out + left_out_too,
        shares=tuple(shares),
        precisions=tuple(precision[m] for m in sizes),
        best=best,
        precision_at_best=precision[best],
    )


def _hits(
    queries: NDArray[np.float32],
    wanted: NDArray[np.int64],
    database: NDArray[np.float32],
    labels: NDArray[np.int64],
    cuts: list[int],
) -> NDArray[np.int64]:
    """Documents with the query's label among the first m, sums over queries: [cuts]."""
    # One integer a pair, smaller for a better document: −cosine in steps, place, right or not. So
    # a partition (no sort: a sort takes more than twice as long) ranks them, ties and all.
    place = np.arange(len(labels)) << 1
    cosines = np.empty((_QUERIES, len(labels)), dtype=np.float32)
    keys = np.empty((_QUERIES, len(labels)), dtype=np.int64)
    total = np.zeros(len(cuts), dtype=np.int64)
    for start in range(0, len(queries), _QUERIES):
        part = queries[start : start + _QUERIES]
        cosine, key = cosines[: len(part)], keys[: len(part)]
        np.matmul(part, database.T, out=cosine)
        np.rint(np.multiply(cosine, -1 / _TIE, out=cosine), out=cosine)
        key[...] = cosine
        key <<= 40
        key |= place
        key |= wanted[start : start + _QUERIES, None] != labels
        key.partition([cut - 1 for cut in cuts], axis=1)
        wrong = np.add.reduceat(key[:, : cuts[-1]] & 1, [0, *cuts[:-1]], axis=1)
        total += len(part) * np.array(cuts) - wrong.cumsum(axis=1).sum(axis=0)
    return total


def _directions(codes: NDArray[np.float64]) -> NDArray[np.float32]:
    """Codes of length 1, those of zeros as they are."""
    codes = codes / np.maximum(np.abs(codes).max(axis=1, keepdims=True), 1e-300)  # no overflow
    norms = np.linalg.norm(codes, axis=1, keepdims=True)
    return (codes / np.where(norms > 0, norms, 1)).astype(np.float32)


def _labelled(
    codes: ArrayLike | Tensor, labels: Labels, name: str
) -> tuple[NDArray[np.float64], list[str], int]:
    """The codes and labels of the documents that have a label, and the number of the others."""
    table = _codes(codes)
    if len(labels) != len(table):
        raise ValueError(f"{len(table)} {name} codes but {len(labels)} labels")
    known = [label for label in labels if label is not None]
    if not known:
        raise UserError(f"no {name} document has a label: there is nothing to compare codes with")
    rows = [n for n, label in enumerate(labels) if label is not None]
    return table[rows], known, len(labels) - len(known)


def _codes(codes: ArrayLike | Tensor) -> NDArray[np.float64]:
    table = _array(codes)
    if table.ndim != 2 or not table.shape[1] or not np.isfinite(table).all():
        raise ValueError(f"codes are {table.shape}: give finite numbers [documents, K]")
    return table


# --- linear probe ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ProbeScore(Score):
    """What a linear classifier reads off the codes, as fractions, beside the majority's answer."""

    training: int  # labelled documents
    dev: int  # 0: C was not chosen
    documents: int  # of the test
    unlabelled: int  # test documents left out
    classes: int  # in training
    strength: float  # C
    accuracy: float
    macro_f1: float  # mean over the classes that occur in gold or answers
    majority: float  # accuracy of always answering training's commonest class

    @property
    def signature(self) -> str:
        """What was scored and how, in the manner of sacrebleu."""
        grid = ",".join(f"{strength:g}" for strength in STRENGTHS)
        rule = f"-of-{grid}-by-{self.dev}-dev-docs" if self.dev else ""
        return signature(
            "linear-probe",
            "softmax-L2",
            "standardised",
            f"C:{self.strength:g}{rule}",
            f"training:{self.training}",
            f"docs:{self.documents}",
            f"unlabelled:{self.unlabelled}",
            f"classes:{self.classes}",
        )

    def format(self) -> str:
        """One line in per cent, the signature last."""
        return (
            f"accuracy {percent(self.accuracy)}  macro F1 {percent(self.macro_f1)}  "
            f"majority {percent(self.majority)}  {self.signature}"
        )


def linear_probe(
    training: tuple[ArrayLike | Tensor, Labels],
    test: tuple[ArrayLike | Tensor, Labels],
    dev: tuple[ArrayLike | Tensor, Labels] | None = None,
) -> ProbeScore:
    """Accuracy and macro F1 on `test` of a softmax regression learnt on `training`; see above.

    Each is (codes [D, K], labels [D]); documents without a label are left out. A label that
    training lacks counts as a wrong answer. Raises as `retrieval` does.
    """
    codes, labels, _ = _labelled(*training, "training")
    probe = _Probe(codes, labels)
    dev_documents = 0
    if dev is None:
        strength, weights = 1.0, probe.fit(1.0)
    else:
        dev_codes, dev_labels, _ = _labelled(*dev, "dev")
        dev_documents = len(dev_labels)
        strength, weights = probe.choose(dev_codes, dev_labels)
    test_codes, test_labels, unlabelled = _labelled(*test, "test")
    score = classification(probe.answers(test_codes, weights), test_labels)
    majority = Counter(labels).most_common(1)[0][0]
    return ProbeScore(
        training=len(labels),
        dev=dev_documents,
        documents=len(test_labels),
        unlabelled=unlabelled,
        classes=len(probe.classes),
        strength=strength,
        accuracy=score.accuracy,
        macro_f1=score.macro_f1,
        majority=test_labels.count(majority) / len(test_labels),
    )


class _Probe:
    """Softmax regression on standardised codes."""

    def __init__(self, codes: NDArray[np.float64], labels: list[str]) -> None:
        self.classes = list(dict.fromkeys(labels))
        number = {label: n for n, label in enumerate(self.classes)}
        self._mean = codes.mean(axis=0)
        deviation = codes.std(axis=0)
        # A constant's deviation may differ from 0 in the last bits of the mean.
        constant = deviation <= 1e-12 * np.abs(codes).max(axis=0)
        self._deviation = np.where(constant, 1.0, deviation)
        self._x = self._standardised(codes)
        self._y = torch.tensor([number[label] for label in labels])

    def fit(self, strength: float, start: Tensor | None = None) -> Tensor:
        return softmax_regression(self._x, self._y, len(self.classes), strength, start)

    def choose(self, codes: NDArray[np.float64], labels: list[str]) -> tuple[float, Tensor]:
        """The best of STRENGTHS on these documents, the lowest of equals, and its weights."""
        fits: dict[float, Tensor] = {}
        weights = None
        for strength in STRENGTHS:
            weights = fits[strength] = self.fit(strength, weights)
        right = {
            strength: classification(self.answers(codes, weights), labels).accuracy
            for strength, weights in fits.items()
        }
        best = max(STRENGTHS, key=right.__getitem__)
        return best, fits[best]

    def answers(self, codes: NDArray[np.float64], weights: Tensor) -> list[str]:
        if codes.shape[1] != len(self._mean):
            raise ValueError(f"codes of {codes.shape[1]} numbers, in training {len(self._mean)}")
        logits = self._standardised(codes) @ weights[:-1] + weights[-1]
        return [self.classes[n] for n in logits.argmax(1).tolist()]

    def _standardised(self, codes: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy((codes - self._mean) / self._deviation)


def softmax_regression(
    x: Tensor, y: Tensor, classes: int, strength: float, start: Tensor | None = None
) -> Tensor:
    r"""argmin_{W, b} ½ |W|² − C Σ_d log softmax(x_d W + b)_{y_d}, by L-BFGS from `start` or 0.

    x: [D, K] float64, y: [D] int64, C: `strength` → [K + 1, classes], W and below it b (sum 0).
    """
    target = torch.nn.functional.one_hot(y, classes).double()
    ridge = 1 / (strength * len(x))  # everything over C · D: the tolerances mean the same for all
    initial = x.new_zeros(x.shape[1] + 1, classes) if start is None else start.clone()
    parameters = initial.requires_grad_()
    optimizer = torch.optim.LBFGS(
        [parameters],
        max_iter=1000,
        tolerance_grad=1e-6,
        tolerance_change=1e-12,
        history_size=20,
        line_search_fn="strong_wolfe",
    )

    @torch.no_grad()
    def closure() -> Tensor:
        w, b = parameters[:-1], parameters[-1]
        log_p = (x @ w + b).log_softmax(1)  # [D, C]
        slope = (log_p.exp() - target) / len(x)
        parameters.grad = torch.cat([x.T @ slope + ridge * w, slope.sum(0, keepdim=True)])
        return 0.5 * ridge * w.square().sum() - (log_p * target).sum() / len(x)

    optimizer.step(closure)  # pyright: ignore[reportArgumentType]
    return parameters.detach()


# --- codes ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UnitsScore(Score):
    """How many units of a code tell documents apart; of bits, how many are on and how surely."""

    documents: int
    units: int  # K
    threshold: float
    active: int
    on: float | None  # bits: mean over documents of Σ_k q(z_k = 1 | d)
    entropy: float | None  # bits: mean over documents of Σ_k H(q(z_k | d)), in bits; 0: all sure

    @property
    def signature(self) -> str:
        """What was scored and how, in the manner of sacrebleu."""
        return signature(
            "active-units",
            f"docs:{self.documents}",
            f"units:{self.units}",
            f"variance:{self.threshold:g}",
        )

    def format(self) -> str:
        """One line, the signature last."""
        line = f"active {self.active} of {self.units}  "
        if self.on is not None and self.entropy is not None:
            line += f"on {self.on:.2f} a document  entropy {self.entropy:.2f} bits  "
        return line + self.signature


def active_units(
    means: ArrayLike | Tensor, threshold: float = 0.01, *, bits: bool = False
) -> UnitsScore:
    """The number of units with Var_d(E_q[z_k | d]) > threshold (variance over the D documents).

    means: [D, K], E_q[z | d]; of `bits`, these are q(z_k = 1 | d). Raises ValueError for another
    shape, a NaN, bits outside [0, 1]; UserError without a document.
    """
    table = _codes(means)
    if not len(table):
        raise UserError("no document: there is no variance over documents")
    on = entropy = None
    if bits:
        if table.min() < 0 or table.max() > 1:
            raise ValueError("the mean of a bit is outside [0, 1]")
        q = table.clip(1e-300, 1)
        rest = (1 - table).clip(1e-300, 1)
        on = float(table.sum(axis=1).mean())
        logs = table * np.log2(q) + (1 - table) * np.log2(rest)
        entropy = float(0.0 - logs.sum(axis=1).mean())  # not −0
    return UnitsScore(
        documents=len(table),
        units=table.shape[1],
        threshold=threshold,
        active=int((table.var(axis=0) > threshold).sum()),
        on=on,
        entropy=entropy,
    )
