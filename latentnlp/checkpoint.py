"""Checkpoints without pickle: a folder of ``tensors.safetensors`` and ``state.json``.

``save`` and ``load`` take any nesting of dict, list, tuple, tensor, str, int, float, bool and None.
A folder is written beside its final place, forced to the disk, and then renamed into place: a
process killed at any moment leaves either the old checkpoint or the new one, never half of one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load as decode_tensors
from safetensors.torch import save_file

from latentnlp.errors import UserError

FORMAT_VERSION = 1
TENSORS, STATE, INDEX = "tensors.safetensors", "state.json", "index.json"


@contextmanager
def saving(target: Path) -> Iterator[None]:
    """Turn what the operating system says about a failed write into one ``UserError``."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        hint = (
            "choose another place"
            if isinstance(error, PermissionError | FileExistsError | NotADirectoryError)
            else "disk full? make room and give the same command again"
        )
        raise UserError(
            f"{target}: could not be saved ({reason}); {hint}: nothing already saved was touched"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a whole file at once: it holds the old text or the new text at every moment.

    Raises: UserError when the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    with saving(path):
        try:
            _write_synced(temporary, text)
            os.replace(temporary, path)
            _sync(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def save(folder: Path, state: Any) -> None:
    """Write ``state`` as the checkpoint ``folder``, replacing the one that is there.

    Raises: UserError when the disk refuses (the old checkpoint stays); TypeError for a value of a
    kind that a checkpoint cannot hold.
    """
    tensors: dict[str, torch.Tensor] = {}
    skeleton = _encode(state, tensors, ())
    temporary, _ = _siblings(folder)
    with saving(folder):
        _recover(folder)
        try:
            temporary.mkdir(parents=True)
            save_file(tensors, temporary / TENSORS)
            _sync(temporary / TENSORS)
            _write_synced(temporary / STATE, _dump(skeleton, temporary / TENSORS))
            _sync(temporary)
            _put_in_place(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def load(folder: Path) -> Any:
    """What ``save`` was given, its tensors on the CPU.

    Raises: UserError when ``folder`` is not a checkpoint, is damaged, or is of a newer format.
    """
    if not folder.exists() and _siblings(folder)[1].exists():
        _recover(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such checkpoint folder")
    if not (folder / STATE).is_file():
        raise UserError(f"{folder}: not a checkpoint (it has no {STATE})")
    document = read_document(folder / STATE)
    try:
        data = (folder / TENSORS).read_bytes()
        if zlib.crc32(data) != document["crc32"]:
            raise ValueError("its checksum differs")
        return _decode(document["state"], decode_tensors(data))
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{folder / TENSORS}: damaged checkpoint ({error})") from None


def read_document(path: Path) -> dict[str, Any]:
    """A JSON object with a ``format_version`` that this version can read.

    Raises: UserError when it cannot be read, is damaged, or comes from a newer version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version = document["format_version"]
        if not isinstance(version, int):
            raise TypeError("format_version is not a number")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged ({error})") from None
    if version > FORMAT_VERSION:
        raise UserError(
            f"{path}: written by a newer latentnlp (format {version}, this one reads up to "
            f"{FORMAT_VERSION}): upgrade latentnlp"
        )
    return document


# ------------------------------------------------------------------------------------------ files


def _siblings(folder: Path) -> tuple[Path, Path]:
    """Where the new folder is written, and where the old one waits while it is replaced."""
    return folder.with_name(f".{folder.name}.tmp"), folder.with_name(f".{folder.name}.previous")


def _recover(folder: Path) -> None:
    """Tidy up after a process that was killed inside ``save``."""
    temporary, previous = _siblings(folder)
    if temporary.exists():
        shutil.rmtree(temporary)
    if previous.exists() and not folder.exists():
        os.replace(previous, folder)
    elif previous.exists():
        shutil.rmtree(previous)


def _put_in_place(folder: Path) -> None:
    # A folder cannot be renamed over one that is not empty, so the old one steps aside first;
    # `_recover` puts it back should the process die between the two renames.
    temporary, previous = _siblings(folder)
    if folder.exists():
        os.replace(folder, previous)
    os.replace(temporary, folder)
    _sync(folder.parent)
    shutil.rmtree(previous, ignore_errors=True)


def _dump(skeleton: Any, tensors: Path) -> str:
    document = {
        "format_version": FORMAT_VERSION,
        "crc32": zlib.crc32(tensors.read_bytes()),
        "state": skeleton,
    }
    return json.dumps(document)


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# --------------------------------------------------------------------------------------- skeleton


def _encode(value: Any, tensors: dict[str, torch.Tensor], path: tuple[str, ...]) -> Any:
    """JSON: a tensor is ``{"$tensor": name}``; ``$tuple``, and ``$dict`` for keys not strings."""
    if isinstance(value, torch.Tensor):
        name = "/".join(path) or "tensor"
        while name in tensors:  # the keys 1 and "1" of one dict
            name += "'"
        # A copy each: safetensors refuses tensors that share their storage.
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {"$tensor": name}
    if isinstance(value, Mapping):
        items = [(key, _encode(item, tensors, (*path, str(key)))) for key, item in value.items()]
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return dict(items)
        return {"$dict": [[_encode(key, tensors, path), item] for key, item in items]}
    if isinstance(value, list | tuple):
        encoded = [_encode(item, tensors, (*path, str(n))) for n, item in enumerate(value)]
        return encoded if isinstance(value, list) else {"$tuple": encoded}
    if value is None or isinstance(value, str | bool | int | float):
        return value
    raise TypeError(f"{'/'.join(path)}: a checkpoint cannot hold a {type(value).__name__}")


def _decode(value: Any, tensors: Mapping[str, torch.Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]]
    if "$tuple" in value:
        return tuple(_decode(item, tensors) for item in value["$tuple"])
    if "$dict" in value:
        return {_decode(key, tensors): _decode(item, tensors) for key, item in value["$dict"]}
    return {key: _decode(item, tensors) for key, item in value.items()}


# ------------------------------------------------------------------------------------------ store


@dataclass(frozen=True)
class StageEntry:
    """What the index says of one stage: names of folders, and whether the stage has ended."""

    last: str
    best: str | None = None
    best_metric: float | None = None
    done: bool = False


class CheckpointStore:
    """The checkpoints of a run. ``last`` and ``best`` are names in one ``index.json``.

    The index is replaced only after the new folder stands, and a folder is deleted only after no
    name points to it, so the index always points to whole checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def entry(self, stage: str) -> StageEntry | None:
        """The stage's names, or None when nothing has been saved for it.

        Raises: UserError when the index is damaged or of a newer format.
        """
        return self._entries().get(stage)

    def path(self, stage: str, which: Literal["last", "best"] = "last") -> Path | None:
        """The folder of the stage's last or best checkpoint, or None."""
        entry = self.entry(stage)
        name = getattr(entry, which) if entry else None
        return self.folder / name if name else None

    def save(
        self,
        stage: str,
        state: Any,
        *,
        best: bool = False,
        best_metric: float | None = None,
        done: bool = False,
    ) -> Path:
        """Save ``state`` as the stage's last checkpoint, and as its best one when ``best``.

        Raises: UserError when the disk refuses; the earlier checkpoints are still there then.
        """
        entries = self._entries()
        name = self._new_name(stage, entries)
        save(self.folder / name, state)
        old = entries.get(stage, StageEntry(last=name))
        entries[stage] = StageEntry(
            last=name,
            best=name if best else old.best,
            best_metric=best_metric if best else old.best_metric,
            done=done,
        )
        stages = {stage: asdict(entry) for stage, entry in entries.items()}
        index = {"format_version": FORMAT_VERSION, "stages": stages}
        write_text(self.folder / INDEX, json.dumps(index, indent=2))
        self.sweep()
        return self.folder / name

    def load(self, stage: str, which: Literal["last", "best"] = "last") -> Any:
        """The stage's last or best state.

        Raises: UserError when there is none, or it is damaged or of a newer format.
        """
        path = self.path(stage, which)
        if path is None:
            raise UserError(f"{self.folder}: no {which} checkpoint of stage {stage!r}")
        return load(path)

    def sweep(self) -> None:
        """Delete what no name points to: superseded checkpoints, and halves of a killed process."""
        if not self.folder.is_dir():
            return
        entries = self._entries().values()
        keep = {INDEX, *(name for entry in entries for name in (entry.last, entry.best) if name)}
        for path in self.folder.iterdir():
            ours = re.fullmatch(r"\..+\.(tmp|previous)|.+-\d{6}", path.name)
            if path.name not in keep and ours and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)

    def _entries(self) -> dict[str, StageEntry]:
        path = self.folder / INDEX
        if not path.exists():
            return {}
        try:
            stages = read_document(path)["stages"].items()
            return {stage: StageEntry(**entry) for stage, entry in stages}
        except (KeyError, AttributeError, TypeError) as error:
            raise UserError(f"{path}: damaged ({error})") from None

    @staticmethod
    def _new_name(stage: str, entries: Mapping[str, StageEntry]) -> str:
        names = [name for entry in entries.values() for name in (entry.last, entry.best) if name]
        number = 1 + max((int(name.rpartition("-")[2]) for name in names), default=0)
        return f"{re.sub(r'[^A-Za-z0-9_.]+', '_', stage)}-{number:06d}"
