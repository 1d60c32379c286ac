r"""RELAX: REBAR with a free-form control variate beside (or instead of) the relaxed f.

    c(ζ) = η f(ζ) + r(ζ; φ)

Grathwohl, Choi, Wu, Roeder and Duvenaud (2018), equation 8. φ, η and λ are trained to make the
variance small. With ``relax_f=False`` f is a black box: S evaluations; else 3S.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from latentnlp.distributions.discrete import Factored
from latentnlp.estimators._contract import Objective
from latentnlp.estimators.baselines.neural import silent
from latentnlp.estimators.rebar import REBAR


class RELAX(REBAR):
    """Unbiased at every φ, η and λ."""

    def __init__(
        self,
        samples: int = 1,
        latents: int | None = None,
        hidden: int = 32,
        critic: nn.Module | None = None,
        relax_f: bool = True,
        temperature: float = 0.5,
    ) -> None:
        """latents: how many numbers an item's z has (N, or N·V; a product's are joined); or your
        own ``critic`` [S, *B, latents] → [S, *B, 1]. ValueError where neither is given."""
        super().__init__(samples, temperature, scale=1.0)
        if critic is None:
            if latents is None:
                raise ValueError("relax needs latents=N, or a critic of your own")
            # Silent at the start: RELAX begins as REBAR.
            critic = nn.Sequential(nn.Linear(latents, hidden), nn.Tanh(), silent(hidden))
        self.critic, self.relax_f = critic, relax_f
        self.scale.requires_grad_(relax_f)

    def control(self, f: Objective, q: Factored, zeta: Sequence[Tensor]) -> Tensor:
        flat = torch.cat([part.flatten(1 + len(q.batch_shape)) for part in zeta], -1)
        free = self.critic(flat).squeeze(-1)
        return super().control(f, q, zeta) + free if self.relax_f else free


build = RELAX
