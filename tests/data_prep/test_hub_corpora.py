"""The scripts that read the Hugging Face hub, on local folders in the layout of the hub sets."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

needs_datasets = pytest.mark.skipif(
    importlib.util.find_spec("datasets") is None,
    reason="the package `datasets` (extra latentnlp[hub]) is not installed",
)
OFFLINE = {"HF_HUB_OFFLINE": "1"}


def json_lines(folder: Path, **splits: list) -> Path:
    folder.mkdir()
    for split, rows in splits.items():
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def multi30k(tmp_path) -> Path:
    """Columns en and de, splits train, validation (in val.jsonl) and test."""
    rows = [{"en": f"Two men, {n}.", "de": f"Zwei Männer {n}!"} for n in range(4)]
    return json_lines(tmp_path / "hub", train=rows, val=rows[:2], test=rows[:1])


@needs_datasets
def test_columns_and_tokenisation(multi30k, tmp_path, script, check_folder):
    out = tmp_path / "out"
    command = ["multi30k", "--hub-id", multi30k, "--out", out, "--pair", "de-en", "--pairs", 3]
    done = script(*command, env=OFFLINE)
    assert done.returncode == 0, done.stderr
    manifest = check_folder(out)
    assert (out / "train.de").read_text().splitlines()[0] == "Zwei Männer 0 !"
    assert (out / "train.en").read_text().splitlines()[2] == "Two men , 2 ."
    lines = {name: facts["lines"] for name, facts in manifest["files"].items()}
    assert lines["train.en"] == 3 and lines["dev.en"] == 2 and lines["test.en"] == 1
    assert "already complete" in script(*command).stdout


@needs_datasets
@pytest.mark.parametrize("name", ["europarl", "opus", "wmt14", "iwslt"])
def test_translation_column(name, tmp_path, script, check_folder):
    rows = [{"translation": {"en": "Yes,\nsir.", "fr": "Oui."}}]
    hub, out = json_lines(tmp_path / "hub", train=rows), tmp_path / "out"
    done = script(name, "--hub-id", hub, "--out", out, "--pair", "fr-en", env=OFFLINE)
    assert done.returncode == 0, done.stderr
    assert check_folder(out)["languages"] == ["fr", "en"]
    assert (out / "train.en").read_text() == "Yes , sir .\n"
    assert (out / "train.fr").read_text() == "Oui .\n"


@needs_datasets
def test_configuration_of_the_pair(tmp_path, script, check_folder):
    """A clone of a hub set names one configuration a pair, its languages in alphabetical order."""
    hub, out = json_lines(tmp_path / "hub"), tmp_path / "out"
    for pair, text in (("de-en", "Ja"), ("en-fr", "Oui")):
        other = pair.replace("en", "").strip("-")
        json_lines(hub / pair, train=[{"translation": {"en": "Yes", other: text}}])
    configuration = "- config_name: {0}\n  data_files: {0}/train.jsonl\n".format
    known = "".join(map(configuration, ("de-en", "en-fr")))
    (hub / "README.md").write_text(f"---\nconfigs:\n{known}---\n")
    done = script("europarl", "--hub-id", hub, "--out", out, "--pair", "fr-en", env=OFFLINE)
    assert done.returncode == 0, done.stderr
    assert (out / "train.fr").read_text() == "Oui\n"


@needs_datasets
def test_english_comes_last(tmp_path, script, check_folder):
    """WMT's configurations end in "en", whichever language comes first in the alphabet."""
    hub, out = json_lines(tmp_path / "hub"), tmp_path / "out"
    for other, text in (("fr", "Oui !"), ("de", "Ja!")):
        row = {"translation": {"en": "Yes!", other: text}}
        json_lines(hub / f"{other}-en", train=[row], validation=[row], test=[row])
    configuration = (
        "- config_name: {0}\n  data_files:\n" + "".join(
            f"  - split: {part}\n    path: {{0}}/{part}.jsonl\n"
            for part in ("train", "validation", "test")
        )
    ).format  # fmt: skip
    (hub / "README.md").write_text(
        f"---\nconfigs:\n{''.join(map(configuration, ('fr-en', 'de-en')))}---\n"
    )
    done = script("wmt14", "--hub-id", hub, "--out", out, "--pair", "en-fr", env=OFFLINE)
    assert done.returncode == 0, done.stderr
    manifest = check_folder(out)
    assert manifest["name"] == "wmt14-en-fr" and "dev.fr" in manifest["files"]
    assert (out / "test.fr").read_text() == "Oui !\n" and (out / "dev.en").read_text() == "Yes !\n"


@needs_datasets
def test_revision_is_that_of_the_set_on_the_hub(monkeypatch, tmp_path, hub):
    """Of IWSLT the conversion to Parquet is asked for; of a folder of one's own none is."""
    import datasets
    import iwslt

    asked = []
    row = {"translation": {"de": "Ja!", "en": "Yes!"}}

    def load_dataset(*arguments, **options):
        asked.append((*arguments, options.get("revision")))
        return {"train": [row]}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = hub.hub_splits(iwslt.HUB, iwslt.HUB.hub_id, ("de", "en"))
    assert list(found["train"]) == [(["Ja", "!"], ["Yes", "!"], None)]
    list(hub.hub_splits(iwslt.HUB, "somebody/else", ("en", "de"))["train"])
    assert asked == [
        ("bbaaaa/iwslt14-de-en", "de-en", "refs/convert/parquet"),
        ("somebody/else", "de-en", None),
    ]


@pytest.fixture
def hub(monkeypatch):
    """The module data_prep/_hub.py, and its neighbours importable."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "data_prep"))
    import _hub

    return _hub


@needs_datasets
def test_unreachable_and_unfit(multi30k, tmp_path, script, refused):
    out = tmp_path / "out"
    line = refused(script("opus", "--out", out, "--pair", "en-fr", env=OFFLINE), out)
    assert "could not be read from the hub" in line
    assert "--raw DIR with files train.en and train.fr" in line
    command = ["multi30k", "--hub-id", multi30k, "--out", out, "--pair", "en-fr"]
    assert "has no 'fr' text, only ['de', 'en']" in refused(script(*command, env=OFFLINE), out)


def test_missing_package(tmp_path, script, refused):
    (tmp_path / "datasets.py").write_text("raise ImportError('not here')\n")
    env = {"PYTHONPATH": str(tmp_path)}
    line = refused(script("europarl", "--out", tmp_path / "out", "--pair", "en-fr", env=env))
    assert "pip install 'latentnlp[hub]'" in line and "--raw DIR" in line


@pytest.fixture
def plain(tmp_path) -> Path:
    raw = tmp_path / "raw"
    raw.mkdir()
    for split in ("train", "dev"):
        (raw / f"{split}.en").write_text("Hello, you!\nYes .\n")
        (raw / f"{split}.zh").write_text("你 好 !\n是 。\n")
    (raw / "test.en").write_text("no partner\n")
    return raw


def test_plain_files(plain, tmp_path, script, check_folder, refused):
    out = tmp_path / "out"
    command = ["opus", "--raw", plain, "--out", out, "--pair", "en-zh"]
    assert script(*command).returncode == 0
    assert set(check_folder(out)["files"]) == {"train.en", "train.zh", "dev.en", "dev.zh"}
    assert (out / "train.en").read_text() == "Hello, you!\nYes .\n"
    line = refused(script(*command[:4], tmp_path / "other", *command[5:], "--tokenize"))
    assert "zh is written without spaces" in line

    for file in plain.glob("*.zh"):
        file.rename(file.with_suffix(".de"))
    de = ["opus", "--raw", plain, "--out", tmp_path / "de", "--pair", "en-de"]
    assert script(*de, "--tokenize", "--pairs", 1).returncode == 0
    assert (tmp_path / "de" / "train.en").read_text() == "Hello , you !\n"


def test_missing_plain_files_and_bad_pair(tmp_path, script, refused):
    out = tmp_path / "out"
    line = refused(script("europarl", "--raw", tmp_path, "--out", out, "--pair", "en-fr"), out)
    assert "holds no train.en; expected train.en, train.fr" in line
    done = script("europarl", "--out", out, "--pair", "english")
    assert done.returncode == 2 and "not a language pair" in done.stderr
