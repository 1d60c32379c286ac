"""torchtext's objects and ours, there and back."""

from __future__ import annotations

import itertools
import random
import ssl
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from latentnlp.data import torchtext_adapter as adapter
from latentnlp.data.batches import Batch, Batches
from latentnlp.data.corpora import ListText, build_vocabularies, encode, open_parallel
from latentnlp.data.vocabulary import PAD, UNK, Vocabulary
from latentnlp.errors import UserError

SOURCE = ["The cat sat .", "the dog", "A cat <pad> saw the dog .", "dogs", "the the <unk> cat"]
TARGET = ["Die Katze saß .", "der Hund", "eine Katze sah Hunde", "Hunde </s>", "<s> Katze <pad> ."]


@pytest.fixture(scope="module")
def tt() -> Any:
    return pytest.importorskip(
        "torchtext", reason="torchtext is not installed: pip install 'latentnlp[torchtext]'"
    )


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    for end, lines in ((".en", SOURCE), (".de", TARGET)):
        text = "".join(f"{line}\n" for line in lines)
        (tmp_path / f"text{end}").write_text(text, encoding="utf-8")
    return str(tmp_path / "text")


def translation(tt: Any, prefix: str, **settings: Any) -> Any:
    fields = tt.data.Field(**settings), tt.data.Field(**settings)
    dataset = tt.datasets.TranslationDataset(prefix, (".en", ".de"), fields)
    for field in fields:
        field.build_vocab(dataset)
    return dataset


def vocabularies(dataset: Any) -> tuple[Vocabulary, Vocabulary]:
    source, target = dataset.fields.values()
    return adapter.from_field(source), adapter.from_field(target)


def sentences(batch: Batch, source: Vocabulary, target: Vocabulary) -> dict[int, tuple]:
    """The words of each pair of a batch, by its number; the padding is checked."""
    assert batch.index.device.type == "cpu"
    found = {}
    for b, number in enumerate(batch.index.tolist()):
        pair = []
        for vocabulary, ids, mask in (
            (source, batch.source, batch.source_mask),
            (target, batch.target, batch.target_mask),
        ):
            length = int(mask[b].sum())
            assert mask[b, :length].all() and (ids[b, length:] == PAD).all()
            assert ids.dtype == torch.int64 and mask.dtype == torch.bool
            pair.append(vocabulary.decode(ids[b, :length].tolist()))
        found[number] = tuple(pair)
    return found


def expected(text: ListText, source: Vocabulary, target: Vocabulary) -> dict[int, tuple]:
    """The same, straight from the text."""
    return {
        n: (source.decode(source.encode(words)), target.decode(target.encode(translation)))
        for n, (words, translation) in enumerate(text)
    }


# --- vocabularies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("max_size", [None, 3])
def test_a_built_vocabulary_keeps_words_order_and_counts(
    tt: Any, prefix: str, max_size: int | None
) -> None:
    dataset = translation(tt, prefix, init_token="<s>", eos_token="</s>", lower=True)
    field = dataset.fields["trg"]
    field.build_vocab(dataset, max_size=max_size)
    vocabulary = adapter.from_field(field)
    assert list(vocabulary.words[2:]) == field.vocab.itos[4:]
    assert vocabulary.counts[2:] == tuple(field.vocab.freqs[word] for word in vocabulary.words[2:])
    counts = Counter(word for line in TARGET for word in line.lower().split())
    ours = Vocabulary.build({w: c for w, c in counts.items() if w not in ("<s>", "</s>")})
    assert vocabulary.words == ours.words[: len(vocabulary)]


def test_every_word_has_the_same_id_in_torchtext(tt: Any) -> None:
    vocabulary = Vocabulary([("b", 1), ("a", 7), ("never", 0), ("c", 7)])  # not by falling count
    vocab = adapter.to_vocab(vocabulary)
    assert tuple(vocab.itos) == vocabulary.words
    assert [vocab.stoi[word] for word in vocabulary.words] == list(range(len(vocabulary)))
    assert vocab.stoi["unheard-of"] == UNK
    assert adapter.from_vocab(vocab) == vocabulary  # although stoi has taken the unknown word up


def test_a_field_keeps_the_ids_and_puts_its_tokens_behind(tt: Any) -> None:
    vocabulary = Vocabulary([("a", 3), ("b", 2)])
    field = adapter.to_field(
        vocabulary, init_token="<s>", eos_token="b", pad_token="_", batch_first=True
    )
    assert field.vocab.itos == ["<pad>", "<unk>", "a", "b", "_", "<s>"]
    assert field.process([["a", "z"], []]).tolist() == [[5, 2, 1, 3], [5, 3, 4, 4]]
    assert adapter.from_field(adapter.to_field(vocabulary, init_token="<s>")) == vocabulary


def test_words_that_no_file_can_hold_and_a_field_without_vocabulary(tt: Any) -> None:
    for word in ("", "a\tb", "a\n"):
        with pytest.raises(UserError, match="tokenise"):
            adapter.from_vocab(tt.vocab.Vocab(Counter([word])))
    with pytest.raises(UserError, match="build_vocab"):
        adapter.from_field(tt.data.Field())


# --- texts ----------------------------------------------------------------------------------------


def test_a_dataset_gives_the_same_words_after_a_round_trip(tt: Any, prefix: str) -> None:
    shout = tt.data.Pipeline(lambda word: word + "!")  # twice would be seen
    dataset = translation(tt, prefix, preprocessing=shout, lower=True, stop_words=["."])
    text = adapter.from_dataset(dataset)
    assert text[0] == (["the!", "cat!", "sat!"], ["die!", "katze!", "saß!"])
    back = adapter.to_dataset(text, dataset.fields, preprocess=False)
    assert [(e.src, e.trg) for e in back] == [(e.src, e.trg) for e in dataset]
    assert [back.sort_key(e) for e in back] == [dataset.sort_key(e) for e in dataset]
    fields = {
        name: adapter.to_field(vocabulary)
        for name, vocabulary in zip(dataset.fields, vocabularies(dataset), strict=True)
    }
    again = adapter.to_dataset(text, fields)
    assert list(adapter.from_dataset(again)) == list(text)
    for name, field in dataset.fields.items():
        built = fields[name].vocab.itos
        field.build_vocab(back)
        assert built[2:] == field.vocab.itos[2:]


def test_our_text_goes_through_the_fields(tt: Any, prefix: str) -> None:
    text = open_parallel(f"{prefix}.en", f"{prefix}.de")
    fields = {
        name: adapter.to_field(vocabulary, lower=True, batch_first=True)
        for name, vocabulary in zip(("en", "de"), build_vocabularies(text), strict=True)
    }
    dataset = adapter.to_dataset(text, fields)
    assert dataset[0].en == ["the", "cat", "sat", "."]
    batch = next(iter(tt.data.BucketIterator(dataset, 5, sort=True, sort_within_batch=False)))
    assert batch.en.shape == (5, 7)
    assert (batch.en[:, 0] != UNK).all()


def test_two_columns_of_a_table(tt: Any, tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    path.write_text("1\ta b\tx y\tgood\n2\tb\t\tbad\n", encoding="utf-8")
    words, label = tt.data.Field(), tt.data.LabelField()
    columns = [("n", None), ("en", words), ("de", words), ("label", label)]
    dataset = tt.data.TabularDataset(str(path), "tsv", columns)
    assert list(adapter.from_dataset(dataset, ("de", "en"))) == [
        (["x", "y"], ["a", "b"]),
        ([], ["b"]),
    ]
    for names in (None, ("en", "n"), ("en", "fr")):
        with pytest.raises(UserError, match="name two of them"):
            adapter.from_dataset(dataset, names)
    with pytest.raises(UserError, match=r"example 0 .* 'label' .* 'good'"):
        adapter.from_dataset(dataset, ("en", "label"))
    with pytest.raises(UserError, match="name two of them"):
        adapter.to_dataset(ListText([["a"]], [["b"]]), {"en": words})


# --- batches --------------------------------------------------------------------------------------

LAYOUTS = [
    {
        "batch_first": batch_first,
        "include_lengths": lengths,
        "pad_first": pad_first,
        "init_token": init,
        "eos_token": eos,
    }
    for batch_first, lengths, pad_first, (init, eos) in itertools.product(
        (False, True),
        (False, True),
        (False, True),
        ((None, None), ("<s>", None), (None, "</s>"), ("<s>", "</s>")),
    )
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_an_iterator_gives_every_pair_once_under_its_number(
    tt: Any, prefix: str, layout: dict[str, Any]
) -> None:
    dataset = translation(tt, prefix, **layout)
    source, target = vocabularies(dataset)
    iterator = tt.data.BucketIterator(dataset, 2, sort_within_batch=True)
    for _ in range(2):
        found: dict[int, tuple] = {}
        for number, batch in enumerate(adapter.from_iterator(iterator, source, target)):
            assert batch.number == number and iterator.dataset is dataset
            found |= sentences(batch, source, target)
        assert found == expected(adapter.from_dataset(dataset), source, target)
    assert iterator.iterations == 3 and not hasattr(dataset[0], adapter.NUMBER)


def test_an_iterator_that_is_resumed_and_one_that_repeats(tt: Any, prefix: str) -> None:
    dataset = translation(tt, prefix)
    words = vocabularies(dataset)
    iterator = tt.data.Iterator(dataset, 2)
    batches = adapter.from_iterator(iterator, *words)
    next(batches)
    state = iterator.state_dict()
    rest = [batch.index.tolist() for batch in batches]
    iterator.load_state_dict(state)
    assert [batch.index.tolist() for batch in adapter.from_iterator(iterator, *words)] == rest
    endless = adapter.from_iterator(tt.data.Iterator(dataset, 5, repeat=True), *words)
    assert [len(batch) for batch in itertools.islice(endless, 3)] == [5, 5, 5]


def test_a_truncated_batch_and_pairs_with_an_empty_side(tt: Any) -> None:
    text = ListText([["a", "b", "c"], [], ["b"], []], [["x"], ["y"], [], []])
    words = build_vocabularies(ListText([["a", "b", "c"]], [["x", "y"]]))
    settings = {"init_token": "<s>", "eos_token": "</s>", "fix_length": 4}
    for include_lengths in (False, True):
        fields = {
            name: adapter.to_field(vocabulary, include_lengths=include_lengths, **settings)
            for name, vocabulary in zip(("src", "trg"), words, strict=True)
        }
        iterator = tt.data.Iterator(adapter.to_dataset(text, fields), 4, shuffle=False)
        (batch,) = adapter.from_iterator(iterator, *words)
        assert sentences(batch, *words) == {0: (["a", "b"], ["x"])}
    fields = {name: adapter.to_field(words[0]) for name in ("src", "trg")}
    empty = adapter.to_dataset(ListText([[], []], [[], []]), fields)
    assert not list(adapter.from_iterator(tt.data.Iterator(empty, 1), *words))


def test_one_batch(tt: Any, prefix: str) -> None:
    dataset = translation(tt, prefix, eos_token="</s>")
    words = vocabularies(dataset)
    (theirs,) = tt.data.Iterator(dataset, 5, shuffle=False)
    batch = adapter.from_batch(theirs, *words, number=7, index=torch.arange(5))
    assert batch.number == 7
    assert sentences(batch, *words) == expected(adapter.from_dataset(dataset), *words)
    turned = adapter.from_batch(theirs, *words[::-1], 7, torch.arange(5), names=("trg", "src"))
    assert torch.equal(turned.source, batch.target) and torch.equal(turned.target, batch.source)
    with pytest.raises(ValueError, match="4 numbers"):
        adapter.from_batch(theirs, *words, number=7, index=torch.arange(4))


def test_a_batch_that_is_not_of_words(tt: Any, prefix: str) -> None:
    dataset = translation(tt, prefix)
    words = vocabularies(dataset)
    dataset.fields["trg"].postprocessing = lambda ids, vocab: ids
    with pytest.raises(UserError, match="'trg' has a postprocessing"):
        next(adapter.from_iterator(tt.data.Iterator(dataset, 2), *words))
    nested = tt.data.NestedField(tt.data.Field(tokenize=list))
    fields = [("src", nested), ("trg", nested)]
    characters = tt.data.Dataset([tt.data.Example.fromlist(["a b", "c"], fields)], fields)
    nested.build_vocab(characters)
    with pytest.raises(UserError, match="'src' gives tensors of 3 dimensions"):
        next(adapter.from_iterator(tt.data.Iterator(characters, 1), *words))


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_our_batches_in_torchtexts_layout_and_back(
    tt: Any, tmp_path: Path, layout: dict[str, Any]
) -> None:
    rng = random.Random(1)
    sides = [[rng.choices("abcdefg", k=rng.randint(1, 6)) for _ in range(20)] for _ in "st"]
    text = ListText(*sides)
    words = build_vocabularies(text, max_size=5)
    batches = Batches(encode(text, *words, tmp_path), 100, 6, seed=1, shuffle=True)
    fields = {
        name: adapter.to_field(vocabulary, **layout)
        for name, vocabulary in zip(("src", "trg"), words, strict=True)
    }
    for batch in batches.epoch(0):
        theirs = adapter.to_batch(batch, fields, *words)
        examples = [tt.data.Example() for _ in range(len(batch))]
        for n, example in zip(batch.index.tolist(), examples, strict=True):
            example.src, example.trg = text[n]
        reference = tt.data.Batch(examples, tt.data.Dataset(examples, fields))
        inputs, _ = theirs  # the attributes that an iterator's batch has
        assert len(inputs) == 2
        for name in fields:
            torch.testing.assert_close(getattr(theirs, name), getattr(reference, name))
        back = adapter.from_batch(theirs, *words, batch.number, batch.index)
        for name in ("source", "target", "source_mask", "target_mask", "index"):
            assert torch.equal(getattr(back, name), getattr(batch, name)), name
        assert torch.equal(back.source, back.source_side.types[back.source_side.places])


def test_our_batch_in_a_field_with_another_vocabulary(tt: Any, tmp_path: Path) -> None:
    words = Vocabulary([("a", 2), ("b", 1)])
    corpus = encode(ListText([["a", "b", "c"]], [["a"]]), words, words, tmp_path)
    (batch,) = Batches(corpus, 100, 100, seed=1, shuffle=False).epoch(0)
    field = tt.data.Field(unk_token="?", batch_first=True)
    field.build_vocab([["a", "?"]])
    theirs = adapter.to_batch(batch, {"src": field, "trg": field}, words, words)
    assert [field.vocab.itos[n] for n in theirs.src[0]] == ["a", "?", "?"]
    with pytest.raises(UserError, match="build_vocab"):
        adapter.to_batch(batch, {"src": field, "trg": tt.data.Field()}, words, words)


# --- vectors --------------------------------------------------------------------------------------

WORDS = Vocabulary([("b", 3), ("é", 2), ("missing", 1)])
VECTORS = "a 1 2 3\nb 4 -5e-1 6\né 7 8 9 \n<pad> 1 1 1\n"
FOUND = torch.tensor([[0.0, 0, 0], [0, 0, 0], [4, -0.5, 6], [7, 8, 9], [0, 0, 0]])


@pytest.fixture
def vec(tmp_path: Path) -> Path:
    path = tmp_path / "words.vec"
    path.write_text(VECTORS, encoding="utf-8")
    return path


@pytest.mark.parametrize("header", ["", "4 3\n"])
def test_vectors_of_a_file(vec: Path, header: str) -> None:
    vec.write_text(header + VECTORS, encoding="utf-8")
    assert torch.equal(adapter.read_vectors(vec, WORDS), FOUND)
    initial = torch.full((5, 3), 0.25, dtype=torch.float64)
    found = adapter.read_vectors(vec, WORDS, initial)
    assert found.dtype == initial.dtype and (initial == 0.25).all()
    assert torch.equal(found[[2, 3]], FOUND[[2, 3]].double())
    assert torch.equal(found[[0, 1, 4]], initial[[0, 1, 4]])


def test_the_unknown_word_has_the_vector_that_the_file_gives_it(vec: Path) -> None:
    vec.write_text(VECTORS + "<unk> 3 2 1\n", encoding="utf-8")
    assert adapter.read_vectors(vec, WORDS)[UNK].tolist() == [3, 2, 1]


def test_vectors_of_torchtext_are_those_of_the_file(
    tt: Any, vec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "_create_default_https_context"  # Vectors replaces it with one that checks nothing
    monkeypatch.setattr(ssl, name, getattr(ssl, name))
    vectors = tt.vocab.Vectors(str(vec), cache=str(tmp_path / "cache"))
    assert torch.equal(adapter.from_vectors(vectors, WORDS), FOUND)
    vocab = tt.vocab.Vocab(Counter(["b", "é", "é", "z"]), vectors=vectors)
    assert torch.equal(adapter.from_vectors(vocab, WORDS), FOUND)
    initial = torch.ones(5, 3)
    assert torch.equal(adapter.from_vectors(vectors, WORDS, initial)[4], initial[4])
    with pytest.raises(UserError, match=r"initial has shape \(4, 3\)"):
        adapter.from_vectors(vectors, WORDS, torch.zeros(4, 3))
    with pytest.raises(UserError, match="load_vectors"):
        adapter.from_vectors(adapter.to_vocab(WORDS), WORDS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"b 1 2\na 1 2 3\n", "line 2: expected a word and 2 numbers .* found 3 after 'a'"),
        (b"1 3\nb 1 2\n", "line 2: expected a word and 3 numbers .* found 2"),
        (b"b 1 2\n\n", "line 2: expected a word and 2 numbers .* found 0"),
        (b"b\n", "line 1: expected a word and its numbers"),
        (b"a 1 2\nb 1 x\n", "line 2: .*'x'"),
        (b"b 1 nan\n", "line 1: a number is not finite"),
        (b"b 1 1e99\n", "line 1: a number is not finite"),
        (b"b 1 2\nb 1 2\n", "line 2: 'b' has a vector on line 1 already"),
        (b"3 2\nb 1 2\n", "header says 3 vectors but 1 follow"),
        (b"0 2\nb 1 2\n", "header says 0 vectors but 1 follow"),
        (b"a 1 2\n", "none of the 5 words"),
        (b"", "none of the 5 words"),
        (b"a 1 2\nb\xff 1 2\n", "line 2, byte 2: not valid UTF-8"),
    ],
)
def test_an_unusable_file_of_vectors(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.vec"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"bad.vec.*{message}"):
        adapter.read_vectors(path, WORDS)


def test_a_missing_file_and_initial_vectors_of_another_shape(vec: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        adapter.read_vectors(vec.with_name("none.vec"), WORDS)
    with pytest.raises(UserError, match=r"initial has shape \(5, 2\).*words.vec"):
        adapter.read_vectors(vec, WORDS, torch.zeros(5, 2))


# --- the extra ------------------------------------------------------------------------------------


def test_missing_torchtext_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchtext", None)
    with pytest.raises(UserError, match=r"latentnlp\[torchtext\]"):
        adapter.to_vocab(WORDS)


def test_the_adapter_imports_torchtext_only_when_used() -> None:
    code = "import sys, latentnlp.data.torchtext_adapter; sys.exit('torchtext' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
