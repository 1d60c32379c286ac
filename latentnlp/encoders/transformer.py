r"""A pretrained transformer, read from a folder of the user's own in BERT's format.

    h = BERT([CLS] x_1 … x_n [SEP]),    x_1 … x_n the word pieces that are there

Each row is compacted, so that only the pieces that are there are numbered and a gap cannot be seen.
[CLS] and [SEP] frame every row, as in pretraining; their own states are dropped. The model's
dropout is off: an estimator compares the values of one function at several z.

Needs the extra ``latentnlp[transformer]``; transformers is imported when something of it is made.
Nothing is ever downloaded, and pickled weights are refused.

    Devlin et al. (2019), "BERT: pre-training of deep bidirectional transformers".
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import pad

from latentnlp.encoders._contract import Encoder, compact, restore
from latentnlp.errors import UserError

_SETTINGS, _WEIGHTS = "config.json", "model.safetensors"
_VOCABULARIES = ("tokenizer.json", "vocab.txt")
_TABLE = "embeddings.word_embeddings.weight"


@dataclass(frozen=True)
class Config:
    folder: Path | None = None  # holds config.json, model.safetensors, and the vocabulary


class WordPieces:
    """Words → ids of their pieces in the model's vocabulary. Reads no weights."""

    def __init__(self, config: Config) -> None:
        """Raises UserError as `build`."""
        self._tokenizer = _tokenizer(_folder(config))

    def pieces(self, tokens: Sequence[str]) -> list[list[int]]:
        """One list a word, each word cut on its own; that of an empty word is the unknown piece."""
        if not tokens:
            return []
        found = self._tokenizer(list(tokens), add_special_tokens=False)["input_ids"]
        return [ids or [self._tokenizer.unk_token_id] for ids in found]

    def known(self, piece: int) -> int:
        """Every piece has a row of the table."""
        return piece

    def spelling(self, piece: int) -> np.ndarray:
        """Pieces are spelling enough."""
        return np.zeros(0, dtype=np.int64)


def word_embeddings(config: Config) -> Tensor:
    """The model's table of pieces, [V, D] float32. Raises UserError as `build`."""
    folder = _folder(config)
    return _table(_weights(folder), folder).float()


class Transformer(Encoder):
    """The table of pieces is the caller's; this holds no more of it than [CLS] and [SEP]."""

    def __init__(self, bert: Any, folder: Path) -> None:
        super().__init__()
        self.bert, self.folder = bert, folder
        self.size: int = bert.config.hidden_size
        self.longest: int = bert.config.max_position_embeddings - 2
        """The most pieces that a row can have."""

    def forward(self, embedded: Tensor, mask: Tensor) -> Tensor:
        """As `Encoder`. Raises UserError where a row has more pieces than `longest`."""
        if not len(mask):  # transformers cannot read no row
            return self(pad(embedded, (0, 0, 0, 0, 0, 1)), pad(mask, (0, 0, 0, 1)))[:0]
        frame = self.bert.get_input_embeddings().weight.expand(len(mask), -1, -1)  # [R, 2, D]
        there = pad(mask, (1, 1), value=True)  # [R, T+2]
        x = compact(torch.cat([frame[:, :1], embedded, frame[:, 1:]], 1), there)  # [R, N, D]
        count = there.sum(1, keepdim=True)  # [R, 1]
        if x.shape[1] > self.longest + 2:  # only then is a GPU waited for
            x = x[:, : self._fitting(int(count.max()))]
        seen = torch.arange(x.shape[1], device=x.device) < count  # [R, N]
        h = self.bert(inputs_embeds=x, attention_mask=seen[:, None, None]).last_hidden_state
        return restore(h, there)[:, 1:-1]

    def _fitting(self, count: int) -> int:
        if count > self.longest + 2:
            raise UserError(
                f"a text has {count - 2} word pieces, but {self.folder} has positions for "
                f"{self.longest}: shorten or split the text, or take another encoder"
            )
        return count


def build(config: Config, embedding_size: int) -> Transformer:
    """The model in the folder, in float32; embedding_size: that of its own table.

    Raises:
        UserError: no folder; a file is missing, damaged, pickled or of another kind of model;
            embeddings of another size; or transformers is not installed.
    """
    folder = _folder(config)
    tokenizer, transformers = _tokenizer(folder), _transformers()
    weights = _weights(folder)
    table = _table(weights, folder)
    if embedding_size != table.shape[1]:
        raise UserError(
            f"{folder}: reads embeddings of size {table.shape[1]}, not {embedding_size}: take its "
            "own table"
        )
    if len(tokenizer) > len(table):
        raise UserError(
            f"{folder}: {len(tokenizer)} pieces in the vocabulary but {len(table)} in "
            f"{_WEIGHTS}: these are files of two models"
        )
    weights[_TABLE] = table[[tokenizer.cls_token_id, tokenizer.sep_token_id]]
    changes = {"vocab_size": 2, "pad_token_id": None}
    changes |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    try:
        settings = transformers.BertConfig(**{**_settings(folder), **changes})
        settings._attn_implementation = "sdpa"  # takes the mask as it is made here
        bert = transformers.BertModel(settings, add_pooling_layer=False)
        missing = bert.load_state_dict(weights, strict=False).missing_keys
    except Exception as error:  # of many kinds: the settings are those of another program
        raise UserError(f"{folder}: not a model that can be built ({_line(error)})") from error
    if missing:
        raise UserError(f"{folder / _WEIGHTS}: lacks {missing[0]} ({len(missing)} are missing)")
    return Transformer(bert, folder)


def _folder(config: Config) -> Path:
    """The folder, if all that is needed lies there and may be opened."""
    folder = config.folder
    if folder is None:
        raise UserError(
            "the transformer encoder reads a pretrained model: set its `folder` to one in BERT's "
            f"format ({_SETTINGS}, {_WEIGHTS}, {' or '.join(_VOCABULARIES)})"
        )
    if not folder.is_dir():
        raise UserError(
            f"{folder}: no such folder; nothing is downloaded, fetch the model yourself"
        )
    for names in ((_SETTINGS,), _VOCABULARIES):
        if not any((folder / name).is_file() for name in names):
            raise UserError(f"{folder}: has no {' or '.join(names)}; copy the whole model there")
    if not (folder / _WEIGHTS).is_file():
        pickle = next((path.name for path in sorted(folder.glob("*.bin"))), None)
        why = f" ({pickle} is a pickle, which may run code, and is not opened)" if pickle else ""
        raise UserError(
            f"{folder}: has no {_WEIGHTS}{why}: get the model in that form, or convert it with "
            "save_pretrained where you trust it"
        )
    return folder


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / _SETTINGS
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({_line(error)})") from None
    kind = settings.get("model_type") if isinstance(settings, dict) else None
    if kind != "bert":
        raise UserError(f"{path}: its model_type is {kind!r}; only 'bert' can be read")
    return settings


def _weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of the encoder by their names of today."""
    path = folder / _WEIGHTS
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot be read ({_line(error)}); fetch it again") from None
    # A model with a head keeps its encoder under "bert."; the first ones had TensorFlow's names.
    return {
        name.removeprefix("bert.").replace("m.gamma", "m.weight").replace("m.beta", "m.bias"): value
        for name, value in tensors.items()
    }


def _table(weights: dict[str, Tensor], folder: Path) -> Tensor:
    if _TABLE not in weights:
        raise UserError(f"{folder / _WEIGHTS}: lacks {_TABLE}; it is not that of a BERT")
    return weights[_TABLE]


def _tokenizer(folder: Path) -> Any:
    _settings(folder)  # what the tokenizer is, is read from there
    automatic = _transformers().AutoTokenizer
    try:
        return automatic.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of many kinds, from two libraries
        raise UserError(f"{folder}: the vocabulary cannot be read ({_line(error)})") from error


def _transformers() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise UserError(
            'the package transformers is needed: pip install "latentnlp[transformer]" '
            f"({_line(error)})"
        ) from None


def _line(error: Exception) -> str:
    return f"{error}".strip().partition("\n")[0][:200]
