"""Batches: every pair once, fixed composition, an order that is a function of (seed, epoch)."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from latentnlp.data.batches import Batch, Batches
from latentnlp.data.corpora import EncodedCorpus, ListText, build_vocabularies, encode


def random_corpus(folder: Path, seed: int) -> EncodedCorpus:
    rng = random.Random(seed)
    pairs, longest = rng.choice([1, 7, 150]), rng.choice([1, 5, 30])

    def sentence() -> list[str]:
        return [f"w{rng.randint(0, 50)}" for _ in range(rng.randint(0, longest))]

    text = ListText(
        [["always"], *(sentence() for _ in range(pairs))],
        [["always"], *(sentence() for _ in range(pairs))],
    )
    return encode(text, *build_vocabularies(text), folder)


def contents(batch: Batch) -> tuple:
    return (
        batch.number,
        *(
            tensor.tolist()
            for tensor in (
                batch.index,
                batch.source,
                batch.target,
                batch.source_mask,
                batch.target_mask,
            )
        ),
    )


SEEDS = range(12)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_pair_is_in_one_batch_within_the_budget(tmp_path: Path, seed: int) -> None:
    corpus = random_corpus(tmp_path, seed)
    rng = random.Random(seed)
    cells, most = rng.choice([1, 60, 2000]), rng.choice([1, 4, 1000])
    batches = Batches(corpus, cells, most, seed, shuffle=True)
    seen: list[int] = []
    for batch in batches.epoch(0):
        width_i, width_j = batch.source.shape[1], batch.target.shape[1]
        assert len(batch) == len(batch.index) == len(batch.source) == len(batch.target) <= most
        assert len(batch) * width_i * width_j <= cells or len(batch) == 1
        assert width_i == batch.source_lengths.max()
        assert width_j == batch.target_lengths.max()
        assert batch.source.dtype == batch.target.dtype == batch.index.dtype == torch.int64
        assert batch.source_mask.dtype == batch.target_mask.dtype == torch.bool
        for row, n in enumerate(batch.index.tolist()):
            source, target = corpus[n]
            assert batch.source[row].tolist() == [*source, *[0] * (width_i - len(source))]
            assert batch.target[row].tolist() == [*target, *[0] * (width_j - len(target))]
            assert batch.source_mask[row].tolist() == [k < len(source) for k in range(width_i)]
            assert batch.target_mask[row].tolist() == [k < len(target) for k in range(width_j)]
        seen.extend(batch.index.tolist())
    assert sorted(seen) == [n for n in range(len(corpus)) if corpus.source_lengths[n]]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_cut_is_the_greedy_one_over_the_sorted_pairs(tmp_path: Path, seed: int) -> None:
    corpus = random_corpus(tmp_path, seed)
    cells, most = 300, 16
    lengths = zip(corpus.source_lengths.tolist(), corpus.target_lengths.tolist(), strict=True)
    expected: list[list[int]] = []
    widest = 0
    for i, j, n in sorted((i, j, n) for n, (i, j) in enumerate(lengths) if i):
        rows = len(expected[-1]) + 1 if expected else 0
        wide = max(widest, j)
        if not expected or rows > most or rows * max(i * wide, max(i, wide) ** 2 // 4) > cells:
            expected.append([])
            widest = 0
        expected[-1].append(n)
        widest = max(widest, j)
    batches = Batches(corpus, cells, most, seed=0, shuffle=False)
    assert [batch.index.tolist() for batch in batches.epoch(3)] == expected
    assert [batch.number for batch in batches.epoch(3)] == list(range(len(batches)))


@pytest.mark.parametrize("sides", [(40, 2), (2, 40)])
def test_lopsided_pairs_do_not_make_large_matrices_of_jumps(
    tmp_path: Path, sides: tuple[int, int]
) -> None:
    text = ListText(*([["w"] * length] * 64 for length in sides))
    corpus = encode(text, *build_vocabularies(text), tmp_path)
    batches = list(Batches(corpus, 2000, 64, seed=0, shuffle=False))
    assert [len(batch) for batch in batches] == [5] * 12 + [4]  # 25 by I · J alone


@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_is_a_function_of_seed_and_epoch(tmp_path: Path, seed: int) -> None:
    corpus = random_corpus(tmp_path, seed)

    def epoch(number: int, seed: int = seed, start: int = 0) -> list[tuple]:
        batches = Batches(corpus, 100, 8, seed, shuffle=True)
        return [contents(batch) for batch in batches.epoch(number, start)]

    first, second = epoch(0), epoch(1)
    assert first == epoch(0), "no matter which epochs went before"
    assert sorted(first) == sorted(second), "composition is fixed"
    if len(first) > 8:
        assert first != second and first != epoch(0, seed=seed + 100) != epoch(1)
    for start in (1, len(first) // 2, len(first)):
        assert epoch(0, start=start) == first[start:], "a resumed epoch goes on where it was"


@pytest.mark.parametrize("world", [2, 3, 8])
@pytest.mark.parametrize("seed", SEEDS)
def test_ranks_share_the_rows_of_every_batch(tmp_path: Path, seed: int, world: int) -> None:
    corpus = random_corpus(tmp_path, seed)
    whole = list(Batches(corpus, 200, 7, seed, shuffle=True).epoch(2))
    ranks = [
        list(Batches(corpus, 200, 7, seed, shuffle=True, rank=rank, world=world).epoch(2))
        for rank in range(world)
    ]
    assert {len(steps) for steps in ranks} == {len(whole)}
    for step, batch in enumerate(whole):
        for rank, steps in enumerate(ranks):
            part = steps[step]
            assert part.number == batch.number
            assert torch.equal(part.index, batch.index[rank::world])
            for name in ("source", "target", "source_mask", "target_mask"):
                expected = getattr(batch, name)[rank::world]
                assert torch.equal(getattr(part, name), expected), name
                assert getattr(part, name).shape == expected.shape, "I and J of the whole batch"


def test_reversed_and_to(tmp_path: Path) -> None:
    corpus = random_corpus(tmp_path, 2)
    for batch in Batches(corpus, 100, 8, seed=0, shuffle=False).epoch(0):
        turned = batch.reversed()
        assert turned.source is batch.target and turned.target_mask is batch.source_mask
        assert turned.number == batch.number and torch.equal(turned.index, batch.index)
        assert contents(turned.reversed()) == contents(batch)
        moved = batch.to("meta")
        assert moved.source.device.type == moved.target_mask.device.type == "meta"
        assert moved.index.device.type == "cpu"


def test_a_corpus_without_a_usable_pair_has_no_batch(tmp_path: Path) -> None:
    text = ListText([["a"]], [["b"]])
    vocabularies = build_vocabularies(text)
    corpus = encode(ListText([[], ["a"]], [["b"], []]), *vocabularies, tmp_path)
    batches = Batches(corpus, 10, 10, seed=0, shuffle=True)
    assert len(batches) == 0
    assert list(batches.epoch(0)) == []


@pytest.mark.parametrize(
    "wrong", [{"cells": 0}, {"max_sentences": 0}, {"rank": 2, "world": 2}, {"rank": -1}]
)
def test_wrong_arguments(tmp_path: Path, wrong: dict[str, int]) -> None:
    corpus = random_corpus(tmp_path, 0)
    arguments: dict = {"cells": 10, "max_sentences": 10, "seed": 0, "shuffle": True, **wrong}
    with pytest.raises(ValueError, match="must be"):
        Batches(corpus, **arguments)
