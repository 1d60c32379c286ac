r"""Which words, and which topics, a reader is shown.

A model says by how much a word speaks for a topic (its relevance). The most relevant words of a
unit are often rare ones that happened to stand where the unit was on. So, fixed for all models:

    words    of the ``CANDIDATES`` most relevant words those that stand together in documents of
             training: from each of them, the word with the greatest mean NPMI with those taken so
             far is added, until there are n; the start with the best mean wins
    topics   by the mean NPMI of their words in these documents, the best first; a topic that shares
             more than ``SHARED`` words with those before it is left out

NPMI as in `evaluation.topics`, but of n(a, b) − ``CAUTION`` √n(a, b) documents in which two words
stand together: two rare words that met once would else be the best of pairs. It is measured on
training documents, so scores on others are fair.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from latentnlp.data.bags import Bags, batch_of
from latentnlp.document_models._contract import Topics
from latentnlp.evaluation import topics as scores

CANDIDATES = 80
SHARED = 3
COUNT = 10  # n
CAUTION = 2.0  # standard deviations of a Poisson count
_DOCUMENTS = 20_000  # of training that are looked at, at most
_CHUNK = 1000


def readable(topics: Topics, bags: Bags, seed: int = 1) -> Topics:
    """The same topics with ``top`` and ``shown`` by the rule above. Takes tensors of the CPU."""
    # Of a small vocabulary the 80 best would be nearly all words.
    vocabulary = topics.relevance.shape[1]
    count = min(CANDIDATES, max(vocabulary // 5, COUNT), vocabulary)
    candidates = topics.relevance.topk(count).indices
    words, places = candidates.unique(return_inverse=True)
    npmi = pairwise_npmi(bags, words, seed)
    top, merits = zip(*(_together(npmi[p][:, p]) for p in places), strict=True)
    chosen = torch.stack([c[t] for c, t in zip(candidates, top, strict=True)])
    merit = torch.stack(merits)
    order = topics.shown[merit[topics.shown].argsort(descending=True, stable=True)]
    return replace(topics, top=chosen, shown=_different(chosen, order))


def pairwise_npmi(bags: Bags, words: Tensor, seed: int = 1, caution: float = CAUTION) -> Tensor:
    """NPMI of all pairs of these words [W] in the documents of ``bags``, [W, W]; 0 on the diagonal.

    Where there are very many documents, in some of them.
    """
    rows = np.random.default_rng(seed).permutation(len(bags))[:_DOCUMENTS]
    together = torch.zeros(len(words), len(words))
    for start in range(0, len(rows), _CHUNK):
        batch = batch_of(bags, np.sort(rows[start : start + _CHUNK]))
        there = (batch.dense()[:, words] > 0).float()
        together += there.T @ there
    alone, count = together.diagonal().clone(), float(len(rows))
    together = (together - caution * together.sqrt()).clamp(min=0)
    return scores.npmi(together, alone[:, None], alone, count).fill_diagonal_(0.0)


def _together(npmi: Tensor) -> tuple[Tensor, Tensor]:
    """Of candidates with this NPMI [C, C], those that stand together best, [n], and their mean."""
    count = min(COUNT, len(npmi))
    taken = torch.arange(len(npmi))[:, None]  # [C, 1]: every candidate is a start
    total = npmi.clone()  # [C, C] of each word to those taken so far
    inside = torch.zeros(len(npmi))  # of the pairs taken
    for _ in range(count - 1):
        total.scatter_(1, taken[:, -1:], -torch.inf)
        best = total.max(1)
        inside = inside + best.values
        taken = torch.cat([taken, best.indices[:, None]], 1)
        total = total + npmi[best.indices]
    winner = inside.argmax()
    return taken[winner], inside[winner] / max(1, count * (count - 1) // 2)


def _different(top: Tensor, order: Tensor) -> Tensor:
    """The topics in this order, without those that say what others have said."""
    shown: list[int] = []
    seen: set[int] = set()
    for topic in order.tolist():
        words = set(top[topic].tolist())
        if len(words & seen) <= SHARED:
            shown.append(topic)
            seen |= words
    return torch.tensor(shown, dtype=torch.int64)
