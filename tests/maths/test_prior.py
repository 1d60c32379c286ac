"""Pseudo-counts: the smoothed formula by hand, dictionaries, numbers of words, what is left out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import Corpus, corpus_text, make_batch, randomise

from latentnlp import UserError
from latentnlp.data.cooccurrences import OUTSIDE, Cooccurrences
from latentnlp.data.corpora import ListText
from latentnlp.data.vocabulary import UNK, Vocabulary
from latentnlp.emissions import counts
from latentnlp.emissions.counts import CountEmission, Pseudocounts
from latentnlp.learners.em import Config, ExpectationMaximisation
from latentnlp.tasks.alignment_model import Languages, ModelConfig, TextConfig, build_aligner
from latentnlp.tasks.alignment_prior import Prior, read_prior

SOURCE, TARGET = Vocabulary([("a", 3), ("b", 1)]), Vocabulary([("u", 2), ("v", 2), ("w", 0)])
PAIRS = [(2, 2), (2, 3), (3, 2)]  # a-u, a-v, b-u stand together in the text; b-w in the prior only
VOTES = {(2, 2): 4.0, (2, 3): 1.0, (3, 2): 0.5}
PI = {(2, 3): 2.0, (3, 4): 3.0}
PI_TOTALS = {2: 2.0, 3: 3.5}  # 0.5 more than its pairs: they were pruned
KAPPA, WEIGHT = 1.5, 0.5


def table(pairs: list[tuple[int, int]]) -> Cooccurrences:
    words = torch.tensor([(OUTSIDE, OUTSIDE), *pairs], dtype=torch.int32)
    cells = np.arange(1, len(pairs) + 1, dtype=np.int32)
    return Cooccurrences(words[:, 0], words[:, 1], cells, np.array([0, len(cells)]))


def pseudocounts(transposed: bool) -> Pseudocounts:
    sides = (TARGET, SOURCE) if transposed else (SOURCE, TARGET)
    pairs = [(y, x) for x, y in PI] if transposed else list(PI)
    source, target = torch.tensor(pairs).T
    totals = torch.zeros(len(sides[0]))
    for (x, _), n in zip(pairs, PI.values(), strict=True):
        totals[x] += n
    if not transposed:
        totals = torch.tensor([0.0, 0.0, PI_TOTALS[2], PI_TOTALS[3]])
    null = torch.zeros(len(sides[1]))
    null[2] = 5.0
    return Pseudocounts(source, target, torch.tensor(list(PI.values())), totals, null)


def test_pairs_of_the_prior_join_those_of_the_text() -> None:
    known = table(PAIRS)
    known.include(torch.tensor([3, 2]), torch.tensor([4, 3]))
    found = list(zip(known.source_words.tolist(), known.target_words.tolist(), strict=True))
    assert found == [(0, 0), (2, 2), (2, 3), (3, 2), (3, 4)]
    known.include(torch.tensor([1, 2]), torch.tensor([1, 4]))
    found = list(zip(known.source_words.tolist(), known.target_words.tolist(), strict=True))
    assert found == [(0, 0), (1, 1), (2, 2), (2, 3), (2, 4), (3, 2), (3, 4)]
    batch = make_batch([[2]], [[2, 3, 2]])
    assert [found[cell] for cell in known.cells(batch).flatten().tolist()] == PAIRS


@pytest.mark.parametrize("transposed", [False, True])
def test_smoothed_by_a_prior(transposed: bool) -> None:
    """p(y | x) = (n + π + κ m) / (N + Π + κ) of every pair of words, in both directions."""
    known = table(PAIRS)
    known.include(torch.tensor([2, 3]), torch.tensor([3, 4]))
    sides = (TARGET, SOURCE) if transposed else (SOURCE, TARGET)
    config = counts.Config("uniform", KAPPA, null_strength=2.0, prior_weight=WEIGHT)
    emission = counts.build(config, *sides, transposed)
    emission.start(known, pseudocounts(transposed))
    flip = (lambda pair: pair[::-1]) if transposed else (lambda pair: pair)
    pi = {flip(pair): WEIGHT * n for pair, n in PI.items()}
    missing = {} if transposed else {3: 0.5 * WEIGHT}  # of Π: pruned from the pairs
    source, target = range(2, len(sides[0])), range(2, len(sides[1]))
    batch = make_batch([list(source)], [list(target)])
    no_votes: dict[tuple[int, int], float] = {}
    for votes in (no_votes, {flip(pair): n for pair, n in VOTES.items()}):  # M-steps replace n
        if votes:
            ordered = [VOTES.get(pair, 0.0) for pair in [(0, 0), *PAIRS, (3, 4)]]
            emission.maximise(torch.tensor(ordered), torch.full((len(sides[1]),), 1.0))
        log_p, log_null = emission(batch)
        for j, y in enumerate(target):
            null = (5.0 * WEIGHT if y == 2 else 0.0) + (1.0 if votes else 0.0)
            size = 5.0 * WEIGHT + (len(sides[1]) if votes else 0.0)
            expected = (null + 2.0 * float(emission.unigram[y])) / (size + 2.0)
            assert math.exp(log_null[0, j]) == pytest.approx(expected, rel=1e-5)
            for i, x in enumerate(source):
                n = votes.get((x, y), 0.0) + pi.get((x, y), 0.0)
                total = sum(c for one in (votes, pi) for (first, _), c in one.items() if first == x)
                expected = (n + KAPPA / len(sides[1])) / (total + missing.get(x, 0.0) + KAPPA)
                assert math.exp(log_p[0, j, i]) == pytest.approx(expected, rel=1e-5)


def test_leaving_out_a_vote_leaves_the_prior_alone(tmp_path: Path) -> None:
    """A pair that occurs once has no votes but its own: what is left is π."""
    text = ListText([["a", "b"], ["c"]], [["u", "v"], ["w"]])
    corpus = Corpus(text, tmp_path)
    source, target = corpus.languages.source, corpus.languages.target
    pair = torch.tensor([source.id("a")]), torch.tensor([target.id("u")])
    options = counts.Config(mean="uniform", strength=1.0)
    aligner = corpus.aligner(positions="ibm1", counts=options)
    totals = torch.zeros(len(source)).index_fill_(0, pair[0], 6.0)
    prior = Pseudocounts(*pair, torch.tensor([6.0]), totals, torch.zeros(len(target)))
    emission = aligner.source_to_target.emission
    assert isinstance(emission, CountEmission)
    emission.start(corpus.table, prior)
    learner = ExpectationMaximisation(Config(), aligner, corpus.table)
    for number in range(3):
        for batch in corpus.batches.epoch(number):
            learner.step(batch)
        learner.end_epoch()
    (batch,) = (one for one in corpus.batches if source.id("a") in one.source)
    cells = corpus.table.cells(batch)
    row = int((batch.source == source.id("a")).any(1).nonzero())
    i, j = (
        int((words[row] == word).nonzero())
        for words, word in ((batch.source, pair[0]), (batch.target, pair[1]))
    )
    own = corpus.table.block(learner.there.own, batch)
    assert own[row, i, j] > 0.1
    assert emission.counts[cells[row, i, j]] == 6.0 + own[row, i, j].float()
    log_p = learner.there.distribution(batch, cells.mT, own.mT).log_joint[row, j, i]  # type: ignore
    others = emission.totals[pair[0]] - 6.0 - own[row, i, j].float()  # a's votes for v
    p_link = learner.there.positions.null_logit.neg().sigmoid() / 2
    expected = p_link * (6.0 + 1.0 / len(target)) / (6.0 + others + 1.0)
    assert log_p.exp().item() == pytest.approx(expected.item(), rel=1e-4)


# --- dictionaries ---------------------------------------------------------------------------------


def read(folder: Path, content: str, **options: bool) -> Prior:
    path = folder / "dictionary"
    path.write_text(content, encoding="utf-8")
    return read_prior(path, TextConfig(**options))


def pairs_of(prior: Prior, backwards: bool = False) -> dict[tuple[str, str], float]:
    one = prior.back if backwards else prior.there
    sides = (prior.target, prior.source) if backwards else (prior.source, prior.target)
    ids = zip(one.source.tolist(), one.target.tolist(), one.counts.tolist(), strict=True)
    return {(sides[0].words[x], sides[1].words[y]): n for x, y, n in ids}


def test_a_dictionary(tmp_path: Path) -> None:
    prior = read(tmp_path, "Haus\thouse\nhaus\tHOUSE\t2.5\n\n haus\tbuilding \t0\ngut\tgood\t1e1")
    expected = {("haus", "house"): 3.5, ("haus", "building"): 0.0, ("gut", "good"): 10.0}
    assert pairs_of(prior) == expected
    assert pairs_of(prior, True) == {(y, x): n for (x, y), n in expected.items()}
    assert prior.there.totals[prior.source.id("haus")] == 3.5
    assert prior.back.totals[prior.target.id("building")] == 0.0
    assert set(prior.source.words[2:]) == {"haus", "gut"} and not prior.remark
    assert ("Haus", "house") in pairs_of(read(tmp_path, "Haus\thouse\n", lowercase=False))


def test_eflomals_priors(tmp_path: Path) -> None:
    """Jumps and fertilities are read over, once said; the empty word has counts of its own."""
    lines = ["LEX\tdas\tthe\t2", "LEX\t<NULL>\tof\t4", "LEX\tdoch\t<NULL>\t3", "HMMF\t1\t9.5"]
    lines += ["HMMR\t-1\t2", "FERF\tdas\t1\t7", "FERF\tdas\t2\t1", "FERR\tthe\t1\t7"]
    prior = read(tmp_path, "\n".join(lines) + "\nwie bitte\tpardon\n")
    assert pairs_of(prior) == {("das", "the"): 2.0}
    assert prior.there.null_counts.sum() == prior.there.null_counts[prior.target.id("of")] == 4.0
    assert prior.back.null_counts.sum() == prior.back.null_counts[prior.source.id("doch")] == 3.0
    assert "<NULL>" not in prior.source and "<NULL>" not in prior.target
    used = "1 HMMF, 1 HMMR, 2 FERF, 1 FERR, 1 of several words"
    assert prior.remark == f"{tmp_path / 'dictionary'}: lines that are not used: {used}"


@pytest.mark.parametrize(
    "line",
    ["haus", "haus\t", "\thouse", "a\tb\tc", "a\tb\t-1", "a\tb\tnan", "a\tb\tinf", "a\tb\t1e39",
     "a\tb\t1\t2", "LEX\ta\tb\tmany", "LEX\ta\t\t1", "a ||| b"],
)  # fmt: skip
def test_a_line_that_is_none_of_a_dictionary(line: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dictionary, line 2: expected source, tab, target"):
        read(tmp_path, f"haus\thouse\n{line}\n")


def test_a_dictionary_of_the_empty_word_alone(tmp_path: Path) -> None:
    prior = read(tmp_path, "LEX\t<NULL>\tof\t4\n")
    known = table(PAIRS)
    known.include(prior.there.source, prior.there.target)
    assert len(known) == 1 + len(PAIRS) and prior.there.null_counts.tolist() == [0, 0, 4]


def test_words_get_the_numbers_of_the_union(tmp_path: Path) -> None:
    prior = read(tmp_path, "a\tu\t2\nnew\tv\t3\n<NULL>\tv\t1\n<unk>\tv\t4\n")
    languages = prior.extend(Languages(Vocabulary([("a", 7)], 2), Vocabulary([("w", 1)])))
    assert languages.source.words[2:] == ("a", "new")
    assert languages.source.counts[1:] == (2, 7, 0)
    assert languages.target.words[2:] == ("w", "u", "v")
    there, back = prior.counts(languages)
    source, target = languages.source, languages.target
    found = zip(there.source.tolist(), there.target.tolist(), there.counts.tolist(), strict=True)
    a_u, new_v = (source.id("a"), target.id("u"), 2.0), (source.id("new"), target.id("v"), 3.0)
    assert sorted(found) == sorted([a_u, new_v, (UNK, target.id("v"), 4.0)])
    assert there.totals.tolist() == [0, 4, 2, 3] and back.totals.tolist() == [0, 0, 0, 2, 7]
    assert there.null_counts.tolist() == [0, 0, 0, 0, 1]


def test_words_keep_their_jumps() -> None:
    """A prior model knows a and b; the text has a and c."""
    known = build_aligner(ModelConfig(), Languages(SOURCE, TARGET))
    randomise(known)
    prior = Prior(SOURCE, TARGET, pseudocounts(False), pseudocounts(True), aligner=known)
    languages = prior.extend(Languages(Vocabulary([("c", 4), ("a", 2)]), TARGET))
    aligner = build_aligner(ModelConfig(), languages)
    prior.start_positions(aligner, languages)
    found, given = aligner.source_to_target.positions, known.source_to_target.positions
    for name in ("jump_logits", "start_logits", "null_logit"):
        assert torch.equal(getattr(found, name), getattr(given, name))
    for name in ("words_left", "words_reached"):
        mine, theirs = getattr(found, name), getattr(given, name)
        for word in ("a", "b"):
            assert torch.equal(mine[languages.source.id(word)], theirs[SOURCE.id(word)])
        assert not mine[languages.source.id("c")].any()


def test_the_fingerprint_is_of_all_that_counts(tmp_path: Path) -> None:
    first = read(tmp_path, "a\tu\t2\n").fingerprint()
    assert read(tmp_path, "A\tu\n\na\tu\t1.0").fingerprint() == first
    others = [read(tmp_path, one).fingerprint() for one in ("a\tu\t3", "b\tu\t2", "a\tv\t2")]
    assert len({first, *others}) == 4


def test_without_a_prior_nothing_changes(tmp_path: Path) -> None:
    corpus = Corpus(corpus_text(3), tmp_path)
    emission = corpus.aligner().source_to_target.emission
    assert isinstance(emission, CountEmission)
    emission.start(corpus.table)
    votes = torch.rand(len(corpus.table))
    emission.maximise(votes.clone(), torch.ones(len(corpus.languages.target)))
    assert torch.equal(emission.counts[1:], votes[1:])
    assert torch.equal(emission.null_counts, torch.ones(len(corpus.languages.target)))
