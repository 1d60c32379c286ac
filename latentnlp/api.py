"""Word alignment in Python, in the spirit of scikit-learn.

    aligner = Aligner(seed=1).fit(source, target)     # lists of tokenised sentences
    aligner.links_[0]                                 # frozenset({(0, 0), (1, 2)})
    aligner.save("out/model");  Aligner.load("out/model").align(new_source, new_target)

Parameters are set in the constructor; what is learnt ends in ``_``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from latentnlp.data.corpora import ListText, check_equal_counts
from latentnlp.data.links import Gold, Link, Links
from latentnlp.data.textfiles import split_words
from latentnlp.decoding import Alignment
from latentnlp.errors import UserError
from latentnlp.evaluation.alignment import AlignmentScore, score
from latentnlp.run import RunDirectory, pick_device
from latentnlp.tasks.alignment import AlignmentConfig, align, train
from latentnlp.tasks.alignment_model import AlignmentModel

Sentences = Sequence[str] | Sequence[Sequence[str]]


class Aligner:
    """Unsupervised word alignment in both directions.

    A sentence is a string of words separated by spaces, or a sequence of words.

    Args:
        config: all settings of the training; None for the defaults.
        seed: instead of the configuration's.
        device: "auto", "cpu" or "cuda".
        progress: show progress on stderr.

    Attributes:
        model_: the trained `AlignmentModel`.
        links_: of each sentence pair given to `fit`, the links (source position, target position).
    """

    def __init__(
        self,
        config: AlignmentConfig | None = None,
        *,
        seed: int | None = None,
        device: str = "auto",
        progress: bool = False,
    ) -> None:
        self.config = config or AlignmentConfig()
        if seed is not None:
            self.config = replace(self.config, seed=seed)
        self.device, self.progress = device, progress
        self.model_: AlignmentModel | None = None
        self.links_: list[Links] = []

    def fit(self, source: Sentences, target: Sentences, run: str | Path | None = None) -> Aligner:
        """Learn from a parallel text and align it. ``run`` is a run directory to keep (and to go
        on from, if it was interrupted). Raises UserError: unequal or unusable text."""
        text = _text(source, target)
        device = pick_device(self.device)
        with tempfile.TemporaryDirectory(prefix="latentnlp-") as folder:
            directory = RunDirectory.create(
                Path(run or folder), self.config, seed=self.config.seed, temporary=run is None
            )
            with torch.random.fork_rng():  # your own random numbers go on as if nothing happened
                torch.manual_seed(self.config.seed)
                self.model_ = train(self.config, text, directory, device, progress=self.progress)
        self.links_ = self.align(source, target)
        return self

    def align(self, source: Sentences, target: Sentences) -> list[Links]:
        """The links of each sentence pair, in order; empty where a side is empty or too long."""
        return [alignment.links for alignment in self.alignments(source, target)]

    def alignments(
        self, source: Sentences, target: Sentences, details: bool = False
    ) -> list[Alignment]:
        """Links with their scores; with ``details`` also each direction's and all posteriors."""
        text, device = _text(source, target), pick_device(self.device)
        return list(align(self._fitted(), text, device, details=details, progress=self.progress))

    def score(
        self, source: Sentences, target: Sentences, gold: Sequence[Gold | set[Link] | Links]
    ) -> AlignmentScore:
        """AER, precision and recall of `align` against manual links."""
        manual = [
            one if isinstance(one, Gold) else Gold(frozenset(one), frozenset(one)) for one in gold
        ]
        return score(self.align(source, target), manual)

    def save(self, folder: str | Path) -> None:
        """Write the trained model; an existing one is replaced in one step."""
        self._fitted().save(Path(folder))

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "auto", progress: bool = False) -> Aligner:
        """A model saved by `save` or by ``latentnlp align --model DIR`` (there, ``DIR/model``).

        Raises UserError: not a model, damaged, or from a newer version.
        """
        folder = Path(folder)
        if (folder / "model").is_dir():
            folder = folder / "model"
        model = AlignmentModel.load(folder, pick_device(device))
        aligner = cls(
            AlignmentConfig(text=model.text, model=model.config, decoding=model.decoding),
            device=device,
            progress=progress,
        )
        aligner.model_ = model
        return aligner

    def _fitted(self) -> AlignmentModel:
        if self.model_ is None:
            raise UserError("this Aligner is not trained yet: call fit() or load() first")
        return self.model_


def _text(source: Sentences, target: Sentences) -> ListText:
    if isinstance(source, str) or isinstance(target, str):
        raise UserError("a list of sentences is needed, not one string: put it in brackets")
    check_equal_counts("source", len(source), "target", len(target))
    return ListText([_words(one) for one in source], [_words(one) for one in target])


def _words(sentence: str | Sequence[str]) -> list[str]:
    return split_words(sentence) if isinstance(sentence, str) else list(sentence)
