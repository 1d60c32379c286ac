"""Estimators of ∇ E_q[f(z)] for discrete z, one file each; README.md says which to take when.

    estimate = ScoreFunction(samples=4, baselines=[LeaveOneOut()])(q, f)
    (-estimate.surrogate.mean() + estimate.baseline_loss.mean()).backward()   # climb E_q[f(z)]

`make` builds one by its file's name, as a TOML file gives it.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from typing import Any

from latentnlp.errors import UserError
from latentnlp.estimators._contract import Estimate, Estimator, Objective
from latentnlp.estimators.baselines import Baseline

__all__ = [
    "Baseline",
    "Estimate",
    "Estimator",
    "Objective",
    "make",
    "make_baseline",
    "names",
    "takes",
]


def names(package: str = "latentnlp.estimators") -> list[str]:
    """The estimators (or, of "latentnlp.estimators.baselines", the baselines) there are."""
    folder = importlib.import_module(package)
    return sorted(
        module.name
        for module in pkgutil.iter_modules(folder.__path__)
        if not module.name.startswith("_") and not module.ispkg
    )


def make(name: str, **settings: Any) -> Estimator:
    """The estimator of file ``name``. Raises UserError for a name or a setting it does not have."""
    return _make("latentnlp.estimators", "estimator", name, settings)


def make_baseline(name: str, **settings: Any) -> Baseline:
    """The baseline of file ``name``. Raises UserError for a name or a setting it does not have."""
    return _make("latentnlp.estimators.baselines", "baseline", name, settings)


def takes(name: str, setting: str) -> bool:
    """Does the estimator of file ``name`` have this setting? Raises UserError for no such file."""
    return setting in _settings("latentnlp.estimators", "estimator", name)


def _make(package: str, kind: str, name: str, settings: dict[str, Any]) -> Any:
    known = _settings(package, kind, name)
    build = importlib.import_module(f"{package}.{name}").build
    for setting in settings:
        _check(f"{kind} {name!r} has no setting {setting!r}", setting, known)
    try:
        return build(**settings)
    except ValueError as error:
        raise UserError(str(error)) from error


def _settings(package: str, kind: str, name: str) -> list[str]:
    _check(f"there is no {kind} {name!r}", name, names(package))
    build = importlib.import_module(f"{package}.{name}").build
    return list(inspect.signature(build).parameters)


def _check(problem: str, word: str, known: list[str]) -> None:
    if word in known:
        return
    close = difflib.get_close_matches(word, known, 1)
    guess = f"; did you mean {close[0]!r}?" if close else ""
    raise UserError(f"{problem}{guess} (there are: {', '.join(known) or 'none'})")
