"""Readers of bags of words, against counting in plain dictionaries."""

from __future__ import annotations

import gzip
import io
import json
import random
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentnlp.data import bag_files
from latentnlp.data.bag_corpora import BagCorpus, BagFolder, Read, bags_from_rows, open_bags
from latentnlp.data.bag_files import BagWriter, load_bags
from latentnlp.data.bag_text import TextConfig, split_text, stop_words
from latentnlp.data.bags import Bags
from latentnlp.data.ldac import read_vocabulary, write_ldac
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.errors import UserError

ALL = TextConfig(min_length=1, min_documents=1, max_share=1.0)  # every word
CORPORA = Path(__file__).parents[3] / "shared" / "data" / "documents"


def contents(corpus: BagCorpus) -> list[dict[str, int]]:
    """The documents as dictionaries of counts."""
    bags, words = corpus.bags, corpus.words()
    assert bags.vocabulary_size == len(words) == len(corpus.vocabulary) - 2
    found = []
    for start, end in zip(bags.offsets[:-1], bags.offsets[1:], strict=True):
        numbers = bags.words[start:end].tolist()
        assert numbers == sorted(set(numbers)), "each word once, rising"
        found.append(
            {words[n]: int(c) for n, c in zip(numbers, bags.counts[start:end], strict=True)}
        )
    return found


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


# --- splitting ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "letters", "alphanumeric"),
    [
        ("Don't e-mail me!", "Don t e mail me", "Don t e mail me"),
        ("café cafe\u0301 naïve", "café café naïve", "café café naïve"),
        ("COVID-19, x2 3rd _a_", "COVID x rd a", "COVID 19 x2 3rd a"),
        ("हिन्दी में", "हिन्दी में", "हिन्दी में"),
        ("“quoted”—dash… ¿qué?", "quoted dash qué", "quoted dash qué"),
        ("tab\tand\u00a0space\x00nul", "tab and space nul", "tab and space nul"),
        ("中文 词", "中文 词", "中文 词"),
        (" \t.,;:!?-", "", ""),
    ],
)
def test_splitting(text, letters, alphanumeric):
    assert split_text(text, "letters") == letters.split()
    assert split_text(text, "alphanumeric") == alphanumeric.split()


def test_splitting_at_spaces():
    assert split_text(" U.S. e-mail\t:-) ", "spaces") == ["U.S.", "e-mail", ":-)"]


# --- building a vocabulary ----------------------------------------------------------------------


def documents(seed: int, number: int = 200) -> list[list[str]]:
    draw = random.Random(seed)
    words = [f"{letter}{n}" for n in range(40) for letter in ("Ab", "ab", "c", "dé")]
    weights = [1 / (n + 1) for n in range(len(words))]
    return [draw.choices(words, weights, k=draw.choice([0, 1, 5, 30])) for _ in range(number)]


def oracle(
    docs: list[list[str]], text: TextConfig, stop: set[str]
) -> tuple[list[str], list[dict[str, int]]]:
    """The same in plain Python, from the definition."""
    bags = [Counter(w.lower() if text.lowercase else w for w in doc) for doc in docs]
    tokens: Counter[str] = sum(bags, Counter())
    kept = [
        word
        for word in tokens
        if word.lower() not in stop
        and len(word) >= text.min_length
        and text.min_documents <= sum(word in bag for bag in bags) <= text.max_share * len(docs)
    ]
    kept = sorted(kept, key=lambda word: (-tokens[word], word))[: text.max_size]
    return kept, [{w: c for w, c in bag.items() if w in kept} for bag in bags]


@pytest.mark.parametrize(
    "text",
    [
        ALL,
        TextConfig(),
        TextConfig(lowercase=False, min_documents=3, max_share=0.2),
        TextConfig(min_length=4, max_size=17),
        TextConfig(split="spaces", max_share=0.1, min_documents=1, max_size=1),
    ],
)
@pytest.mark.parametrize("form", ["tokens", "text"])
def test_against_counting(text, form, tmp_path):
    docs = documents(1)
    stop = write(tmp_path / "stop.txt", "Ab1\ncx\n\nab2\n")
    text = TextConfig(**{**vars(text), "split": "spaces", "stop_words": str(stop)})
    rows = [{form: doc if form == "tokens" else " ".join(doc)} for doc in docs]
    corpus = bags_from_rows(((f"row {n}", row) for n, row in enumerate(rows)), text)
    words, bags = oracle(docs, text, {"ab1", "cx", "ab2"})
    assert list(corpus.words()) == words
    assert contents(corpus) == bags
    total, inside = sum(map(len, docs)), sum(sum(bag.values()) for bag in bags)
    empty = sum(not bag for bag in bags)
    assert corpus.read == Read(len(docs), empty, total, total - inside) and empty
    assert corpus.vocabulary.counts[1] == total - inside
    assert list(corpus.vocabulary.counts[2:]) == corpus.bags.frequencies().tolist()

    # Other documents in this vocabulary.
    others = documents(2)
    read = bags_from_rows((("", {"tokens": doc}) for doc in others), text, corpus.vocabulary)
    lower = str.lower if text.lowercase else str
    expected = [Counter(lower(w) for w in doc if lower(w) in words) for doc in others]
    assert contents(read) == expected and read.vocabulary is corpus.vocabulary
    assert read.read.outside == sum(map(len, others)) - sum(e.total() for e in expected)


def test_small_pieces_change_nothing(monkeypatch):
    rows = [("", {"tokens": doc}) for doc in documents(3)]
    whole = bags_from_rows(rows)
    monkeypatch.setattr(bag_files, "PIECE", 7)
    monkeypatch.setattr(bag_files.NpyWriter, "FLUSH", 5)
    pieces = bags_from_rows(rows)
    assert pieces.vocabulary == whole.vocabulary and contents(pieces) == contents(whole)


def test_capitals_of_a_given_vocabulary():
    """A word is taken as it stands, and in lower case if the vocabulary lacks it so."""
    rows = [("", {"text": "US The THE us Zürich zürich"})]
    words = ["US", "the", "us", "Zürich"]
    assert contents(bags_from_rows(rows, TextConfig(), words)) == [
        {"US": 1, "the": 2, "us": 1, "Zürich": 1}
    ]
    exact = bags_from_rows(rows, TextConfig(lowercase=False), words)
    assert contents(exact) == [{"US": 1, "us": 1, "Zürich": 1}] and exact.read.outside == 3


def test_specials_are_no_words():
    rows = [("", {"tokens": ["<pad>", "<unk>", "a"]})]
    assert bags_from_rows(rows, ALL).words() == ("a",)
    with pytest.raises(UserError, match="holds a tab, a line end or the like"):
        bags_from_rows([("", {"tokens": ["a\ud800"]})], ALL)


@pytest.mark.parametrize("split", ["letters", "alphanumeric", "spaces"])
def test_words_with_joiners_inside(split, tmp_path):
    """Persian and Hindi write them with U+200C and U+200D: no letters, but no harm."""
    words = ["می\u200cشود", "क्\u200dष"]
    path = write(tmp_path / "d.txt", "\n".join(words) + "\n")
    found = open_bags(path, TextConfig(split=split, min_documents=1, max_share=1))
    assert sorted(found.words()) == sorted(words)
    found.vocabulary.save(tmp_path / "vocabulary.tsv")
    assert Vocabulary.load(tmp_path / "vocabulary.tsv") == found.vocabulary


def test_english_stop_words():
    words = stop_words("english")
    assert {"the", "and", "ourselves", "don"} <= words and "" not in words
    assert all(re.fullmatch("[a-z]+", word) for word in words)
    rows = [("", {"text": "The cat and a dog didn't sleep."})]
    text = TextConfig(**{**vars(ALL), "stop_words": "english"})
    assert set(bags_from_rows(rows, text).words()) == {"cat", "dog", "sleep"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"min_length": 0}, "min_length"),
        ({"min_documents": 0}, "min_documents"),
        ({"max_share": 0.0}, "max_share"),
        ({"max_share": 1.5}, "max_share"),
        ({"max_size": 0}, "max_size"),
    ],
)
def test_wrong_settings(settings, told):
    with pytest.raises(ValueError, match=told):
        TextConfig(**settings)


# --- files --------------------------------------------------------------------------------------

JSON_ROWS = [
    {"id": "a", "text": "Cat, cat; dog", "label": "pets"},
    {"text": ""},
    {"id": 7, "tokens": ["dog", "Emu"], "label": 3},
    {"id": None, "tokens": [], "label": None},
]


def test_json_lines(tmp_path):
    path = write(tmp_path / "d.jsonl.gz", "\n".join(map(json.dumps, JSON_ROWS)))
    corpus = open_bags(path, ALL)
    assert contents(corpus) == [{"cat": 2, "dog": 1}, {}, {"dog": 1, "emu": 1}, {}]
    bags = corpus.bags
    assert [bags.id(n) for n in range(4)] == ["a", "1", "7", "3"]
    assert bags.labels is not None and list(bags.labels) == ["pets", None, "3", None]
    assert bags.labels[-2] == "3" and bags.labels[0:2] == ["pets", None]
    assert corpus.words() == ("cat", "dog", "emu")  # by falling count, then by the alphabet
    chosen = bags.select(np.array([2, 0]))
    assert chosen.id(0) == "7" and list(chosen.labels or ()) == ["3", "pets"]


def test_plain_text_keeps_its_lines(tmp_path):
    path = write(tmp_path / "d.txt", "\ufeffOne two\n\n  \r\ntwo\n")
    corpus = open_bags(path, ALL)
    assert contents(corpus) == [{"one": 1, "two": 1}, {}, {}, {"two": 1}]
    assert corpus.bags.ids is None and corpus.bags.labels is None and corpus.bags.id(3) == "3"
    assert corpus.read == Read(4, 2, 3, 0)


def test_tables_and_columns(tmp_path):
    tsv = write(tmp_path / "d.tsv", "body\tlabel\tkind\nA b\tx\ty\nb c\t\tz\n")
    corpus = open_bags(tsv, ALL, text_column="body")
    assert contents(corpus) == [{"a": 1, "b": 1}, {"b": 1, "c": 1}]
    assert list(corpus.bags.labels or ()) == ["x", None]
    other = open_bags(tsv, ALL, text_column="body", label_column="kind")
    assert list(other.bags.labels or ()) == ["y", "z"]
    csv = write(tmp_path / "d.csv", 'id,text\n1,"two\nlines, ""so"""\n')
    assert contents(open_bags(csv, ALL)) == [{"two": 1, "lines": 1, "so": 1}]
    tokens = write(tmp_path / "t.tsv", "tokens\tid\ne-mail A.B.\tq\n")
    assert contents(open_bags(tokens, ALL)) == [{"e-mail": 1, "a.b.": 1}]


def test_standard_input(monkeypatch, tmp_path):
    lines = "".join(json.dumps(row) + "\n" for row in JSON_ROWS)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    read = open_bags("-", ALL)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a b\n\n")))
    assert contents(open_bags("-", ALL, fmt="txt")) == [{"a": 1, "b": 1}, {}]
    assert contents(read)[0] == {"cat": 2, "dog": 1}
    words = write(tmp_path / "v.txt", "x\ny\n")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"1 1:4\n0\n")))
    assert contents(open_bags("-", fmt="ldac", vocabulary_file=words)) == [{"y": 4}, {}]
    with pytest.raises(UserError, match=r"no vocab\.txt beside it"):
        open_bags("-", fmt="ldac")


def test_a_vocabulary_file_and_no_other_word(tmp_path):
    path = write(tmp_path / "d.jsonl", json.dumps({"tokens": ["b", "zz", "B"]}))
    words = write(tmp_path / "words.txt", "never\nb\n")
    corpus = open_bags(path, vocabulary_file=words)
    assert corpus.words() == ("never", "b") and contents(corpus) == [{"b": 2}]
    assert corpus.vocabulary.counts == (0, 1, 0, 2) and corpus.read.outside == 1


# --- LDA-C --------------------------------------------------------------------------------------


def ldac(folder: Path, lines: str, words: str = "aa\nbb\ncc\n", name: str = "d.ldac") -> Path:
    write(folder / "vocab.txt", words)
    return write(folder / name, lines)


@pytest.mark.parametrize("name", ["d.ldac", "d.ldac.gz"])
def test_ldac(name, tmp_path):
    path = ldac(tmp_path, "2 2:1 0:3\n0\n1 1:2 \n", name=name)
    write(tmp_path / "d.labels.txt", "x\n\ny z\n")
    corpus = open_bags(path)
    assert contents(corpus) == [{"aa": 3, "cc": 1}, {}, {"bb": 2}]
    assert list(corpus.bags.labels or ()) == ["x", None, "y z"] and corpus.bags.ids is None
    assert corpus.vocabulary.counts == (0, 0, 3, 2, 1) and corpus.read == Read(3, 1, 6, 0)
    write(tmp_path / "d.ids.txt.gz", "p/1\np/2\n\n")
    bags = open_bags(path).bags
    assert [bags.id(n) for n in range(3)] == ["p/1", "p/2", "2"]


def test_ldac_in_another_vocabulary(tmp_path):
    path = ldac(tmp_path, "3 0:1 1:2 2:4\n1 1:1\n")
    model = Vocabulary([("cc", 9), ("dd", 8), ("aa", 1)], unknown=5)
    corpus = open_bags(path, vocabulary=model)
    assert contents(corpus) == [{"cc": 4, "aa": 1}, {}]
    assert corpus.vocabulary is model and corpus.read == Read(2, 1, 8, 3)
    same = Vocabulary([("aa", 9), ("bb", 8), ("cc", 1)])
    assert open_bags(path, vocabulary=same).vocabulary is same
    with pytest.raises(UserError, match="none of the 3 words of its vocabulary is in the model's"):
        open_bags(path, vocabulary=Vocabulary([("zz", 1)]))


@pytest.mark.parametrize("seed", range(3))
def test_round_trip_through_ldac(seed, tmp_path):
    rows = [("", {"tokens": doc, "id": f"n {n}"}) for n, doc in enumerate(documents(seed))]
    for n, (_, row) in enumerate(rows):
        row["label"] = [None, "one", "an other"][n % 3]
    before = bags_from_rows(rows)
    path = tmp_path / "out" / "train.ldac"
    write_ldac(path, before.bags, before.words())
    after = open_bags(path)
    assert after.words() == before.words() and contents(after) == contents(before)
    assert [after.bags.id(n) for n in range(200)] == [f"n {n}" for n in range(200)]
    assert list(after.bags.labels or ()) == list(before.bags.labels or ())
    # Over it a corpus without names: theirs go.
    plain = bags_from_rows((("", {"tokens": row["tokens"]}) for _, row in rows))
    write_ldac(path, plain.bags, plain.words())
    assert open_bags(path).bags.ids is None and open_bags(path).bags.labels is None


def test_what_ldac_cannot_hold(tmp_path):
    bags = Bags(np.array([0, 0]), np.array([], int), np.array([], int), 1, labels=["a\nb"])
    with pytest.raises(UserError, match=r"d\.labels\.txt: 'a\\nb' has a line end"):
        write_ldac(tmp_path / "d.ldac", bags, ["w"])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("1 0:-1", "word 0 has the count '-1'; a count is a whole number"),
        ("1 0:1.5", "word 0 has the count '1.5'.*tf-idf"),
        ("1 0:nan", "word 0 has the count 'nan'"),
        ("1 0:0", "word 0 has the count 0; a count is from 1"),
        ("1 0:3000000000", "word 0 has the count 3000000000"),
        ("1 3:1", "word 3 is outside the vocabulary, whose 3 words have the ids 0 to 2"),
        ("2 1:1 1:2", "word 1 stands there twice"),
        ("3 0:1 1:1", "begins with 3 but has 2 pairs"),
        ("0 0:1", "begins with 0 but has 1 pairs"),
        ("1", "begins with 1 but has 0 pairs"),
        ("", "is blank; an empty document is written 0"),
        ("one 0:1", "begins with 'one', not with a number of words"),
        ("-1 0:1", "begins with '-1'"),
        ("1 a:1", "'a:1' is not a pair id:count"),
        ("1 -1:1", "'-1:1' is not a pair id:count"),
        ("1 0", "'0' is not a pair id:count"),
        ("1 0:1:2", "word 0 has the count '1:2'"),
        ("2 0:1  1:1", "'' is not a pair id:count.*single spaces"),
        ("٣ 0:1", "begins with '٣'"),
        ("1 0:99999999999999", "word 0 has the count '99999999999999'"),
    ],
)
def test_bad_ldac(line, told, tmp_path):
    path = ldac(tmp_path, f"1 0:1\n{line}\n1 1:1\n")
    with pytest.raises(UserError, match=rf"d\.ldac, line 2: {told}") as error:
        open_bags(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("aa\nbb\naa\n", r"vocab\.txt, line 3: the word 'aa' stands in line 1 already"),
        ("aa\n\ncc\n", r"vocab\.txt, line 2: '' is not a word"),
        ("aa\t5\n", r"vocab\.txt, line 1: 'aa\\t5' is not a word"),
        ("<unk>\n", r"vocab\.txt, line 1: '<unk>' is not a word"),
        ("", r"vocab\.txt: holds no word"),
    ],
)
def test_bad_vocabulary_file(words, told, tmp_path):
    with pytest.raises(UserError, match=told):
        open_bags(ldac(tmp_path, "1 0:1\n", words))


def test_missing_vocabulary(tmp_path):
    path = write(tmp_path / "d.ldac", "1 0:1\n")
    with pytest.raises(UserError, match=r"d\.ldac: there is no vocab\.txt beside it; put one"):
        open_bags(path)
    with pytest.raises(UserError, match=r"w\.txt: no such file"):
        open_bags(path, vocabulary_file=tmp_path / "w.txt")
    # A named one is taken, and so is the one of a model only together with the file's own.
    assert contents(open_bags(path, vocabulary_file=write(tmp_path / "w.txt", "aa\n")))
    with pytest.raises(UserError, match=r"no vocab\.txt"):
        open_bags(path, vocabulary=Vocabulary([("aa", 1)]))


@pytest.mark.parametrize("kind", ["labels", "ids"])
@pytest.mark.parametrize(("lines", "told"), [("x\n", 1), ("x\ny\nz\n", 3)])
def test_files_beside_of_another_length(kind, lines, told, tmp_path):
    path = ldac(tmp_path, "1 0:1\n0\n")
    write(tmp_path / f"d.{kind}.txt", lines)
    with pytest.raises(UserError, match=rf"d\.{kind}\.txt: has {told} lines but .*d\.ldac has"):
        open_bags(path)


# --- bad input ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("d.txt", b"fine\n\xff\n", r"d\.txt, line 2, byte 1: not valid UTF-8"),
        ("d.ldac", b"1 0:1\n\xff\n", r"d\.ldac, line 2, byte 1: not valid UTF-8"),
        ("d.jsonl", b'{"text": "a"}\n{"text": \n', r"d\.jsonl, line 2: not JSON"),
        ("d.jsonl", b'["a"]', r"d\.jsonl, line 1: expected a JSON object, found list"),
        (
            "d.jsonl",
            b'{"body": "a"}',
            r"d\.jsonl, line 1: has no column or key 'text'.*there are: body",
        ),
        ("d.jsonl", b'{"text": null}', r"line 1: 'text' must be a text or a list of tokens"),
        ("d.jsonl", b'{"tokens": ["a", 3]}', r"line 1: 'tokens' must be a text or a list"),
        ("d.jsonl", b'{"tokens": ["a\\tb"]}', r"the token 'a\\tb' holds a tab"),
        ("d.jsonl", b'{"tokens": ["a\\nb"]}', r"the token 'a\\nb' holds a tab, a line end"),
        ("d.jsonl", b'{"text": "a", "label": []}', r"line 1: the label \('label'\) \[\] is"),
        ("d.tsv", b"text\tlabel\na\n", r"d\.tsv, line 2: 1 columns, but line 1 names 2"),
        ("d.csv", b'text\n"a\n', r"d\.csv, line 2: not CSV"),
        ("d.txt", b"", r"d\.txt: holds no document"),
        ("d.jsonl", b"\n\n", r"d\.jsonl: holds no document"),
        ("d.tsv", b"text\n", r"d\.tsv: holds no document"),
        ("d.ldac", b"", r"d\.ldac: holds no document"),
        ("d.txt", b"\n 12 !\n", r"d\.txt: none of its 2 documents has a word \(split = 'letters'"),
        ("d.txt.gz", gzip.compress(b"some text\n" * 99)[:-9], r"d\.txt\.gz: damaged gzip file"),
        ("d.ldac.gz", gzip.compress(b"1 0:1\n" * 99)[:-9], r"d\.ldac\.gz: damaged gzip file"),
        ("d.pdf", b"%PDF", r"d\.pdf: unknown format '\.pdf' of documents"),
    ],
)
@pytest.mark.parametrize("keep", [False, True])
def test_bad_file(name, content, told, keep, tmp_path):
    write(tmp_path / "vocab.txt", "aa\n")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=told) as error:
        open_bags(tmp_path / name, ALL, folder=tmp_path / "arrays" if keep else None)
    assert "\n" not in str(error.value)
    if keep and (tmp_path / "arrays").exists():
        with pytest.raises(UserError, match="encode them again"):
            load_bags(tmp_path / "arrays")
        assert not any(path.is_dir() for path in (tmp_path / "arrays").iterdir())


def test_missing_file_folder_column(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        open_bags(tmp_path / "none.txt")
    with pytest.raises(UserError, match="is a folder; name one of its files"):
        open_bags(tmp_path)
    path = write(tmp_path / "d.jsonl", '{"text": "a"}')
    with pytest.raises(UserError, match="no document has the column or key 'topic'"):
        open_bags(path, ALL, label_column="topic")
    with pytest.raises(UserError, match="has no column or key 'body'"):
        open_bags(path, ALL, text_column="body")


def test_no_word_is_left(tmp_path):
    path = write(tmp_path / "d.txt", "the cat sat\nthe dog sat\nthe emu x\n")
    text = TextConfig(stop_words="english", max_share=0.5, min_documents=2)
    with pytest.raises(UserError) as error:
        open_bags(path, text)
    assert str(error.value) == (
        f"{path}: no word is left for the vocabulary: of 6 words in 3 documents 1 by stop_words = "
        "'english', 1 by min_length = 2, 3 by min_documents = 2, 1 by max_share = 0.5 were left "
        "out; change what left out most, for example [text] min_documents = 1"
    )
    with pytest.raises(UserError, match=r"nowhere\.txt: no such file"):
        open_bags(path, TextConfig(stop_words=str(tmp_path / "nowhere.txt")))


def test_unwritable_folder(tmp_path):
    path = write(tmp_path / "d.txt", "a b\n")
    with pytest.raises(UserError, match="cannot be written"):
        open_bags(path, ALL, folder=path / "arrays")


# --- on disk ------------------------------------------------------------------------------------


def test_arrays_in_a_folder(tmp_path):
    rows = [
        ("", {"tokens": doc, "id": f"é{n}", "label": "x"}) for n, doc in enumerate(documents(1))
    ]
    folder = tmp_path / "arrays"
    corpus = bags_from_rows(rows, folder=folder)
    assert {path.suffix for path in folder.iterdir()} == {".npy", ".json"}
    again = load_bags(folder)
    for name in ("offsets", "words", "counts"):
        found = getattr(again, name)
        assert np.array_equal(found, getattr(corpus.bags, name))
        assert isinstance(found.base, np.memmap), "the arrays are mapped, not read"
    assert again.words.dtype == again.counts.dtype == np.int32
    assert list(again.ids or ()) == [f"é{n}" for n in range(200)]
    assert list(again.labels or ()) == ["x"] * 200
    with pytest.raises(IndexError):
        _ = (again.ids or ())[200]


def test_an_incomplete_folder(tmp_path):
    with pytest.raises(UserError, match="encode them again"):
        load_bags(tmp_path / "none")
    with BagWriter(tmp_path, 3) as writer:
        writer.add([0, 2], [1, 1], label="x")
    assert len(load_bags(tmp_path)) == 1
    words = tmp_path / "words.npy"
    np.save(words, np.array([0], dtype=np.int32))
    with pytest.raises(UserError, match="do not belong together"):
        load_bags(tmp_path)
    # A run that dies leaves nothing that could be taken for complete.
    with pytest.raises(ZeroDivisionError), BagWriter(tmp_path, 3) as writer:
        writer.add([1 // 0], [1])
    with pytest.raises(UserError, match="encode them again"):
        load_bags(tmp_path)


def test_all_documents_empty():
    rows = [("", {"text": "zz"}), ("", {"text": ""})]
    corpus = bags_from_rows(rows, ALL, Vocabulary([("a", 1)]))
    assert contents(corpus) == [{}, {}] and corpus.read == Read(2, 2, 1, 1)
    assert corpus.bags.lengths().tolist() == [0, 0]


ROLLUP = Path("/proc/self/smaps_rollup")


def anonymous() -> int:
    """Bytes of memory of this process that are not the mapped files' own."""
    found = (line for line in ROLLUP.read_text().splitlines() if line.startswith("Anonymous:"))
    return 1024 * int(next(found).split()[1])


@pytest.mark.skipif(not ROLLUP.exists(), reason="memory is measured with Linux's smaps_rollup")
def test_memory_does_not_grow_with_the_documents(tmp_path):
    """30,000 documents, each with its name and label: 30 MB of tokens if they were held."""

    def stream():
        for n in range(30_000):
            tokens = [f"w{(n + k) % 997}" for k in range(20)]
            yield "", {"tokens": tokens, "id": f"a name of document {n}", "label": f"l{n % 7}"}

    start = anonymous()
    corpus = bags_from_rows(stream(), ALL, folder=tmp_path / "arrays")
    grown = anonymous() - start
    assert corpus.read == Read(30_000, 0, 600_000, 0) and len(corpus.words()) == 997
    assert grown < 8_000_000, grown
    held = list(stream())  # the control: the measure sees what is held
    assert anonymous() - start > 20_000_000
    del held


# --- folders ------------------------------------------------------------------------------------


def test_folder_of_counts(tmp_path):
    ldac(tmp_path, "1 0:1\n", name="train.ldac.gz")
    ldac(tmp_path, "1 2:1\n", name="test.ldac")
    folder = BagFolder(tmp_path)
    assert folder.name == tmp_path.name and set(folder.files) == {"train", "test"}
    train = folder.open("train")
    assert contents(folder.open("test", None, train.vocabulary)) == [{"cc": 1}]
    assert folder.has("test") and not folder.has("dev")
    with pytest.raises(UserError, match="holds no dev; there are: train, test"):
        folder.open("dev")


def test_folder_of_texts(tmp_path):
    write(tmp_path / "train.jsonl", '{"text": "Cat cat dog"}\n')
    write(tmp_path / "dev.jsonl.gz", '{"text": "cat emu"}\n')
    write(tmp_path / "manifest.json", '{"name": "pets"}')
    folder = BagFolder(tmp_path)
    train = folder.open("train", ALL)
    assert folder.name == "pets" and contents(train) == [{"cat": 2, "dog": 1}]
    assert contents(folder.open("dev", ALL, train.vocabulary)) == [{"cat": 1}]
    write(tmp_path / "vocab.txt", "dog\n")
    assert contents(BagFolder(tmp_path).open("train", TextConfig())) == [{"dog": 1}]


def test_wrong_folder(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        BagFolder(tmp_path / "none")
    with pytest.raises(UserError, match="has no documents; it needs"):
        BagFolder(tmp_path)
    write(tmp_path / "train.jsonl", "{}")
    write(tmp_path / "manifest.json", "[]")
    with pytest.raises(UserError, match=r"manifest\.json: damaged"):
        BagFolder(tmp_path)


PUBLISHED: dict[str, tuple[int, int, int, float, float]] = {
    # documents of train and test, words, mean tokens of train and test
    "20ng_miao2000": (11268, 7505, 2000, 100.2, 96.1),
    "20ng_prodlda1994": (11258, 7487, 1994, 88.1, 84.1),
    "20ng_etm3072": (11214, 7531, 3072, 82.0, 78.9),
    "ap": (2022, 224, 10473, 194, 192),
    "bbc_news": (1556, 335, 2949, 120, 118),
    "dblp": (38215, 8190, 1513, 5.4, 5.4),
}


@pytest.mark.corpora
@pytest.mark.skipif(not CORPORA.is_dir(), reason="no ../shared/data/documents beside the checkout")
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name):
    """The raw folders have the canonical names already."""
    train, test, words, mean, test_mean = PUBLISHED[name]
    folder = BagFolder(CORPORA / name)
    first = folder.open("train")
    second = folder.open("test", None, first.vocabulary)
    assert (len(first.bags), len(second.bags)) == (train, test)
    assert len(first.words()) == words == first.bags.vocabulary_size
    assert first.bags.lengths().mean() == pytest.approx(mean, abs=0.5 if mean > 110 else 0.06)
    assert second.bags.lengths().mean() == pytest.approx(test_mean, abs=0.5)
    assert first.read.outside == second.read.outside == 0


@pytest.mark.corpora
@pytest.mark.skipif(not CORPORA.is_dir(), reason="no ../shared/data/documents beside the checkout")
def test_the_counted_set_is_the_text_in_that_vocabulary():
    """Two readers meet: 20 Newsgroups' posts, counted in the 2,000 words of the counted set."""
    counted = BagFolder(CORPORA / "20ng_miao2000").open("train")
    words = read_vocabulary(CORPORA / "20ng_miao2000" / "vocab.txt")
    kept = set(counted.bags.ids or ())
    if not kept:
        pytest.skip("the counted set has no ids")
    # Its recipe takes runs of [a-z] of the body alone; compare where the text is plain ASCII
    # without underscores, so that runs of letters are the same.
    rows: list[tuple[str, dict[str, Any]]] = []
    with gzip.open(CORPORA / "20ng_raw" / "train.jsonl.gz", "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            if row["id"] in kept and row["text"].isascii() and len(rows) < 2000:
                rows.append((row["id"], {"id": row["id"], "text": row["text"].replace("_", " ")}))
    found = bags_from_rows(rows, TextConfig(), words)
    places = {name: n for n, name in enumerate(counted.bags.ids or ())}
    expected = counted.bags.select(np.array([places[name] for name, _ in rows]))
    same = np.abs(found.bags.lengths() - expected.lengths()) == 0
    assert same.mean() > 0.97, same.mean()
