"""Small encoders of every file of encoders/, for the tests of the mathematics and the contracts."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import latentnlp.encoders
from latentnlp.encoders._contract import Encoder

FILES = sorted(path.stem for path in Path(latentnlp.encoders.__path__[0]).glob("[!_]*.py"))
OPTIONS: dict[str, dict[str, Any]] = {
    "bag": {"hidden": 8},
    "cnn": {"widths": (1, 3, 5), "filters": 4},
    "gru": {"states": 3},
    "lstm": {"states": 3},
    "rcnn": {"states": 3},
}
SIZE = 4  # of the embeddings
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "##c", "##d", "film", "."]


def build_encoder(name: str, folder: Path, **options: Any) -> Encoder:
    """An encoder in float64; the transformer's model is written into ``folder`` first."""
    torch.manual_seed(0)
    module = importlib.import_module(f"latentnlp.encoders.{name}")
    options = {**OPTIONS.get(name, {}), **options}
    if name == "transformer":
        options |= {"folder": tiny_bert(folder)}
    return module.build(module.Config(**options), SIZE).double()


def tiny_bert(folder: Path, **changes: Any) -> Path:
    """A random BERT of two layers with positions for 14 pieces between [CLS] and [SEP]."""
    transformers = pytest.importorskip("transformers", reason="needs latentnlp[transformer]")
    config = transformers.BertConfig(
        **{
            "vocab_size": len(PIECES),
            "hidden_size": SIZE,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 6,
            "max_position_embeddings": 16,
            "initializer_range": 0.5,
            **changes,
        }
    )
    model = transformers.BertModel(config)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config.to_dict()), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}', encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return folder
