r"""Wake-sleep.

    wake    z ~ q(z | x)         climb log p(x, z)    in θ
    sleep   (x̃, z) ~ p(x, z)     climb log q(z | x̃)   in λ

Hinton, Dayan, Frey and Neal (1995). Neither draw carries a gradient: each phase fits one network to
what the other one made. A dream is as long as a document of training.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from latentnlp.data.bags import BagBatch
from latentnlp.document_models.belief_network import BeliefNetwork
from latentnlp.learners._ascent import Ascent, AscentConfig, Climb, Objective


@dataclass(frozen=True)
class Config:
    ascent: AscentConfig = field(default_factory=AscentConfig)


class WakeSleep(Objective[BeliefNetwork]):
    def forward(self, batch: BagBatch) -> Climb:
        with torch.no_grad():
            q = self.model.posterior(batch)
            z = q.sample(1)
        wake = self.model.log_joint(batch, z)[0]  # [B]
        with torch.no_grad():
            x, dreamt = self.model.dream(batch.lengths, batch.tokens)
        sleep = self.model.posterior(x).log_prob(dreamt)[0]  # [B]
        elbo = wake.detach() - q.log_prob(z)[0]
        return Climb(wake + sleep, elbo)


def build(config: Config, model: BeliefNetwork, steps: int, device: torch.device) -> Ascent:
    return Ascent(config.ascent, WakeSleep(model), steps, device)
