r"""Two neural models of documents, fitted by Pyro: peers of ``document_peers.py``.

    z ~ N(0, I), 50 numbers; q(z | x) = N(μ(x), σ²(x)); one sample, KL in closed form
    (`TraceMeanField_ELBO`), Adam at 1e-3

    pyro-nvdm     NVDM (Miao, Yu and Blunsom 2016): counts → 500 tanh → μ, log σ (starts at 0);
                  softmax(R z + b). 64 documents a step, as published. Published are also Adam at
                  5e-5 and 1000 epochs of ten passes for each half: days of CPU. Here: 50 passes
                  at most. It ends after 5 without a better ELBO on dev (it overfits), and keeps
                  the best
    pyro-prodlda  ProdLDA (Srivastava and Sutton 2017) as Pyro's own example has it: counts → 100 →
                  100 softplus, dropout .2, μ and log σ² batch-normalised; θ = softmax(z), dropout,
                  softmax(BN(B θ)). 32 documents a step, 50 passes; here 50 topics instead of 20

A topic's words are those of the greatest weights of a column of R or B.
"""

from __future__ import annotations

import copy
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from latentnlp.data.bags import BagBatch, BagBatches, Bags
from latentnlp.distributions.discrete import Latent, tensor_of
from latentnlp.distributions.gaussian import Gaussian, standard_log_prob
from latentnlp.document_models._contract import DocumentModel

CODE = 50  # numbers of z
EPOCHS = 50
PATIENCE = 5  # epochs without a better ELBO on dev
RATE = 1e-3


class Neural(DocumentModel):
    """What the two share: all of the scoring."""

    decoder: nn.Linear  # K numbers to V words
    documents: int  # of a step
    chosen_on_dev: bool

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.vocabulary_size = vocabulary_size

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """μ and log σ of counts x [B, V], [B, K] each."""
        raise NotImplementedError

    def predict(self, z: Tensor) -> Tensor:
        """log p(w | z), [B, K] → [B, V]."""
        raise NotImplementedError

    def posterior(self, batch: BagBatch) -> Gaussian:
        return Gaussian(*self.encode(batch.dense()))

    def log_joint(self, batch: BagBatch, z: Latent) -> Tensor:
        log_words = self.log_words(z)[:, batch.rows, batch.words]
        return standard_log_prob(z) + batch.sum_by_document(batch.counts * log_words)

    def log_words(self, z: Latent) -> Tensor:
        z = tensor_of(z)
        return self.predict(z.flatten(0, 1)).unflatten(0, z.shape[:2])

    def codes(self, batch: BagBatch) -> Tensor:
        return self.posterior(batch).mean()


class Nvdm(Neural):
    documents, chosen_on_dev = 64, True

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__(vocabulary_size)
        self.hidden = nn.Linear(vocabulary_size, 500)
        self.location = nn.Linear(500, CODE)
        self.log_scale = nn.Linear(500, CODE)
        nn.init.zeros_(self.log_scale.weight)
        nn.init.zeros_(self.log_scale.bias)
        self.decoder = nn.Linear(CODE, vocabulary_size)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.hidden(x).tanh()
        return self.location(h), self.log_scale(h)

    def predict(self, z: Tensor) -> Tensor:
        return self.decoder(z).log_softmax(-1)


class ProdLda(Neural):
    documents, chosen_on_dev = 32, False

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__(vocabulary_size)
        self.first, self.second = nn.Linear(vocabulary_size, 100), nn.Linear(100, 100)
        self.location, self.log_variance = nn.Linear(100, CODE), nn.Linear(100, CODE)
        self.location_norm = nn.BatchNorm1d(CODE, affine=False)
        self.variance_norm = nn.BatchNorm1d(CODE, affine=False)
        self.decoder = nn.Linear(CODE, vocabulary_size, bias=False)
        self.decoder_norm = nn.BatchNorm1d(vocabulary_size, affine=False)
        self.dropout = nn.Dropout(0.2)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = F.softplus(self.second(F.softplus(self.first(x))))
        h = self.dropout(h)
        log_variance = self.variance_norm(self.log_variance(h))
        return self.location_norm(self.location(h)), 0.5 * log_variance

    def predict(self, z: Tensor) -> Tensor:
        theta = self.dropout(z.softmax(-1))
        return self.decoder_norm(self.decoder(theta)).log_softmax(-1)

    def codes(self, batch: BagBatch) -> Tensor:
        """softmax(μ), shares of topics."""
        return super().codes(batch).softmax(-1)


NETWORKS: dict[str, type[Neural]] = {"pyro-nvdm": Nvdm, "pyro-prodlda": ProdLda}


def load(system: str, folder: Path) -> Neural:
    weights = load_file(folder / "peer.safetensors")
    network = NETWORKS[system](len(weights["decoder.weight"]))
    network.load_state_dict(weights)
    return network.eval()


def train(system: str, folder: Path, seed: int) -> float:
    """Fit, write the weights into the folder, return the CPU seconds of the fit."""
    import pyro  # pyright: ignore[reportMissingImports]  # an optional extra

    torch.set_num_threads(1)
    pyro.set_rng_seed(seed)
    bags = {part: _read(folder / f"{part}.npz") for part in ("train", "dev")}
    network = NETWORKS[system](bags["train"].vocabulary_size)
    before = time.process_time()
    _fit(network, bags["train"], bags["dev"], seed)
    seconds = time.process_time() - before
    save_file(network.state_dict(), folder / "peer.safetensors")
    return seconds


def _fit(network: Neural, training: Bags, dev: Bags, seed: int) -> None:
    """Leaves the network with the weights of the epoch that its class says."""
    from pyro.infer import SVI, TraceMeanField_ELBO  # pyright: ignore[reportMissingImports]
    from pyro.optim import Adam  # pyright: ignore[reportMissingImports]

    svi = SVI(*_programs(network), Adam({"lr": RATE}), loss=TraceMeanField_ELBO())
    batches = BagBatches(training, network.documents, seed=seed, shuffle=True)
    best, kept, since = math.inf, None, 0
    for epoch in range(EPOCHS):
        network.train()
        for batch in batches.epoch(epoch):
            if len(batch) > 1:  # batch normalisation has no variance of one
                svi.step(batch.dense())
        if network.chosen_on_dev and len(dev):
            network.eval()
            loss = sum(svi.evaluate_loss(batch.dense()) for batch in BagBatches(dev, 256))
            since += 1
            if loss < best:
                best, kept, since = loss, copy.deepcopy(network.state_dict()), 0
            elif since == PATIENCE:
                break
    if kept is not None:
        network.load_state_dict(kept)


def _programs(network: Neural) -> tuple[Any, Any]:
    """Pyro's model and guide, of counts x [B, V]."""
    import pyro  # pyright: ignore[reportMissingImports]
    from pyro import distributions as dist  # pyright: ignore[reportMissingImports]

    def model(x: Tensor) -> None:
        pyro.module("network", network)
        with pyro.plate("documents", len(x)):
            zeros = x.new_zeros(len(x), CODE)
            z = pyro.sample("z", dist.Normal(zeros, zeros + 1).to_event(1))
            total = int(x.sum(-1).max())
            pyro.sample("words", dist.Multinomial(total, logits=network.predict(z)), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("network", network)
        with pyro.plate("documents", len(x)):
            location, log_scale = network.encode(x)
            pyro.sample("z", dist.Normal(location, log_scale.exp()).to_event(1))

    return model, guide


def _read(path: Path) -> Bags:
    """Without the empty documents: there is nothing to learn from them."""
    with np.load(path) as arrays:
        offsets, words, counts = (arrays[name] for name in ("offsets", "words", "counts"))
        bags = Bags(offsets, words, counts, int(arrays["size"]))
    return bags.select(np.flatnonzero(bags.lengths()))
