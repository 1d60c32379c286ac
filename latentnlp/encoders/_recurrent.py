r"""Networks that read the words from left to right, and from right to left.

    h_t = [→h_t ; ←h_t],    →h_t = F(x_t, →h_{t-1}),    ←h_t = G(x_t, ←h_{t+1})

where t - 1 and t + 1 are the next words that are there. Each row is first compacted: its words are
moved to the left, and what padding there is follows them. A network that reads from the left cannot
know of it before it has read every word, so all states that are kept are exact. The right-to-left
network is one that reads the mirrored row from its left. Packing would do the same, but wants the
lengths on the CPU: the host would wait for a GPU (on the CPU it is no faster either).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latentnlp.encoders._contract import Encoder, compact, restore


def recur(network: nn.RNNBase, x: Tensor, first: Tensor | None = None) -> Tensor:
    """The states [R, N, H] of a network that reads x [R, N, D], from its state ``first`` on.

    cuDNN's networks run in float16 under any autocast, and that does not mix with bfloat16: but on
    the CPU they stay out of it.
    """
    if x.device.type == "cpu":
        return network(x, first)[0]
    with torch.autocast(x.device.type, enabled=False):
        kind = next(network.parameters()).dtype
        return network(x.to(kind), None if first is None else first.to(kind))[0]


class Recurrent(Encoder):
    def read(self, rightward: Tensor, leftward: Tensor) -> tuple[Tensor, Tensor]:
        """Of compacted rows [R, N, D], read from the left, the states [R, N, H/2]; of both."""
        raise NotImplementedError

    def forward(self, embedded: Tensor, mask: Tensor) -> Tensor:
        mirrored = mask.flip(1)
        right, left = self.read(compact(embedded, mask), compact(embedded.flip(1), mirrored))
        return torch.cat([restore(right, mask), restore(left, mirrored).flip(1)], -1)
