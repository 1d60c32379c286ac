"""The scripts that write documents, on tiny raw files and, where they are, on the real ones."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from latentnlp.data.documents import Document, read_documents
from latentnlp.data.eraser import write_eraser_documents

ROOT = Path(__file__).parents[2]
CORPORA = ROOT.parent / "shared" / "data" / "rationale"
SPLITS = ("train", "dev", "test")


def dump(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)


def loaded(folder: Path, split: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"{split}.jsonl").open(encoding="utf-8")]


# --- sets that come as JSON Lines ---------------------------------------------------------------

ASTE = {"domain": "14lap", "tokens": ["a", "good", "battery"], "aspect": [2, 3]}
RAW: dict[str, tuple[str, list[dict[str, Any]]]] = {  # script: folder, rows of each split
    "sst": ("sst", [{"tokens": ["w", "x"], "label": n, "phrases": [[0, 1, 2]]} for n in range(5)]),
    "movie_reviews": ("mr", [{"tokens": ["w"], "label": c} for c in ("positive", "negative")]),
    "eraser_movies": (
        "eraser_movies",
        [
            {"tokens": ["a", "b", "."], "label": "POS", "rationale": [[0, 2], [1, 3]]}
            | {"sentence_starts": [0]},
            {"tokens": ["c"], "label": "NEG", "rationale": [], "sentence_starts": [0]},
        ],
    ),
    "semeval_aste": (
        "semeval_aste",
        [
            ASTE | {"label": "positive", "rationale": [[1, 2]]},
            ASTE | {"domain": "15res", "label": "negative", "rationale": [[0, 1]]},
        ],
    ),
}
OPTIONS = {"semeval_aste": ["--domain", "14lap"]}


def raw_folder(place: Path, name: str) -> Path:
    folder, rows = RAW[name]
    for split in SPLITS:
        suffix = ".jsonl.gz" if split == "train" else ".jsonl"
        named = [{"id": f"{split}{n}"} | row for n, row in enumerate(rows)]
        dump(place / folder / f"{split}{suffix}", named)
    return place


@pytest.mark.parametrize("name", RAW)
def test_canonical_folder(name, tmp_path, script, check_folder):
    raw, out = raw_folder(tmp_path / "raw", name), tmp_path / "out"
    command = [name, *OPTIONS.get(name, []), "--out", out]
    done = script(*command, "--raw", raw)
    assert done.returncode == 0, done.stderr
    manifest = check_folder(out)
    parts = [*SPLITS, "phrases"] if name == "sst" else SPLITS
    assert set(manifest["files"]) == {f"{part}.jsonl" for part in parts}
    assert set(manifest["source"]["raw"]) == {"train.jsonl.gz", "dev.jsonl", "test.jsonl"}
    assert manifest["licence"] and manifest["notes"]["rationale"]
    # What is written is what was there, without the keys that no one reads.
    kept = [row for row in RAW[name][1] if row.get("domain", "14lap") == "14lap"]
    for split in SPLITS:
        documents = read_documents(out / f"{split}.jsonl")
        for n, (document, row) in enumerate(zip(documents, kept, strict=True)):
            assert document.id == f"{split}{n}" and list(document.tokens) == row["tokens"]
            assert document.label == str(row["label"])
            assert document.rationale == as_tuples(row.get("rationale"))
            assert document.sentence_starts == as_tuples(row.get("sentence_starts"))
            assert document.aspect == as_tuples(row.get("aspect"))
        assert not {"phrases", "domain"} & set().union(*loaded(out, split))

    again = script(*command)  # --raw is not needed any more
    assert again.returncode == 0 and "already complete" in again.stdout
    other = tmp_path / "other"
    assert script(*command[:-1], other, "--raw", raw / RAW[name][0]).returncode == 0
    assert check_folder(other)["files"] == manifest["files"]


def as_tuples(value: Any) -> Any:
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value


def test_counts_in_the_manifest(tmp_path, script, check_folder):
    raw, out = raw_folder(tmp_path / "raw", "eraser_movies"), tmp_path / "out"
    assert script("eraser_movies", "--raw", raw, "--out", out).returncode == 0
    facts = check_folder(out)["files"]["train.jsonl"]
    assert facts.pop("sha256")
    assert facts == {
        "lines": 2,
        "tokens": 4,
        "labels": {"NEG": 1, "POS": 1},
        "rationale_lines": 2,
        "rationale_tokens": 3,  # the union of two spans that overlap
        "rationale_share": 0.5,  # of all of one document and nothing of the other
    }


def test_sst_in_two_classes(tmp_path, script, check_folder):
    raw, out = raw_folder(tmp_path / "raw", "sst"), tmp_path / "out"
    done = script("sst", "--raw", raw, "--out", out, "--task", "sst2")
    assert done.returncode == 0, done.stderr
    labels = {row["id"]: row["label"] for row in loaded(out, "dev")}
    assert labels == {
        "dev0": "negative",
        "dev1": "negative",
        "dev3": "positive",
        "dev4": "positive",
    }
    # The same folder for the other task is prepared again.
    assert script("sst", "--raw", raw, "--out", out).returncode == 0
    assert check_folder(out)["files"]["dev.jsonl"]["labels"] == dict.fromkeys("01234", 1)


def sst_with_phrases(place: Path, train: list[dict[str, Any]]) -> Path:
    raw = raw_folder(place, "sst")
    (raw / "sst" / "train.jsonl.gz").unlink()
    dump(raw / "sst" / "train.jsonl", train)
    return raw


def test_phrases_of_sst(tmp_path, script, check_folder):
    """Of train only, each text once with each label, without sentences of dev and test ("w x")."""
    one, two = [[0, 1, 3], [1, 2, 2], [0, 2, 3]], [[0, 1, 4], [1, 2, 2], [2, 3, 0], [1, 3, 1]]
    rows = [
        {"id": "a", "tokens": ["good", "W"], "label": 3, "phrases": one},
        {"id": "b", "tokens": ["good", "W", "X"], "label": 2, "phrases": two},
    ]
    raw, out = sst_with_phrases(tmp_path / "raw", rows), tmp_path / "out"
    found = {}
    for task in ("sst5", "sst2"):
        done = script("sst", "--raw", raw, "--out", out, "--task", task)
        assert done.returncode == 0, done.stderr
        assert "phrases.jsonl" in check_folder(out)["files"]
        found[task] = [
            (row["id"], " ".join(row["tokens"]), row["label"]) for row in loaded(out, "phrases")
        ]
    assert found["sst5"] == [
        ("a_0_1", "good", "3"),
        ("a_1_2", "W", "2"),
        ("a_0_2", "good W", "3"),
        ("b_0_1", "good", "4"),
        ("b_2_3", "X", "0"),
    ]
    assert found["sst2"] == [
        ("a_0_1", "good", "positive"),  # 3 and 4 are one class here
        ("a_0_2", "good W", "positive"),
        ("b_2_3", "X", "negative"),
    ]


@pytest.mark.parametrize("phrase", [[0, 3, 2], [1, 1, 2], [0, 1, 5], [0, 1], "w"])
def test_wrong_phrases_of_sst(phrase, tmp_path, script, refused):
    rows = [*RAW["sst"][1][:1], {"tokens": ["w", "x"], "label": 1, "phrases": [phrase]}]
    raw, out = sst_with_phrases(tmp_path / "raw", rows), tmp_path / "out"
    line = refused(script("sst", "--raw", raw, "--out", out), out)
    assert f"train.jsonl, line 2: the phrase {phrase!r} is not [start, end, grade]" in line


def test_one_domain_a_folder(tmp_path, script, refused):
    raw, out = raw_folder(tmp_path / "raw", "semeval_aste"), tmp_path / "out"
    done = script("semeval_aste", "--raw", raw, "--out", out, "--domain", "15res")
    assert done.returncode == 0, done.stderr
    assert [row["id"] for row in loaded(out, "test")] == ["test1"]
    line = refused(
        script("semeval_aste", "--raw", raw, "--out", tmp_path / "o", "--domain", "16res"),
        tmp_path / "o",
    )
    assert "the train split is empty" in line
    assert script("semeval_aste", "--raw", raw, "--out", tmp_path / "o").returncode == 2


def test_release_of_eraser(tmp_path, script, check_folder):
    """docs/ and val.jsonl give the same files as the canonical form."""
    raw = raw_folder(tmp_path / "raw", "eraser_movies")
    release = tmp_path / "release" / "movies"
    for split, theirs in (("train", "train"), ("dev", "val"), ("test", "test")):
        path = raw / "eraser_movies" / f"{split}.jsonl"
        path = path if path.exists() else path.with_name(path.name + ".gz")
        write_eraser_documents(release, theirs, read_documents(path))
    outs = [tmp_path / "one", tmp_path / "two", tmp_path / "three"]
    for place, out in zip((raw, release, release.parent), outs, strict=True):
        done = script("eraser_movies", "--raw", place, "--out", out)
        assert done.returncode == 0, done.stderr
    files = [check_folder(out)["files"] for out in outs]
    assert files[0] == files[1] == files[2]


@pytest.mark.parametrize("name", RAW)
def test_without_raw_says_what_is_needed(name, tmp_path, script, refused):
    command = [name, *OPTIONS.get(name, []), "--out", tmp_path / "out"]
    line = refused(script(*command), tmp_path / "out")
    assert "--raw DIR" in line and "test.jsonl" in line and "--help" in line
    assert "--raw:" in script(name, "--help").stdout
    assert "no such folder" in refused(script(*command, "--raw", tmp_path / "no"))


BAD = {
    b"{": "dev.jsonl, line 3: not JSON",
    b"\xff": "dev.jsonl, line 3, byte 1: not valid UTF-8",
    b'{"domain":"14lap","tokens":[],"label":"positive","aspect":[0,1]}': "line 3: the document has",
    b'{"domain":"14lap","tokens":["a"],"aspect":[0,1]}': "line 3: has no column or key 'label'",
    b'{"domain":"14lap","tokens":["a"],"label":"positive"}': "line 3: has no 'aspect'",
    b'{"domain":"14lap","tokens":["a"],"label":"positive","aspect":[0,2]}': "line 3: span [0, 2)",
    b'{"domain":"14lap","tokens":["a"],"label":null,"aspect":[0,1]}': "line 3: the label",
    b'{"domain":"14lap","tokens":["a"],"label":"good","aspect":[0,1]}': "'good' is not among the",
    b'{"domain":"14lap","tokens":["a"],"label":2,"aspect":[0,1]}': "line 3: the label 2 and",
}


@pytest.mark.parametrize(("row", "told"), BAD.items())
def test_bad_raw_files(row, told, tmp_path, script, refused):
    raw, out = raw_folder(tmp_path / "raw", "semeval_aste"), tmp_path / "out"
    with (raw / "semeval_aste" / "dev.jsonl").open("ab") as file:
        file.write(row + b"\n")
    command = ["semeval_aste", "--domain", "14lap", "--raw", raw, "--out", out]
    assert told in refused(script(*command), out)


def test_empty_raw_file(tmp_path, script, refused):
    raw, out = raw_folder(tmp_path / "raw", "sst"), tmp_path / "out"
    (raw / "sst" / "test.jsonl").write_text("")
    line = refused(script("sst", "--raw", raw, "--out", out), out)
    assert "test.jsonl: holds no document" in line
    dump(raw / "sst" / "test.jsonl", [{"tokens": ["a"], "label": 5}])
    assert "'5' is not among the classes" in refused(script("sst", "--raw", raw, "--out", out), out)


@pytest.mark.skipif(os.name != "posix", reason="kills a process with SIGKILL")
def test_killed_run_leaves_nothing(tmp_path, common):
    out = tmp_path / "toy"
    program = f"""
import sys, time
sys.path[:0] = [{str(ROOT / "data_prep")!r}, {str(ROOT)!r}]
from pathlib import Path
from _common import write_corpus
from _documents import DocumentCorpus
from latentnlp.data.documents import Document
def documents():
    yield Document("a", ("x",), "pos")
    print("started", flush=True)
    time.sleep(60)
splits = {{"train": documents()}}
write_corpus(Path({str(out)!r}), DocumentCorpus("toy", ("en",), {{}}, "none", splits))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b"started\n"
        process.send_signal(signal.SIGKILL)
    assert not out.exists()
    assert not common.already_complete(out, "toy", {})


def test_amounts_in_the_manifest(tmp_path, common, check_folder):
    from _documents import DocumentCorpus

    documents = [Document(str(n), ("x",), amount) for n, amount in enumerate((-1.0, 0.5, 2.0))]
    corpus = DocumentCorpus("toy", ("en",), {}, "none", {"train": documents})
    common.write_corpus(tmp_path / "toy", corpus)
    facts = check_folder(tmp_path / "toy")["files"]["train.jsonl"]
    assert facts["labels"] == {"min": -1.0, "mean": 0.5, "max": 2.0}
    assert "rationale_share" not in facts


# --- vader_reviews ------------------------------------------------------------------------------

INNER = "hutto_ICWSM_2014"
SNIPPETS = f"{INNER}/movieReviewSnippets_GroundTruth.txt"
LEXICON = f"{INNER}/vader_sentiment_lexicon.txt"
ARCHIVE = f"{INNER}.tar.gz"
SDIST = "vaderSentiment-0.5.zip"
LEXICON_TEXT = (
    b"great\t3.1\t0.7\t[3, 3]\r\nfun\t2.3\t0.8\t[2]\r\ndull\t-1.7\t0.6\t[-2]\r\n"
    b"meh\t-0.3\t0.5\t[0]\r\nX\xde\t1.9\t0.8\t[2]\r\n"
)


def vader_content() -> dict[str, bytes]:
    """60 texts, each twice in other case and punctuation, three that are unclear, one unmarked."""
    rows = [("0.49", "Unclear great"), ("-0.4", "unclear"), ("0", "neither")]
    for n in range(60):
        rows.append(("1.5", f"A GREAT fun film &amp; clich\u00e9 {n}, isn't it"))
        rows.append(("-0.5", f"a great fun film & clich\u00e9 {n} isn't it..."))
    rows.append(("-2.25", "meh and no more"))
    text = "".join(f"{n}\t{mean}\t{text}\r\n" for n, (mean, text) in enumerate(rows, start=1))
    return {SNIPPETS: text.encode(), LEXICON: LEXICON_TEXT}


def archive(files: dict[str, bytes]) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return data.getvalue()


BACKEND = """
from pathlib import Path
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    info = Path(folder) / "vaderSentiment-0.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\\nName: vaderSentiment\\nVersion: 0.5\\n"
        "Requires-Python: <3.0\\nRequires-Dist: no-such-package\\n")
    return info.name
def build_wheel(folder, config_settings=None, metadata_directory=None):
    raise SystemExit("nothing is to be built")
"""
BUILD = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


def sdist(folder: Path, inner: bytes) -> Path:
    """A source distribution that pip accepts without an index: it needs nothing to be read."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "Metadata-Version: 1.1\nName: vaderSentiment\nVersion: 0.5\n"
    with zipfile.ZipFile(folder / SDIST, "w") as file:
        for path, content in {
            "PKG-INFO": name.encode(),
            "pyproject.toml": BUILD.encode(),
            "backend.py": BACKEND.encode(),
            f"additional_resources/{ARCHIVE}": inner,
        }.items():
            file.writestr(f"vaderSentiment-0.5/{path}", content)
    return folder / SDIST


@pytest.fixture
def prepared(tmp_path, script) -> Path:
    out = tmp_path / "out"
    raw = sdist(tmp_path / "raw", archive(vader_content()))
    done = script("vader_reviews", "--raw", raw, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def all_rows(folder: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for split in SPLITS for row in loaded(folder, split)}


def test_vader_labels_and_silver_words(prepared, check_folder):
    manifest = check_folder(prepared)
    assert manifest["notes"]["rationale"].startswith("silver: ")
    assert manifest["licence"] == "MIT" and "sha256" in manifest["source"]["file"]
    rows = all_rows(prepared)
    assert len(rows) == 121 and not {"vader_1", "vader_2", "vader_3"} & set(rows)
    assert rows["vader_4"] == {
        "id": "vader_4",
        "tokens": ["A", "GREAT", "fun", "film", "&", "clich\u00e9", "0", ",", "is", "n't", "it"],
        "label": "positive",
        "rationale": [[1, 3]],  # two strong words in a row are one span
    }
    assert rows["vader_5"]["label"] == "negative"  # the margin itself counts
    assert rows["vader_124"]["label"] == "negative"
    assert "rationale" not in rows["vader_124"]  # "meh" is too weak; not annotated


def test_vader_copies_stay_together(prepared):
    where = {row["id"]: split for split in SPLITS for row in loaded(prepared, split)}
    for n in range(4, 124, 2):
        assert where[f"vader_{n}"] == where[f"vader_{n + 1}"]
    assert set(where.values()) == set(SPLITS)


def test_vader_split_depends_on_the_text_alone(prepared, tmp_path, script):
    files = vader_content()
    lines = files[SNIPPETS].splitlines(keepends=True)
    out = tmp_path / "less"
    raw = sdist(tmp_path / "raw2", archive(files | {SNIPPETS: b"".join(lines[40:])}))
    assert script("vader_reviews", "--raw", raw, "--out", out).returncode == 0
    for split in SPLITS:
        kept = [row["id"] for row in loaded(prepared, split) if int(row["id"][6:]) > 40]
        assert kept == [row["id"] for row in loaded(out, split)]


def test_vader_regression(prepared, tmp_path, script, check_folder):
    raw, out = tmp_path / "raw", tmp_path / "amounts"
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / ARCHIVE).write_bytes(archive(vader_content()))
    for place in (raw, tmp_path / "only", tmp_path / "only" / ARCHIVE):
        done = script("vader_reviews", "--raw", place, "--out", out, "--task", "regression")
        assert done.returncode == 0, done.stderr
    rows = all_rows(out)
    assert len(rows) == 124 and rows["vader_1"]["label"] == 0.49 and rows["vader_3"]["label"] == 0
    assert {type(row["label"]) for row in rows.values()} == {float}
    assert check_folder(out)["files"]["train.jsonl"]["labels"]["max"] == 1.5
    assert read_documents(out / "dev.jsonl")[0].label in (1.5, -0.5)
    # Another task is another request: the folder of the first is prepared again.
    done = script("vader_reviews", "--raw", raw, "--out", prepared, "--task", "regression")
    assert "other options" in done.stdout and len(all_rows(prepared)) == 124


needs_pip = pytest.mark.skipif(
    importlib.util.find_spec("pip") is None, reason="this Python has no pip"
)


@needs_pip
def test_vader_through_pip(tmp_path, script, check_folder):
    """pip finds the source distribution in a local folder; its requirements are ignored."""
    place = sdist(tmp_path / "index", archive(vader_content())).parent
    out = tmp_path / "out"
    done = script(
        "vader_reviews", "--out", out, env=without_index() | {"PIP_FIND_LINKS": str(place)}
    )
    assert done.returncode == 0, done.stderr
    assert check_folder(out)["source"]["file"]["name"] == SDIST
    again = script("vader_reviews", "--out", out, env=without_index())
    assert again.returncode == 0 and "already complete" in again.stdout


@needs_pip
def test_pip_fails(tmp_path, script, refused):
    env = without_index() | {"PIP_FIND_LINKS": str(tmp_path)}
    line = refused(script("vader_reviews", "--out", tmp_path / "out", env=env), tmp_path / "out")
    assert "pip could not download vaderSentiment==0.5 (is there a network" in line
    assert "No matching distribution" in line and "--raw FILE_OR_FOLDER" in line


def without_index() -> dict[str, str]:
    return {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}


def linked() -> bytes:
    """The snippets as a link to a file outside the archive."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        member = tarfile.TarInfo(SNIPPETS)
        member.type, member.linkname = tarfile.SYMTYPE, "../../../../etc/hostname"
        tar.addfile(member)
    return data.getvalue()


def changed(name: str, content: bytes) -> bytes:
    return archive(vader_content() | {name: content})


@pytest.mark.parametrize(
    ("inner", "told"),
    [
        (b"no archive", "not the source distribution of vaderSentiment==0.5"),
        (archive({SNIPPETS: b""}), "not the source distribution"),
        (linked(), f"({SNIPPETS} is not a plain file)"),
        (archive(vader_content())[:-60], "not the source distribution"),
        (changed(SNIPPETS, b"1\t2\tok\n2\t5\tno\n"), f"{SNIPPETS}:2: '5' is not a rating"),
        (changed(SNIPPETS, b"1\tnan\tok\n"), f"{SNIPPETS}:1: 'nan' is not a rating"),
        (changed(SNIPPETS, b"1\t2\n"), f"{SNIPPETS}:1: 2 columns, expected 3"),
        (changed(SNIPPETS, b"1\t2\t \n"), f"{SNIPPETS}:1: the snippet has no text"),
        (changed(SNIPPETS, b"1\t2\tok\n2\t2\t\xff\n"), f"{SNIPPETS}:2: not UTF-8"),
        (changed(LEXICON, b"good\tx\n"), f"{LEXICON}:1: 'x' is not a rating"),
        (changed(LEXICON, b"good\n"), f"{LEXICON}:1: 1 columns, expected 2"),
    ],
)
def test_damaged_vader(inner, told, tmp_path, script, refused):
    raw, out = sdist(tmp_path / "raw", inner), tmp_path / "out"
    assert told in refused(script("vader_reviews", "--raw", raw, "--out", out), out)


def test_wrong_vader_raw(tmp_path, script, refused):
    (tmp_path / "text").write_text("hello")
    for raw, told in (
        ("nowhere", "no such file or folder"),
        ("text", "not the source distribution"),
        ("", f"holds neither {SDIST} nor {ARCHIVE}"),
    ):
        line = refused(script("vader_reviews", "--raw", tmp_path / raw, "--out", tmp_path / "out"))
        assert told in line and "--raw FILE_OR_FOLDER" in line


# --- imdb ---------------------------------------------------------------------------------------

needs_datasets = pytest.mark.skipif(
    importlib.util.find_spec("datasets") is None,
    reason="the package `datasets` (extra latentnlp[hub]) is not installed",
)
OFFLINE = {"HF_HUB_OFFLINE": "1"}


def review(n: int) -> str:
    return f"Review {n // 2}.<br /><br />It isn't &quot;bad&quot;" + ("!" if n % 2 else "")


@pytest.fixture
def acl_imdb(tmp_path) -> Path:
    """200 reviews to train on, two of each text, and four to test on."""
    for split, count in (("train", 100), ("test", 2)):
        for label in ("neg", "pos"):
            folder = tmp_path / "raw" / "aclImdb" / split / label
            folder.mkdir(parents=True)
            for n in range(count):
                (folder / f"{n}_7.txt").write_text(review(n + 1000 * (label == "pos")))
    return tmp_path / "raw"


def test_imdb_from_its_archive(acl_imdb, tmp_path, script, check_folder):
    outs = [tmp_path / "a", tmp_path / "b", tmp_path / "c"]
    for out, options in zip(outs, ([], ["--seed", 0], ["--seed", 1]), strict=True):
        done = script("imdb", "--raw", acl_imdb, "--out", out, *options)
        assert done.returncode == 0, done.stderr
    first, same, other = (check_folder(out)["files"] for out in outs)
    assert first == same != other
    train, dev, test = (loaded(outs[0], split) for split in SPLITS)
    assert len(train) + len(dev) == 200 and 5 <= len(dev) <= 40 and len(test) == 4
    words = [{" ".join(row["tokens"]).rstrip(" !") for row in part} for part in (train, dev)]
    assert not words[0] & words[1]  # copies stay together
    assert {row["label"] for row in train[:20]} == {"pos", "neg"}  # not sorted by label
    row = next(row for row in train if row["id"].startswith("imdb_train_neg_"))
    assert row["tokens"][2:9] == [".", "It", "is", "n't", '"', "bad", '"']
    assert row["sentence_starts"] == [0, 3]


def test_wrong_imdb_raw(tmp_path, script, refused):
    line = refused(script("imdb", "--raw", tmp_path, "--out", tmp_path / "o"), tmp_path / "o")
    assert "holds no folder train/neg" in line


@needs_datasets
def test_imdb_from_the_hub(tmp_path, script, check_folder, refused):
    hub, out = tmp_path / "hub", tmp_path / "out"
    rows = [{"text": review(n), "label": n // 60} for n in range(120)]
    dump(hub / "train.jsonl", rows)
    dump(hub / "test.jsonl", rows[58:62])
    done = script("imdb", "--hub-id", hub, "--out", out, env=OFFLINE)
    assert done.returncode == 0, done.stderr
    assert check_folder(out)["files"]["test.jsonl"]["labels"] == {"neg": 2, "pos": 2}
    assert {row["id"] for row in loaded(out, "test")} == {f"imdb_test_0000{n}" for n in range(4)}
    assert sum(len(loaded(out, split)) for split in ("train", "dev")) == 120

    dump(hub / "test.jsonl", [{"text": "unlabelled", "label": -1}])
    other = tmp_path / "other"
    line = refused(script("imdb", "--hub-id", hub, "--out", other, env=OFFLINE), other)
    assert "row 0 of test has no text, or a label that is neither 0 nor 1" in line
    (hub / "test.jsonl").unlink()
    line = refused(script("imdb", "--hub-id", hub, "--out", other, env=OFFLINE), other)
    assert "but no test" in line and "--raw DIR" in line
    line = refused(script("imdb", "--out", other, env=OFFLINE), other)
    assert "could not be read from the hub" in line and "aclImdb/" in line


def test_imdb_without_datasets(tmp_path, script, refused):
    (tmp_path / "datasets.py").write_text("raise ImportError('not here')\n")
    env = {"PYTHONPATH": str(tmp_path)}
    line = refused(script("imdb", "--out", tmp_path / "out", env=env), tmp_path / "out")
    assert "pip install 'latentnlp[hub]'" in line and "aclImdb/" in line


# --- the real ones ------------------------------------------------------------------------------


@pytest.mark.corpora
@pytest.mark.skipif(not CORPORA.is_dir(), reason="no ../shared/data/rationale beside the checkout")
@pytest.mark.parametrize(
    ("command", "counts", "shares"),
    [
        ("eraser_movies", (1600, 200, 199), (0.093, 0.072, 0.314)),
        ("sst --task sst5", (8544, 1101, 2210), None),
        ("sst --task sst2", (6920, 872, 1821), None),
        ("movie_reviews", (8530, 1066, 1066), None),
        ("semeval_aste --domain 14lap", (1281, 296, 463), (0.091, 0.093, 0.105)),
        ("semeval_aste --domain 14res", (2051, 500, 848), (0.092, 0.093, 0.09)),
        ("semeval_aste --domain 15res", (862, 213, 432), (0.112, 0.117, 0.116)),
        ("semeval_aste --domain 16res", (1198, 296, 452), (0.113, 0.117, 0.12)),
    ],
)
def test_real_corpora(command, counts, shares, tmp_path, script, check_folder):
    out = tmp_path / "out"
    done = script(*command.split(), "--raw", CORPORA, "--out", out)
    assert done.returncode == 0, done.stderr
    files = check_folder(out)["files"]
    assert tuple(files[f"{split}.jsonl"]["lines"] for split in SPLITS) == counts
    found = tuple(files[f"{split}.jsonl"].get("rationale_share") for split in SPLITS)
    assert shares is None or found == pytest.approx(shares, abs=6e-4)
