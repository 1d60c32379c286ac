"""What every file in models/ and emissions/ with a `build` promises."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from typing import Any

import pytest
import torch
from register import EMISSIONS, POSITIONS
from tiny import empty_batch, make_batch, mixed_batch, randomise, vocabulary
from torch import nn

from latentnlp import config as configuration
from latentnlp.distributions.alignment import NULL
from latentnlp.emissions._base import Emission
from latentnlp.models._positions import PositionModel, Totals
from latentnlp.tasks.alignment_model import ModelConfig

SOURCE, TARGET = vocabulary(6, "haus"), vocabulary(4, "house")
FILES = [("models", name) for name in POSITIONS] + [("emissions", name) for name in EMISSIONS]


def module(folder: str, name: str) -> Any:
    return importlib.import_module(f"latentnlp.{folder}.{name}")


def build(folder: str, name: str) -> Any:
    file = module(folder, name)
    built = file.build(file.Config(), *((SOURCE,) if folder == "models" else (SOURCE, TARGET)))
    randomise(built, scale=0.3)
    return built


def test_the_register_is_not_empty() -> None:
    assert {"ibm1", "ibm2", "hmm"} <= set(POSITIONS)
    assert {"counts", "type_based", "contextual"} <= set(EMISSIONS)


@pytest.mark.parametrize("folder, name", FILES)
def test_config(folder: str, name: str) -> None:
    config: Any = module(folder, name).Config
    assert config.__dataclass_params__.frozen
    default: Any = config()  # every field has a default
    assert configuration.from_dict(config, configuration.to_dict(default), "a test") == default
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(default, dataclasses.fields(config)[0].name, None)


@pytest.mark.parametrize("folder, name", FILES)
def test_docstring_has_the_equation(folder: str, name: str) -> None:
    doc = inspect.getdoc(module(folder, name)) or ""
    assert len(doc.splitlines()) >= 3 and "p(" in doc and "=" in doc


@pytest.mark.parametrize("folder, name", FILES)
def test_a_model_can_be_chosen_by_its_file_name(folder: str, name: str) -> None:
    """ModelConfig has a table of options for it, and its name among the choices."""
    option = {"models": "positions", "emissions": "emission"}[folder]
    assert isinstance(getattr(ModelConfig(), name), module(folder, name).Config)
    chosen = configuration.from_dict(ModelConfig, {option: name}, "a test")
    assert getattr(chosen, option) == name


@pytest.mark.parametrize("folder, name", FILES)
def test_build(folder: str, name: str) -> None:
    built = build(folder, name)
    assert isinstance(built, nn.Module)
    assert isinstance(built, PositionModel if folder == "models" else Emission)
    other = build(folder, name)
    other.load_state_dict(built.state_dict())
    for key, value in built.state_dict().items():
        assert torch.equal(value, other.state_dict()[key])


@pytest.mark.parametrize("batch", [mixed_batch(words=3), empty_batch()], ids=["some", "none"])
@pytest.mark.parametrize("name", EMISSIONS)
def test_emission_shapes(name: str, batch: Any) -> None:
    emission = build("emissions", name)
    b, j, i = len(batch), batch.target.shape[1], batch.source.shape[1]
    log_p, log_null = emission(batch)
    assert log_p.shape == (b, j, i) and log_null.shape == (b, j)
    assert log_p.dtype == log_null.dtype == torch.float32
    assert log_p.isfinite().all() and log_null.isfinite().all(), "at padding too"
    assert (log_p <= 1e-5).all() and (log_null <= 1e-5).all()
    again = emission(batch)
    assert torch.equal(log_p, again[0]), "nothing is remembered between calls"


@pytest.mark.parametrize("name", POSITIONS)
def test_position_model(name: str) -> None:
    positions = build("models", name)
    for batch in (mixed_batch(words=3), empty_batch(), make_batch([[2]], [[2]])):
        b, j, i = len(batch), batch.target.shape[1], batch.source.shape[1]
        log_emission = torch.randn(b, j, i, generator=torch.Generator().manual_seed(0))
        log_null = torch.randn(b, j, generator=torch.Generator().manual_seed(1))
        found = positions(batch, log_emission, log_null)
        assert found.log_partition().shape == (b,)
        posteriors = found.posteriors()
        assert posteriors.emission.shape == (b, j, i) and posteriors.null.shape == (b, j)
        mass = posteriors.emission.sum(-1) + posteriors.null
        torch.testing.assert_close(mass, batch.target_mask.float(), atol=1e-5, rtol=0)
        assert (posteriors.emission.mT[~batch.source_mask] == 0).all()
        assert not posteriors.emission.requires_grad
        mode = found.mode()
        assert mode.shape == (b, j) and mode.dtype == torch.int64
        assert (mode[~batch.target_mask] == NULL).all()
        assert (mode < batch.source_lengths.unsqueeze(1)).all()
        sample = found.sample(3, torch.Generator().manual_seed(2))
        assert sample.shape == (3, b, j)
        assert found.log_potential(sample).shape == (3, b)
        assert (found.log_potential(sample) <= found.log_partition() + 1e-4).all()
        assert (found.log_potential(mode) + 1e-4 >= found.log_potential(sample)).all()


@pytest.mark.parametrize("name", POSITIONS)
def test_maximise_takes_what_was_collected(name: str) -> None:
    positions, batch = build("models", name), mixed_batch(words=3)
    with torch.no_grad():  # as EM calls it
        found = positions(batch, torch.zeros(4, 3, 4), torch.zeros(4, 3))
        totals: Totals = {}
        positions.collect(totals, batch, found, found.posteriors())
        positions.maximise(totals)
    share = totals["null"] / totals["words"]
    torch.testing.assert_close(positions.null_logit.sigmoid().detach(), share)
    assert all(parameter.isfinite().all() for parameter in positions.parameters())
