"""Every encoder's forward and backward pass, checked for misplaced tensors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from device_placement import Misplaced, placement_check
from tiny_encoders import FILES, SIZE, build_encoder
from torch import Tensor, nn

from latentnlp.encoders import gru

META = torch.device("meta")


@pytest.mark.parametrize("name", FILES)
def test_encoder(name: str, tmp_path: Path) -> None:
    encoder = build_encoder(name, tmp_path / "bert").float().to(META)
    x = torch.ones(3, 7, SIZE, device=META, requires_grad=True)
    mask = torch.ones(3, 7, dtype=torch.bool, device=META)
    with placement_check():
        states = encoder(x, mask)
        states.sum().backward()
    assert states.device == META and states.shape == (3, 7, encoder.size)
    assert x.grad is not None and x.grad.device == META


def test_packing_is_caught(tmp_path: Path) -> None:
    """The check can fail: torch's packing needs the lengths on the CPU."""

    class Packed(gru.Gru):
        def read(self, rightward: Tensor, leftward: Tensor) -> tuple[Tensor, Tensor]:
            lengths = rightward.new_ones(len(rightward), dtype=torch.int64).cpu()
            nn.utils.rnn.pack_padded_sequence(rightward, lengths, batch_first=True)
            return super().read(rightward, leftward)

    encoder = Packed(gru.Config(3), SIZE).to(META)
    x, mask = torch.ones(2, 3, SIZE, device=META), torch.ones(2, 3, device=META, dtype=torch.bool)
    with placement_check(), pytest.raises(Misplaced):
        encoder(x, mask)
