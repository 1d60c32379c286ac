"""A trained model of translation as a user holds it: network, both languages, how it searches."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch

from latentnlp import checkpoint, search
from latentnlp import config as configuration
from latentnlp.data.subwords import Subwords
from latentnlp.data.translation_text import Language, Segmenter
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.errors import UserError
from latentnlp.tasks.alignment_model import vocabulary_of, vocabulary_state
from latentnlp.translation_models import _network, attention, latent_alignment, neural_hmm
from latentnlp.translation_models._contract import TranslationModel

KIND = "latentnlp translation model"
FORMAT_VERSION = 1
MODEL = "model"  # the folder of a run directory that holds the trained model


@dataclass(frozen=True)
class TextConfig:
    """How sentences become pieces; saved with the model, so that new text is read alike."""

    subwords: int = 6000  # pieces to be learnt; 0: words as they stand
    kind: Literal["bpe", "unigram"] = "bpe"
    joint: bool = True  # one set of pieces, learnt from both sides
    lowercase: bool = False
    max_length: int = 100  # pieces; a longer pair is not learnt from
    min_count: int = 1  # rarer pieces are one unknown piece

    def __post_init__(self) -> None:
        configuration.at_least(self, subwords=0, max_length=1, min_count=1)


@dataclass(frozen=True)
class ModelConfig:
    """``kind`` is a file name in translation_models/; each has a table."""

    kind: Literal["neural_hmm", "latent_alignment", "attention"] = "neural_hmm"
    network: _network.Config = field(default_factory=_network.Config)
    neural_hmm: neural_hmm.Config = field(default_factory=neural_hmm.Config)
    latent_alignment: latent_alignment.Config = field(default_factory=latent_alignment.Config)
    attention: attention.Config = field(default_factory=attention.Config)


@dataclass(frozen=True)
class TranslationSystem:
    text: TextConfig
    config: ModelConfig
    source: Language
    target: Language
    network: TranslationModel
    search: search.Config  # how it translates, unless the user says otherwise

    def save(self, folder: Path) -> None:
        """Write the model, in one step: a killed save leaves what was there before."""
        cuts = [one.segmenter.subwords for one in (self.source, self.target)]
        if cuts[0] is cuts[1]:  # joint: once
            cuts.pop()
        state = {
            "kind": KIND,
            "model_version": FORMAT_VERSION,
            "text": configuration.to_dict(self.text),
            "model": configuration.to_dict(self.config),
            "search": configuration.to_dict(self.search),
            "source": vocabulary_state(self.source.vocabulary),
            "target": vocabulary_state(self.target.vocabulary),
            "subwords": [torch.tensor(list(one.model), dtype=torch.uint8) for one in cuts if one],
            "weights": self.network.state_dict(),
        }
        checkpoint.save(folder, state)

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> TranslationSystem:
        """Raises UserError: not a model, damaged, or written by another version."""
        state = checkpoint.load(folder)
        if not isinstance(state, dict) or state.get("kind") != KIND:
            raise UserError(f"{folder}: not a translation model")
        try:
            if (version := state["model_version"]) != FORMAT_VERSION:
                newer = version > FORMAT_VERSION
                raise UserError(
                    f"{folder}: written by {'a newer' if newer else 'an older'} latentnlp (model "
                    f"version {version}, this one reads {FORMAT_VERSION}): "
                    + ("upgrade latentnlp" if newer else "train it again")
                )
            where = f"{folder}/state.json"
            text = configuration.from_dict(TextConfig, state["text"], where)
            config = configuration.from_dict(ModelConfig, state["model"], where)
            how = configuration.from_dict(search.Config, state["search"], where)
            cuts = [Subwords(bytes(one.tolist())) for one in state["subwords"]]
            source, target = (
                Language(
                    vocabulary_of(state[name]),
                    Segmenter(cuts[number % len(cuts)] if cuts else None, text.lowercase),
                )
                for number, name in enumerate(("source", "target"))
            )
            network = build_network(config, source.vocabulary, target.vocabulary)
            network.load_state_dict(state["weights"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            reason = " ".join(str(error).split())  # torch's may have several lines
            raise UserError(f"{folder}: damaged translation model ({reason})") from error
        return cls(text, config, source, target, network.to(device).eval(), how)


def build_network(config: ModelConfig, source: Vocabulary, target: Vocabulary) -> TranslationModel:
    """The model of ``config``, untrained."""
    module = importlib.import_module(f"latentnlp.translation_models.{config.kind}")
    return module.build(getattr(config, config.kind), config.network, source, target)
