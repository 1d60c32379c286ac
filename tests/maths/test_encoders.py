"""Encoders: what is masked out is never read, and what is there is read as by a plain loop."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_encoders import FILES, SIZE, build_encoder
from torch import Tensor, nn

from latentnlp.encoders import bag, cnn, gru, lstm, rcnn
from latentnlp.encoders._contract import Encoder, compact, restore

SEEDS = range(6)


def random_case(seed: int) -> tuple[Tensor, Tensor]:
    """x [R, T, D] with a gradient, and a mask [R, T]; one row is empty, another is not."""
    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    r, t = draw.randint(2, 5), draw.randint(1, 9)
    x = torch.randn(r, t, SIZE, generator=generator, dtype=torch.float64)
    mask = torch.rand(r, t, generator=generator) < draw.choice([0.3, 0.6, 1.0])
    empty = draw.randrange(r)
    mask[empty], mask[empty - 1, draw.randrange(t)] = False, True
    return x.requires_grad_(), mask


@pytest.fixture(params=FILES)
def encoder(request: pytest.FixtureRequest, tmp_path: Path) -> Encoder:
    return build_encoder(request.param, tmp_path / "bert")


def weighted(states: Tensor) -> Tensor:
    """A number that depends on every state in a way of its own."""
    return (states * torch.arange(states.numel(), dtype=states.dtype).view_as(states).cos()).sum()


@pytest.mark.parametrize("other", [1e6, math.inf, math.nan])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_masked_out_is_never_read(encoder: Encoder, seed: int, other: float) -> None:
    x, mask = random_case(seed)
    states = encoder(x, mask)
    assert states.shape == (*mask.shape, encoder.size)
    changed = torch.where(mask[..., None], x, other).detach().requires_grad_()
    again = encoder(changed, mask)
    assert torch.equal(again, states)
    assert not states[~mask].any()
    encoder.zero_grad()
    weighted(again).backward()
    assert changed.grad is not None and not changed.grad[~mask].any()
    for leaf in (changed, *encoder.parameters()):
        assert leaf.grad is None or leaf.grad.isfinite().all()


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_there_is_read(encoder: Encoder, seed: int) -> None:
    """The test above could not fail for an encoder that reads nothing."""
    x, mask = random_case(seed)
    (gradient,) = torch.autograd.grad(weighted(encoder(x, mask)), x)
    read = gradient.abs().sum(-1) > 0
    assert torch.equal(read & mask, read) and read.sum() > 0.5 * mask.sum()


def spread(x: Tensor, mask: Tensor, places: list[int], width: int) -> tuple[Tensor, Tensor]:
    """The positions of all rows moved to ``places``, noise that is masked out between them."""
    wide = torch.randn(len(x), width, SIZE, dtype=x.dtype)
    there = torch.zeros(len(x), width, dtype=torch.bool)
    wide[:, places], there[:, places] = x.detach(), mask
    return wide, there


@pytest.mark.parametrize("seed", SEEDS)
def test_gaps_are_invisible(encoder: Encoder, seed: int) -> None:
    x, mask = random_case(seed)
    width = mask.shape[1] + 5  # within the tiny BERT's positions
    places = sorted(random.Random(seed).sample(range(width), mask.shape[1]))
    if isinstance(encoder, cnn.Cnn):
        places = list(range(2, 2 + mask.shape[1]))  # sees gaps, but not what is around the text
    found = encoder(*spread(x, mask, places, width))
    torch.testing.assert_close(found[:, places], encoder(x, mask), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(0, 3), (0, 1), (3, 1), (1, 4)])
def test_nothing_to_read(encoder: Encoder, shape: tuple[int, int]) -> None:
    x = torch.randn(*shape, SIZE, dtype=torch.float64, requires_grad=True)
    states = encoder(x, torch.zeros(shape, dtype=torch.bool))
    assert states.shape == (*shape, encoder.size) and not states.any()
    states.sum().backward()
    assert x.grad is not None and not x.grad.any()
    for parameter in encoder.parameters():  # DDP waits for every one of them
        assert parameter.grad is not None and not parameter.grad.any()


@pytest.mark.parametrize("seed", SEEDS)
def test_each_row_is_read_alone(encoder: Encoder, seed: int) -> None:
    x, mask = random_case(seed)
    states = encoder(x, mask)
    for r in range(len(x)):
        alone = encoder(x[r : r + 1], mask[r : r + 1])
        torch.testing.assert_close(alone[0], states[r], rtol=1e-12, atol=1e-12)


def test_mixed_precision(encoder: Encoder) -> None:
    encoder.float()
    x, mask = torch.randn(3, 6, SIZE), torch.rand(3, 6) < 0.7
    with torch.autocast("cpu", torch.bfloat16):
        states = encoder(x.requires_grad_(), mask)
        states.float().sum().backward()
    torch.testing.assert_close(states.float(), encoder(x, mask), rtol=0.05, atol=0.05)
    assert x.grad is not None and x.grad.isfinite().all()


# Each as a plain loop. The transformer's reference is in test_transformer_encoder.py.


def by_words(encoder: bag.Bag, x: Tensor, mask: Tensor) -> Tensor:
    layer: Any = encoder.layer[0]
    states = torch.zeros(*mask.shape, encoder.size, dtype=x.dtype)
    for r, t in mask.nonzero().tolist():
        states[r, t] = (layer.weight @ x[r, t] + layer.bias).clamp_min(0)
    return states


def by_windows(encoder: cnn.Cnn, x: Tensor, mask: Tensor) -> Tensor:
    states = torch.zeros(*mask.shape, encoder.size, dtype=x.dtype)
    for r, t in mask.nonzero().tolist():
        found = []
        for convolution in encoder.convolutions:
            assert isinstance(convolution, nn.Conv1d) and convolution.bias is not None
            total, half = convolution.bias, convolution.kernel_size[0] // 2
            for k in range(-half, half + 1):
                if 0 <= t + k < mask.shape[1] and mask[r, t + k]:
                    total = total + convolution.weight[:, :, k + half] @ x[r, t + k]
            found.append(total.clamp_min(0))
        states[r, t] = torch.cat(found)
    return states


def by_packing(encoder: gru.Gru | lstm.Lstm, x: Tensor, mask: Tensor) -> Tensor:
    """torch's own bidirectional network, on packed sequences of the words that are there."""
    plain = type(encoder.rightward)(SIZE, encoder.size // 2, batch_first=True, bidirectional=True)
    weights = {f"{name}_reverse": value for name, value in encoder.leftward.state_dict().items()}
    plain.double().load_state_dict({**encoder.rightward.state_dict(), **weights})
    states = torch.zeros(*mask.shape, encoder.size, dtype=x.dtype)
    if mask.any():
        rows = mask.any(1)
        packed = nn.utils.rnn.pack_sequence(
            [x[r][mask[r]] for r in rows.nonzero().flatten().tolist()], enforce_sorted=False
        )
        found, lengths = nn.utils.rnn.pad_packed_sequence(plain(packed)[0], batch_first=True)
        states[mask] = torch.cat([row[:n] for row, n in zip(found, lengths, strict=True)])
    return states


def by_bigrams(encoder: rcnn.Rcnn, x: Tensor, mask: Tensor) -> Tensor:
    states = torch.zeros(*mask.shape, encoder.size, dtype=x.dtype)
    half = encoder.size // 2
    for r in range(len(x)):
        words = mask[r].nonzero().flatten().tolist()
        for direction, order in enumerate((words, words[::-1])):
            w, w1, w2 = encoder.inputs[direction].T.split(half)  # [H, D]
            u = encoder.recurrent[direction].T
            c1 = c2 = h = torch.zeros(half, dtype=x.dtype)
            for t in order:
                decay = (w @ x[r, t] + u @ h + encoder.decay_bias[direction, 0]).sigmoid()
                c2 = decay * c2 + (1 - decay) * (c1 + w2 @ x[r, t])
                c1 = decay * c1 + (1 - decay) * (w1 @ x[r, t])
                h = (c2 + encoder.bias[direction, 0]).tanh()
                states[r, t, direction * half : (direction + 1) * half] = h
    return states


REFERENCES: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    "bag": by_words,
    "cnn": by_windows,
    "gru": by_packing,
    "lstm": by_packing,
    "rcnn": by_bigrams,
}


def test_every_encoder_has_a_reference() -> None:
    assert {*REFERENCES, "transformer"} == {*FILES}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", REFERENCES)
def test_against_a_plain_loop(name: str, seed: int, tmp_path: Path) -> None:
    encoder = build_encoder(name, tmp_path)
    x, mask = random_case(seed)
    found, expected = encoder(x, mask), REFERENCES[name](encoder, x, mask)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    slopes = [torch.autograd.grad(weighted(states), x)[0] for states in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-12)


def test_a_bag_without_a_layer_is_the_embeddings(tmp_path: Path) -> None:
    encoder = build_encoder("bag", tmp_path, hidden=None)
    x, mask = random_case(0)
    assert encoder.size == SIZE and not list(encoder.parameters())
    assert torch.equal(encoder(x, mask), x * mask[..., None])


def test_compaction() -> None:
    x = torch.arange(1.0, 9.0).view(2, 4, 1)
    mask = torch.tensor([[False, True, False, True], [False, False, True, False]])
    left = compact(x, mask)
    assert left.squeeze(-1).tolist() == [[2, 4], [7, 0]]  # and as short as the rows allow
    assert restore(left, mask).squeeze(-1).tolist() == [[0, 2, 0, 4], [0, 0, 7, 0]]


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (bag.Config, {"hidden": 0}),
        (cnn.Config, {"filters": 0}),
        (cnn.Config, {"widths": ()}),
        (cnn.Config, {"widths": (3, 4)}),
        (cnn.Config, {"widths": (-1,)}),
        (gru.Config, {"states": 0}),
        (lstm.Config, {"states": 0}),
        (rcnn.Config, {"states": 0}),
    ],
)
def test_settings_that_are_refused(config: Callable[..., Any], options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        config(**options)
