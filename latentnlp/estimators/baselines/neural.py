r"""b = b(x; ω), a network that reads the context:  loss = (signal − b(x; ω))².

Mnih and Gregor (2014), section 2.3, "input-dependent baselines"; no gradient reaches the context.
"""

from __future__ import annotations

from torch import Tensor, nn

from latentnlp.estimators.baselines._contract import Baseline, Draw


class Neural(Baseline):
    """A network from the context [*B, D] to one number an item (or [*B, N, D] to one a latent)."""

    def __init__(
        self, context_size: int | None = None, hidden: int = 64, net: nn.Module | None = None
    ) -> None:
        """net: your own, [*B, D] → [*B, 1]; else one hidden layer of ``hidden`` units.

        Raises ValueError where neither ``net`` nor ``context_size`` is given.
        """
        super().__init__()
        if net is None:
            if context_size is None:
                raise ValueError("the neural baseline needs context_size=D, or a net of your own")
            net = nn.Sequential(nn.Linear(context_size, hidden), nn.ReLU(), silent(hidden))
        self.net = net

    def forward(self, signal: Tensor, draw: Draw) -> tuple[Tensor, Tensor | None]:
        if draw.context is None:
            raise ValueError("the neural baseline needs a context: estimator(q, f, context=…)")
        b = self.net(draw.context.detach()).squeeze(-1)
        if b.dim() + 1 < signal.dim():  # one number an item, for signals of every latent
            b = b.unsqueeze(-1)
        error = signal - b
        return error.detach(), squared_error(error, draw)


def silent(inputs: int) -> nn.Linear:
    """A layer to one number that gives 0 at the start: a random baseline only adds noise."""
    layer = nn.Linear(inputs, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def squared_error(error: Tensor, draw: Draw) -> Tensor:
    """[*B], averaged over samples and summed over latents, if there are such signals."""
    squares = error.square().mean(0)
    return squares.sum(-1) if squares.dim() > len(draw.q.batch_shape) else squares


build = Neural
