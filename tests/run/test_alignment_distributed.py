"""Two gloo processes under torchrun learn to align what one process learns."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_corpus import FAST, ToyCorpus, toy_corpus, write_lines

from latentnlp import checkpoint, distributed, run
from latentnlp.cli import main
from latentnlp.data.batches import Batches
from latentnlp.data.cooccurrences import Cooccurrences
from latentnlp.data.corpora import EncodedCorpus, ListText, build_vocabularies, encode
from latentnlp.emissions import contextual, counts, type_based
from latentnlp.emissions.counts import CountEmission
from latentnlp.emissions.type_based import TypeBasedEmission
from latentnlp.learners import em, lexicon, marginal
from latentnlp.run import seed_everything
from latentnlp.tasks import alignment_commands
from latentnlp.tasks.alignment_model import Languages, ModelConfig, build_aligner

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
TYPES = type_based.Config(dim=8)
MODELS = {
    "hmm": ModelConfig(emission="type_based", type_based=TYPES),
    "ibm2": ModelConfig(
        positions="ibm2", emission="contextual", contextual=contextual.Config(TYPES, states=4)
    ),
}


class Text:
    """A text in batches of 15 pairs, the last of 1, of which this process sees its share."""

    def __init__(self, folder: Path) -> None:
        corpus = toy_corpus(61, words=12)
        text = ListText(
            [line.split() for line in corpus.source], [line.split() for line in corpus.target]
        )
        self.languages = Languages(*build_vocabularies(text))
        self.encoded: EncodedCorpus = encode(
            text, self.languages.source, self.languages.target, folder
        )
        self.whole = self._batches()
        self.rank, self.world = distributed.rank(), distributed.world_size()
        self.mine = self._batches(self.rank, self.world)
        self.cells = folder / "cells.npy"

    def table(self) -> Cooccurrences:
        return Cooccurrences.build(self.encoded, self.whole, self.cells, self.rank, self.world)

    def _batches(self, rank: int = 0, world: int = 1) -> Batches:
        return Batches(self.encoded, 10**6, 15, seed=1, shuffle=True, rank=rank, world=world)


def gradients(text: Text, config: ModelConfig) -> dict[str, Tensor]:
    """Of one step on a batch of 15 pairs, and of one on a batch of 1: one process has none."""
    found: dict[str, Tensor] = {}
    for name, number in (("whole", 0), ("single", len(text.mine) - 1)):
        seed_everything(5)
        aligner = build_aligner(config, text.languages)
        # A tiny step, so that only the gradient is looked at.
        options = marginal.Config(learning_rate=1e-9, max_gradient_norm=1e9)
        learner = marginal.Marginal(options, aligner, CPU)
        batch = list(text.mine)[number]
        assert text.world == 1 or (name == "single") == (len(batch) < 2)
        learner.step(batch)
        for key, parameter in aligner.named_parameters():
            if parameter.grad is not None:
                found[f"{name}/{key}"] = parameter.grad
    return found


def trained(text: Text) -> dict[str, Tensor]:
    """A few epochs of gradient steps, of EM, and then of a lexicon's."""
    found: dict[str, Tensor] = {}
    seed_everything(6)
    aligner = build_aligner(MODELS["hmm"], text.languages)
    learner = marginal.Marginal(marginal.Config(learning_rate=0.01), aligner, CPU)
    for epoch in range(2):
        for batch in text.mine.epoch(epoch):
            learner.step(batch)
    found |= {f"marginal/{key}": value for key, value in aligner.state_dict().items()}

    config = ModelConfig(counts=counts.Config(mean="neural", neural=TYPES))
    aligner = build_aligner(config, text.languages)
    counting = em.ExpectationMaximisation(em.Config(agreement_from=2), aligner, text.table())
    for epoch in range(3):
        for batch in text.mine.epoch(epoch):
            counting.step(batch)
        counting.end_epoch()
    found |= {f"em/{key}": value.clone() for key, value in aligner.state_dict().items()}

    tables: list[CountEmission] = []
    priors: list[TypeBasedEmission] = []
    for direction in aligner.directions():
        assert isinstance(direction.emission, CountEmission) and direction.emission.neural
        tables.append(direction.emission)
        priors.append(direction.emission.neural)
    # 5 words a step: the last step of 13 words has 3, of which one process gets a single one.
    # A sample of the 13 words is in a normaliser, the same in both processes.
    options = lexicon.Config(words_per_step=5, frequent=3, sampled=4)
    fitting = lexicon.Lexicon(options, (tables[0], tables[1]), (priors[0], priors[1]), CPU)
    batches = fitting.batches(seed=3)
    values: dict[str, Tensor] = {}
    for epoch in range(2):
        for step in batches.epoch(epoch):
            values = fitting.step(step)
    # Of the last step: Adam's update would be the same if every gradient were doubled.
    for key, parameter in fitting.priors.named_parameters():
        if parameter.grad is not None:
            found[f"lexicon/gradient/{key}"] = parameter.grad
    for key, value in values.items():
        found[f"lexicon/{key}"] = distributed.sum_over_processes(value.clone())
    return found | {f"lexicon/{key}": value for key, value in fitting.priors.state_dict().items()}


def everything() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        text = Text(Path(folder))
        found = {name: gradients(text, config) for name, config in MODELS.items()}
        return found | {"trained": trained(text)}


def torchrun(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    path = os.pathsep.join([str(ROOT), *sys.path])
    return subprocess.run(
        [*command, *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    done = torchrun(Path(__file__).resolve(), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (checkpoint.load(tmp_path / f"rank{rank}") for rank in range(2))
    one = everything()
    for part, values in one.items():
        assert values.keys() == first[part].keys() == second[part].keys()
        assert any(value.float().abs().max() > 1e-3 for value in values.values())
        for key, value in values.items():
            assert torch.equal(first[part][key], second[part][key]), key
            torch.testing.assert_close(
                first[part][key], value, rtol=2e-3, atol=2e-5, msg=lambda m, k=key: f"{k}: {m}"
            )


@pytest.fixture
def corpus(tmp_path: Path) -> ToyCorpus:
    corpus = toy_corpus(80, words=15)
    corpus.write_canonical(tmp_path / "toy", test=20, dev=10)
    return corpus


def test_the_recipe_under_torchrun(corpus: ToyCorpus, tmp_path: Path) -> None:
    config = tmp_path / "toy.toml"
    config.write_text(
        f"data.corpus = '{tmp_path / 'toy'}'\n"
        "[em]\nibm1_epochs = 2\nepochs = 2\n"
        "[model]\nemission = 'type_based'\n[model.type_based]\ndim = 8\n"
        "[lexicon]\nfirst_epochs = 2\n[marginal]\nepochs = 2\n"
        "[batches]\nsentences = 7\n"
    )
    run = tmp_path / "run"
    done = torchrun(ROOT / "recipes/alignment/train.py", config, "--out", run)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("model saved in") == 1
    metrics = (run / "metrics.jsonl").read_text().splitlines()
    assert len(metrics) == 8  # each epoch once, not once a process
    assert (run / "model" / "tensors.safetensors").exists()

    from latentnlp import Aligner

    test = corpus.part(0, 20)
    links = Aligner.load(run, device="cpu").align(test.source, test.target)
    assert test.accuracy(links) > 0.5


def align_in_a_race(model: Path, arguments: list[str]) -> int:
    """The command, its second process looking at the folder while the first one makes it."""
    if distributed.rank() == 0:
        write = run.write_text

        def slowly(path: Path, text: str) -> None:
            time.sleep(1.0 if path.name == "config.json" else 0.0)
            write(path, text)

        run.write_text = slowly
    else:
        read = alignment_commands.open_parallel

        def late(*files: Any) -> Any:
            while not (model / "environment.json").exists():
                time.sleep(0.01)
            return read(*files)

        alignment_commands.open_parallel = late
    return main(arguments)


def test_the_command_under_torchrun(corpus: ToyCorpus, tmp_path: Path) -> None:
    """The folder that one process makes is not refused by another; there is a prior as well."""
    text, model, links = corpus.write(tmp_path), tmp_path / "model", tmp_path / "links"
    align = ["align", *text, "-o", links, *FAST, "--set", "batches.sentences=7", "--device", "cpu"]
    prior = write_lines(tmp_path / "dictionary", ["new\tneu\t3"])
    done = torchrun(Path(__file__).resolve(), model, *align, "--model", model, "--prior", prior)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("em epoch 2") == 1  # each epoch once, not once a process
    found = links.read_text().splitlines()
    assert main([*map(str, align), "--model", str(model), "--quiet"]) == 0
    assert links.read_text().splitlines() == found

    assert main([*map(str, align), "--prior", prior, "--quiet"]) == 0  # alone
    alone = links.read_text().splitlines()
    assert corpus.accuracy(found) == pytest.approx(corpus.accuracy(alone), abs=0.02)
    assert corpus.accuracy(found) > 0.7
    state = checkpoint.load(model / "model")
    assert "new" in state["source"]["words"]
    # 3 votes of the dictionary, counted once.
    rare = state["weights"]["source_to_target.emission.totals"]
    assert rare[2 + state["source"]["words"].index("new")] == 3.0


if __name__ == "__main__":
    torch.set_num_threads(1)
    if len(sys.argv) > 2:
        sys.exit(align_in_a_race(Path(sys.argv[1]), sys.argv[2:]))
    distributed.setup(CPU)
    checkpoint.save(Path(sys.argv[1]) / f"rank{distributed.rank()}", everything())
    distributed.shutdown()
