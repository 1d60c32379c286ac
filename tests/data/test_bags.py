"""Bags of words against a dense matrix of the same counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from latentnlp.data.bags import (
    BagBatch,
    BagBatches,
    Bags,
    batch_of,
    batch_of_draws,
    halves,
)

V = 12


def bags_of(matrix: np.ndarray, **names) -> Bags:
    """The bags of a matrix of counts, [D, V]."""
    rows, words = np.nonzero(matrix)
    sizes = np.bincount(rows, minlength=len(matrix))
    return Bags(
        offsets=np.concatenate([[0], np.cumsum(sizes)]),
        words=words.astype(np.int32),
        counts=matrix[rows, words].astype(np.int32),
        vocabulary_size=matrix.shape[1],
        **names,
    )


def matrix_of(bags: Bags) -> np.ndarray:
    matrix = np.zeros((len(bags), bags.vocabulary_size), dtype=np.int64)
    for number in range(len(bags)):
        for place in range(bags.offsets[number], bags.offsets[number + 1]):
            matrix[number, bags.words[place]] += bags.counts[place]
    return matrix


@pytest.fixture
def counts() -> np.ndarray:
    """31 documents; the first, the last and two in the middle are empty."""
    matrix = np.random.default_rng(3).poisson(0.6, size=(31, V))
    matrix[[0, 10, 11, 30]] = 0
    assert (matrix > 1).any()
    return matrix


def test_lengths_and_frequencies(counts):
    bags = bags_of(counts)
    assert len(bags) == 31
    assert bags.lengths().tolist() == counts.sum(1).tolist()
    assert bags.frequencies().tolist() == counts.sum(0).tolist()
    assert bags.frequencies().dtype == np.float64


@pytest.mark.parametrize("rows", [[5, 0, 5, 30, 1], [], [10], list(range(31))])
def test_select(counts, rows):
    labels = [None if n % 7 == 0 else f"l{n % 3}" for n in range(31)]
    bags = bags_of(counts, labels=labels)
    chosen = bags.select(np.array(rows, dtype=np.int64))
    assert matrix_of(chosen).tolist() == counts[rows].tolist()
    assert [chosen.id(n) for n in range(len(rows))] == [str(row) for row in rows]
    assert chosen.labels is not None and list(chosen.labels) == [labels[row] for row in rows]
    # A selection of a selection still has the first names.
    if len(rows) > 1:
        assert chosen.select(np.array([1])).id(0) == str(rows[1])
    assert bags_of(counts).select(np.array([3])).labels is None


def test_halves_cut_every_document(counts):
    bags = bags_of(counts, ids=[f"d{n}" for n in range(31)])
    first, second = halves(bags, seed=4)
    assert (matrix_of(first) + matrix_of(second)).tolist() == counts.tolist()
    assert first.lengths().tolist() == [-(-n // 2) for n in counts.sum(1)]
    assert first.id(7) == second.id(7) == "d7"
    assert first.counts.min() >= 1 and second.counts.min() >= 1
    again = halves(bags, seed=4)
    assert matrix_of(again[0]).tolist() == matrix_of(first).tolist()
    assert matrix_of(halves(bags, seed=5)[0]).tolist() != matrix_of(first).tolist()


def test_halves_are_drawn_without_preference():
    """Each token of a document has the same chance of being in the first half."""
    matrix = np.tile([6, 1, 3, 0], (4000, 1))  # 10 tokens
    first = matrix_of(halves(bags_of(matrix), seed=1)[0])
    # Hypergeometric: mean k/2, variance k/2 · 1/2 · (10 − k)/9.
    for word, k in enumerate((6, 1, 3, 0)):
        deviation = np.sqrt(k / 4 * (10 - k) / 9 / 4000)
        assert abs(first[:, word].mean() - k / 2) <= 4 * deviation
    assert first[:, 0].var() == pytest.approx(6 / 4 * 4 / 9, rel=0.15)


def dense_oracle(batch: BagBatch) -> torch.Tensor:
    matrix = torch.zeros(len(batch), batch.vocabulary_size)
    for word, count, row in zip(batch.words, batch.counts, batch.rows, strict=True):
        matrix[row, word] += count
    return matrix


@pytest.mark.parametrize("rows", [[4, 0, 9, 30], [0], [], [2, 2]])
def test_a_batch_is_its_documents(counts, rows):
    bags = bags_of(counts)
    batch = batch_of(bags, np.array(rows, dtype=np.int64), number=3)
    expected = torch.tensor(counts[rows], dtype=torch.float32).reshape(len(rows), V)
    assert len(batch) == len(rows) and batch.number == 3
    assert batch.index.tolist() == rows
    assert torch.equal(batch.dense(), expected) and torch.equal(dense_oracle(batch), expected)
    assert batch.lengths.tolist() == expected.sum(1).tolist()
    assert batch.starts.tolist() == [0, *np.cumsum((counts[rows] > 0).sum(1)).tolist()]

    vectors = torch.randn(V, 5, dtype=torch.float64, requires_grad=True)
    found = batch.weighted_sum(vectors)
    torch.testing.assert_close(found, expected.double() @ vectors)
    weight = torch.randn_like(found)
    found.mul(weight).sum().backward()
    torch.testing.assert_close(vectors.grad, expected.T.double() @ weight)


def test_weights_instead_of_counts(counts):
    batch = batch_of(bags_of(counts), np.arange(31))
    vectors, weights = torch.randn(V, 4), torch.rand(len(batch.words))
    expected = replace(batch, counts=weights).dense() @ vectors
    torch.testing.assert_close(batch.weighted_sum(vectors, weights), expected)
    values = torch.randn(3, len(batch.words))
    sums = torch.stack(
        [(values * (batch.rows == row)).sum(-1) for row in range(len(batch))], dim=-1
    )
    torch.testing.assert_close(batch.sum_by_document(values), sums)


@pytest.mark.parametrize(
    ("words", "rows", "documents"),
    [
        ([3, 3, 1, 0, 3], [0, 0, 2, 2, 2], 3),  # the middle one is empty
        ([3, 1, 3, 3, 1], [1, 0, 1, 0, 0], 4),  # in no order; the last one is empty
        ([4, 4, 4], [0, 0, 0], 1),
        ([], [], 2),
        ([], [], 0),
    ],
)
def test_draws_are_a_batch(words, rows, documents):
    expected = torch.zeros(documents, 5)
    for word, row in zip(words, rows, strict=True):
        expected[row, word] += 1
    words, rows = (torch.tensor(values, dtype=torch.int64) for values in (words, rows))
    batch = batch_of_draws(words, rows, expected.sum(1), vocabulary_size=5)
    assert batch.dense().tolist() == expected.tolist()
    assert batch.lengths.tolist() == expected.sum(1).tolist() and batch.tokens == len(words)
    assert batch.starts.tolist() == sorted(batch.starts.tolist())
    assert batch.starts[-1] == len(batch.words)
    vectors = torch.randn(5, 2)
    torch.testing.assert_close(batch.weighted_sum(vectors), expected @ vectors)
    sums = batch.sum_by_document(batch.counts * vectors[batch.words, 0])
    torch.testing.assert_close(sums, (expected @ vectors)[:, 0])
    # Each word stands once in a document: what is not linear in the counts is right, too.
    squares = batch.sum_by_document(batch.counts.square())
    assert squares.tolist() == expected.square().sum(1).tolist()


@pytest.mark.parametrize("shuffle", [False, True])
def test_an_epoch_has_every_document_once(counts, shuffle):
    batches = BagBatches(bags_of(counts), 7, seed=2, shuffle=shuffle)
    epoch = list(batches.epoch(5))
    assert len(batches) == len(epoch) == 5
    assert [len(batch) for batch in epoch] == [7, 7, 7, 7, 3]
    assert [batch.number for batch in epoch] == list(range(5))
    order = torch.cat([batch.index for batch in epoch]).tolist()
    assert sorted(order) == list(range(31))
    assert (order == list(range(31))) is not shuffle
    for batch in epoch:
        assert batch.dense().tolist() == counts[batch.index].tolist()
    in_order = [n for batch in batches for n in batch.index.tolist()]
    assert in_order == list(range(31))


def indices(batches: BagBatches, epoch: int, start: int = 0) -> list[list[int]]:
    return [batch.index.tolist() for batch in batches.epoch(epoch, start)]


def test_order_is_of_seed_and_epoch(counts):
    batches = BagBatches(bags_of(counts), 4, seed=2, shuffle=True)
    assert indices(batches, 3) == indices(batches, 3)
    assert indices(batches, 3) != indices(batches, 4)
    assert indices(batches, 3) != indices(BagBatches(bags_of(counts), 4, seed=9, shuffle=True), 3)
    # An interrupted epoch goes on where it stopped.
    assert indices(batches, 3, start=5) == indices(batches, 3)[5:]
    assert [batch.number for batch in batches.epoch(3, 5)] == [5, 6, 7]


def test_ranks_share_each_batch(counts):
    """Together the ranks have the rows of one process's batch; one of them may have none."""
    bags = bags_of(counts)
    whole = indices(BagBatches(bags, 5, seed=1, shuffle=True), 0)
    ranks = [
        list(BagBatches(bags, 5, seed=1, shuffle=True, rank=rank, world=2).epoch(0))
        for rank in range(2)
    ]
    for number, rows in enumerate(whole):
        parts = [rank[number] for rank in ranks]
        assert [part.index.tolist() for part in parts] == [rows[0::2], rows[1::2]]
    empty = ranks[1][-1]  # the last batch has one document
    assert len(empty) == 0 and len(whole[-1]) == 1
    assert empty.dense().shape == (0, V)
    vectors = torch.randn(V, 3, requires_grad=True)
    empty.weighted_sum(vectors).sum().backward()
    assert vectors.grad is not None and not vectors.grad.any()
    assert empty.sum_by_document(torch.zeros(2, 0)).shape == (2, 0)


def test_moving_keeps_the_places_on_the_cpu(counts):
    moved = batch_of(bags_of(counts), np.arange(4)).to("meta")
    assert moved.index.device.type == "cpu" and moved.words.device.type == "meta"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_same_on_a_gpu(counts):
    batch = batch_of(bags_of(counts), np.arange(31))
    vectors = torch.randn(V, 6)
    there = batch.to("cuda")
    torch.testing.assert_close(there.dense().cpu(), batch.dense())
    found = there.weighted_sum(vectors.cuda()).cpu()
    torch.testing.assert_close(found, batch.weighted_sum(vectors))


def thinned_bags() -> Bags:
    """60 documents of 500 tokens, which a share of at least 0.2 leaves well above 0."""
    return bags_of(np.full((60, 5), 100))


def test_thinning_keeps_a_random_share_of_each_document():
    bags = thinned_bags()
    kept = [b.lengths / 500 for e in range(20) for b in BagBatches(bags, 9, thinned=1).epoch(e)]
    shares = torch.cat(kept).double()
    # Uniform between 0.2 and 1: mean 0.6, deviation 0.8 / √12, over 1,200 documents.
    assert abs(shares.mean() - 0.6) < 4 * 0.8 / np.sqrt(12 * 1200)
    assert abs(shares.std() - 0.8 / np.sqrt(12)) < 0.02
    assert 0.1 < shares.min() < 0.3 and 0.9 < shares.max() <= 1


def test_thinning_leaves_the_other_documents_as_they_are():
    epochs = range(20)
    some = [b for e in epochs for b in BagBatches(thinned_bags(), 9, thinned=0.3).epoch(e)]
    untouched = torch.cat([batch.lengths for batch in some]) == 500
    assert abs(untouched.double().mean() - 0.7) < 0.06
    for batch in some:
        assert batch.dense().sum(1).tolist() == batch.lengths.tolist()
        assert batch.tokens == batch.lengths.sum() and bool((batch.counts <= 100).all())
    # What is scored or coded is whole.
    assert all((batch.counts == 100).all() for batch in BagBatches(thinned_bags(), 9, thinned=1))


def test_thinning_is_of_seed_epoch_and_place():
    def counts_of(epoch: int, start: int = 0, seed: int = 2) -> list[list[float]]:
        batches = BagBatches(thinned_bags(), 9, seed=seed, shuffle=True, thinned=0.5)
        return [batch.counts.tolist() for batch in batches.epoch(epoch, start)]

    assert counts_of(3) == counts_of(3) and counts_of(3, start=4) == counts_of(3)[4:]
    assert counts_of(3) != counts_of(4) and counts_of(3) != counts_of(3, seed=3)


def test_ranks_thin_as_one_process_does(counts):
    bags = bags_of(counts)
    one, first, second = (
        BagBatches(bags, 6, shuffle=True, thinned=1, rank=rank, world=world).epoch(2)
        for rank, world in ((0, 1), (0, 2), (1, 2))
    )
    for whole, even, odd in zip(one, first, second, strict=True):
        table = whole.dense().tolist()
        assert even.dense().tolist() == table[0::2] and odd.dense().tolist() == table[1::2]
        assert even.tokens + odd.tokens == whole.tokens


@pytest.mark.parametrize("wrong", [{"size": 0}, {"size": 2, "rank": 1}, {"size": 2, "rank": -1}])
def test_wrong_batches(counts, wrong):
    with pytest.raises(ValueError, match="size"):
        BagBatches(bags_of(counts), **wrong)
