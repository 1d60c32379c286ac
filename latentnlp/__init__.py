"""Discrete latent-variable models of text: hidden word alignments, rationales, document codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = [
    "Aligner",
    "DocumentBeliefNetwork",
    "RationaleExtractor",
    "Translator",
    "UserError",
    "__version__",
]

if TYPE_CHECKING:
    from latentnlp.api import Aligner, DocumentBeliefNetwork, RationaleExtractor, Translator
    from latentnlp.errors import UserError


def __getattr__(name: str) -> Any:
    """Import on first use: `import latentnlp` and the command's --help stay instant."""
    if name in ("Aligner", "DocumentBeliefNetwork", "RationaleExtractor", "Translator"):
        from latentnlp import api

        return getattr(api, name)
    if name == "UserError":
        from latentnlp.errors import UserError

        return UserError
    raise AttributeError(f"module 'latentnlp' has no attribute {name!r}")
