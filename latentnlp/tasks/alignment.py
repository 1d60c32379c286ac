"""Word alignment: from a parallel text to a trained model, and from a model to links.

    text → vocabularies → encoded corpus → batches
         → stage "ibm1"     EM with uniform positions: which words go together at all
         → stage "em"       EM with the position model of the config
         → "lexicon1", "em1", "lexicon2" …   fit the neural prior to the counts, EM under it
           or "marginal"    gradient ascent on the exact log-marginal of a neural emission
         → AlignmentModel   → `align`: one Alignment a line, in order

Each stage is one call of `loop.fit` with one learner; a stage of 0 epochs is left out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from latentnlp import decoding, distributed
from latentnlp.config import at_least
from latentnlp.data.batches import Batches
from latentnlp.data.cooccurrences import Cooccurrences
from latentnlp.data.corpora import (
    EncodedCorpus,
    ListText,
    ParallelText,
    build_vocabularies,
    encode,
)
from latentnlp.data.links import Gold
from latentnlp.data.subwords import Subwords, SubwordText
from latentnlp.decoding import Alignment, decode
from latentnlp.emissions.contextual import ContextualEmission
from latentnlp.emissions.counts import CountEmission
from latentnlp.emissions.type_based import TypeBasedEmission
from latentnlp.evaluation.alignment import score
from latentnlp.learners import em, lexicon, marginal
from latentnlp.loop import fit
from latentnlp.models.aligner import BidirectionalAligner, WordAligner
from latentnlp.run import RunDirectory
from latentnlp.tasks.alignment_model import (
    AlignmentModel,
    Languages,
    ModelConfig,
    TextConfig,
    build_aligner,
    build_positions,
)
from latentnlp.tasks.alignment_prior import Prior, read_prior

_WINDOW = 10_000  # lines that are aligned, and held, at a time


@dataclass(frozen=True)
class EMStages:
    """Count-based EM; for a neural emission it is the warm start (0 and 0: none)."""

    ibm1_epochs: int = 5
    epochs: int = 5
    learner: em.Config = field(default_factory=em.Config)

    def __post_init__(self) -> None:
        at_least(self, ibm1_epochs=0, epochs=0)


@dataclass(frozen=True)
class LexiconStages:
    """The neural prior of the counts, or the warm start of a neural emission."""

    rounds: int = 2  # of a fit followed by EM under the new prior
    first_epochs: int = 2
    epochs: int = 1  # of each later fit
    em_epochs: int = 2  # after each fit
    learner: lexicon.Config = field(default_factory=lexicon.Config)

    def __post_init__(self) -> None:
        at_least(self, rounds=0, first_epochs=0, epochs=0, em_epochs=0)


@dataclass(frozen=True)
class MarginalStage:
    epochs: int = 5
    patience: int | None = None  # epochs without a better dev AER; None: run them all
    learner: marginal.Config = field(default_factory=marginal.Config)

    def __post_init__(self) -> None:
        at_least(self, epochs=0, patience=1)


@dataclass(frozen=True)
class BatchConfig:
    cells: int = 2**19  # largest B · I · J of a batch, and a quarter of the largest B · I², B · J²
    sentences: int = 1024  # largest B

    def __post_init__(self) -> None:
        at_least(self, cells=1, sentences=1)


@dataclass(frozen=True)
class DataConfig:
    """Where the text comes from: a corpus made by data_prep/, or a user's own files."""

    corpus: str = ""  # a folder with manifest.json
    parts: tuple[str, ...] = ("test", "dev", "train")  # whose text is learnt from, in this order
    train_pairs: int | None = None  # the first so many of "train"; None: all
    source: str = ""  # instead of ``corpus``
    target: str = ""
    prior: str = ""  # a saved model or a dictionary: see `tasks.alignment_prior`

    def __post_init__(self) -> None:
        at_least(self, train_pairs=1)


@dataclass(frozen=True)
class AlignmentConfig:
    seed: int = 1
    data: DataConfig = field(default_factory=DataConfig)
    text: TextConfig = field(default_factory=TextConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    em: EMStages = field(default_factory=EMStages)
    lexicon: LexiconStages = field(default_factory=LexiconStages)
    marginal: MarginalStage = field(default_factory=MarginalStage)
    decoding: decoding.Config = field(default_factory=decoding.Config)
    checkpoint_seconds: float = 60.0
    tensorboard: bool = False

    def __post_init__(self) -> None:
        at_least(self, seed=0)


@dataclass(frozen=True)
class Dev:
    """Lines of the training text whose gold links choose among epochs; never a test set."""

    lines: range
    gold: list[Gold]


def train(
    config: AlignmentConfig,
    text: ParallelText,
    run: RunDirectory,
    device: torch.device,
    dev: Dev | None = None,
    progress: bool = True,
) -> AlignmentModel:
    """Train on ``text`` (both directions at once), going on where ``run`` was interrupted.

    The weights start from torch's global random state: the caller seeds it.
    """
    prior = read_prior(config.data.prior, config.text) if config.data.prior else None
    languages = _languages(config.text, text, prior)
    aligner = build_aligner(config.model, languages)
    if prior is not None:
        prior.start_positions(aligner, languages)
    aligner.to(device)
    model = AlignmentModel(config.text, config.model, languages, aligner, config.decoding)
    with tempfile.TemporaryDirectory(prefix="latentnlp-") as folder:
        stages = _Stages(config, text, run, device, dev, progress, languages, prior, Path(folder))
        stages.train(model.aligner)
    return model


class _Stages:
    """The stages of one training, and what they share."""

    def __init__(
        self,
        config: AlignmentConfig,
        text: ParallelText,
        run: RunDirectory,
        device: torch.device,
        dev: Dev | None,
        progress: bool,
        languages: Languages,
        prior: Prior | None,
        folder: Path,
    ) -> None:
        self.config, self.run, self.device, self.progress = config, run, device, progress
        self.text, self.dev, self.languages, self.folder = text, dev, languages, folder
        self.prior = prior
        self.corpus = _encode(languages, config.text, text, folder)
        skipped = self.corpus.skipped
        if any(skipped):
            self._say(
                f"{skipped.empty} pairs with an empty side and {skipped.too_long} longer than "
                f"{config.text.max_length} words get no links"
            )
        self.batches = self._batches(distributed.rank(), distributed.world_size())
        if prior is not None and prior.remark:
            self._say(prior.remark)
        run.check_data(self.corpus.fingerprint() + (prior.fingerprint() if prior else ""))

    def train(self, aligner: BidirectionalAligner) -> None:
        config = self.config
        neural = config.model.emission != "counts"
        counting = self._warm_start(aligner) if neural else aligner
        if config.em.ibm1_epochs or config.em.epochs or self.prior:
            self._count(counting)
            if neural and config.lexicon.first_epochs:
                self._fit_lexicon(counting, _type_based(aligner), "lexicon", first=True)
        if neural and config.marginal.epochs:
            learner = marginal.Marginal(config.marginal.learner, aligner, self.device)
            self._fit(
                learner,
                "marginal",
                config.marginal.epochs,
                aligner,
                select=self.dev is not None,
                patience=config.marginal.patience,
            )

    def _warm_start(self, aligner: BidirectionalAligner) -> BidirectionalAligner:
        """Plain counts with the positions of ``aligner``: what EM learns about positions is what
        the neural model starts from."""
        plain = replace(self.config.model.counts, mean="unigram")
        model = replace(self.config.model, counts=plain)
        counting = build_aligner(model, self.languages, "counts").to(self.device)
        for theirs, ours in zip(counting.directions(), aligner.directions(), strict=True):
            theirs.positions = ours.positions
        return counting

    def _count(self, aligner: BidirectionalAligner) -> None:
        """EM: IBM 1, then the position model, then rounds under a neural prior if there is one."""
        config = self.config
        table = Cooccurrences.build(
            self.corpus,
            self._batches(),
            self.folder / "cells.npy",
            distributed.rank(),
            distributed.world_size(),
        )
        if self.prior is not None:
            there, back = known = self.prior.counts(self.languages)
            table.include(
                torch.cat([there.source, back.target]), torch.cat([there.target, back.source])
            )
            for emission, counts in zip(_counts(aligner), known, strict=True):
                emission.start(table, counts)
        learner: em.ExpectationMaximisation | None = None
        if config.em.ibm1_epochs and config.model.positions != "ibm1":
            plain = self._with_uniform_positions(aligner)
            alone = replace(config.em.learner, agreement_from=0)
            learner = em.ExpectationMaximisation(alone, plain, table)
            self._fit(learner, "ibm1", config.em.ibm1_epochs, plain)
        learner = em.ExpectationMaximisation(
            config.em.learner, aligner, table, after=learner, same_prior=True
        )
        self._fit(learner, "em", config.em.epochs, aligner)
        if config.model.emission != "counts" or config.model.counts.mean != "neural":
            return
        agreed = replace(config.em.learner, agreement_from=min(1, config.em.learner.agreement_from))
        for number in range(1, config.lexicon.rounds + 1):
            self._fit_lexicon(aligner, _priors(aligner), f"lexicon{number}", first=number == 1)
            learner = em.ExpectationMaximisation(agreed, aligner, table, after=learner)
            self._fit(learner, f"em{number}", config.lexicon.em_epochs, aligner)

    def _fit_lexicon(
        self,
        counting: BidirectionalAligner,
        priors: tuple[TypeBasedEmission, TypeBasedEmission],
        stage: str,
        first: bool,
    ) -> None:
        options = self.config.lexicon
        learner = lexicon.Lexicon(options.learner, _counts(counting), priors, self.device)
        epochs = options.first_epochs if first else options.epochs
        self._fit(learner, stage, epochs, None, batches=learner.batches(self.config.seed))

    def _fit(
        self,
        learner: Any,
        stage: str,
        epochs: int,
        aligner: BidirectionalAligner | None,
        batches: Any = None,
        select: bool = False,
        patience: int | None = None,
    ) -> None:
        if not epochs:
            return
        validate = None if aligner is None else self._validation(aligner)
        fit(
            learner,
            self.batches if batches is None else batches,
            run=self.run,
            stage=stage,
            epochs=epochs,
            validate=validate,
            select_on="dev_aer" if select and validate else None,
            patience=patience if select and validate else None,
            checkpoint_seconds=self.config.checkpoint_seconds,
            progress=self.progress,
        )

    def _validation(self, aligner: BidirectionalAligner) -> Callable[[], dict[str, float]] | None:
        if self.dev is None:
            return None
        dev = self.dev
        config = self.config
        model = AlignmentModel(config.text, config.model, self.languages, aligner, config.decoding)
        pairs = [self.text[n] for n in dev.lines]
        text = ListText([s for s, _ in pairs], [t for _, t in pairs])

        def validate() -> dict[str, float]:
            found = [a.links for a in align(model, text, self.device)]
            return {"dev_aer": score(found, dev.gold).aer}

        return validate

    def _with_uniform_positions(self, aligner: BidirectionalAligner) -> BidirectionalAligner:
        """The same emissions with the positions of IBM 1."""
        sides = (self.languages.source, self.languages.target)
        there, back = (
            WordAligner(direction.emission, build_positions(self.config.model, side, "ibm1"))
            for direction, side in zip(aligner.directions(), sides, strict=True)
        )
        return BidirectionalAligner(there, back).to(self.device)

    def _batches(self, rank: int = 0, world: int = 1) -> Batches:
        sizes = self.config.batches
        return Batches(
            self.corpus, sizes.cells, sizes.sentences, self.config.seed, True, rank, world
        )

    def _say(self, message: str) -> None:
        self.run.log(message, echo=self.progress)


def align(
    model: AlignmentModel,
    text: ParallelText,
    device: torch.device,
    config: decoding.Config | None = None,
    details: bool = False,
    progress: bool = False,
) -> Iterator[Alignment]:
    """One Alignment for each line of ``text``, in order; without links where a line has none.

    ``config`` says how to choose the links, instead of the model's own way.

    The text is read in windows, so memory does not grow with it.
    """
    units = model.languages.view(text, model.text)
    with tqdm(total=len(text), unit=" pairs", desc="align", disable=not progress) as bar:
        for start in range(0, len(text), _WINDOW):
            lines = range(start, min(start + _WINDOW, len(text)))
            found = _align_window(model, text, lines, device, config or model.decoding, details)
            for line in lines:
                alignment = found.get(line - start, Alignment(line, frozenset(), {}))
                alignment = replace(alignment, line=line)
                if isinstance(units, SubwordText):
                    alignment = _to_words(alignment, units)
                yield alignment
                bar.update()


def _align_window(
    model: AlignmentModel,
    text: ParallelText,
    lines: range,
    device: torch.device,
    config: decoding.Config,
    details: bool,
) -> dict[int, Alignment]:
    """The alignments of some lines, by their place in the window."""
    pairs = [text[n] for n in lines]
    window = ListText([source for source, _ in pairs], [target for _, target in pairs])
    sizes = BatchConfig()
    with tempfile.TemporaryDirectory(prefix="latentnlp-") as folder:
        corpus = _encode(model.languages, model.text, window, Path(folder))
        batches = Batches(corpus, sizes.cells, sizes.sentences, seed=0, shuffle=False)
        return {
            alignment.line: alignment
            for batch in batches
            for alignment in decode(model.aligner, batch.to(device), config, details)
        }


def _to_words(alignment: Alignment, text: SubwordText) -> Alignment:
    """Links between pieces as links between words; a word link scores as its best piece link."""
    source, target = text.word_maps(alignment.line)
    scores: dict[tuple[int, int], float] = {}
    for (i, j), value in alignment.scores.items():
        link = (source[i], target[j])
        scores[link] = max(value, scores.get(link, 0.0))

    def words(links: frozenset[tuple[int, int]] | None) -> frozenset[tuple[int, int]] | None:
        return None if links is None else text.project(alignment.line, links)

    return replace(
        alignment,
        links=frozenset(scores),
        scores=scores,
        forward=words(alignment.forward),
        reverse=words(alignment.reverse),
        posterior=None,
    )


def _languages(config: TextConfig, text: ParallelText, prior: Prior | None) -> Languages:
    """The words of the text and of the prior."""
    subwords = None
    if config.subwords and prior is not None:
        subwords = prior.subwords
    elif config.subwords:
        source = Subwords.train((s for s, _ in text), config.subwords, lowercase=config.lowercase)
        target = Subwords.train((t for _, t in text), config.subwords, lowercase=config.lowercase)
        subwords = (source, target)
    if subwords is not None:
        text = SubwordText(text, *subwords, lowercase=config.lowercase)
    vocabularies = build_vocabularies(
        text, config.lowercase, config.max_length, config.min_count, config.max_size
    )
    languages = Languages(*vocabularies, subwords)
    return languages if prior is None else prior.extend(languages)


def _encode(
    languages: Languages, config: TextConfig, text: ParallelText, folder: Path
) -> EncodedCorpus:
    units = text if isinstance(text, SubwordText) else languages.view(text, config)
    return encode(
        units, languages.source, languages.target, folder, config.lowercase, config.max_length
    )


def _counts(aligner: BidirectionalAligner) -> tuple[CountEmission, CountEmission]:
    there, back = (direction.emission for direction in aligner.directions())
    assert isinstance(there, CountEmission) and isinstance(back, CountEmission)
    return there, back


def _priors(aligner: BidirectionalAligner) -> tuple[TypeBasedEmission, TypeBasedEmission]:
    """The neural means of count emissions."""
    there, back = (emission.neural for emission in _counts(aligner))
    assert there is not None and back is not None
    return there, back


def _type_based(aligner: BidirectionalAligner) -> tuple[TypeBasedEmission, TypeBasedEmission]:
    """The part of neural emissions that depends on the source word alone."""
    there, back = (
        emission.types if isinstance(emission, ContextualEmission) else emission
        for emission in (direction.emission for direction in aligner.directions())
    )
    assert isinstance(there, TypeBasedEmission) and isinstance(back, TypeBasedEmission)
    return there, back
