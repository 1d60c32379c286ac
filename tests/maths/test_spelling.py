"""Vectors that know spelling: what r(x) · r(y) is, and which words are alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import pytest
import torch
from tiny import make_batch, randomise
from torch import Tensor

from latentnlp.data.vocabulary import PAD, UNK, Vocabulary
from latentnlp.emissions import type_based
from latentnlp.emissions._words import SpellingVectors, _in_latin

LENGTHS = (2, 3, 4)
SOURCE = ["moskau", "münchen", "1984", "de", "haus", "!", "qqq"]
TARGET = ["москва", "munich", "1984", "house", "de", "1985", "!", "moskau"]


def vocabulary(words: list[str]) -> Vocabulary:
    return Vocabulary([(word, 1) for word in words])


def vectors(
    source: list[str], target: list[str], dim: int = 8, similarity: float = 1.0
) -> SpellingVectors:
    return SpellingVectors(vocabulary(source), vocabulary(target), dim, similarity, LENGTHS)


def grams(word: str) -> set[str]:
    marked = f"^{word}$"
    return {marked[k : k + n] for n in LENGTHS for k in range(len(marked)) if k + n <= len(marked)}


def likeness(x: str, y: str) -> float:
    """|grams(x) ∩ grams(y)| / √(|grams(x)| |grams(y)|), of words in Latin letters."""
    return len(grams(x) & grams(y)) / math.sqrt(len(grams(x)) * len(grams(y)))


def dice(x: str, y: str) -> float:
    return 2 * len(grams(x) & grams(y)) / (len(grams(x)) + len(grams(y)))


def doubtful(x: str, y: str) -> float:
    """As if every word had another half n-gram."""
    sizes = [len(grams(word)) + 0.5 for word in (x, y)]
    return len(grams(x) & grams(y)) / math.sqrt(sizes[0] * sizes[1])


def products(source: list[str], target: list[str]) -> Tensor:
    """r(x) · r(y) of all words, specials first, with G = I: exactly what it is on average."""
    built = vectors(source, target)
    built.table.weight = torch.nn.Parameter(torch.eye(built.table.num_embeddings).double())
    return (built.source() @ built.target().t()).detach()


def z_scores(formula: Callable[[str, str], float]) -> list[float]:
    """Of the mean of r(x) · r(y) over draws of G, if its expectation is γ times this formula."""
    draws, dim, gamma = 1000, 32, 5.0
    source, target = ["moskau", "haus", "1984", "de"], ["moskva", "house", "1985", "dem", "haus"]
    torch.manual_seed(0)
    drawn = []
    for _ in range(draws):
        built = vectors(source, target, dim, gamma)
        drawn.append((built.source() @ built.target().t()).detach()[2:, 2:].double())
    found = torch.stack(drawn).mean(0)
    shared = set().union(*map(grams, source)) & set().union(*map(grams, target))
    scores = []
    for i, x in enumerate(source):
        for j, y in enumerate(target):
            # One of d' independent products has variance (γ / d')² (|x| |y| + |x ∩ y|²), of the
            # n-grams in both languages, before it is scaled.
            both = len(grams(x) & grams(y))
            spread = len(grams(x) & shared) * len(grams(y) & shared) + both**2
            variance = spread / (len(grams(x)) * len(grams(y))) / dim
            deviation = gamma * math.sqrt(variance / draws)
            scores.append((float(found[i, j]) - gamma * formula(x, y)) / deviation)
    return scores


def test_the_products_are_the_likeness_on_average() -> None:
    """One right program in 1000 would fail at one seed (Bonferroni over 20 pairs)."""
    limit = NormalDist().inv_cdf(1 - 0.001 / 20 / 2)
    right = z_scores(likeness)
    assert len(right) == 20 and max(map(abs, right)) < limit
    assert sum(map(abs, right)) / 20 > 0.3, "the deviation is not overstated"
    for wrong in (dice, doubtful):
        assert max(map(abs, z_scores(wrong))) > limit, "near misses are told apart"


def test_the_products_are_the_likeness_exactly_for_orthogonal_ngrams() -> None:
    target = [{"москва": "moskva"}.get(word, word) for word in TARGET]
    found = products(SOURCE, TARGET)
    expected = torch.tensor([[likeness(x, y) for y in target] for x in SOURCE]).double()
    torch.testing.assert_close(found[2:, 2:], expected)
    assert (expected == 0).any() and (expected > 0.5).any()


@pytest.mark.parametrize("word", ["moskau", "1984", "de", "!"])
def test_nothing_is_more_like_a_word_than_itself(word: str) -> None:
    others = [f"{word}s", f"{word}{word}", word[:-1] or "?", f"a{word}", word[::-1], "moskva"]
    row = products([word], [word, *(w for w in dict.fromkeys(others) if w != word)])[2, 2:]
    assert (row[1:] < row[0]).all() and (row[1:] > 0).any()
    assert row[0] == pytest.approx(1.0)


def test_specials_and_words_that_share_nothing_have_no_vector() -> None:
    built = vectors([*SOURCE, "pad"], [*TARGET, "unk", "pads"])
    randomise(built)
    there, back = built.source(), built.target()
    for table in (there, back):
        assert (table[[PAD, UNK]] == 0).all()
    assert (there[2 + SOURCE.index("qqq")] == 0).all()
    assert (there[2 + SOURCE.index("haus")] != 0).all() and (there[-1] != 0).all()
    assert built.table.num_embeddings == len(
        set().union(*map(grams, [*SOURCE, "pad"]))
        & set().union(*map(grams, [*TARGET, "moskva", "unk", "pads"]))
    ), "only n-grams of both languages have one"


@pytest.mark.parametrize(
    ("source", "target"), [(["haus", "maus"], ["ring", "king"]), ([], ["king"]), ([], [])]
)
def test_no_ngram_in_common(source: list[str], target: list[str]) -> None:
    """There is nothing to compare; nothing breaks."""
    built = vectors(source, target)
    assert (built.source() == 0).all() and (built.target() == 0).all()
    emission = type_based.build(
        type_based.Config(dim=4, similarity_dim=3), vocabulary(source), vocabulary(target)
    )
    log_p, _ = emission(make_batch([[1]], [[1, 1]]))
    assert log_p.shape == (1, 2, 1) and log_p.isfinite().all()
    log_p.sum().backward()
    assert emission.spelling is not None
    gradient = emission.spelling.table.weight.grad
    assert gradient is not None and (gradient == 0).all()


def test_gradient_of_both_sides() -> None:
    built = vectors(SOURCE, TARGET, dim=3).double()
    table = built.table.weight
    shared = sorted(
        set().union(*map(grams, SOURCE)) & set().union(*map(grams, [*TARGET, "moskva"]))
    )
    latin = [{"москва": "moskva"}.get(word, word) for word in TARGET]
    sides = []
    for words in (SOURCE, latin):
        counts = torch.tensor([[float(g in grams(w)) for g in shared] for w in words]).double()
        lengths = torch.tensor([len(grams(w)) for w in words]).double()
        scaled = counts / lengths.sqrt().unsqueeze(1)
        sides.append(torch.cat([torch.zeros(2, len(shared)).double(), scaled]) @ table)
    found = built.source(), built.target()
    for one, other in zip(found, sides, strict=True):
        torch.testing.assert_close(one, other)
    weight = torch.randn(len(SOURCE) + 2, len(TARGET) + 2, dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad(((found[0] @ found[1].t()) * weight).sum(), [table]),
        torch.autograd.grad(((sides[0] @ sides[1].t()) * weight).sum(), [table]),
    )


def test_only_the_table_is_saved() -> None:
    built, fresh = vectors(SOURCE, TARGET), vectors(SOURCE, TARGET)
    assert set(built.state_dict()) == {"table.weight"}
    randomise(built)
    fresh.load_state_dict(built.state_dict())
    assert torch.equal(fresh.source(), built.source())
    assert torch.equal(fresh.target(), built.target())


# Romanisation.


@pytest.mark.parametrize(
    ("word", "latin"),
    [
        ("москва", "moskva"),
        ("ко́шка", "koshka"),  # with a combining accent
        ("αθήνα", "athina"),
        ("北京", "beijing"),
        ("мadrid", "madrid"),  # one letter is Cyrillic
    ],
)
def test_a_word_of_another_script_meets_its_latin_spelling(word: str, latin: str) -> None:
    assert _in_latin(word) == latin
    found = products([word], [latin])[2, 2]
    assert found == pytest.approx(1.0), "as alike as a word and itself"


@pytest.mark.parametrize(
    "word",
    ["münchen", "straße", "şi", "café", "cafe\u0301", "l'été", "1984", "3,14", "…", "«", "½", ""],
)
def test_latin_words_numbers_and_punctuation_stay_as_they_are(word: str) -> None:
    assert _in_latin(word) == word


# In the emission.


@pytest.mark.parametrize("similarity", [0.0, 9.0])
def test_an_emission_begins_with_the_spelling(similarity: float) -> None:
    words = ["moskau", "berlin", "paris"]
    torch.manual_seed(0)
    emission = type_based.build(
        type_based.Config(dim=4, ngrams=(), similarity=similarity, similarity_dim=256),
        vocabulary(words),
        vocabulary(words),
    )
    best = emission.log_prob_rows(torch.arange(2, 5)).argmax(1)
    assert (best.tolist() == [2, 3, 4]) == (similarity > 0)
    assert emission.width == (4 + 256 if similarity else 4)
    assert emission.represent(torch.arange(5)).shape == emission.targets().shape
    assert emission.targets().shape == (5, emission.width)
    assert any("spelling" in name for name in emission.state_dict()) == (similarity > 0)


def test_lengths_of_ngrams_are_checked() -> None:
    with pytest.raises(ValueError, match="no length of an n-gram"):
        type_based.Config(ngrams=(3, 0))
    with pytest.raises(ValueError, match="no length of an n-gram"):
        type_based.Config(similarity_ngrams=(0,))
