"""A trained aligner as a user holds it: both directions, their vocabularies, how text is read."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from latentnlp import checkpoint, decoding
from latentnlp import config as configuration
from latentnlp.data.corpora import MAX_LENGTH, ParallelText
from latentnlp.data.subwords import Subwords, SubwordText
from latentnlp.data.vocabulary import UNK, Vocabulary
from latentnlp.emissions import contextual, counts, type_based
from latentnlp.emissions.counts import CountEmission
from latentnlp.errors import UserError
from latentnlp.models import hmm, ibm1, ibm2
from latentnlp.models._positions import PositionModel
from latentnlp.models.aligner import BidirectionalAligner, WordAligner

FORMAT_VERSION = 4
MODEL = "model"  # the folder of a run directory that holds the trained model
_LEAST_COUNT = 1e-3  # counts below it are not saved: they are most of the table and change nothing


@dataclass(frozen=True)
class TextConfig:
    """How sentences become words; saved with the model, so that new text is read alike."""

    lowercase: bool = True
    max_length: int = MAX_LENGTH  # words; a longer sentence gets no links
    min_count: int = 1  # rarer words are one unknown word
    max_size: int | None = None  # of each vocabulary
    subwords: int = 0  # pieces on each side; 0: words as they stand

    def __post_init__(self) -> None:
        configuration.at_least(self, max_length=1, min_count=1, max_size=1, subwords=0)


@dataclass(frozen=True)
class ModelConfig:
    """``positions`` and ``emission`` are file names in models/ and emissions/; each has a table."""

    positions: Literal["ibm1", "ibm2", "hmm"] = "hmm"
    emission: Literal["counts", "type_based", "contextual"] = "counts"
    ibm1: ibm1.Config = field(default_factory=ibm1.Config)
    ibm2: ibm2.Config = field(default_factory=ibm2.Config)
    hmm: hmm.Config = field(default_factory=hmm.Config)
    counts: counts.Config = field(default_factory=counts.Config)
    type_based: type_based.Config = field(default_factory=type_based.Config)
    contextual: contextual.Config = field(default_factory=contextual.Config)


@dataclass(frozen=True)
class Languages:
    """What turns sentences into ids."""

    source: Vocabulary
    target: Vocabulary
    subwords: tuple[Subwords, Subwords] | None = None

    def view(self, text: ParallelText, config: TextConfig) -> ParallelText:
        """``text`` in the units that the vocabularies count: words or pieces."""
        if self.subwords is None:
            return text
        return SubwordText(text, *self.subwords, lowercase=config.lowercase)


@dataclass(frozen=True)
class AlignmentModel:
    text: TextConfig
    config: ModelConfig
    languages: Languages
    aligner: BidirectionalAligner
    decoding: decoding.Config  # how its links are chosen, unless the user says otherwise

    def save(self, folder: Path) -> None:
        """Write the model, in one step: a killed save leaves what was there before."""
        for direction in self.aligner.directions():
            if isinstance(direction.emission, CountEmission):
                direction.emission.prune(_LEAST_COUNT)
        languages = self.languages
        state = {
            "kind": "latentnlp alignment model",
            "model_version": FORMAT_VERSION,
            "text": configuration.to_dict(self.text),
            "model": configuration.to_dict(self.config),
            "decoding": configuration.to_dict(self.decoding),
            "source": vocabulary_state(languages.source),
            "target": vocabulary_state(languages.target),
            "subwords": [_bytes_to_tensor(one.model) for one in languages.subwords or ()],
            "weights": self.aligner.state_dict(),
        }
        checkpoint.save(folder, state)

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> AlignmentModel:
        """Raises UserError: not a model, damaged, or written by another version."""
        state = checkpoint.load(folder)
        if not isinstance(state, dict) or state.get("kind") != "latentnlp alignment model":
            raise UserError(f"{folder}: not an alignment model")
        try:
            if state["model_version"] > FORMAT_VERSION:
                raise UserError(
                    f"{folder}: written by a newer latentnlp (model version "
                    f"{state['model_version']}, this one reads {FORMAT_VERSION}): upgrade "
                    "latentnlp"
                )
            if state["model_version"] < FORMAT_VERSION:
                raise UserError(
                    f"{folder}: written by an older latentnlp (model version "
                    f"{state['model_version']}, this one reads {FORMAT_VERSION}): train it again"
                )
            where = f"{folder}/state.json"
            text = configuration.from_dict(TextConfig, state["text"], where)
            config = configuration.from_dict(ModelConfig, state["model"], where)
            how = configuration.from_dict(decoding.Config, state["decoding"], where)
            subwords = [Subwords(bytes(one.tolist())) for one in state["subwords"]]
            languages = Languages(
                vocabulary_of(state["source"]),
                vocabulary_of(state["target"]),
                (subwords[0], subwords[1]) if subwords else None,
            )
            aligner = build_aligner(config, languages)
            aligner.load_state_dict(state["weights"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            reason = " ".join(str(error).split())  # torch's may have several lines
            raise UserError(f"{folder}: damaged alignment model ({reason})") from error
        return cls(text, config, languages, aligner.to(device), how)


def model_folder(folder: Path) -> Path | None:
    """Where the model is: in a run directory, or (as `Aligner.save` writes) the folder itself."""
    if (folder / MODEL).exists():
        return folder / MODEL
    return folder if (folder / "state.json").exists() else None


def build_aligner(
    config: ModelConfig, languages: Languages, emission: str | None = None
) -> BidirectionalAligner:
    """Both directions, untrained; ``emission`` instead of the config's for a warm start."""
    name = emission or config.emission
    module = importlib.import_module(f"latentnlp.emissions.{name}")
    options, source, target = getattr(config, name), languages.source, languages.target
    there = module.build(options, source, target)
    if name == "counts":
        back = counts.build(options, target, source, transposed=True)
    else:
        back = module.build(options, target, source)
    return BidirectionalAligner(
        WordAligner(there, build_positions(config, source)),
        WordAligner(back, build_positions(config, target)),
    )


def build_positions(
    config: ModelConfig, source: Vocabulary, name: str | None = None
) -> PositionModel:
    """The position model of one direction; ``name`` instead of the config's for a warm start."""
    name = name or config.positions
    module = importlib.import_module(f"latentnlp.models.{name}")
    return module.build(getattr(config, name), source)


def vocabulary_state(vocabulary: Vocabulary) -> dict[str, Any]:
    """What a checkpoint holds of a vocabulary; `vocabulary_of` reads it."""
    words, counts = list(vocabulary.words[2:]), torch.tensor(vocabulary.counts[2:])
    return {"words": words, "counts": counts, "unknown": vocabulary.counts[UNK]}


def vocabulary_of(state: dict[str, Any]) -> Vocabulary:
    words = zip(state["words"], state["counts"].tolist(), strict=True)
    return Vocabulary(words, state["unknown"])


def _bytes_to_tensor(content: bytes) -> torch.Tensor:
    return torch.tensor(list(content), dtype=torch.uint8)
