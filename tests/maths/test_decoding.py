"""From hand-made posteriors to links."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from tiny import make_batch, mixed_batch, randomise, vocabulary
from torch import Tensor, nn

from latentnlp.decoding import Alignment, Config, calibrated, decode
from latentnlp.distributions.alignment import NULL, Posteriors
from latentnlp.symmetrization import symmetrize
from latentnlp.tasks.alignment_model import Languages, ModelConfig, build_aligner


@dataclass
class Given:
    """A distribution of which posteriors and mode are given."""

    emission: Tensor  # [B, J, I]
    path: Tensor  # [B, J]

    def posteriors(self) -> Posteriors:
        return Posteriors(self.emission, 1 - self.emission.sum(-1), torch.zeros(len(self.path)))

    def mode(self) -> Tensor:
        return self.path


class GivenAligner(nn.Module):
    def __init__(self, there: Given, back: Given) -> None:
        super().__init__()
        self.both = there, back

    def distributions(self, batch: Any, sharpness: float = 1.0) -> tuple[Given, Given]:
        return self.both


VOCABULARIES = vocabulary(3, "a"), vocabulary(3, "b")
# Two sentence pairs: I = 3 source words and J = 2 target words; then I = 1 and J = 2.
BATCH = make_batch([[2, 3, 4], [2]], [[2, 3], [2, 3]])
THERE = Given(  # [B, J, I]
    torch.tensor([[[0.8, 0.1, 0.0], [0.3, 0.6, 0.05]], [[0.9, 0.0, 0.0], [0.35, 0.0, 0.0]]]),
    torch.tensor([[0, 1], [0, NULL]]),
)
BACK = Given(  # [B, I, J]
    torch.tensor([[[0.7, 0.2], [0.05, 0.2], [0.01, 0.9]], [[0.25, 0.7], [0.0, 0.0], [0.0, 0.0]]]),
    torch.tensor([[0, NULL, 1], [1, NULL, NULL]]),
)


def run(details: bool = False, **options: Any) -> list[Alignment]:
    aligner: Any = GivenAligner(THERE, BACK)
    return list(decode(aligner, BATCH, Config(**options), details))


def test_agreement() -> None:
    """(.8 + .7) / 2 = .75, (.6 + .2) / 2 = .4, (.05 + .9) / 2 = .475, (.35 + .7) / 2 = .525."""
    scores = {p: p**0.36 / (p**0.36 + (1 - p) ** 0.36) for p in (0.75, 0.4, 0.475)}
    assert scores[0.75] == pytest.approx(0.5976, abs=1e-4)
    found = run(method="agreement", threshold=0.48)
    assert [one.links for one in found] == [{(0, 0), (2, 1)}, {(0, 0), (0, 1)}]
    assert found[0].scores == pytest.approx({(0, 0): scores[0.75], (2, 1): scores[0.475]})
    assert run(method="agreement", threshold=0.5)[0].links == {(0, 0)}
    assert run(method="agreement", threshold=0.45)[0].links == {(0, 0), (1, 1), (2, 1)}
    assert run(method="agreement", threshold=0.6)[0].links == frozenset()


def test_scores_are_probabilities_and_keep_their_order() -> None:
    p = torch.tensor([0.0, 1e-30, 0.3, 0.5, 0.5001, 0.9, 1.0, 1.0000002])
    found = calibrated(p)
    assert found[0] == 0 and (found[-2:] == 1).all() and found[3] == 0.5
    assert (found.diff() >= 0).all() and (found[1:-2].diff() > 0).all()


@pytest.mark.parametrize("sharpness", [0.5, 2.0])
def test_sharpness_is_the_power_of_the_emissions(sharpness: float) -> None:
    """IBM 1 by hand: p(a_j = i) ∝ p(y_j | x_i)^λ, in both directions."""
    aligner = build_aligner(ModelConfig("ibm1", "type_based"), Languages(*VOCABULARIES))
    randomise(aligner)
    batch = make_batch([[2, 3, 4]], [[3, 2]])
    found = []
    for direction, side in zip(aligner.directions(), (batch, batch.reversed()), strict=True):
        p_null = direction.positions.null_logit.sigmoid()
        log_p, log_null = direction.emission(side)
        links = (1 - p_null) / log_p.shape[2] * log_p.exp() ** sharpness
        total = links.sum(2) + p_null * log_null.exp() ** sharpness
        found.append((links / total.unsqueeze(2))[0].detach().numpy())
    (one,) = decode(aligner, batch, Config(sharpness=sharpness), details=True)
    np.testing.assert_allclose(one.posterior, (found[0].T + found[1]) / 2, rtol=1e-4)


@pytest.mark.parametrize("sharpness", [1.0, 2.0])
def test_confidence(sharpness: float) -> None:
    """Σ_a p(a, y | x) by hand in IBM 1: each word by the mean of what the words beside it say, a
    power mean where emissions are sharpened."""
    aligner = build_aligner(ModelConfig("ibm1", "type_based"), Languages(*VOCABULARIES))
    randomise(aligner)
    pairs = [([2, 3, 4], [3, 2]), ([2], [4])]
    batch = make_batch([x for x, _ in pairs], [y for _, y in pairs])
    config = Config(method="viterbi", sharpness=sharpness)
    found = [one.confidence for one in decode(aligner, batch, config)]
    for value, sides in zip(found, pairs, strict=True):
        words: list[float] = []
        for direction, x, y in zip(aligner.directions(), sides, sides[::-1], strict=True):
            p_null = direction.positions.null_logit.sigmoid().item()
            log_p, log_null = direction.emission(make_batch([x], [y]))
            powers = (sharpness * log_p).exp(), (sharpness * log_null).exp()
            means = powers[0].mean(2)[0] * (1 - p_null) + powers[1][0] * p_null
            words += (means ** (1 / sharpness)).tolist()
        assert value == pytest.approx(np.prod(words) ** (1 / len(words)), rel=1e-4)
        assert 0 < value < 1


@pytest.mark.parametrize("how", ["intersection", "union", "grow-diag-final-and"])
def test_viterbi(how: str) -> None:
    forward = [frozenset({(0, 0), (1, 1)}), frozenset({(0, 0)})]
    reverse = [frozenset({(0, 0), (2, 1)}), frozenset({(0, 1)})]
    found = run(method="viterbi", symmetrization=how, details=True)
    for one, there, back in zip(found, forward, reverse, strict=True):
        assert (one.forward, one.reverse) == (there, back)
        assert one.links == symmetrize(how, there, back)
        assert one.scores.keys() == one.links
    assert run(method="viterbi", symmetrization="union")[0].links == {(0, 0), (1, 1), (2, 1)}


def test_posterior() -> None:
    options = {"method": "posterior", "threshold": 0.25}
    union = run(symmetrization="union", details=True, **options)
    assert union[0].forward == {(0, 0), (0, 1), (1, 1)}
    assert union[0].reverse == {(0, 0), (2, 1)}
    assert union[0].links == {(0, 0), (0, 1), (1, 1), (2, 1)}
    both = run(symmetrization="intersection", **options)
    assert [one.links for one in both] == [{(0, 0)}, {(0, 1)}]
    assert both[0].forward is None and both[0].reverse is None and both[0].posterior is None


def test_details_have_the_size_of_the_sentence() -> None:
    for one, shape in zip(run(details=True), [(3, 2), (1, 2)], strict=True):
        assert one.posterior is not None and one.posterior.shape == shape
    posterior = run(details=True)[0].posterior
    assert posterior is not None
    expected = np.array([[0.75, 0.25], [0.075, 0.4], [0.005, 0.475]])
    np.testing.assert_allclose(posterior, expected, atol=1e-6)
    with_details = run(details=True)
    assert with_details[0].forward == {(0, 0), (1, 1)}, "of agreement: the Viterbi path"


@pytest.mark.parametrize("method", ["agreement", "posterior", "viterbi"])
@pytest.mark.parametrize("positions", ["ibm1", "ibm2", "hmm"])
def test_order_lines_and_ranges(method: str, positions: str) -> None:
    languages = Languages(vocabulary(5, "a"), vocabulary(5, "b"))
    aligner = build_aligner(ModelConfig(positions=positions), languages)  # type: ignore[arg-type]
    randomise(aligner)
    batch = mixed_batch()
    batch.index.copy_(torch.tensor([7, 3, 9, 0]))
    config = Config(method=method, threshold=0.05, sharpness=1.0)  # type: ignore[arg-type]
    found = list(decode(aligner, batch, config, details=True))
    assert [one.line for one in found] == [7, 3, 9, 0]
    assert any(one.links for one in found)
    lengths = zip(batch.source_lengths.tolist(), batch.target_lengths.tolist(), strict=True)
    for one, (n_source, n_target) in zip(found, lengths, strict=True):
        assert all(0 <= i < n_source and 0 <= j < n_target for i, j in one.links)
        assert one.scores.keys() == one.links
        assert one.posterior is not None and one.posterior.shape == (n_source, n_target)
        for (i, j), score in one.scores.items():
            assert score == pytest.approx(calibrated(torch.tensor(one.posterior[i, j])).item())


def test_thresholds_close_to_one() -> None:
    """What is above them in float64 is not above them once both are float32."""
    surely, hardly = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[1 - 1e-5, 0.0]]])
    for posterior, links in ((surely, {(0, 0)}), (hardly, frozenset())):
        there = Given(posterior, torch.zeros(1, 1, dtype=torch.long))
        back = Given(posterior.mT, torch.zeros(1, 2, dtype=torch.long))
        aligner: Any = GivenAligner(there, back)
        (one,) = decode(aligner, make_batch([[2, 3]], [[2]]), Config(threshold=0.999))
        assert one.links == links


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1.0])
def test_threshold_out_of_range(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        Config(threshold=threshold)
