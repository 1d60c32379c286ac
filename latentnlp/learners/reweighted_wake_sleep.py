r"""Reweighted wake-sleep.

    z_1 … z_K ~ q(z | x),   w_k = p(x, z_k) / q(z_k | x),   w̃_k = w_k / Σ_j w_j

    wake-θ    climb Σ_k w̃_k log p(x, z_k)       in θ
    wake-λ    climb Σ_k w̃_k log q(z_k | x)      in λ
    sleep-λ   (x̃, z) ~ p: climb log q(z | x̃)    in λ

Bornschein and Bengio (2015), section 2. Every document has weights of its own. For K = 1 and
sleep-λ alone this is wake-sleep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from latentnlp.config import at_least
from latentnlp.data.bags import BagBatch
from latentnlp.document_models.belief_network import BeliefNetwork
from latentnlp.learners._ascent import Ascent, AscentConfig, Climb, Objective


@dataclass(frozen=True)
class Config:
    samples: int = 5  # K
    wake: float = 1.0  # weight of wake-λ
    sleep: float = 1.0  # weight of sleep-λ
    ascent: AscentConfig = field(default_factory=AscentConfig)

    def __post_init__(self) -> None:
        at_least(self, samples=1, wake=0, sleep=0)
        if self.wake == self.sleep == 0:
            raise ValueError("wake = sleep = 0: the recognition network would learn nothing")


class ReweightedWakeSleep(Objective[BeliefNetwork]):
    def __init__(self, config: Config, model: BeliefNetwork) -> None:
        super().__init__(model)
        self.config = config

    def forward(self, batch: BagBatch) -> Climb:
        q = self.model.posterior(batch)
        z = q.sample(self.config.samples)
        log_p, log_q = self.model.log_joint(batch, z), q.log_prob(z)  # [K, B]
        log_w = (log_p - log_q).detach()
        w = log_w.softmax(0)
        climbed = (w * log_p).sum(0) + self.config.wake * (w * log_q).sum(0)  # [B]
        if self.config.sleep > 0:
            with torch.no_grad():
                x, dreamt = self.model.dream(batch.lengths, batch.tokens)
            climbed = climbed + self.config.sleep * self.model.posterior(x).log_prob(dreamt)[0]
        return Climb(climbed, log_w.logsumexp(0) - math.log(self.config.samples))


def build(config: Config, model: BeliefNetwork, steps: int, device: torch.device) -> Ascent:
    return Ascent(config.ascent, ReweightedWakeSleep(config, model), steps, device)
