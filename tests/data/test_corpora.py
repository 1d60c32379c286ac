"""Reading parallel text in every form, refusing bad input, and the ids that come of it."""

from __future__ import annotations

import gc
import gzip
import io
import os
import random
import tempfile
import threading
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from latentnlp.data import corpora
from latentnlp.data.corpora import (
    EncodedCorpus,
    ListText,
    ParallelText,
    build_vocabularies,
    concatenate,
    encode,
    open_parallel,
)
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.errors import UserError

PAIRS = [
    (["the", "house"], ["la", "maison"]),
    ([], []),
    (["a\u00a0b", "c\u2028d"], ["x"]),
    (["left"], []),
    ([], ["right"]),
    (["Last"], ["Dernier"]),
]


def sides(pairs=PAIRS) -> tuple[str, str]:
    return tuple("".join(" ".join(pair[k]) + "\n" for pair in pairs) for k in (0, 1))  # type: ignore[return-value]


def check(text: ParallelText, pairs=PAIRS) -> None:
    assert len(text) == len(pairs)
    assert list(text) == pairs
    assert list(text) == pairs, "a text can be read again"
    assert [text[n] for n in range(len(text))] == pairs
    assert text[-1] == text[np.int64(-1)] == pairs[-1]  # type: ignore[index]
    for wrong in (len(pairs), -len(pairs) - 1):
        with pytest.raises(IndexError):
            text[wrong]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    raw = text.encode(encoding)
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


@pytest.fixture(params=["plain", "crlf", "bom", "unfinished", "spaces"])
def variant(request: pytest.FixtureRequest):
    return {
        "plain": lambda text: text,
        "crlf": lambda text: text.replace("\n", "\r\n"),
        "bom": lambda text: "\ufeff" + text,
        "unfinished": lambda text: text.removesuffix("\n"),
        "spaces": lambda text: text.replace(" ", "   ").replace("\n", " \n"),
    }[request.param]


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_two_files(tmp_path: Path, variant, ending: str) -> None:
    source, target = sides()
    check(
        open_parallel(
            write(tmp_path / f"s{ending}", variant(source)),
            write(tmp_path / f"t{ending}", variant(target)),
        )
    )


@pytest.mark.parametrize("name", ["both.txt", "both.gz"])
def test_bars(tmp_path: Path, variant, name: str) -> None:
    lines = "".join(f"{' '.join(s)} ||| {' '.join(t)}\n" for s, t in PAIRS)
    check(open_parallel(write(tmp_path / name, variant(lines))))


@pytest.mark.parametrize("name", ["both.tsv", "both.tsv.gz", "both.txt"])
def test_tsv(tmp_path: Path, variant, name: str) -> None:
    lines = "".join(f"{' '.join(s)}\t{' '.join(t)}\n" for s, t in PAIRS)
    fmt = "tsv" if name == "both.txt" else "auto"
    check(open_parallel(write(tmp_path / name, variant(lines)), fmt=fmt))


@pytest.mark.parametrize("fmt", ["|||", "tsv"])
def test_standard_input(monkeypatch: pytest.MonkeyPatch, variant, fmt: str) -> None:
    separator = "\t" if fmt == "tsv" else " ||| "
    lines = "".join(f"{' '.join(s)}{separator}{' '.join(t)}\n" for s, t in PAIRS)
    stdin = io.TextIOWrapper(io.BytesIO(variant(lines).encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    check(open_parallel("-", fmt=fmt))
    assert not stdin.buffer.closed


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    source, target = sides()
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text(source))
    writer.start()
    check(open_parallel(tmp_path / "pipe", write(tmp_path / "t", target)))
    writer.join()


def test_a_blank_line_with_both_sides_is_an_empty_pair(tmp_path: Path) -> None:
    expected = [(["a"], ["b"]), ([], []), (["c"], ["d"])]
    check(open_parallel(write(tmp_path / "x", "a ||| b\n\nc ||| d\n")), expected)
    check(open_parallel(write(tmp_path / "x.tsv", "a\tb\n \nc\td\n")), expected)


@pytest.mark.parametrize("seed", range(10))
def test_lines_against_a_plain_split(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Tiny chunks and blocks, so that every line end falls on some border."""
    monkeypatch.setattr(corpora, "SCAN_BYTES", 1 + seed)
    monkeypatch.setattr(corpora, "BLOCK", 1 + seed % 4)
    rng = random.Random(seed)
    text = "".join(rng.choices("ab\n\n\u2028é ", k=rng.randint(1, 60)))
    path = write(tmp_path / "x", text)
    expected = text.split("\n")[: -1 if text.endswith("\n") else None]
    lines = corpora.Lines(path)
    assert list(lines) == [lines[n] for n in range(len(lines))] == expected


def test_temporary_copies_go_with_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "copies"))
    (tmp_path / "copies").mkdir()
    source, target = sides()
    before = set(os.listdir("/proc/self/fd"))
    text = open_parallel(write(tmp_path / "s.gz", source), write(tmp_path / "t.gz", target))
    check(text)
    assert not list((tmp_path / "copies").iterdir()), "nameless even while in use"
    del text
    gc.collect()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_concatenation_and_lists() -> None:
    parts = [ListText([p[0] for p in part], [p[1] for p in part]) for part in (PAIRS, [], PAIRS)]
    check(concatenate(parts), PAIRS + PAIRS)
    check(concatenate(parts[:1]))
    with pytest.raises(UserError, match="has 1 lines but"):
        ListText([["a"]], [])


# --- bad input ------------------------------------------------------------------------------------


def test_unequal_counts_name_both_and_the_first_file_first(tmp_path: Path) -> None:
    source = write(tmp_path / "corpus.en", "a\n" * 10)
    target = write(tmp_path / "corpus.fr", "b\n" * 9)
    with pytest.raises(UserError, match=r"corpus\.en has 10 lines but .*corpus\.fr has 9: "):
        open_parallel(source, target)
    with pytest.raises(UserError, match=r"corpus\.fr has 9 lines but .*corpus\.en has 10: "):
        open_parallel(target, source)


def test_counts_are_compared_before_anything_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"\xff\n\xff\n")
    with pytest.raises(UserError, match="has 2 lines but"):
        open_parallel(tmp_path / "s", write(tmp_path / "t", "a\n"))


def test_bad_utf8_is_found_when_the_line_is_read(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"fine\nok \xc3(\n")
    text = open_parallel(tmp_path / "s", write(tmp_path / "t", "a\nb\n"))
    assert text[0] == (["fine"], ["a"])
    for read in (lambda: text[1], lambda: list(text)):
        with pytest.raises(UserError, match=r"/s, line 2, byte 4: not valid UTF-8 \(0xc3\)"):
            read()


@pytest.mark.parametrize(
    ("line", "found"), [("a b", 0), ("a ||| b ||| c", 2), ("a|||b", 0), ("a |||b", 0)]
)
def test_a_line_without_one_separator(tmp_path: Path, line: str, found: int) -> None:
    text = open_parallel(write(tmp_path / "x", f"a ||| b\n{line}\n"))
    with pytest.raises(UserError, match=rf"x, line 2: expected one '\|\|\|'.*found {found}"):
        text[1]
    with pytest.raises(UserError, match="line 2"):
        text[-1]
    with pytest.raises(UserError, match="line 2"):
        list(text)


@pytest.mark.parametrize(("line", "found"), [("a b", 1), ("a\tb\tc", 3), ("a\tb\t", 3)])
def test_a_line_without_two_columns(tmp_path: Path, line: str, found: int) -> None:
    text = open_parallel(write(tmp_path / "x.tsv", f"a\tb\n{line}\n"))
    with pytest.raises(UserError, match=rf"x\.tsv, line 2: expected two columns.*found {found}"):
        text[1]
    with pytest.raises(UserError, match="line 2"):
        list(text)


def test_empty_missing_and_misnamed(tmp_path: Path) -> None:
    empty, full = write(tmp_path / "empty", ""), write(tmp_path / "full", "a\n")
    with pytest.raises(UserError, match="empty is empty"):
        open_parallel(empty, empty)
    with pytest.raises(UserError, match="empty is empty"):
        open_parallel(empty)
    with pytest.raises(UserError, match="is empty"):
        open_parallel(write(tmp_path / "bom", "\ufeff"))
    with pytest.raises(UserError, match=r"full has 1 lines but .*empty has 0"):
        open_parallel(full, empty)
    with pytest.raises(UserError, match="nowhere: no such file"):
        open_parallel(full, tmp_path / "nowhere")
    with pytest.raises(UserError, match="unknown format 'csv'"):
        open_parallel(full, fmt="csv")
    with pytest.raises(UserError, match="two files are given"):
        open_parallel(full, full, fmt="tsv")
    for arguments in (("-", full), (full, "-"), ("-", "-")):
        with pytest.raises(UserError, match="standard input"):
            open_parallel(*arguments)


def test_empty_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(UserError, match="- is empty"):
        open_parallel("-")


def test_damaged_gzip(tmp_path: Path) -> None:
    path = write(tmp_path / "s.gz", "a\n" * 1000)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"s\.gz: damaged gzip"):
        open_parallel(path, path)


def test_no_room_for_the_temporary_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(corpora.shutil, "copyfileobj", full)
    path = write(tmp_path / "s.gz", "a\n")
    with pytest.raises(UserError, match=r"s\.gz: cannot be copied to .*: No space left"):
        open_parallel(path, path)


# --- numbers --------------------------------------------------------------------------------------


def random_text(seed: int, pairs: int = 200, longest: int = 12) -> ListText:
    rng = random.Random(seed)

    def sentence(letter: str) -> list[str]:
        return [f"{letter}{int(rng.expovariate(0.2))}" for _ in range(rng.randint(0, longest))]

    return ListText([sentence("S") for _ in range(pairs)], [sentence("T") for _ in range(pairs)])


@pytest.mark.parametrize("lowercase", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_encode_against_a_plain_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, lowercase: bool
) -> None:
    monkeypatch.setattr(corpora.NpyWriter, "FLUSH", 64)
    text, longest = random_text(seed), 9
    source, target = build_vocabularies(text, lowercase, longest, min_count=2, max_size=15)
    corpus = encode(text, source, target, tmp_path / "ids", lowercase, longest)

    counts: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    empty = too_long = 0
    assert len(corpus) == len(text)
    for n, pair in enumerate(text):
        words = [[w.lower() if lowercase else w for w in side] for side in pair]
        if not all(words):
            empty += 1
            words = [[], []]
        elif max(map(len, words)) > longest:
            too_long += 1
            words = [[], []]
        for side, counter in zip(words, counts, strict=True):
            counter.update(side)
        assert corpus[n][0].tolist() == source.encode(words[0])
        assert corpus[n][1].tolist() == target.encode(words[1])
        assert corpus.source_lengths[n] == len(words[0])
        assert corpus.target_lengths[n] == len(words[1])
    assert corpus.skipped == (empty, too_long) and min(corpus.skipped) > 0
    assert source == Vocabulary.build(counts[0], 2, 15)
    assert target == Vocabulary.build(counts[1], 2, 15)
    assert corpus.source_ids.dtype == corpus.source_lengths.dtype == np.int32
    assert corpus.source_offsets.dtype == np.int64


def test_lower_casing_never_changes_the_number_of_words(tmp_path: Path) -> None:
    text = ListText([["İ", "ΣΟΦΟΣ", "ẞ", "ǅ"]], [["A", "a"]])
    source, target = build_vocabularies(text)
    corpus = encode(text, source, target, tmp_path)
    assert corpus.source_lengths.tolist() == [4]
    assert corpus[0][1].tolist() == [2, 2]


def test_an_over_long_or_empty_line_leaves_the_others_in_place(tmp_path: Path) -> None:
    lines = [["a"], ["a"] * 4, [], ["a", "a"]]
    text = ListText(lines, [["b"]] * 4)
    corpus = encode(text, *build_vocabularies(text, max_length=3), tmp_path, max_length=3)
    assert corpus.source_lengths.tolist() == [1, 0, 0, 2]
    assert corpus.target_lengths.tolist() == [1, 0, 0, 1]
    assert corpus.skipped == (1, 1)
    with pytest.raises(IndexError):
        corpus[4]


def test_nothing_usable(tmp_path: Path) -> None:
    text = ListText([["a"] * 5, []], [["b"], []], name="useless")
    with pytest.raises(
        UserError, match="useless has no usable sentence pair: 1 are empty on a side, 1 are longer"
    ):
        build_vocabularies(text, max_length=4)
    # New text for a trained model may be all blank: it gets blank alignments.
    corpus = encode(text, Vocabulary([]), Vocabulary([]), tmp_path, max_length=4)
    assert len(corpus) == 2
    assert corpus[0][0].tolist() == []


def test_an_encoded_corpus_can_be_opened_again(tmp_path: Path) -> None:
    text = random_text(0)
    first = encode(text, *build_vocabularies(text), tmp_path)
    again = EncodedCorpus(tmp_path)
    for name in ("source_ids", "source_offsets", "target_ids", "target_offsets", "target_lengths"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not getattr(again, name).flags.writeable or name.endswith("lengths")
    assert again.skipped == first.skipped
    assert np.array_equal(np.load(tmp_path / "source_ids.npy"), first.source_ids)


def test_encoding_again_leaves_a_mapped_corpus_alone(tmp_path: Path) -> None:
    text, other = random_text(0), random_text(1, pairs=3)
    first = encode(text, *build_vocabularies(text), tmp_path)
    before = first.source_ids.copy()
    encode(other, *build_vocabularies(other), tmp_path)
    assert np.array_equal(first.source_ids, before)


def test_a_half_written_corpus_is_refused(tmp_path: Path) -> None:
    text, other = random_text(0), random_text(1, pairs=3)
    vocabularies = build_vocabularies(text)
    encode(text, *vocabularies, tmp_path / "a")
    encode(other, *vocabularies, tmp_path / "b")
    (tmp_path / "b" / "source_ids.npy").rename(tmp_path / "a" / "source_ids.npy")
    with pytest.raises(UserError, match="do not belong together"):
        EncodedCorpus(tmp_path / "a")
    (tmp_path / "a" / "target_ids.npy").write_bytes(b"damaged")
    for folder in (tmp_path / "a", tmp_path / "b", tmp_path / "nowhere"):
        with pytest.raises(UserError, match="not an encoded corpus"):
            EncodedCorpus(folder)

    class Interrupted(ListText):
        def __iter__(self):
            yield self[0]
            raise KeyboardInterrupt

    encode(text, *vocabularies, tmp_path / "c")
    with pytest.raises(KeyboardInterrupt):
        encode(Interrupted([["a"]], [["b"]]), *vocabularies, tmp_path / "c")
    with pytest.raises(UserError, match="not an encoded corpus"):
        EncodedCorpus(tmp_path / "c")
    assert not list((tmp_path / "c").glob("*.part"))


def test_no_room_for_the_ids(tmp_path: Path) -> None:
    text = random_text(0)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        encode(text, *build_vocabularies(text), tmp_path / "file")
    if Path("/dev/full").exists():
        (tmp_path / "ids").mkdir()
        (tmp_path / "ids" / "source_ids.part").symlink_to("/dev/full")
        with pytest.raises(UserError, match="No space left"):
            encode(text, *build_vocabularies(text), tmp_path / "ids")
