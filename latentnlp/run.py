"""A run directory: everything that one training run writes, and what it needs to go on.

    config.json        the resolved configuration: the same command resumes, another one is refused
    environment.json   python, torch, machine, threads, commit, command line, date, seed
    metrics.jsonl      one record an epoch
    train.log          what was said on the terminal, with the time
    checkpoints/       see `latentnlp.checkpoint`
    tensorboard/       only when asked for; rebuilt from metrics.jsonl on resuming

Only the main process writes. This module is also the only one that seeds.
"""

from __future__ import annotations

import json
import os
import platform
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from tqdm import tqdm

from latentnlp import config as configuration
from latentnlp import distributed
from latentnlp.checkpoint import CheckpointStore, saving, write_text
from latentnlp.errors import UserError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Config = TypeVar("Config")

_SHOWN = 8  # differing keys listed in the message about another configuration


def seed_everything(seed: int) -> None:
    """Seed python, numpy and torch (CPU and every CUDA device)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def use_threads(count: int) -> None:
    """Let each operation use ``count`` CPU threads.

    The aligner's operations are many and small. One thread is the fastest on small corpora, and on
    a machine that others use too; with more, each operation waits for the slowest of them.
    """
    if count < 1:
        raise UserError(f"--threads {count}: a process needs at least one thread")
    torch.set_num_threads(count)


def pick_device(name: str) -> torch.device:
    """``auto`` (CUDA where there is one), ``cpu`` or ``cuda``: under torchrun, that of LOCAL_RANK.

    Raises: UserError when CUDA is asked for and absent, or there are more processes than GPUs.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"unknown device {name!r}: use auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device cuda was asked for, but torch sees none: use --device cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    number, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if number >= count:
        raise UserError(f"process {number} of this machine has no GPU: there are only {count}")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def check_run_folder(folder: Path) -> None:
    """Raises UserError: a folder that is neither new nor a run is somebody's something else."""
    if folder.is_file():
        raise UserError(f"{folder}: is a file, not a run directory")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / "config.json").exists():
        raise UserError(
            f"{folder}: is not a run directory (it has no config.json); name a new directory"
        )


def saved_config(kind: type[Config], folder: Path) -> Config:
    """The configuration of a run directory. Raises UserError: there is none, or it is damaged."""
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{folder}: not a run directory: it has no config.json") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged ({error})") from None
    return configuration.from_dict(kind, values, str(path))


class RunDirectory:
    """The directory ``path`` of a run; make it with ``RunDirectory.create``."""

    def __init__(self, path: Path, tensorboard: bool = False, temporary: bool = False) -> None:
        self.path, self.temporary = path, temporary
        self.checkpoints = CheckpointStore(path / "checkpoints")
        self.tensorboard = tensorboard and distributed.is_main()
        self._writer: SummaryWriter | None = None
        if self.tensorboard:
            _summary_writer()  # complain now rather than after the first epoch

    @classmethod
    def create(
        cls,
        path: Path,
        config: Any,
        resume: bool = True,
        *,
        seed: int | None = None,
        tensorboard: bool = False,
        temporary: bool = False,
    ) -> RunDirectory:
        """Make the run directory ``path``, or take up the run that it holds.

        A ``temporary`` one will not outlive the process, so nothing is saved to go on from.

        Raises: UserError when it holds a run of another configuration (the message lists the keys
        that differ), or any run at all when ``resume`` is False; when it cannot be written. A run
        that ended before it saved anything (its text could not be read) gives way to another one.
        """
        run = cls(path, tensorboard, temporary)
        if distributed.is_main():
            run._open(configuration.to_dict(config), resume, seed)
        distributed.barrier()
        return run

    def _open(self, config: dict[str, Any], resume: bool, seed: int | None) -> None:
        known = self.path / "config.json"
        if known.exists():
            if not resume:
                raise UserError(f"{self.path}: already holds a run: name a new directory")
            if other := _differences(known, config):
                if self._has_begun():
                    raise UserError(f"{self.path}: holds a run of another configuration: {other}")
                write_text(known, json.dumps(config, indent=2))
            self.checkpoints.sweep()
            self.truncate_metrics(lambda record: True)
            self.log(f"resuming: {' '.join(sys.argv)}", echo=False)
            return
        with saving(self.path):
            (self.path / "checkpoints").mkdir(parents=True, exist_ok=True)
        write_text(self.path / "environment.json", json.dumps(_environment(seed), indent=2))
        # Last: a directory with a config.json is a run.
        write_text(known, json.dumps(config, indent=2))

    def _has_begun(self) -> bool:
        return (self.path / "metrics.jsonl").exists() or any(self.checkpoints.folder.glob("*"))

    def check_data(self, fingerprint: str) -> None:
        """Raises UserError if this run has begun to learn from other data than ``fingerprint``'s:
        its checkpoints would be continued on what they do not know."""
        path = self.path / "data.json"
        if distributed.is_main():
            begun = path.exists() and self._has_begun()
            if begun and json.loads(path.read_text(encoding="utf-8"))["sha256"] != fingerprint:
                raise UserError(
                    f"{self.path}: the text has changed since this run began; name a new directory"
                )
            write_text(path, json.dumps({"sha256": fingerprint}))
        distributed.barrier()

    def metrics(self, record: Mapping[str, Any]) -> None:
        """Append one record to metrics.jsonl. It is on the disk when this returns."""
        if not distributed.is_main():
            return
        path = self.path / "metrics.jsonl"
        with saving(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, default=float) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if self.tensorboard:
            self._to_tensorboard(record)

    def records(self) -> list[dict[str, Any]]:
        """The records of metrics.jsonl, without a line that a killed process left half-written."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        return list(_whole_lines(path.read_text(encoding="utf-8", errors="replace")))

    def truncate_metrics(self, keep: Callable[[dict[str, Any]], bool]) -> None:
        """Keep only the records for which ``keep`` holds; the file is replaced in one step."""
        path = self.path / "metrics.jsonl"
        if not distributed.is_main() or not path.exists():
            return
        kept = "".join(json.dumps(record) + "\n" for record in self.records() if keep(record))
        if kept != path.read_text(encoding="utf-8", errors="replace"):
            write_text(path, kept)
            self.close()

    def log(self, message: str, echo: bool = True) -> None:
        """Write ``message`` to train.log with the time, and to stderr unless ``echo`` is False."""
        if not distributed.is_main():
            return
        path = self.path / "train.log"
        with saving(path), path.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {message}\n")
        if echo:
            tqdm.write(message, file=sys.stderr)  # print() would break a progress bar

    def close(self) -> None:
        """Close the TensorBoard writer, if there is one; the next record opens a new one."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _to_tensorboard(self, record: Mapping[str, Any]) -> None:
        if self._writer is not None:
            _add_scalars(self._writer, record)
            return
        # Written anew from metrics.jsonl, so that the curves of a resumed run never double back.
        folder = self.path / "tensorboard"
        shutil.rmtree(folder, ignore_errors=True)
        self._writer = _summary_writer()(str(folder))
        for earlier in self.records():
            _add_scalars(self._writer, earlier)


def _summary_writer() -> type[SummaryWriter]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "TensorBoard is not installed: pip install 'latentnlp[tensorboard]', or turn it off"
        ) from None
    return SummaryWriter


def _add_scalars(writer: SummaryWriter, record: Mapping[str, Any]) -> None:
    for name, value in record.items():
        if isinstance(value, int | float) and name not in ("epoch", "step"):
            writer.add_scalar(f"{record.get('stage', 'run')}/{name}", value, record.get("epoch"))
    writer.flush()


def _whole_lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def _differences(known: Path, config: Mapping[str, Any]) -> str:
    """In which keys ``config`` differs from the saved one; empty where it does not."""
    try:
        old = _flatten(json.loads(known.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{known}: damaged ({error})") from None
    # Through JSON, so that both sides went the same way.
    new = _flatten(json.loads(json.dumps(config)))
    absent = "absent"
    keys = sorted(k for k in old.keys() | new.keys() if old.get(k, absent) != new.get(k, absent))
    if not keys:
        return ""
    listed = [f"{k} ({old.get(k, absent)!r} there, {new.get(k, absent)!r} here)" for k in keys]
    more = f", and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    return (
        f"{', '.join(listed[:_SHOWN])}{more}; name a new directory, or use the old configuration "
        "to resume"
    )


def _flatten(table: Mapping[str, Any], section: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{section}.{key}" if section else key
        flat.update(_flatten(value, name) if isinstance(value, dict) else {name: value})
    return flat


def _environment(seed: int | None) -> dict[str, Any]:
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": sys.argv,
        "seed": seed,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "processes": distributed.world_size(),
        "commit": _commit(),
    }


def _commit() -> str | None:
    """The commit of a working copy ("-dirty" where it was changed), or None when installed."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        answer = subprocess.run(
            [*command, "--exclude=*"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
