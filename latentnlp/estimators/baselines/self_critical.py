r"""b = f(argmax_z q(z)): what the model would have got by its own best guess.

Rennie et al. (2017), "Self-critical sequence training", section 3. One more evaluation of f.
"""

from __future__ import annotations

import torch
from torch import Tensor

from latentnlp.estimators.baselines._contract import Baseline, Draw


class SelfCritical(Baseline):
    """Must come first among the baselines: it is a value of f, not of what is left of it."""

    def forward(self, signal: Tensor, draw: Draw) -> tuple[Tensor, Tensor | None]:
        mode = draw.q.mode()
        z = tuple(part[None] for part in mode) if isinstance(mode, tuple) else mode[None]
        with torch.no_grad():
            b = draw.f(z)  # [1, *B]
        return signal - (b if b.dim() == signal.dim() else b[..., None]), None


build = SelfCritical
