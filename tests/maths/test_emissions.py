"""Emission models against naive softmaxes, and the smoothed count table against its formula."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from tiny import empty_batch, make_batch, mixed_batch, random_sentences, randomise, vocabulary
from torch import Tensor

from latentnlp.data.batches import Batch
from latentnlp.data.cooccurrences import OUTSIDE, Cooccurrences
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.emissions import _base, _words, contextual, counts, type_based
from latentnlp.emissions._base import Sample, log_normaliser
from latentnlp.emissions._words import WordVectors, ngram_members

SOURCE, TARGET = vocabulary(5, "haus"), vocabulary(7, "house")

CHUNKS = [1, 6, 35, 10**6]  # logits at once: one word, a few, part of the rows, all


def logits(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return hidden @ weight.t() + bias


def normaliser_case(rows: int = 5, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(rows, 4), (13, 4), (13,)]
    return [
        (3 * torch.randn(shape, generator=generator, dtype=torch.float64))
        .to(dtype)
        .requires_grad_()
        for shape in shapes
    ]


@pytest.mark.parametrize("at_once", CHUNKS)
def test_normaliser_and_its_gradient(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(_base, "_LOGITS_AT_ONCE", at_once)
    inputs = normaliser_case()
    found, expected = log_normaliser(*inputs), logits(*inputs).logsumexp(-1)
    torch.testing.assert_close(found, expected)
    weight = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        torch.autograd.grad(found @ weight, inputs), torch.autograd.grad(expected @ weight, inputs)
    )
    assert torch.autograd.gradcheck(log_normaliser, inputs)


def test_normaliser_visits_the_vocabulary_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_base, "_LOGITS_AT_ONCE", 20)
    hidden, weight, bias = normaliser_case()
    sizes = [part.shape for _, part in _base._chunks(hidden, weight, bias, None)]
    assert sizes == [(5, 4), (5, 4), (5, 4), (5, 1)]


@pytest.mark.parametrize("at_once", CHUNKS)
def test_normaliser_under_autocast(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(_base, "_LOGITS_AT_ONCE", at_once)
    inputs = normaliser_case(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = log_normaliser(*inputs)
        assert torch.is_autocast_enabled("cpu"), "the chunks switch it off for themselves alone"
    assert found.dtype == torch.float32
    exact = logits(*inputs).logsumexp(-1)
    torch.testing.assert_close(found, exact, rtol=2e-2, atol=5e-2)
    assert not torch.equal(found, exact), "the products are bfloat16"
    rough = torch.autograd.grad(found.sum(), inputs)
    fine = torch.autograd.grad(exact.sum(), inputs)
    for one, other in zip(rough, fine, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=5e-2, atol=5e-2)


def test_normaliser_of_no_rows() -> None:
    inputs = normaliser_case(rows=0)
    found = log_normaliser(*inputs)
    assert found.shape == (0,)
    found.sum().backward()
    assert all(one.grad is not None and (one.grad == 0).all() for one in inputs)


def neural(
    name: str, ngrams: tuple[int, ...] = (3,), seed: int = 0, similarity: float = 3.0
) -> Any:
    types = type_based.Config(6, ngrams, similarity, similarity_dim=5, similarity_ngrams=(1, 2))
    if name == "type_based":
        built: Any = type_based.build(types, SOURCE, TARGET)
    else:
        built = contextual.build(contextual.Config(types, states=4), SOURCE, TARGET)
    randomise(built, seed)
    return built.double()


def every_target(source: list[int], width: int | None = None) -> Batch:
    """One sentence whose target "sentence" is the whole vocabulary, padding word included."""
    batch = make_batch([source], [range(1, len(TARGET) + 1)], (width, None))
    batch.target_side.words.copy_(torch.arange(len(TARGET)))
    batch.target_side.types.zero_()  # not looked at
    return batch


@pytest.mark.parametrize("ngrams", [(), (3,), (3, 4)])
@pytest.mark.parametrize("name", ["type_based", "contextual"])
def test_each_source_word_has_a_distribution(name: str, ngrams: tuple[int, ...]) -> None:
    emission = neural(name, ngrams)
    log_p, log_null = emission(every_target([2, 1, 6, 2, 4], width=7))
    assert log_p.shape == (1, len(TARGET), 7) and log_p.dtype == torch.float64
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(1, 7).double())
    torch.testing.assert_close(log_null.exp().sum(1), torch.ones(1).double())


@pytest.mark.parametrize("similarity", [0.0, 3.0])
@pytest.mark.parametrize("ngrams", [(), (3,)])
def test_type_based_is_the_naive_softmax(ngrams: tuple[int, ...], similarity: float) -> None:
    emission = neural("type_based", ngrams, similarity=similarity)
    batch = mixed_batch(words=5)
    log_p, log_null = emission(batch)
    naive = emission.log_prob_rows(torch.arange(len(SOURCE)))  # [X, Y]
    vectors = emission.source_words.everything()
    hidden = vectors + torch.tanh(
        vectors @ emission.hidden.weight.t() + emission.hidden.bias
    )  # [X, d]
    table = logits(hidden, emission.target_words.everything(), emission.target_bias)
    if similarity:
        alike = emission.spelling.source() @ emission.spelling.target().t()
        assert (alike.abs() > 1e-3).any()
        table = table + alike
    torch.testing.assert_close(naive, table.log_softmax(-1))
    cells = table[batch.source.unsqueeze(1), batch.target.unsqueeze(2)]
    torch.testing.assert_close(emission.scores(batch), cells)
    expected = naive[batch.source.unsqueeze(1), batch.target.unsqueeze(2)]  # [B, J, I]
    torch.testing.assert_close(log_p, expected)
    torch.testing.assert_close(log_null, emission.null_logits.log_softmax(-1)[batch.target])

    weight = torch.randn(log_p.shape, dtype=torch.float64)
    parameters = [p for n, p in emission.named_parameters() if "null" not in n]
    torch.testing.assert_close(
        torch.autograd.grad((log_p * weight).sum(), parameters),
        torch.autograd.grad((expected * weight).sum(), parameters),
    )


def test_log_prob_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type_based, "_PAIRS_AT_ONCE", 4)
    emission = neural("type_based")
    types = torch.tensor([2, 5, 6])
    place, target = torch.tensor([0, 0, 1, 2, 2, 2, 1]), torch.tensor([3, 4, 2, 1, 8, 2, 2])
    expected = emission.log_prob_rows(types)[place, target]
    torch.testing.assert_close(emission.log_prob_pairs(types, place, target), expected)
    scores, log_z = emission.score_pairs(types, place, target)
    torch.testing.assert_close(scores - log_z[place], expected)
    inputs = emission.represent(types), emission.targets(), emission.target_bias
    torch.testing.assert_close(log_z, logits(*inputs).logsumexp(-1))


def test_log_prob_of_pairs_with_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type_based, "_PAIRS_AT_ONCE", 4)
    emission = neural("type_based")
    types = torch.tensor([2, 5, 6])
    place, target = torch.tensor([0, 0, 1, 2, 2, 2]), torch.tensor([3, 4, 2, 1, 8, 2])
    rows = emission.log_prob_rows(types)
    for step in (1, 3):
        estimates = []
        for offset in range(step):
            sample = Sample(2, step, offset)
            found = emission.log_prob_pairs(types, place, target, sample)
            scores, log_z = emission.score_pairs(types, place, target, sample)
            torch.testing.assert_close(found, scores - log_z[place])
            estimates.append((-found).exp())  # Z / exp(s)
        torch.testing.assert_close(torch.stack(estimates).mean(0), (-rows[place, target]).exp())
        spread = (estimates[0] - estimates[-1]).abs().max()
        assert spread == 0 if step == 1 else spread > 1e-3


def test_a_new_contextual_emission_is_the_type_based_one() -> None:
    types = type_based.Config(6, similarity_dim=5, similarity_ngrams=(1, 2))
    built = contextual.build(contextual.Config(types, 4), SOURCE, TARGET)
    batch = mixed_batch()
    expected = built.types(batch)[0]
    torch.testing.assert_close(built(batch)[0], expected)


def test_context_looks_both_ways() -> None:
    emission, base = neural("contextual"), [2, 3, 4, 5]
    log_p = emission(every_target(base))[0]
    for changed in range(4):
        other = list(base)
        other[changed] = 6
        moved = (emission(every_target(other))[0] - log_p).abs().sum(1)[0]
        assert (moved > 1e-6).all(), "every place sees every word"


@pytest.mark.parametrize("name", ["type_based", "contextual"])
def test_emission_of_a_sentence_does_not_depend_on_its_batch(name: str) -> None:
    generator = random.Random(2)
    source = random_sentences(generator, [3, 1, 5], 5)
    target = random_sentences(generator, [2, 4, 1], 5)
    emission = neural(name)
    together, null = emission(make_batch(source, target, (8, 6)))
    for row in range(3):
        alone, null_alone = emission(make_batch(source[row : row + 1], target[row : row + 1]))
        _, n_target, n_source = alone.shape
        torch.testing.assert_close(together[row, :n_target, :n_source], alone[0])
        torch.testing.assert_close(null[row, :n_target], null_alone[0])
    assert together.isfinite().all(), "padding too"


@pytest.mark.parametrize("name", ["type_based", "contextual"])
def test_no_sentences(name: str) -> None:
    emission = neural(name)
    log_p, log_null = emission(empty_batch())
    assert log_p.shape == (0, 2, 3) and log_null.shape == (0, 2)
    (log_p.sum() + log_null.sum()).backward()


@pytest.mark.parametrize("name", ["type_based", "contextual"])
def test_autocast_gives_single_precision_results(name: str) -> None:
    emission, batch = neural(name).float(), mixed_batch()
    exact = emission(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = emission(batch)
    for one, other in zip(rough, exact, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=5e-2, atol=0.15)


# Character n-grams.


def spelt(*words: str, count: int = 1) -> Vocabulary:
    return Vocabulary([(word, count) for word in words])


def test_ngram_members() -> None:
    members, size = ngram_members(spelt("abc", "abd", "xyz", ""), (2, 3))
    # ^abc$: ^a ab bc c$ ^ab abc bc$; ^abd$: ^a ab bd d$ ^ab abd bd$; ^$ once: shared ^a, ab, ^ab.
    ids = {gram: number for number, gram in enumerate(sorted(["^a", "ab", "^ab"]), start=1)}
    shared = [ids["^a"], ids["ab"], ids["^ab"]]
    # What shares nothing, the two specials among them, has a vector of its own.
    assert members == [[4], [5], shared, shared, [6], [7]]
    assert size == 1 + 3 + 4


def test_a_frequent_word_is_an_ngram_of_its_own() -> None:
    words = Vocabulary([("abc", _words._FREQUENT), ("abd", _words._FREQUENT - 1)])
    members, size = ngram_members(words, (3,))
    assert members == [[2], [3], [1, 4], [1]] and size == 5


def test_a_word_counts_an_ngram_once_and_keeps_48() -> None:
    members, _ = ngram_members(spelt("aaaa", "aaab"), (2,))
    assert len(members[2]) == 2, "^a and aa; a$ is not shared"
    long = "".join(chr(0x4E00 + k) for k in range(100))
    members, size = ngram_members(spelt(long, long + "x"), (3,))
    assert [len(one) for one in members] == [1, 1, 48, 48] and size > 48


def test_word_vectors_are_rows_or_means_of_ngram_vectors() -> None:
    words = Vocabulary([("abc", 2), ("abd", 1), ("xyz", 1)])
    atoms = WordVectors(words, 4, ())
    assert torch.equal(atoms.everything(), atoms.table.weight)
    assert torch.equal(atoms(torch.tensor([3, 1])), atoms.table.weight[[3, 1]])

    vectors = WordVectors(words, 4, (2, 3))
    randomise(vectors)
    table = vectors.table.weight
    shared = table[1:4].mean(0)  # ^a, ab, ^ab
    expected = torch.stack([table[4], table[5], shared, shared, table[6]])
    torch.testing.assert_close(vectors.everything(), expected)
    torch.testing.assert_close(vectors(torch.tensor([3, 4])), expected[[3, 4]])
    assert set(vectors.state_dict()) == {"table.weight"}, "members follow from the vocabulary"


def test_gradient_of_word_vectors_made_of_characters() -> None:
    words = spelt("abc", "abd", "abcd", "bcd", "xyz")
    vectors = WordVectors(words, 3, (2, 3)).double()
    members, _ = ngram_members(words, (2, 3))
    table, weight = vectors.table.weight, torch.randn(len(words), 3, dtype=torch.float64)
    rows = torch.stack([table[grams].mean(0) for grams in members])
    expected = torch.autograd.grad((rows * weight).sum(), [table], retain_graph=True)
    found = torch.autograd.grad((vectors.everything() * weight).sum(), [table])
    torch.testing.assert_close(found, expected)
    some = torch.tensor([5, 2, 2, 3])  # in any order, and twice
    expected = torch.autograd.grad((rows[some] * weight[:4]).sum(), [table])
    found = torch.autograd.grad((vectors(some) * weight[:4]).sum(), [table])
    torch.testing.assert_close(found, expected)


# Counts.


def table_of(pairs: list[tuple[int, int]]) -> Cooccurrences:
    words = torch.tensor([(0, 0), *sorted(pairs)], dtype=torch.int32)
    nothing = torch.zeros(1, dtype=torch.int32).numpy()
    return Cooccurrences(words[:, 0], words[:, 1], nothing, nothing)


PAIRS = [(2, 3), (2, 8), (3, 3), (6, 2), (6, 5)]
VOTES = {(2, 3): 4.0, (2, 8): 1.5, (3, 3): 0.25, (6, 2): 0.0, (6, 5): 7.0}


def counted(transposed: bool = False, **options: Any) -> counts.CountEmission:
    """The counts of SOURCE → TARGET; ``transposed``: of TARGET → SOURCE, on the same pairs."""
    sides = (TARGET, SOURCE) if transposed else (SOURCE, TARGET)
    options.setdefault("mean", "unigram")
    emission = counts.build(counts.Config(**options), *sides, transposed)
    emission.start(table_of(PAIRS))
    votes = torch.tensor([9.0, *(VOTES[pair] for pair in sorted(PAIRS))])
    null = torch.zeros(len(sides[1]))
    null[3], null[2] = 2.0, 1.0
    emission.maximise(votes, null)
    return emission


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("mean", ["uniform", "unigram", "neural"])
def test_smoothed_counts(mean: str, transposed: bool) -> None:
    kappa, null_kappa = 2.5, 10.0
    emission = counted(
        transposed,
        mean=mean,
        strength=kappa,
        null_strength=null_kappa,
        neural=type_based.Config(5, (3,)),
    )
    randomise(emission)
    batch = make_batch([[2, 6, 3], [5, 2]], [[3, 8], [5, 2, 3]])
    batch = batch.reversed() if transposed else batch
    log_p, log_null = emission(batch)

    _, target = (TARGET, SOURCE) if transposed else (SOURCE, TARGET)
    votes = {(y, x): n for (x, y), n in VOTES.items()} if transposed else VOTES
    null_counts = {3: 2.0, 2: 1.0}
    seen = [count + 1 for count in target.counts]
    unigram = [count / sum(seen) for count in seen]
    for b in range(2):
        for j in range(int(batch.target_lengths[b])):
            y = int(batch.target[b, j])
            expected = (null_counts.get(y, 0.0) + null_kappa * unigram[y]) / (3 + null_kappa)
            assert log_null[b, j].exp().item() == pytest.approx(expected, rel=1e-5)
            for i in range(int(batch.source_lengths[b])):
                x = int(batch.source[b, i])
                prior = {"uniform": 1 / len(target), "unigram": unigram[y]}.get(mean)
                if prior is None:
                    assert emission.neural is not None
                    prior = emission.neural.log_prob_rows(torch.tensor([x]))[0, y].exp().item()
                total = sum(n for (first, _), n in votes.items() if first == x)
                expected = (votes.get((x, y), 0.0) + kappa * prior) / (total + kappa)
                assert log_p[b, j, i].exp().item() == pytest.approx(expected, rel=1e-5)
    assert log_p.isfinite().all() and log_null.isfinite().all()


@pytest.mark.parametrize("mean", ["uniform", "unigram", "neural"])
@pytest.mark.parametrize("transposed", [False, True])
def test_smoothed_counts_are_distributions(mean: str, transposed: bool) -> None:
    emission = counted(transposed, mean=mean, neural=type_based.Config(5, ()))
    source, target = (TARGET, SOURCE) if transposed else (SOURCE, TARGET)
    batch = make_batch([range(1, len(source))], [range(1, len(target))])
    log_p, log_null = emission(batch)
    rest = 1 - log_p.exp().sum(1)  # what is left for <pad>
    prior = emission.fixed_mean[0]
    if emission.neural is not None:
        prior = emission.neural.log_prob_rows(batch.source[0])[:, 0].exp()
    kappa = emission.config.strength
    expected = kappa * prior / (emission.totals[batch.source[0]] + kappa)
    torch.testing.assert_close(rest[0], expected, atol=1e-6, rtol=0)
    p_null = emission.log_null()
    torch.testing.assert_close(p_null.exp().sum(), torch.tensor(1.0))
    torch.testing.assert_close(p_null[batch.target], log_null)


@pytest.mark.parametrize("transposed", [False, True])
def test_lookup(transposed: bool) -> None:
    emission = counted(transposed)
    pairs = sorted(PAIRS)
    batch = make_batch([[2, 6, 3], [6]], [[3, 8], [1, 2, 5]])
    place = emission.lookup(batch.reversed() if transposed else batch)
    place = place.mT if transposed else place  # [B, J, I]
    for b in range(2):
        for j in range(3):
            for i in range(3):
                pair = (int(batch.source[b, i]), int(batch.target[b, j]))
                expected = pairs.index(pair) + 1 if pair in pairs else OUTSIDE
                assert int(place[b, j, i]) == expected
    assert emission.counts[OUTSIDE] == 0
    first, second = emission.pair_words()
    words = list(zip(first.tolist(), second.tolist(), strict=True))
    assert words[1:] == [(y, x) if transposed else (x, y) for x, y in pairs]


def test_an_unstarted_table_answers_with_the_prior() -> None:
    emission = counts.build(counts.Config(mean="uniform"), SOURCE, TARGET)
    log_p, log_null = emission(mixed_batch())
    torch.testing.assert_close(log_p.exp(), torch.full_like(log_p, 1 / len(TARGET)))
    assert log_null.shape == (4, 3)


@pytest.mark.parametrize("transposed", [False, True])
def test_pair_mean_is_the_prior_of_each_pair(transposed: bool) -> None:
    emission = counted(transposed, mean="neural", neural=type_based.Config(5, ()))
    randomise(emission)
    assert emission.neural is not None
    rows = emission.neural.log_prob_rows(torch.arange(len(TARGET if transposed else SOURCE))).exp()
    source, target = emission.pair_words()
    mean = emission.pair_mean()
    assert mean is not None
    torch.testing.assert_close(mean, rows[source, target])
    assert counted(transposed).pair_mean() is None


@pytest.mark.parametrize("transposed", [False, True])
def test_the_normalisers_are_kept_for_the_forward_pass(transposed: bool) -> None:
    emission = counted(transposed, mean="neural", neural=type_based.Config(5, (3,)))
    randomise(emission)
    assert emission.neural is not None
    batch = mixed_batch().reversed() if transposed else mixed_batch()
    count, total = emission.counts[emission.lookup(batch)], emission.totals[batch.source]

    def expected(shift: float) -> Tensor:
        mean = (emission.neural(batch)[0] - shift).exp()  # type: ignore[misc]
        return emission.smooth(count, total.unsqueeze(1), mean)

    assert emission.mean_log_z.shape == (0,), "nobody has asked"
    torch.testing.assert_close(emission(batch)[0], expected(0.0))
    emission.pair_mean()
    assert emission.mean_log_z.shape == emission.totals.shape
    assert not emission.mean_log_z.requires_grad
    torch.testing.assert_close(emission(batch)[0], expected(0.0))
    emission.mean_log_z += 0.75
    torch.testing.assert_close(emission(batch)[0], expected(0.75))  # it is they that are used
    emission.pair_mean()
    torch.testing.assert_close(emission(batch)[0], expected(0.0))  # asked again


def many_words() -> tuple[Vocabulary, Vocabulary]:
    """500 words on each side; each has a twin, spelt alike, at the same place."""
    digits = [f"{k:03d}"[::-1] for k in range(500)]
    spelt = [f"{a}{b}{c}k{c}{b}{a}" for a, b, c in digits]
    sides = ([f"{word}{end}" for word in spelt] for end in ("e", "o"))
    return tuple(Vocabulary([(w, 500 - k) for k, w in enumerate(side)]) for side in sides)  # type: ignore[return-value]


def test_pair_mean_of_a_large_vocabulary_is_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """log m is within 0.1 of exact where the twin is among the pairs, and nowhere near without it:
    the partners are what makes an estimate from a fifth of the words good."""
    monkeypatch.setattr(counts, "_FREQUENT", 20)
    monkeypatch.setattr(counts, "_SAMPLED", 100)
    torch.manual_seed(0)
    sides, size = many_words(), 502
    neural = type_based.Config(8, (3,), similarity=30.0, similarity_dim=128)
    emission = counts.build(counts.Config(mean="neural", neural=neural), *sides)
    known = range(2, size, 2)  # the others have no pair
    emission.start(table_of(sorted({(x, y) for x in known for y in (x, 2 + x // 2)})))
    with torch.no_grad():
        mean = emission.pair_mean()
        assert mean is not None and emission.neural is not None
        exact = emission.neural.log_prob_rows(torch.arange(size))
        source, target = emission.pair_words()
        error = (mean.log() - exact[source, target]).abs()[1:]
    assert 0 < error.max() < 0.1
    assert (exact.diagonal()[2:].exp() > 0.5).all(), "a twin has most of the mass"
    _, exact_log_z = emission.neural.score_pairs(torch.arange(size), source, target)
    lost = (emission.mean_log_z - exact_log_z).detach().abs()
    assert lost[torch.arange(3, 20, 2)].max() < 0.1, "a frequent twin is always there"
    assert lost[torch.arange(21, size, 2)].median() > 1.0

    batch = make_batch([[x] for x in range(2, size)], [[x] for x in range(2, size)])
    log_p, _ = emission(batch)
    assert (log_p <= 1e-6).all(), "nor is it more than a probability for twins that never met"


def test_prune_gives_rare_pairs_to_the_prior() -> None:
    emission = counted(strength=1.0, mean="uniform")
    totals = emission.totals.clone()
    emission.prune(1.0)
    first, second = (words.tolist() for words in emission.pair_words())
    assert list(zip(first, second, strict=True)) == [(0, 0), (2, 3), (2, 8), (6, 5)]
    assert torch.equal(emission.totals, totals)
    batch = make_batch([[3, 2]], [[3, 8]])
    p = emission(batch)[0].exp()[0]
    prior = 1 / len(TARGET)
    expected = [[prior / 1.25, (4 + prior) / 6.5], [prior / 1.25, (1.5 + prior) / 6.5]]
    torch.testing.assert_close(p, torch.tensor(expected))


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("mean", "asked"), [("unigram", True), ("neural", True), ("neural", False)]
)
def test_state_dict_round_trip_into_a_table_of_another_size(
    mean: str, asked: bool, transposed: bool
) -> None:
    options: dict[str, Any] = {"mean": mean, "neural": type_based.Config(5, (3,))}
    emission = counted(transposed, **options)
    randomise(emission)
    if asked:
        emission.pair_mean()
    batch = mixed_batch().reversed() if transposed else mixed_batch()
    sides = (TARGET, SOURCE) if transposed else (SOURCE, TARGET)
    holder = torch.nn.ModuleDict(
        {"inner": counts.build(counts.Config(**options), *sides, transposed)}
    )
    holder.load_state_dict(
        {f"inner.{name}": value for name, value in emission.state_dict().items()}
    )
    fresh = holder["inner"]
    assert all(map(torch.equal, fresh(batch), emission(batch)))
    assert torch.equal(fresh.mean_log_z, emission.mean_log_z)  # type: ignore[arg-type]
    assert len(emission.mean_log_z) == (len(sides[0]) if asked and mean == "neural" else 0)
    small = counts.build(counts.Config(**options), *sides, transposed)
    emission.load_state_dict(small.state_dict())
    assert emission.pairs.tolist() == [0], "and from a smaller one"
    assert emission.mean_log_z.shape == (0,)
