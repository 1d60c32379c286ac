"""Translation: from a parallel text to a trained model, and from a model to sentences and links.

text → pieces, an end mark → vocabularies → encoded corpus → batches
     → one model of translation_models/ → ascent of log p(y | x) → `loop.fit`, dev says which epoch
     → TranslationSystem
sentences → pieces → `search` → words, unknown ones copied from where they come → Translation
text → p(a | x, y) of pieces → of words → Alignment
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sacrebleu import corpus_bleu
from tqdm import tqdm

from latentnlp import distributed, search
from latentnlp.config import at_least
from latentnlp.data.batches import Batch, Batches, Side, side
from latentnlp.data.corpora import EncodedCorpus, ParallelText, build_vocabularies, encode
from latentnlp.data.subwords import Subwords
from latentnlp.data.translation_text import (
    Language,
    Segmenter,
    TranslationText,
    stretches,
    word_posterior,
)
from latentnlp.data.vocabulary import UNK
from latentnlp.decoding import Alignment
from latentnlp.errors import UserError
from latentnlp.learners import marginal
from latentnlp.loop import fit
from latentnlp.run import RunDirectory
from latentnlp.tasks.translation_model import (
    ModelConfig,
    TextConfig,
    TranslationSystem,
    build_network,
)
from latentnlp.translation_models._contract import END, TranslationModel

STAGE = "marginal"
_WINDOW = 2000  # lines that are translated or aligned, and held, at a time
_HYPOTHESES = 320  # of all sentences of a batch of the search together
_NUMBERS = 2**26  # B · I · V of such a batch: what a model may remember of its sentences
_CELLS = 2**14  # B · I · J of a batch whose links are read
_SENTENCES = 64  # B of such a batch


@dataclass(frozen=True)
class DataConfig:
    """Where the text comes from: a corpus made by data_prep/, or a user's own files."""

    corpus: str = ""  # a folder with manifest.json, and its parts train, dev, test
    reversed: bool = False  # translate from the corpus' target language into its source language
    train_pairs: int | None = None  # the first so many of "train"; None: all
    source: str = ""  # instead of ``corpus``
    target: str = ""
    dev_source: str = ""
    dev_target: str = ""

    def __post_init__(self) -> None:
        at_least(self, train_pairs=1)
        if bool(self.dev_source) != bool(self.dev_target):
            raise ValueError("dev_source and dev_target go together: name both, or neither")


@dataclass(frozen=True)
class BatchConfig:
    cells: int = 2**15  # largest B · I · J of a batch, in pieces
    sentences: int = 64  # largest B

    def __post_init__(self) -> None:
        at_least(self, cells=1, sentences=1)


@dataclass(frozen=True)
class LearningConfig:
    epochs: int = 20
    patience: int | None = None  # epochs without a better dev perplexity; None: run them all
    dev_translations: int = 200  # dev sentences that are translated after each epoch; 0: none
    learner: marginal.Config = field(
        default_factory=lambda: marginal.Config(
            learning_rate=2e-3, warmup=400, schedule="linear", max_gradient_norm=1.0
        )
    )

    def __post_init__(self) -> None:
        at_least(self, epochs=0, patience=1, dev_translations=0)


@dataclass(frozen=True)
class TranslationConfig:
    seed: int = 1
    data: DataConfig = field(default_factory=DataConfig)
    text: TextConfig = field(default_factory=TextConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    search: search.Config = field(default_factory=search.Config)
    checkpoint_seconds: float = 60.0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        at_least(self, seed=0)


# --------------------------------------------------------------------------------------- training


def train(
    config: TranslationConfig,
    text: ParallelText,
    dev: ParallelText | None,
    run: RunDirectory,
    device: torch.device,
    progress: bool = True,
) -> TranslationSystem:
    """Train on ``text``, going on where ``run`` was interrupted; ``dev`` chooses among epochs.

    The weights start from torch's global random state: the caller seeds it. Raises UserError for a
    text without a usable pair.
    """
    source, target = _languages(config.text, text)
    network = build_network(config.model, source.vocabulary, target.vocabulary).to(device)
    system = TranslationSystem(config.text, config.model, source, target, network, config.search)
    if distributed.world_size() > 1:  # the same weights, but dropout of their own
        torch.manual_seed(config.seed + 1000 * distributed.rank())
    with tempfile.TemporaryDirectory(prefix="latentnlp-") as folder:
        corpus = _encode(system, text, Path(folder) / "train")
        held = None if dev is None else _encode(system, dev, Path(folder) / "dev")
        run.check_data(_fingerprint([corpus] if held is None else [corpus, held]))
        for name, one in (("train", corpus), ("dev", held)):
            if one is not None and any(one.skipped):
                run.log(
                    f"{name}: {one.skipped.empty} pairs with an empty side and "
                    f"{one.skipped.too_long} longer than {config.text.max_length} pieces are "
                    "left out",
                    echo=progress,
                )
        _learn(config, system, corpus, held, dev, run, device, progress)
    network.eval()
    return system


def _learn(
    config: TranslationConfig,
    system: TranslationSystem,
    corpus: EncodedCorpus,
    held: EncodedCorpus | None,
    dev: ParallelText | None,
    run: RunDirectory,
    device: torch.device,
    progress: bool,
) -> None:
    settings, sizes = config.learning, config.batches
    rank, world = distributed.rank(), distributed.world_size()
    batches = Batches(corpus, sizes.cells, sizes.sentences, config.seed, True, rank, world)
    steps = settings.epochs * len(batches)
    learner = marginal.Marginal(settings.learner, system.network, device, steps=steps)

    def validate() -> Mapping[str, float]:
        assert held is not None and dev is not None
        system.network.eval()
        dev_batches = Batches(held, sizes.cells, sizes.sentences, 0, False, rank, world)
        found = {"dev_perplexity": _perplexity(system.network, dev_batches, device)}
        if settings.dev_translations:
            found["dev_bleu"] = _greedy_bleu(system, dev, settings.dev_translations, device)
        system.network.train()
        return found

    if settings.epochs:
        selecting = held is not None and bool(held.source_lengths.any())
        fit(
            learner,
            batches,
            run=run,
            stage=STAGE,
            epochs=settings.epochs,
            validate=validate if selecting else None,
            select_on="dev_perplexity" if selecting else None,
            patience=settings.patience if selecting else None,
            checkpoint_seconds=config.checkpoint_seconds,
            progress=progress,
        )


@torch.no_grad()
def _perplexity(network: TranslationModel, batches: Batches, device: torch.device) -> float:
    """exp(-log p(y | x) / J) over all pairs, end marks counted."""
    sums = torch.zeros(2, dtype=torch.float64, device=device)
    for batch in batches:
        log_likelihood, words = network(batch.to(device))
        sums += torch.stack([log_likelihood.double().sum(), words.double()])
    log_likelihood, words = distributed.sum_over_processes(sums).tolist()
    return float(np.exp(min(-log_likelihood / words, 700.0)))


def _greedy_bleu(
    system: TranslationSystem, dev: ParallelText, sentences: int, device: torch.device
) -> float:
    """BLEU of the likeliest next word again and again, on the words as they are."""
    pairs = [dev[n] for n in range(min(sentences, len(dev)))]
    how = replace(system.search, beam=1)
    found = translate(system, [source for source, _ in pairs], device, how, replace_unknown=False)
    spoken = [" ".join(one[0].words) for one in found]
    return corpus_bleu(
        spoken,
        [[" ".join(target) for _, target in pairs]],
        tokenize="none",
        lowercase=system.text.lowercase,
        force=True,
    ).score


def _languages(config: TextConfig, text: ParallelText) -> tuple[Language, Language]:
    source, target = _segmenters(config, text)
    vocabularies = build_vocabularies(
        TranslationText(text, source, target),
        lowercase=False,  # the segmenters do it
        max_length=config.max_length + 1,  # and the end mark
        min_count=config.min_count,
    )
    if not all(END in vocabulary for vocabulary in vocabularies):
        raise UserError(
            f"{text.name}: has fewer than min_count = {config.min_count} usable pairs: no word is "
            "common enough to be learnt"
        )
    there, back = vocabularies
    return Language(there, source), Language(back, target)


def _segmenters(config: TextConfig, text: ParallelText) -> tuple[Segmenter, Segmenter]:
    if not config.subwords:
        words = Segmenter(None, config.lowercase)
        return words, words

    def learnt(sentences: Iterable[Sequence[str]]) -> Segmenter:
        pieces = Subwords.train(sentences, config.subwords, config.kind, config.lowercase)
        return Segmenter(pieces, config.lowercase)

    if config.joint:
        both = learnt(chain.from_iterable(text))
        return both, both
    return learnt(source for source, _ in text), learnt(target for _, target in text)


def _encode(system: TranslationSystem, text: ParallelText, folder: Path) -> EncodedCorpus:
    source, target = system.source, system.target
    units = TranslationText(text, source.segmenter, target.segmenter)
    longest = system.text.max_length + 1
    return encode(units, source.vocabulary, target.vocabulary, folder, False, longest)


def _fingerprint(corpora: Sequence[EncodedCorpus]) -> str:
    return hashlib.sha256("".join(one.fingerprint() for one in corpora).encode()).hexdigest()


# ------------------------------------------------------------------------------------- translating


@dataclass(frozen=True)
class Translation:
    """One translation of one sentence."""

    words: tuple[str, ...]
    log_prob: float  # log p(y | x), the end mark counted
    score: float  # what the search went by: ``log_prob``, the length allowed for
    unknown: tuple[int, ...] = ()  # positions of words that were copied, or that stand as <unk>
    alignment: Alignment | None = None  # where each word comes from, if asked for


def translate(
    system: TranslationSystem,
    sentences: Iterable[Sequence[str]],
    device: torch.device,
    config: search.Config | None = None,
    best: int = 1,
    *,
    links: bool = False,
    replace_unknown: bool = True,
    progress: bool = False,
) -> Iterator[list[Translation]]:
    """Of each sentence (a list of words) its ``best`` translations, the best first; in order.

    An empty sentence has one translation, an empty one. A sentence of more pieces than the training
    text was allowed is cut between words, and its stretches are translated one by one: its k-th
    translation is made of their k-th ones. A word that the model does not know is copied from the
    source, from where it most probably comes, unless ``replace_unknown`` is False. ``config`` says
    how to search, instead of the system's own way.

    The sentences are read in windows, so memory does not grow with their number.
    """
    how = config or system.search
    total = len(sentences) if isinstance(sentences, Sized) else None
    with tqdm(total=total, unit=" lines", desc="translate", disable=not progress) as bar:
        start = 0
        for window in _windows(sentences):
            work = _Window(system, window, device, links, replace_unknown, bar.update)
            for place, found in enumerate(work.translate(how, best)):
                yield [_numbered(one, start + place) for one in found]
            start += len(window)


class _Stretch(NamedTuple):
    """What is translated at once: a sentence, or a part of an overlong one."""

    line: int  # in its window
    ids: list[int]
    word_of_piece: list[int]  # positions in the whole sentence
    first: bool  # of its sentence


class _Said(NamedTuple):
    """What the search found for a stretch: words of its own."""

    words: list[str]
    unknown: set[int]
    log_prob: float
    score: float
    posterior: np.ndarray | None  # [I + 1, J]: the words of the whole sentence, and the end mark


class _Window:
    """Some sentences that are translated together."""

    def __init__(
        self,
        system: TranslationSystem,
        sentences: Sequence[Sequence[str]],
        device: torch.device,
        links: bool,
        replace_unknown: bool,
        tell: Callable[[int], Any],
    ) -> None:
        """``tell`` is called with numbers of sentences that are done."""
        self.system, self.sentences, self.device = system, sentences, device
        self.links, self.replace_unknown, self.tell = links, replace_unknown, tell

    def translate(self, how: search.Config, best: int) -> Iterator[list[Translation]]:
        cut = [
            _Stretch(
                line, [ids[k] for k in part], [word_of_piece[k] for k in part], part.start == 0
            )
            for line, words in enumerate(self.sentences)
            for ids, word_of_piece in [self.system.source.encode(words)]
            for part in stretches(word_of_piece, self.system.text.max_length)
        ]
        self.tell(sum(not words for words in self.sentences))
        found: list[list[list[_Said]]] = [[] for _ in self.sentences]
        for stretch, said in zip(cut, self._search(cut, how, best), strict=True):
            found[stretch.line].append(said)
        for words, parts in zip(self.sentences, found, strict=True):
            ranks = min((len(part) for part in parts), default=1)
            yield [self._join(words, [part[rank] for part in parts]) for rank in range(ranks)]

    def _search(
        self, cut: Sequence[_Stretch], how: search.Config, best: int
    ) -> Iterator[list[_Said]]:
        """The hypotheses of each stretch, in order."""
        end, source_end = self.system.target.end, self.system.source.end
        lengths = [len(stretch.ids) + 1 for stretch in cut]
        order = sorted(range(len(cut)), key=lengths.__getitem__)
        most = max(1, _HYPOTHESES // how.beam)
        answers: list[list[search.Hypothesis]] = [[] for _ in cut]
        for rows in _groups(order, lengths, _NUMBERS // len(self.system.target.vocabulary), most):
            source = padded([[*cut[n].ids, source_end] for n in rows]).to(self.device)
            found = search.search(self.system.network, source, end, how, best)
            for n, hypotheses in zip(rows, found, strict=True):
                answers[n] = hypotheses
            self.tell(sum(cut[n].first for n in rows))
        spoken = [
            (stretch, hypothesis)
            for stretch, hypotheses in zip(cut, answers, strict=True)
            for hypothesis in hypotheses
        ]
        posteriors = self._posteriors(spoken)
        said = (
            self._said(*one, posterior) for one, posterior in zip(spoken, posteriors, strict=True)
        )
        for hypotheses in answers:
            yield [next(said) for _ in hypotheses]

    def _posteriors(
        self, spoken: Sequence[tuple[_Stretch, search.Hypothesis]]
    ) -> Iterator[np.ndarray | None]:
        """p(a_j = i) of pieces [J, I + 1] where it is needed, in order."""
        needed = [self.links or (self.replace_unknown and UNK in one.words) for _, one in spoken]
        pairs = [
            (stretch.ids, list(one.words))
            for (stretch, one), use in zip(spoken, needed, strict=True)
            if use
        ]
        found = iter(piece_posteriors(self.system, pairs, self.device))
        return (next(found) if use else None for use in needed)

    def _said(
        self, stretch: _Stretch, hypothesis: search.Hypothesis, posterior: np.ndarray | None
    ) -> _Said:
        words, word_of_piece = self.system.target.decode(hypothesis.words)
        pieces = zip(hypothesis.words, word_of_piece, strict=True)
        unknown = {word for piece, word in pieces if piece == UNK}
        of_words = None
        if posterior is not None and words:
            size = len(self.sentences[stretch.line])
            places = [*stretch.word_of_piece, size]  # the end mark behind the last word
            of_words = word_posterior(posterior, places, word_of_piece, (size + 1, len(words)))
        return _Said(words, unknown, hypothesis.log_prob, hypothesis.score, of_words)

    def _join(self, source: Sequence[str], parts: Sequence[_Said]) -> Translation:
        """One translation of the translations of a sentence's stretches."""
        words: list[str] = []
        unknown: list[int] = []
        columns: list[np.ndarray] = [np.zeros((len(source) + 1, 0))]
        for part in parts:
            for j, word in enumerate(part.words):
                if j in part.unknown:
                    unknown.append(len(words))
                    if self.replace_unknown and part.posterior is not None:
                        word = source[int(part.posterior[:-1, j].argmax())]
                words.append(word)
            if part.posterior is not None:
                columns.append(part.posterior)
        return Translation(
            tuple(words),
            sum(part.log_prob for part in parts),
            sum(part.score for part in parts),
            tuple(unknown),
            surest_links(np.concatenate(columns, 1)) if self.links else None,
        )


def _numbered(one: Translation, line: int) -> Translation:
    return (
        one if one.alignment is None else replace(one, alignment=replace(one.alignment, line=line))
    )


def _windows(sentences: Iterable[Sequence[str]]) -> Iterator[list[Sequence[str]]]:
    window: list[Sequence[str]] = []
    for one in sentences:
        window.append(one)
        if len(window) == _WINDOW:
            yield window
            window = []
    if window:
        yield window


def padded(rows: Sequence[Sequence[int]]) -> Side:
    """Sentences of ids as one side of a batch."""
    width = max(map(len, rows))
    lengths = np.array([len(row) for row in rows])
    mask = np.arange(width) < lengths[:, None]  # [B, T]
    words = np.zeros(mask.shape, dtype=np.int64)
    words[mask] = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=lengths.sum())
    return side(words, mask)


# ----------------------------------------------------------------------------------------- aligning


def align(
    system: TranslationSystem,
    text: ParallelText,
    device: torch.device,
    reverse: TranslationSystem | None = None,
    threshold: float | None = None,
    progress: bool = False,
) -> Iterator[Alignment]:
    """One Alignment for each line of ``text``, in order: links between words that are given.

    Of one system a target word is linked to the source word that it most probably comes from, or,
    with a ``threshold``, to all that are more probable than it. With ``reverse``, a system of the
    other direction, the links are those on which both agree: √(p q) above the threshold (0.3 where
    none is given). A pair that is empty on a side, or longer than the training text was allowed,
    has no links.
    """
    with tqdm(total=len(text), unit=" pairs", desc="align", disable=not progress) as bar:
        for start in range(0, len(text), _WINDOW):
            lines = range(start, min(start + _WINDOW, len(text)))
            pairs = [text[n] for n in lines]
            there = _word_posteriors(system, pairs, device)
            back: Iterator[np.ndarray | None] = iter([None] * len(pairs))
            if reverse is not None:
                back = _word_posteriors(reverse, [(t, s) for s, t in pairs], device)
            for line, p, q in zip(lines, there, back, strict=True):
                yield replace(_links(p, q, reverse is not None, threshold), line=line)
                bar.update()


def _links(
    p: np.ndarray | None, q: np.ndarray | None, both: bool, threshold: float | None
) -> Alignment:
    """From p(a_j = i) [I + 1, J] and q(b_i = j) [J + 1, I], None where a pair was left out."""
    if p is None or (both and q is None):
        return Alignment(0, frozenset(), {})
    if q is not None:
        agreement = np.sqrt(p[:-1] * q[:-1].T)  # [I, J]
        return links_above(agreement, 0.3 if threshold is None else threshold)
    return surest_links(p) if threshold is None else links_above(p[:-1], threshold)


def surest_links(posterior: np.ndarray) -> Alignment:
    """The source word that each target word most probably comes from: of p(a_j = i) [I + 1, J],
    whose last row is the end mark; a word that comes from there has no link."""
    best = posterior.argmax(0)
    pairs = [(int(i), j) for j, i in enumerate(best) if i < len(posterior) - 1]
    scores = {(i, j): float(posterior[i, j]) for i, j in pairs}
    return Alignment(0, frozenset(scores), scores, posterior=posterior[:-1])


def links_above(posterior: np.ndarray, threshold: float) -> Alignment:
    """All links (i, j) that are more probable than ``threshold``, of a posterior [I, J]."""
    pairs = zip(*(place.tolist() for place in np.nonzero(posterior > threshold)), strict=True)
    scores = {(i, j): float(posterior[i, j]) for i, j in pairs}
    return Alignment(0, frozenset(scores), scores, posterior=posterior)


def _word_posteriors(
    system: TranslationSystem,
    pairs: Sequence[tuple[Sequence[str], Sequence[str]]],
    device: torch.device,
) -> Iterator[np.ndarray | None]:
    """p(a_j = i) of words [I + 1, J], the end mark last; None for pairs that are left out."""
    cut = [(system.source.encode(source), system.target.encode(target)) for source, target in pairs]
    longest = system.text.max_length
    usable = [min(len(s), len(t)) > 0 and max(len(s), len(t)) <= longest for (s, _), (t, _) in cut]
    kept = [(s, t) for ((s, _), (t, _)), use in zip(cut, usable, strict=True) if use]
    found = iter(piece_posteriors(system, kept, device))
    for (source, target), ((_, from_), (_, to)), use in zip(pairs, cut, usable, strict=True):
        if not use:
            yield None
            continue
        size = (len(source) + 1, len(target))
        yield word_posterior(next(found), [*from_, len(source)], to, size)


@torch.no_grad()
def piece_posteriors(
    system: TranslationSystem, pairs: Sequence[tuple[list[int], list[int]]], device: torch.device
) -> list[np.ndarray]:
    """p(a_j = i | x, y) [J, I + 1] of pairs of ids without their end marks; the last column is the
    source's end mark."""
    source_end, end = system.source.end, system.target.end
    order = sorted(range(len(pairs)), key=lambda n: (len(pairs[n][0]), len(pairs[n][1])))
    found: list[np.ndarray] = [np.zeros((0, 0))] * len(pairs)
    cells = [(len(source) + 1) * (len(target) + 1) for source, target in pairs]
    for rows in _groups(order, cells, _CELLS, _SENTENCES):
        sides = (
            padded([[*pairs[n][0], source_end] for n in rows]),
            padded([[*pairs[n][1], end] for n in rows]),
        )
        batch = Batch(0, torch.tensor(rows), *sides).to(device)
        posterior = system.network.links(batch).float().cpu().numpy()  # [B, J, I]
        for row, n in enumerate(rows):
            # A copy: a view would keep the whole batch.
            found[n] = posterior[row, : len(pairs[n][1]), : len(pairs[n][0]) + 1].copy()
    return found


def _groups(
    order: Sequence[int], sizes: Sequence[int], most: int, longest: int
) -> Iterator[list[int]]:
    """``order`` in groups of at most ``longest``, whose number times largest size is at most
    ``most``; one that is larger is a group of its own."""
    rows: list[int] = []
    largest = 0
    for n in order:
        largest = max(largest, sizes[n])
        if rows and (len(rows) == longest or (len(rows) + 1) * largest > most):
            yield rows
            rows, largest = [], sizes[n]
        rows.append(n)
    if rows:
        yield rows
