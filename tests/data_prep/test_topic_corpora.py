"""The scripts that write documents for topic models, on tiny raw files and on the real ones."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import os
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latentnlp.data.bag_corpora import BagFolder

CORPORA = Path(__file__).parents[3] / "shared" / "data" / "documents"
OFFLINE = {"HF_HUB_OFFLINE": "1"}
WORDS = ("cat", "dog", "emu")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split("\n")[:-1]


def rows(folder: Path, part: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(folder / f"{part}.jsonl")]


@pytest.fixture
def check() -> Callable[[Path], dict[str, Any]]:
    """Checks a prepared folder against its own manifest, which it returns."""

    def checked(folder: Path) -> dict[str, Any]:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        assert {p.name for p in folder.iterdir()} == {*manifest["files"], "manifest.json"}
        for name, facts in manifest["files"].items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == facts["sha256"]
            assert len(lines(folder / name)) == facts["lines"]
        parts = [name.partition(".")[0] for name, f in manifest["files"].items() if "tokens" in f]
        prepared = BagFolder(folder)
        assert set(prepared.files) == set(parts) and prepared.name == manifest["name"]
        for name, facts in manifest["files"].items():
            if name.endswith(".ldac"):
                found = prepared.open(name.removesuffix(".ldac")).read
                assert (found.tokens, found.empty) == (facts["tokens"], facts["empty"])
            elif name.endswith(".jsonl"):
                texts = [
                    row.get("tokens", row.get("text", "").split())
                    for row in map(json.loads, lines(folder / name))
                ]
                assert sum(map(len, texts)) == facts["tokens"]
                assert sum(not text for text in texts) == facts["empty"]
        for key in ("languages", "source", "licence", "notes", "date", "command", "request"):
            assert key in manifest
        return manifest

    return checked


# --- counted sets -------------------------------------------------------------------------------


def counted(number: int, seed: int) -> list[str]:
    draw = np.random.default_rng(seed)
    found = []
    matrix = draw.poisson(1.0, size=(number, len(WORDS)))
    matrix[5] = 0  # an empty document is among them
    for counts in matrix.tolist():
        pairs = [f"{word}:{count}" for word, count in enumerate(counts) if count]
        found.append(" ".join([str(len(pairs)), *pairs]))
    return found


COUNTED = {  # script and options: folder, the files of each part
    "newsgroups": ("20ng_miao2000", {"train": "train", "test": "test"}),
    "newsgroups --preprocessing prodlda1994": (
        "20ng_prodlda1994",
        {"train": "train", "test": "test"},
    ),
    "newsgroups --preprocessing etm3072": (
        "20ng_etm3072",
        {n: n for n in ("train", "test", "test_half1", "test_half2")} | {"dev": "valid"},
    ),
    "ap": ("ap", {"train": "train", "test": "test"}),
}


def counted_folder(place: Path, command: str) -> dict[str, list[str]]:
    """Raw files; the documents of each part."""
    folder, stems = COUNTED[command]
    documents = {part: counted(40, seed) for seed, part in enumerate(stems, start=1)}
    for part, stem in stems.items():
        suffix = ".ldac.gz" if part == "train" else ".ldac"
        write(place / folder / f"{stem}{suffix}", "".join(f"{d}\n" for d in documents[part]))
    write(place / folder / "vocab.txt", "".join(f"{word}\n" for word in WORDS))
    if folder == "20ng_miao2000":
        for part in documents:
            labels = "".join(f"group{n % 4}\n" for n in range(40))
            write(place / folder / f"{part}.labels.txt", labels)
        write(place / folder / "train.ids.txt", "".join(f"post/{n}\n" for n in range(40)))
    return documents


@pytest.mark.parametrize("command", COUNTED)
def test_counted_sets(command, tmp_path, script, check):
    raw, out = tmp_path / "raw", tmp_path / "out"
    documents = counted_folder(raw, command)
    name, *options = command.split()
    done = script(name, *options, "--raw", raw, "--out", out)
    assert done.returncode == 0, done.stderr
    manifest = check(out)
    assert set(manifest["source"]["raw"]) >= {"train.ldac.gz", "test.ldac", "vocab.txt"}
    assert tuple(lines(out / "vocab.txt")) == WORDS
    for part, expected in documents.items():
        if part != "train" or "dev" in documents:
            assert lines(out / f"{part}.ldac") == expected
    if "dev" in documents:
        assert manifest["notes"]["dev"] == "the source's own"
    else:
        # Ten per cent of train, as the manifest says: by date, or drawn.
        dated = command == "newsgroups"
        drawn = np.random.RandomState(1).permutation(40)[:4].tolist()
        held = [36, 37, 38, 39] if dated else sorted(drawn)
        rest = [n for n in range(40) if n not in held]
        for part, places in (("train", rest), ("dev", held)):
            assert lines(out / f"{part}.ldac") == [documents["train"][n] for n in places]
            if name == "newsgroups" and not options:
                assert lines(out / f"{part}.labels.txt") == [f"group{n % 4}" for n in places]
                assert lines(out / f"{part}.ids.txt") == [f"post/{n}" for n in places]
        assert ("the last tenth" if dated else "RandomState(1)") in manifest["notes"]["dev"]
    if name == "newsgroups" and not options:
        facts = manifest["files"]["test.labels.txt"]["labels"]
        assert facts == {f"group{n}": 10 for n in range(4)}
        assert not (out / "test.ids.txt").exists()
    else:
        assert not list(out.glob("*.labels.txt"))

    again = script(name, *options, "--out", out)  # --raw is not needed any more
    assert again.returncode == 0 and "already complete" in again.stdout
    other = tmp_path / "other"  # the folder itself instead of the one above it
    folder = raw / COUNTED[command][0]
    assert script(name, *options, "--raw", folder, "--out", other).returncode == 0
    assert check(other)["files"] == manifest["files"]


def test_another_preprocessing_replaces_the_folder(tmp_path, script, check):
    raw, out = tmp_path / "raw", tmp_path / "out"
    for command in ("newsgroups", "newsgroups --preprocessing prodlda1994"):
        counted_folder(raw, command)
        name, *options = command.split()
        assert script(name, *options, "--raw", raw, "--out", out).returncode == 0
    assert check(out)["name"] == "20ng_prodlda1994"


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("train.ldac.gz", gzip.compress(b"1 0:1\n1 3:1\n"), "train.ldac.gz, line 2: word 3 is out"),
        ("test.ldac", b"1 0:1.5\n", "test.ldac, line 1: word 0 has the count '1.5'"),
        ("train.ldac.gz", b"1 0:1\n", "train.ldac.gz: damaged gzip"),
        ("test.labels.txt", b"x\n", "test.labels.txt: has 1 lines but"),
        ("vocab.txt", b"a\na\nb\n", "vocab.txt, line 2: the word 'a' stands in line 1"),
        ("test.ldac", b"", "test.labels.txt: has 40 lines but"),
        ("vocab.txt", None, "holds no vocab.txt; expected train.ldac, train.labels.txt"),
        ("test.ldac", None, "holds no test.ldac; expected"),
    ],
)
def test_bad_counted_files(file, content, told, tmp_path, script, refused):
    raw, out = tmp_path / "raw", tmp_path / "out"
    counted_folder(raw, "newsgroups")
    path = raw / "20ng_miao2000" / file
    path.unlink() if content is None else path.write_bytes(content)
    assert told in refused(script("newsgroups", "--raw", raw, "--out", out), out)


def test_without_raw(tmp_path, script, refused):
    out = tmp_path / "out"
    line = refused(script("newsgroups", "--out", out), out)
    assert "pass --raw DIR; expected train.ldac" in line


# --- texts --------------------------------------------------------------------------------------

TEXTS = {  # script and options: folder, its parts, vocabulary
    "newsgroups --preprocessing raw": ("20ng_raw", ("train", "test"), False),
    "reuters8": ("r8", ("train", "test"), False),
    "bbc": ("bbc_news", ("train", "dev", "test"), True),
    "dblp": ("dblp", ("train", "dev", "test"), True),
}


def text_folder(place: Path, command: str) -> dict[str, list[dict[str, Any]]]:
    folder, parts, vocabulary = TEXTS[command]
    found = {}
    for part in parts:
        found[part] = []
        for n in range(20):
            row = {"id": f"{part}{n}", "label": "ab"[n % 2]}
            words = ["cat", "dog"][: n % 3]
            row |= {"tokens": words} if vocabulary else {"text": "\n".join(words)}
            if "raw" in command:
                row["subject"] = f"Re: {n}"
            found[part].append(row)
        suffix = ".jsonl.gz" if part == "train" else ".jsonl"
        text = "".join(json.dumps(row | {"unread": 1}) + "\n" for row in found[part])
        write(place / folder / f"{part}{suffix}", text)
    if vocabulary:
        write(place / folder / "vocab.txt", "".join(f"{word}\n" for word in WORDS))
    return found


@pytest.mark.parametrize("command", TEXTS)
def test_texts(command, tmp_path, script, check):
    raw, out = tmp_path / "raw", tmp_path / "out"
    expected = text_folder(raw, command)
    name, *options = command.split()
    done = script(name, *options, "--raw", raw, "--out", out)
    assert done.returncode == 0, done.stderr
    manifest = check(out)
    if "dev" not in expected:
        held = sorted(np.random.RandomState(1).permutation(20)[:2].tolist())
        train = expected["train"]
        expected["dev"] = [train[n] for n in held]
        expected["train"] = [row for n, row in enumerate(train) if n not in held]
    for part, found in expected.items():
        assert rows(out, part) == found
    assert manifest["files"]["test.jsonl"]["labels"] == {"a": 10, "b": 10}
    assert manifest["files"]["test.jsonl"]["empty"] == 7
    assert (out / "vocab.txt").exists() is TEXTS[command][2]
    if TEXTS[command][2]:
        train = BagFolder(out).open("train")
        assert train.words() == WORDS and train.read.outside == 0


def test_the_latest_posts_of_every_group_are_dev(script, tmp_path) -> None:
    """Numbers, not their spelling, and in whatever order the file has them."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    posts = [("b", n) for n in range(105, 95, -1)] + [("a", n) for n in range(20)]
    for part in ("train", "test"):
        text = "".join(
            json.dumps({"id": f"{g}/{n}", "label": g, "subject": "", "text": "x"}) + "\n"
            for g, n in posts
        )
        write(raw / "20ng_raw" / f"{part}.jsonl", text)
    done = script("newsgroups", "--preprocessing", "raw", "--raw", raw, "--out", out)
    assert done.returncode == 0, done.stderr
    assert [row["id"] for row in rows(out, "dev")] == ["b/105", "a/18", "a/19"]
    assert len(rows(out, "train")) == 27


def test_a_row_without_label(tmp_path, script, refused):
    raw, out = tmp_path / "raw", tmp_path / "out"
    text_folder(raw, "reuters8")
    write(raw / "r8" / "test.jsonl", '{"id": "x", "text": "a"}\n')
    line = refused(script("reuters8", "--raw", raw, "--out", out), out)
    assert "test.jsonl, line 1: has no 'label'; there are: id, text" in line


# --- the New Testament --------------------------------------------------------------------------

ENGLISH = "data/eng/targets/BSB/nt_BSB.tsv"
OTHERS = ("data/sources/SBLGNT.tsv", "data/eng/alignments/BSB/SBLGNT-BSB-manual.json")


def bible(place: Path, change: tuple[str, str] = ("", "")) -> Path:
    """Matthew, Mark and Revelation of 20 chapters each, of 3 verses: ``“Word 1, he said.``"""
    table = ["id\tsource_verse\ttext\tskip_space_after\texclude"]
    for book in (40, 41, 66):
        for chapter in range(1, 21):
            for verse in range(1, 4):
                words = [("“", "y"), (f"Word{book}", ""), (f"{verse}", "y"), (",", ""), ("he", "")]
                words += [("said", "y"), (".", "")]
                for n, (word, skip) in enumerate(words, start=1):
                    table.append(f"{book}{chapter:03}{verse:03}{n:03}\tv\t{word}\t{skip}\t")
    place.mkdir()
    path = place / "bible_alignments-0.4.2-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(ENGLISH, ("\n".join(table) + "\n").replace(*change))
        for name in OTHERS:
            archive.writestr(name, "not read")
    return path


def test_verses(tmp_path, script, check):
    out = tmp_path / "out"
    done = script("new_testament", "--raw", bible(tmp_path / "raw"), "--out", out)
    assert done.returncode == 0, done.stderr
    manifest = check(out)
    parts = {part: rows(out, part) for part in ("train", "dev", "test")}
    assert {part: len(found) for part, found in parts.items()} == {
        "train": 3 * 8,
        "dev": 3 * 26,
        "test": 3 * 26,
    }
    every = [row for found in parts.values() for row in found]
    assert len({row["id"] for row in every}) == 180
    row = next(row for row in every if row["id"] == "Mark 7:2")
    assert row == {"id": "Mark 7:2", "text": "“Word41 2, he said.", "label": "Mark"}
    assert {row["label"] for row in every} == {"Matthew", "Mark", "Revelation"}
    # A chapter is in one part, with all its verses.
    chapters = Counter(row["id"].partition(":")[0] for row in every)
    assert set(chapters.values()) == {3}
    for part, found in parts.items():
        names = {row["id"].partition(":")[0] for row in found}
        assert len(found) == 3 * len(names), part
    # As documented: the smallest sha256 of BBCCC.
    numbers = [f"{book}{chapter:03}" for book in (40, 41, 66) for chapter in range(1, 21)]
    numbers.sort(key=lambda number: hashlib.sha256(number.encode()).hexdigest())
    books = {"40": "Matthew", "41": "Mark", "66": "Revelation"}
    expected = {f"{books[number[:2]]} {int(number[2:])}" for number in numbers[:26]}
    assert {row["id"].partition(":")[0] for row in parts["test"]} == expected
    assert manifest["source"]["package"] == "bible-alignments==0.4.2"


def test_chapters(tmp_path, script, check):
    out, wheel = tmp_path / "out", bible(tmp_path / "raw")
    command = ["new_testament", "--out", out, "--raw", wheel.parent]
    assert script(*command).returncode == 0
    verses = {row["id"].partition(":")[0] for row in rows(out, "dev")}
    done = script(*command, "--unit", "chapter")  # in the place of the verses
    assert done.returncode == 0, done.stderr
    assert check(out)["request"] == {"unit": "chapter"}
    found = rows(out, "dev")
    assert {row["id"] for row in found} == verses, "the same split"
    name = found[0]["label"]
    word = {"Matthew": 40, "Mark": 41, "Revelation": 66}[name]
    assert found[0]["text"] == " ".join(f"“Word{word} {n}, he said." for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("40001001001", "39001001001"), "'39001001001' is not a word of the New Testament"),
        (("skip_space_after", "space"), "column 'skip_space_after' is missing"),
        (("\n66", "\n41"), "only 40 chapters; 52 are held out"),
    ],
)
def test_another_bible(change, told, tmp_path, script, refused):
    wheel, out = bible(tmp_path / "raw", change), tmp_path / "out"
    assert told in refused(script("new_testament", "--raw", wheel, "--out", out), out)


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="this Python has no pip")
def test_no_network(tmp_path, script, refused):
    out = tmp_path / "out"
    env = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": str(tmp_path)}
    line = refused(script("new_testament", "--out", out, env=env), out)
    assert "pip could not download bible-alignments==0.4.2" in line and "--raw WHEEL" in line


# --- the hub ------------------------------------------------------------------------------------


def hub(place: Path) -> Path:
    for part, number in (("train", 20), ("test", 3)):
        found = [{"text": "a\n" * (n % 3), "label": n, "label_text": "x.y"} for n in range(number)]
        write(place / f"{part}.jsonl", "".join(json.dumps(row) + "\n" for row in found))
    return place


@pytest.mark.parametrize("way", ["--raw", "--hub-id"])
def test_newsgroups_of_the_hub(way, tmp_path, script, check):
    if way == "--hub-id" and importlib.util.find_spec("datasets") is None:
        pytest.skip("the package `datasets` (extra latentnlp[hub]) is not installed")
    out = tmp_path / "out"
    done = script("newsgroups_hub", way, hub(tmp_path / "hub"), "--out", out, env=OFFLINE)
    assert done.returncode == 0, done.stderr
    files = check(out)["files"]
    assert [files[f"{part}.jsonl"]["lines"] for part in ("train", "dev", "test")] == [18, 2, 3]
    assert rows(out, "test")[2] == {"id": "20ng_test_00002", "text": "a\na\n", "label": "x.y"}
    assert "already complete" in script("newsgroups_hub", "--out", out).stdout


def test_another_set_of_the_hub(tmp_path, script, refused):
    raw, out = hub(tmp_path / "hub"), tmp_path / "out"
    write(raw / "test.jsonl", '{"text": "a", "label": 0}\n')
    line = refused(script("newsgroups_hub", "--raw", raw, "--out", out), out)
    assert "test.jsonl, line 1: has no text, or no label_text" in line


def test_hub_without_datasets(tmp_path, script, refused):
    (tmp_path / "datasets.py").write_text("raise ImportError('not here')\n")
    out = tmp_path / "out"
    line = refused(script("newsgroups_hub", "--out", out, env={"PYTHONPATH": str(tmp_path)}), out)
    assert "pip install 'latentnlp[hub]'" in line and "--raw DIR" in line


def test_hub_out_of_reach(tmp_path, script, refused):
    if importlib.util.find_spec("datasets") is None:
        pytest.skip("the package `datasets` (extra latentnlp[hub]) is not installed")
    out = tmp_path / "out"
    env = OFFLINE | {"HF_HOME": str(tmp_path)}
    line = refused(script("newsgroups_hub", "--out", out, env=env), out)
    assert "could not be read from the hub" in line and "--raw DIR" in line


# --- the real ones ------------------------------------------------------------------------------


@pytest.mark.corpora
@pytest.mark.skipif(not CORPORA.is_dir(), reason="no ../shared/data/documents beside the checkout")
@pytest.mark.parametrize(
    ("command", "parts", "mean", "classes"),
    [  # documents of train, dev, test; mean tokens of train and dev, of test
        ("newsgroups", (10143, 1125, 7505), (100.2, 96.1), 20),
        ("newsgroups --preprocessing prodlda1994", (10132, 1126, 7487), (88.1, 84.1), None),
        ("newsgroups --preprocessing etm3072", (11214, 100, 7531), (82.0, 78.9), None),
        ("newsgroups --preprocessing raw", (10184, 1130, 7532), (265.7, 256.4), 20),
        ("ap", (1820, 202, 224), (194.2, 192.3), None),
        ("reuters8", (4937, 548, 2189), (105.3, 95.1), 8),
        ("bbc", (1556, 334, 335), (120.6, 117.6), 5),
        ("dblp", (38215, 8190, 8190), (5.4, 5.4), 4),
    ],
)
def test_real_corpora(command, parts, mean, classes, tmp_path, script, check):
    out = tmp_path / "out"
    name, *options = command.split()
    done = script(name, *options, "--raw", CORPORA, "--out", out)
    assert done.returncode == 0, done.stderr
    files = check(out)["files"]
    facts = {name.partition(".")[0]: f for name, f in files.items() if "tokens" in f}
    assert tuple(facts[part]["lines"] for part in ("train", "dev", "test")) == parts
    tokens = facts["train"]["tokens"] + facts["dev"]["tokens"]
    assert tokens / sum(parts[:2]) == pytest.approx(mean[0], abs=0.06)
    assert facts["test"]["tokens"] / parts[2] == pytest.approx(mean[1], abs=0.06)
    labels = files.get("test.labels.txt", facts["test"]).get("labels")
    assert (len(labels) if labels else None) == classes
    if name == "newsgroups":
        assert sum(f["empty"] for f in facts.values()) == (34 if "raw" in options else 0)
