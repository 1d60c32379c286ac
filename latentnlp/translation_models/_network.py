r"""The networks that all models of translation share: they differ only in how x is looked at.

    h_i        state of source word i      a bidirectional GRU over the embedded x
    s_j        state of y_<j               a GRU over the embedded y_<j, from the mean of h on
    score_ji   = q(s_j) · k(h_i)           how well source word i suits what comes next

No alignment enters s_j: it is the same for all of them, or the sum over alignments would not be a
sum over the states of a chain (Wang et al. 2018, section 4.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from latentnlp.config import at_least
from latentnlp.data.batches import Side
from latentnlp.data.vocabulary import PAD
from latentnlp.encoders import gru
from latentnlp.encoders._recurrent import recur


@dataclass(frozen=True)
class Config:
    """Sizes that all kinds of models have."""

    embedding: int = 256
    states: int = 256  # of the source in each direction, and of the target
    keys: int = 128  # of the scores
    dropout: float = 0.3

    def __post_init__(self) -> None:
        at_least(self, embedding=1, states=1, keys=1, dropout=0)
        if self.dropout >= 1:
            raise ValueError(f"dropout={self.dropout} leaves nothing: below 1")


class Output(NamedTuple):
    """What makes logits of a vector t: E_v · t + b_v for each target word v."""

    weight: Tensor  # E [V, D]
    bias: Tensor  # b [V]; -inf for padding, which is never said

    def logits(self, t: Tensor) -> Tensor:
        """[..., V] of t [..., D]."""
        return t @ self.weight.T + self.bias

    def of(self, words: Tensor) -> Output:
        """E_v [..., D] and b_v [...] of ``words`` [...] alone."""
        return Output(embedding(words, self.weight), self.bias[words])


class Network(nn.Module):
    """Source states, target states, and the scores between them."""

    def __init__(self, config: Config, source_words: int, target_words: int) -> None:
        super().__init__()
        self.embedding_size, self.target_size = config.embedding, config.states
        self.source_size = 2 * config.states
        self.source_embedding = _embedding(source_words, config.embedding)
        self.encoder = gru.build(gru.Config(config.states), config.embedding)
        self.target_embedding = _embedding(target_words, config.embedding)
        self.first = nn.Linear(self.source_size, config.states)
        self.history = nn.GRU(config.embedding, config.states, batch_first=True)
        self.key = nn.Linear(self.source_size, config.keys)
        self.query = nn.Linear(config.states, config.keys)
        self.bias = nn.Parameter(torch.zeros(target_words))
        self.dropout = nn.Dropout(config.dropout)

    def output(self) -> Output:
        """E, which is also the embedding of the target words, and b."""
        padding = torch.full((1,), PAD, device=self.bias.device)  # made there: no copy to wait for
        bias = self.bias.index_fill(0, padding, -torch.inf)
        return Output(self.target_embedding.weight, bias)

    def read(self, source: Side) -> tuple[Tensor, Tensor]:
        """h [B, I, 2H], and the first state of the target [B, H]."""
        embedded = self.dropout(self.source_embedding(source.words))
        states = self.encoder(embedded, source.mask)
        mean = states.sum(1) / source.lengths.clamp_min(1).unsqueeze(1)
        return self.dropout(states), torch.tanh(self.first(mean))

    def follow(self, words: Tensor, first: Tensor) -> Tensor:
        """s_j for j = 1 … J, [B, J, H]: the state before each word of a translation [B, J]."""
        before = torch.cat([torch.full_like(words[:, :1], PAD), words[:, :-1]], 1)
        embedded = self.dropout(self.target_embedding(before))
        return self.dropout(recur(self.history, embedded, first.unsqueeze(0).contiguous()))

    def step(self, words: Tensor, state: Tensor) -> Tensor:
        """The states [B, K, H] after ``words`` [B, K]; PAD stands for the start."""
        embedded = self.target_embedding(words).flatten(0, 1).unsqueeze(1)
        return self.history(embedded, state.flatten(0, 1).unsqueeze(0).contiguous())[1].view(
            state.shape
        )

    def scores(self, states: Tensor, source_states: Tensor, source_mask: Tensor) -> Tensor:
        """score_ji [B, J, I]; -inf at source padding."""
        query, key = self.query(states), self.key(source_states)
        scores = query @ key.mT * key.shape[-1] ** -0.5
        return scores.masked_fill(~source_mask.unsqueeze(1), -torch.inf)


def _embedding(words: int, size: int) -> nn.Embedding:
    """Rows of length about 1: they are the rows of the output layer, too."""
    table = nn.Embedding(words, size)
    nn.init.normal_(table.weight, std=size**-0.5)
    return table
