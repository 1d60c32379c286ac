"""The scripts that take raw files, on tiny folders and, where they are, on the real ones."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETS = {  # script: folder, languages, splits (stem of the text files)
    "hansards": (
        "en-fr-hansards",
        "en fr",
        {"train": "train", "test": "test.norm"},
    ),
    "ro_en": ("ro-en-wpt", "ro en", {"train": "train", "test": "test"}),
    "en_es": ("en-es-europarl", "en es", {"train": "train", "test": "test"}),
    "de_en": ("de-en-europarl", "de en", {"train": "train", "test": "test"}),
    "en_sv": ("en-sv-europarl", "en sv", {"train": "train", "dev": "dev", "test": "test"}),
    "zh_en": ("zh-en-tsinghua", "zh en", {"train": "train", "test": "test"}),
    "en_cs": ("en-cs-czenali", "en cs", {"dev": "dev", "test": "test"}),
}
CORPORA = ROOT.parent / "shared" / "data" / "alignment"


def raw_folder(place: Path, name: str) -> Path:
    folder, languages, stems = SETS[name]
    source, target = languages.split()
    (place / folder).mkdir(parents=True)
    for split, stem in stems.items():
        text = {source: "Eins zwei\nDrei\n", target: "one  two\nthree four\n"}
        for language, content in text.items():
            path = place / folder / f"{stem}.{language}"
            if split == "train":  # training text comes gzipped
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(content.encode()))
            else:
                path.write_text(content)
        if split != "train":
            (place / folder / f"{split}.gold").write_text("0-0 1p1\n\n")
    return place


@pytest.mark.parametrize("name", SETS)
def test_canonical_files(name, tmp_path, script, check_folder):
    folder, languages, stems = SETS[name]
    raw = raw_folder(tmp_path / "raw", name)
    out = tmp_path / "out"
    done = script(name, "--raw", raw, "--out", out)
    assert done.returncode == 0, done.stderr
    manifest = check_folder(out)
    source, target = languages.split()
    assert manifest["languages"] == [source, target]
    for split in stems:
        assert (out / f"{split}.{source}").read_text() == "Eins zwei\nDrei\n"
        assert (out / f"{split}.{target}").read_text() == "one two\nthree four\n"
        assert split == "train" or (out / f"{split}.gold").read_text() == "0-0 1p1\n\n"
    assert ("train.en" in manifest["files"]) == ("train" in stems)

    # The folder itself may be named too; and a second run finds its work done.
    again = script(name, "--raw", raw / folder, "--out", out)
    assert again.returncode == 0
    assert "already complete" in again.stdout
    other = tmp_path / "other"
    assert script(name, "--raw", raw / folder, "--out", other).returncode == 0
    assert check_folder(other)["files"] == manifest["files"]


def test_pairs_and_other_options(tmp_path, script, check_folder):
    raw, out = raw_folder(tmp_path / "raw", "hansards"), tmp_path / "out"
    assert script("hansards", "--raw", raw, "--out", out, "--pairs", 1).returncode == 0
    assert check_folder(out)["files"]["train.en"]["lines"] == 1
    assert script("hansards", "--raw", raw, "--out", out).returncode == 0
    assert check_folder(out)["files"]["train.en"]["lines"] == 2
    assert script("hansards", "--raw", raw, "--out", out, "--pairs", 0).returncode == 2


@pytest.mark.parametrize("name", SETS)
def test_without_raw_says_what_is_needed(name, tmp_path, script, refused):
    line = refused(script(name, "--out", tmp_path / "out"), tmp_path / "out")
    assert "--raw DIR" in line and "test.gold" in line and "--help" in line
    assert "--raw:" in script(name, "--help").stdout


def test_wrong_raw(tmp_path, script, refused):
    out = tmp_path / "out"
    assert "no such folder" in refused(script("ro_en", "--raw", tmp_path / "no", "--out", out), out)
    raw = raw_folder(tmp_path / "raw", "ro_en")
    (raw / "ro-en-wpt" / "test.gold").unlink()
    line = refused(script("ro_en", "--raw", raw, "--out", out), out)
    assert "holds no test.gold; expected train.ro, train.en" in line


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("test.en", b"one two\n", r"test\.ro 2, .*test\.en 1, .*test\.gold 2"),
        ("test.gold", b"0-0\n\n\n", r"test\.ro 2, .*test\.en 2, .*test\.gold 3"),
        ("test.gold", b"0-0\n0-9\n", r"test\.gold:2: link 0-9 points outside"),
        ("test.ro", b"ok ok\n\xff\n", r"test\.ro, line 2, byte 1: not valid UTF-8"),
        ("train.en.gz", b"plain", r"train\.en\.gz: damaged gzip"),
    ],
)
def test_bad_raw_files(file, content, told, tmp_path, script, refused):
    raw, out = raw_folder(tmp_path / "raw", "ro_en"), tmp_path / "out"
    (raw / "ro-en-wpt" / file).write_bytes(content)
    assert re.search(told, refused(script("ro_en", "--raw", raw, "--out", out), out))


def test_unwritable_place(tmp_path, script, refused):
    (tmp_path / "file").write_text("")
    raw = raw_folder(tmp_path / "raw", "ro_en")
    refused(script("ro_en", "--raw", raw, "--out", tmp_path / "file" / "out"))


def test_every_script_is_known_here():
    scripts = {path.stem for path in (ROOT / "data_prep").glob("[a-z]*.py")}
    documents = {"eraser_movies", "sst", "semeval_aste", "movie_reviews", "imdb", "vader_reviews"}
    topics = {"newsgroups", "newsgroups_hub", "ap", "reuters8", "bbc", "dblp", "new_testament"}
    hub = {"multi30k", "europarl", "opus", "wmt14", "iwslt"}
    assert scripts == {*SETS, "bible"} | hub | documents | topics


@pytest.mark.corpora
@pytest.mark.skipif(not CORPORA.is_dir(), reason="no ../shared/data/alignment beside the checkout")
@pytest.mark.parametrize(
    ("name", "train", "test", "sure", "possible"),
    [
        ("hansards", 228895, 447, 4038, 13400),
        ("ro_en", 16176, 248, 6198, 0),
        ("en_es", 5186, 200, 5920, 0),
        ("de_en", 12953, 100, 1232, 0),
        ("en_sv", 25286, 192, 3340, 0),
        ("zh_en", 21079, 450, 11238, 178),
        ("en_cs", None, 2000, 35571, 0),
    ],
)
def test_real_corpora(name, train, test, sure, possible, tmp_path, script, check_folder):
    out = tmp_path / "out"
    done = script(name, "--raw", CORPORA, "--out", out)
    assert done.returncode == 0, done.stderr
    files = check_folder(out)["files"]
    gold = files["test.gold"]
    assert (gold["lines"], gold["sure"], gold["possible"]) == (test, sure, possible)
    assert files.get("train.en", {}).get("lines") == train
