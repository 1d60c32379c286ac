"""The training loop, once: epochs, progress, metrics, checkpoints, selection on dev, resuming.

A learner takes one step on one batch and owns its model, optimizer, device and gradient clipping;
``fit`` owns everything else. A run killed at any moment loses at most the work since its last
checkpoint: given the same command it goes on from there and, on the CPU, ends with the same bits
and the same metrics.jsonl (its timings apart) as a run that was never interrupted. This needs the
order of the batches to be a function of (seed, epoch), and every state that steers a step to be in
``learner.parts()`` or in torch's global random state.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from latentnlp import distributed
from latentnlp.errors import UserError
from latentnlp.run import RunDirectory

_NEVER = 2**62  # the "first bad step" of a stage without one
_AGREE_EVERY = 50  # steps between two questions "is it time for a checkpoint?" among processes


class Part(Protocol):
    """What a checkpoint saves: a module, an optimizer, a table of counts."""

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state_dict: Any, /) -> Any: ...


class Learner(Protocol):
    """One way of learning one model.

    ``step`` moves the batch to its device, updates the parameters (or gathers counts) and returns
    0-d detached tensors: "log_likelihood", summed over the batch, "weight", the number of target
    tokens it is summed over, and any other sums to be reported per token. It does not wait for the
    device. ``end_epoch`` (the M-step of EM) returns further metrics of the epoch. ``parts`` gives
    the plain modules, not their DDP or compiled wrappers. A learner that keeps state inside an
    epoch which its parts do not hold says ``mid_epoch_checkpoints = False``; one whose weight does
    not count tokens says what it counts (``unit = "document"``).
    """

    def step(self, batch: Any, /) -> Mapping[str, Tensor]: ...

    def end_epoch(self) -> Mapping[str, Any]: ...

    def parts(self) -> Mapping[str, Part]: ...


class EpochBatches(Protocol):
    """``latentnlp.data.batches.Batches``: the order of the batches is a function of the epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Any]: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class FitResult:
    """How a stage ended. ``metrics`` is the record of the epoch whose parameters were kept."""

    stage: str
    epochs: int
    steps: int
    best_epoch: int | None
    best_metric: float | None
    metrics: dict[str, Any]


@dataclass
class _Progress:
    """Where a stage stands: everything a checkpoint holds beside the parts and the random state."""

    batches: int  # in an epoch
    epoch: int = 0  # epochs completed; also the number of the one under way, for `batches.epoch`
    position: int = 0  # batches done of the epoch under way
    seconds: float = 0.0  # spent training in the epoch under way
    sums: dict[str, float] = field(default_factory=dict)  # of the epoch under way
    best_epoch: int | None = None
    best_metric: float | None = None
    metrics: dict[str, Any] = field(default_factory=dict)  # of the epoch to keep

    @property
    def step(self) -> int:
        return self.epoch * self.batches + self.position


def fit(
    learner: Learner,
    batches: EpochBatches,
    *,
    run: RunDirectory,
    stage: str,
    epochs: int,
    validate: Callable[[], Mapping[str, float]] | None = None,
    select_on: str | None = None,
    patience: int | None = None,
    checkpoint_seconds: float = 60.0,
    log_every_seconds: float = 5.0,
    progress: bool = True,
) -> FitResult:
    """Train one stage of a run to its end, taking up what is already done of it.

    ``validate`` is called after every epoch; ``select_on`` names the one of its metrics (smaller is
    better) that chooses which epoch's parts the learner holds at the end, and ``patience`` stops
    the stage after so many epochs without a better one. Without ``select_on`` the last is kept.
    A stage that the run has already ended is loaded and not trained.

    Raises: UserError for a log-likelihood or a parameter that is not finite (naming the step and
    the last good checkpoint), a full disk, a damaged checkpoint, or one that does not fit. An
    interrupt (Ctrl-C) becomes ``SystemExit(130)`` with a message that the same command resumes.
    """
    if select_on is not None and validate is None:
        raise UserError(f"stage {stage!r}: selecting on {select_on!r} needs a dev set")
    if patience is not None and select_on is None:
        raise UserError(f"stage {stage!r}: patience needs a dev metric to select on")
    if len(batches) == 0:
        raise UserError(f"stage {stage!r}: there is nothing to train on: no batch holds a sentence")
    fitting = _Fitting(learner, batches, run, stage, epochs, select_on, patience)
    try:
        if not fitting.resume(echo=progress):
            fitting.train(validate, checkpoint_seconds, log_every_seconds, progress)
    except KeyboardInterrupt:
        where = run.checkpoints.path(stage)
        kept = f"from {where}" if where else "this stage from its beginning"
        message = f"interrupted; the same command resumes {kept}"
        run.log("interrupted; nothing was kept" if run.temporary else message)
        raise SystemExit(130) from None
    return fitting.result()


class _Fitting:
    """One call of ``fit``."""

    def __init__(
        self,
        learner: Learner,
        batches: EpochBatches,
        run: RunDirectory,
        stage: str,
        epochs: int,
        select_on: str | None,
        patience: int | None,
    ) -> None:
        self.learner, self.batches, self.run, self.stage = learner, batches, run, stage
        self.epochs, self.select_on, self.patience = epochs, select_on, patience
        self.at = _Progress(batches=len(batches))
        self.sums = _Sums({})
        self.done = False
        self.mid_epoch = getattr(learner, "mid_epoch_checkpoints", True)
        self.unit: str = getattr(learner, "unit", "token")

    def result(self) -> FitResult:
        at = self.at
        return FitResult(
            self.stage, at.epoch, at.step, at.best_epoch, at.best_metric, dict(at.metrics)
        )

    # ------------------------------------------------------------------------------------ training

    def train(
        self,
        validate: Callable[[], Mapping[str, float]] | None,
        checkpoint_seconds: float,
        log_every_seconds: float,
        progress: bool,
    ) -> None:
        total = self.epochs * len(self.batches)
        checkpoint_due = _Timer(checkpoint_seconds)
        with _Display(self.run, self.stage, self.at.step, total, progress, self.unit) as display:
            while not self.finished():
                self._epoch(display, checkpoint_due, _Timer(log_every_seconds))
                self._end_epoch(validate, display, checkpoint_due)
        if not self.done:
            self._end_stage()

    def finished(self) -> bool:
        at = self.at
        waited = at.epoch - (at.best_epoch or 0)
        return at.epoch >= self.epochs or (self.patience is not None and waited >= self.patience)

    def _epoch(self, display: _Display, checkpoint_due: _Timer, log_due: _Timer) -> None:
        at = self.at
        before, started = at.seconds, time.perf_counter()
        for batch in self.batches.epoch(at.epoch, start=at.position):
            values = self.learner.step(batch)
            at.position += 1
            self.sums.add(values, at.step)
            display.step()
            if log_due():
                at.seconds = before + time.perf_counter() - started
                display.show(at.epoch + 1, self._read_here())
                log_due.restart()
            if self.mid_epoch and at.position < at.batches and self._agree(checkpoint_due):
                at.seconds = before + time.perf_counter() - started
                self._save()
                display.say(at.epoch + 1, at.step, "checkpoint saved")
                checkpoint_due.restart()
        at.seconds = before + time.perf_counter() - started

    def _agree(self, due: _Timer, every_step: bool = True) -> bool:
        """Is it time for a checkpoint? The main process's clock decides for all."""
        if distributed.world_size() == 1:
            return due()
        if every_step and self.at.position % _AGREE_EVERY:
            return False
        vote = torch.tensor([int(due() and distributed.is_main())])
        return any(bool(one.item()) for one in distributed.gather(vote))

    def _end_epoch(
        self,
        validate: Callable[[], Mapping[str, float]] | None,
        display: _Display,
        due: _Timer,
    ) -> None:
        at = self.at
        sums, seconds = self._read_all(), at.seconds
        extra = {name: float(value) for name, value in self.learner.end_epoch().items()}
        dev = {name: float(value) for name, value in (validate() if validate else {}).items()}
        at.epoch, at.position, at.seconds = at.epoch + 1, 0, 0.0
        self.sums = _Sums({})
        record = self._record(sums, seconds) | extra | dev
        improved = self._select(dev, record)
        # The record first: a process killed in between drops it on resuming and writes it again.
        self.run.metrics(record)
        # Until a better one comes, this is what the learner shall hold at the end.
        keep = improved or at.best_epoch is None
        self.done = keep and self.finished()
        # An epoch may be short, and what it would save large: wait until a checkpoint is due.
        if improved or self.finished() or self._agree(due, every_step=False):
            self._save(best=keep, done=self.done)
            due.restart()
        display.end_epoch(at.epoch, at.step, record | {"best": improved})

    def _record(self, sums: Mapping[str, float], seconds: float) -> dict[str, Any]:
        weight = sums["weight"] or 1.0
        means = {f"{n}_per_{self.unit}": v / weight for n, v in sums.items() if n != "weight"}
        log_likelihood = means[f"log_likelihood_per_{self.unit}"]
        return {
            "stage": self.stage,
            "epoch": self.at.epoch,
            "step": self.at.step,
            **means,
            "perplexity": _perplexity(log_likelihood),
            "seconds": round(seconds, 3),
            f"{self.unit}s_per_second": round(sums["weight"] / max(seconds, 1e-9), 1),
        }

    def _select(self, dev: Mapping[str, float], record: dict[str, Any]) -> bool:
        at = self.at
        if at.best_epoch is None:
            at.metrics = record
        if self.select_on is None:
            return False
        if self.select_on not in dev:
            known = ", ".join(dev) or "none"
            raise UserError(f"no dev metric {self.select_on!r} to select on; there are: {known}")
        # One process's rounding must not send the processes different ways.
        value = torch.tensor([dev[self.select_on]], dtype=torch.float64)
        metric = distributed.gather(value)[0].item()
        if math.isnan(metric) or (at.best_metric is not None and metric >= at.best_metric):
            return False
        at.best_epoch, at.best_metric, at.metrics = at.epoch, metric, record
        return True

    def _end_stage(self) -> None:
        """Put the best parts back and mark the stage as done."""
        if self.at.best_epoch is not None:
            self._load_parts(self.run.checkpoints.load(self.stage, "best")["parts"])
        distributed.barrier()  # before the main process deletes what the others are reading
        self._save(best=True, done=True)

    # --------------------------------------------------------------------------------- checkpoints

    def resume(self, echo: bool) -> bool:
        """Take up the last checkpoint, if there is one. Returns whether the stage is done."""
        store = self.run.checkpoints
        entry = store.entry(self.stage)
        if entry is not None:
            state = store.load(self.stage)
            self._restore(state)
            self.done = entry.done
            note = "is done already" if entry.done else f"goes on from {store.path(self.stage)}"
            self.run.log(f"stage {self.stage} {note}", echo=echo)
        epoch = self.at.epoch
        self.run.truncate_metrics(
            lambda r: r.get("stage") != self.stage or r.get("epoch", 0) <= epoch
        )
        # Nobody deletes the checkpoint that another process is still reading.
        distributed.barrier()
        return self.done

    def _restore(self, state: Mapping[str, Any]) -> None:
        at = _Progress(**state["progress"])
        if at.batches != len(self.batches):
            raise UserError(
                f"{self.run.path}: its checkpoint was made on {at.batches} batches and there are "
                f"{len(self.batches)} now: the corpus has changed; name a new directory"
            )
        self._load_parts(state["parts"])
        _set_random_state(state["random"])
        self.at = at
        # The saved sums are those of all processes together: one of them carries them on.
        self.sums = _Sums(at.sums if distributed.is_main() else {})

    def _load_parts(self, saved: Mapping[str, Any]) -> None:
        parts = self.learner.parts()
        where = self.run.checkpoints.folder
        if parts.keys() != saved.keys():
            raise UserError(
                f"{where}: holds the parts {', '.join(saved)}, not {', '.join(parts)}: "
                "made by another version of this model?"
            )
        for name, part in parts.items():
            try:
                part.load_state_dict(saved[name])
            except (RuntimeError, ValueError, KeyError) as error:
                reason = " ".join(str(error).split())
                raise UserError(f"{where}: part {name!r} does not fit: {reason}") from None

    def _save(self, best: bool = False, done: bool = False) -> None:
        """Save the stage; every process takes part, the main one writes."""
        at = self.at
        at.sums = self._read_all()
        random = [state.clone() for state in distributed.gather(_random_state())]
        if not distributed.is_main():
            return
        parts = self.learner.parts()
        states = {name: part.state_dict() for name, part in parts.items()}
        if culprit := _first_not_finite(parts, states):
            raise self._bad(at.step, f"{culprit} is not finite")
        if self.run.temporary and self.select_on is None:
            return
        self.run.checkpoints.save(
            self.stage,
            {"parts": states, "random": random, "progress": asdict(at)},
            best=best,
            best_metric=at.best_metric,
            done=done,
        )

    # ----------------------------------------------------------------------------------------- sums

    def _read_here(self) -> dict[str, float]:
        sums, bad = self.sums.read()
        if bad < _NEVER:
            raise self._bad(bad, "the log-likelihood is not finite")
        return sums

    def _read_all(self) -> dict[str, float]:
        """The sums of all processes; called by all of them."""
        sums, bad = self.sums.read()
        if distributed.world_size() > 1:
            names = sorted(sums)
            rows = distributed.gather(torch.tensor([sums[n] for n in names], dtype=torch.float64))
            sums = dict(zip(names, torch.stack(rows).sum(0).tolist(), strict=True))
            bad = min(int(one.item()) for one in distributed.gather(torch.tensor([bad])))
        if bad < _NEVER:
            raise self._bad(bad, "the log-likelihood is not finite")
        return sums

    def _bad(self, step: int, what: str) -> UserError:
        epoch = (step - 1) // self.at.batches + 1
        where = self.run.checkpoints.path(self.stage)
        kept = f"the last good checkpoint is {where}" if where else "no checkpoint was saved before"
        return UserError(
            f"{what} in stage {self.stage!r}, epoch {epoch}, step {step}; {kept}: check this "
            "stage's settings (a lower learning rate?), in a new directory"
        )


class _Sums:
    """Sums over steps, kept on the device: adding never waits for it."""

    def __init__(self, start: Mapping[str, float]) -> None:
        self._sums: dict[str, Tensor | float] = dict(start)
        self._bad: Tensor | None = None

    def add(self, values: Mapping[str, Tensor], step: int) -> None:
        for name, value in values.items():
            value = torch.as_tensor(value).detach().double()
            self._sums[name] = self._sums.get(name, 0.0) + value
        finite = torch.isfinite(torch.as_tensor(values["log_likelihood"]).detach())
        bad = torch.where(finite, _NEVER, step)  # [] the first step that was not finite
        self._bad = bad if self._bad is None else torch.minimum(self._bad, bad)

    def read(self) -> tuple[dict[str, float], int]:
        """The sums and the first bad step. Waits for the device."""
        sums = {name: float(value) for name, value in self._sums.items()}
        return sums, _NEVER if self._bad is None else int(self._bad)


class _Timer:
    """Whether ``seconds`` have passed since it was started."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.restart()

    def restart(self) -> None:
        self.started = time.perf_counter()

    def __call__(self) -> bool:
        return time.perf_counter() - self.started >= self.seconds


class _Display:
    """A progress bar on a terminal; lines in a file. train.log gets the lines in both cases."""

    def __init__(
        self,
        run: RunDirectory,
        stage: str,
        first: int,
        total: int,
        progress: bool,
        unit: str,
    ) -> None:
        self.run, self.stage, self.first, self.total = run, stage, first, total
        self.unit = unit
        self.done, self.started, self.progress = first, time.perf_counter(), progress
        self.bar: tqdm[Any] | None = None
        if progress and distributed.is_main() and sys.stderr.isatty():
            self.bar = tqdm(
                total=total, initial=first, desc=stage, unit="batch", dynamic_ncols=True
            )

    def __enter__(self) -> _Display:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def step(self) -> None:
        self.done += 1
        if self.bar is not None:
            self.bar.update()

    def show(self, epoch: int, sums: Mapping[str, float]) -> None:
        if self.bar is not None:
            value = sums["log_likelihood"] / (sums["weight"] or 1.0)
            self.bar.set_postfix_str(f"epoch {epoch}, log-likelihood/{self.unit} {value:.4f}")

    def say(self, epoch: int, step: int, what: str) -> None:
        line = f"{self.stage} epoch {epoch} step {step}/{self.total} {what} ETA {self._eta()}"
        self.run.log(line, echo=self.progress and self.bar is None)

    def end_epoch(self, epoch: int, step: int, record: Mapping[str, Any]) -> None:
        hidden = ("stage", "epoch", "step", "best")
        shown = {name: value for name, value in record.items() if name not in hidden}
        values = " ".join(
            f"{n}={v:.5g}" if isinstance(v, float) else f"{n}={v}" for n, v in shown.items()
        )
        self.say(epoch, step, values + (" (best)" if record["best"] else ""))

    def _eta(self) -> str:
        elapsed = time.perf_counter() - self.started
        rate = elapsed / max(self.done - self.first, 1)
        return tqdm.format_interval(rate * (self.total - self.done))


def _perplexity(log_likelihood: float) -> float:
    return math.exp(-log_likelihood) if log_likelihood > -700 else math.inf


def _random_state() -> Tensor:
    """torch's global random state, CPU then CUDA, as bytes."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states.append(torch.cuda.get_rng_state())
    return torch.cat(states)


def _set_random_state(saved: list[Tensor]) -> None:
    """Take up this process's state; processes that the saved run did not have are seeded apart."""
    rank = distributed.rank()
    if rank >= len(saved):
        torch.manual_seed(torch.initial_seed() + rank)
        return
    size = torch.get_rng_state().numel()
    torch.set_rng_state(saved[rank][:size])
    if torch.cuda.is_available() and saved[rank].numel() > size:
        torch.cuda.set_rng_state(saved[rank][size:])


def _first_not_finite(parts: Mapping[str, Part], states: Mapping[str, Any]) -> str | None:
    """The name of a trained parameter that is not finite, or of any saved tensor with a NaN.

    Buffers and tables may well hold -inf (the logarithm of zero); nothing may hold a NaN.
    """
    for name, part in parts.items():
        if isinstance(part, nn.Module):
            for key, parameter in part.named_parameters():
                if parameter.requires_grad and not torch.isfinite(parameter).all():
                    return f"parameter {name}.{key}"
        if any(bool(torch.isnan(t).any()) for t in _floats(states[name])):
            return f"the state of {name}"
    return None


def _floats(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor) and state.is_floating_point():
        yield state
    elif isinstance(state, Mapping):
        for item in state.values():
            yield from _floats(item)
    elif isinstance(state, list | tuple):
        for item in state:
            yield from _floats(item)
