r"""What every model of translation answers: to a learner, to a search, to a reader of its links.

    log p(y | x) = Σ_j log p(y_j | y_<j, x),    y_J the end of the sentence

Both sentences end with an end mark (`END`), which is a word of both vocabularies. The learner needs
log p(y | x) alone. The search builds y from left to right, K hypotheses for each of B sentences:

    memory = model.encode(source)                    once a sentence
    state = model.start(memory)                      one empty hypothesis each
    log p(y_j | y_<j, x) = model.predict(memory, state)
    state = model.extend(memory, state, parents, words)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from latentnlp.data.batches import Batch, Side

END = "</s>"

State = dict[str, Tensor]
"""What a model remembers: of sentences [B, ...] (a memory), or of hypotheses [B, K, ...]."""


class TranslationModel(nn.Module):
    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """log p(y | x) [B], and the number of words [] that it speaks of, ends included."""
        raise NotImplementedError

    def networks(self) -> list[nn.Module]:
        """What `torch.compile` is for: neither recurrent networks nor sums over alignments."""
        raise NotImplementedError

    def links(self, batch: Batch) -> Tensor:
        """p(a_j = i | x, y) [B, J, I], of given translations; 0 at padding.

        The posterior of the whole y where a is latent; attention gives its weights."""
        raise NotImplementedError

    def encode(self, source: Side) -> State:
        """The memory of B sentences."""
        raise NotImplementedError

    def start(self, memory: State) -> State:
        """One hypothesis without words for each sentence: K = 1."""
        raise NotImplementedError

    def predict(self, memory: State, state: State) -> tuple[Tensor, State]:
        """log p(y_j = v | y_<j, x) of the next word, [B, K, V] (-inf at padding), and what
        `extend` needs of the way there."""
        raise NotImplementedError

    def extend(self, memory: State, step: State, parents: Tensor, words: Tensor) -> State:
        """The hypotheses ``parents`` [B, K'] (places among the K), each longer by ``words``
        [B, K']. ``step`` is what `predict` gave."""
        raise NotImplementedError


def pick(values: Tensor, parents: Tensor) -> Tensor:
    """The rows ``parents`` [B, K'] of hypotheses [B, K, ...]: [B, K', ...]."""
    rows = torch.arange(len(values), device=values.device).unsqueeze(1)  # [B, 1]
    return values[rows, parents]
