"""The directory is the register: a new file with a `build` is tested without editing a test."""

from __future__ import annotations

import importlib
from pathlib import Path

import latentnlp


def modules_with_build(folder: str) -> list[str]:
    """The names of the public files of ``folder`` that have a `build`."""
    files = sorted((Path(latentnlp.__path__[0]) / folder).glob("[!_]*.py"))
    return [
        file.stem
        for file in files
        if hasattr(importlib.import_module(f"latentnlp.{folder}.{file.stem}"), "build")
    ]


POSITIONS, EMISSIONS = modules_with_build("models"), modules_with_build("emissions")
TRANSLATION = modules_with_build("translation_models")
