"""Beam search against a search that enumerates, one in plain Python, and the models themselves."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import tiny
import torch
from torch import Tensor

from latentnlp import translation_models
from latentnlp.data.batches import Batch, Side
from latentnlp.data.vocabulary import Vocabulary
from latentnlp.search import Config, Hypothesis, search
from latentnlp.translation_models import _network
from latentnlp.translation_models._contract import END, State, TranslationModel, pick

V, END_ID = 6, 2  # padding, unknown, end, three words
CLASSES = 997
MODELS = sorted(
    path.stem
    for path in Path(str(translation_models.__file__)).parent.glob("*.py")
    if not path.stem.startswith("_")
)
SOURCES = [[3, 5, 2], [2], [4, 4, 3, 1, 2], [5, 2], [3, 2]]


class Table(TranslationModel):
    """p(y_j | y_<j, x): a row of a random table, of the class of all that went before."""

    def __init__(self, seed: int, end: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        logits = 2 * torch.randn(CLASSES, V, generator=generator, dtype=torch.float64)
        logits[:, END_ID] += end
        logits[:, 0] = -torch.inf
        self.table = torch.log_softmax(logits, -1)
        self.sizes: list[int] = []  # sentences in each call of `predict`

    @staticmethod
    def after(code: Tensor, words: Tensor) -> Tensor:
        return (31 * code + 7 * words + 1) % CLASSES

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        code, total = self.encode(batch.source_side)["code"], torch.zeros(len(batch)).double()
        for words, mask in zip(batch.target.T, batch.target_mask.T, strict=True):
            total += torch.where(mask, self.table[code, words], 0.0)
            code = self.after(code, words)
        return total, batch.target_mask.sum()

    def encode(self, source: Side) -> State:
        code = torch.zeros(len(source.words), dtype=torch.int64)
        for words, mask in zip(source.words.T, source.mask.T, strict=True):
            code = torch.where(mask, self.after(code, words), code)
        return {"code": code}

    def start(self, memory: State) -> State:
        return {"code": memory["code"].unsqueeze(1)}

    def predict(self, memory: State, state: State) -> tuple[Tensor, State]:
        assert len(memory["code"]) == len(state["code"])
        assert not torch.is_grad_enabled()
        self.sizes.append(len(memory["code"]))
        return self.table[state["code"]], state

    def extend(self, memory: State, step: State, parents: Tensor, words: Tensor) -> State:
        assert (words > 0).all()  # never padding
        return {"code": self.after(pick(step["code"], parents), words)}


def built(name: str, seed: int = 0) -> TranslationModel:
    """A tiny model of the library, with a vocabulary as small as the table's."""
    module = import_module(f"latentnlp.translation_models.{name}")
    words = Vocabulary([(END, 9), ("a", 3), ("b", 2), ("c", 1)])
    assert (len(words), words.id(END)) == (V, END_ID)
    network = _network.Config(embedding=5, states=4, keys=3)
    model = module.build(module.Config(), network, words, words).double().eval()
    tiny.randomise(model, seed)
    return model


def log_probs(
    model: TranslationModel, source: Sequence[int], targets: Sequence[tuple[int, ...]]
) -> list[float]:
    """log p(y | x) of every target, its end added, by the model's own `forward`."""
    ended = [[*words, END_ID] for words in targets]
    with torch.no_grad():
        return model(tiny.make_batch([list(source)] * len(ended), ended))[0].tolist()


def every_translation(longest: int) -> list[tuple[int, ...]]:
    words = [v for v in range(1, V) if v != END_ID]
    lengths = range(longest + 1)
    return [y for length in lengths for y in itertools.product(words, repeat=length)]


def plain_search(model: Table, source: Sequence[int], config: Config) -> list[Hypothesis]:
    """The same search of one sentence, with lists; all that finished, the best first."""
    code = int(model.encode(tiny.make_side([list(source)]))["code"])
    limit = int(config.longest * len(source)) + config.extra
    live: list[tuple[float, tuple[int, ...], int]] = [(0.0, (), code)]
    finished: list[Hypothesis] = []
    while live:
        candidates = []
        for log_prob, words, code in live:
            for v in [END_ID] if len(words) == limit else range(1, V):
                step = float(model.table[code, v])
                after = int(model.after(torch.tensor(code), torch.tensor(v)))
                candidates.append((log_prob + step, words, v, after))
        candidates.sort(reverse=True)
        for log_prob, words, v, _ in candidates[: config.beam]:
            if v == END_ID:
                score = log_prob / (len(words) + 1) ** config.length_normalisation
                finished.append(Hypothesis(words, log_prob, score))
        going = [(lp, (*words, v), code) for lp, words, v, code in candidates if v != END_ID]
        live = going[: config.beam]
        finished.sort(key=lambda one: -one.score)
        attainable = live and live[0][0] / (limit + 1) ** config.length_normalisation
        if len(finished) >= config.beam or (finished and finished[0].score >= attainable):
            break
    return finished


def check_equal(found: list[list[Hypothesis]], expected: list[list[Hypothesis]]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert [one.words for one in ours] == [one.words for one in theirs]
        for one, other in zip(ours, theirs, strict=True):
            assert one.log_prob == pytest.approx(other.log_prob, abs=1e-9)
            assert one.score == pytest.approx(other.score, abs=1e-9)


# ---------------------------------------------------------------------------------------- exactness


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("name", ["table", *MODELS])
def test_full_width_is_exhaustive(name: str, alpha: float) -> None:
    model = Table(1, end=-2.0) if name == "table" else built(name)
    every = every_translation(longest=4)
    config = Config(len(every) + 1, alpha, longest=0.0, extra=4)
    found = search(model, tiny.make_side(SOURCES), END_ID, config, best=7)
    for source, ours in zip(SOURCES, found, strict=True):
        of_all = log_probs(model, source, every)
        ranked = sorted(
            (
                Hypothesis(y, p, p / (len(y) + 1) ** alpha)
                for y, p in zip(every, of_all, strict=True)
            ),
            key=lambda one: -one.score,
        )
        check_equal([ours], [ranked[:7]])


@pytest.mark.parametrize("name", ["table", *MODELS])
def test_log_prob_is_that_of_the_model(name: str) -> None:
    model = Table(2) if name == "table" else built(name, seed=2)
    found = search(model, tiny.make_side(SOURCES), END_ID, Config(3, 0.5, 1.0, 3), best=3)
    for source, hypotheses in zip(SOURCES, found, strict=True):
        assert len(hypotheses) == 3
        of_model = log_probs(model, source, [one.words for one in hypotheses])
        assert [one.log_prob for one in hypotheses] == pytest.approx(of_model, abs=1e-9)
        for one in hypotheses:
            assert one.score == pytest.approx(one.log_prob / (len(one.words) + 1) ** 0.5)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("alpha", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("beam", [1, 2, 3, 5])
def test_against_plain_python(beam: int, alpha: float, seed: int) -> None:
    model = Table(seed, end=-1.0)
    generator = random.Random(seed)
    sources = [
        [*(generator.randint(3, 5) for _ in range(generator.randint(0, 6))), END_ID]
        for _ in range(20)
    ]
    config = Config(beam, alpha, longest=0.5, extra=6)
    found = search(model, tiny.make_side(sources), END_ID, config)
    check_equal(found, [plain_search(model, source, config)[:1] for source in sources])


def test_a_beam_of_one_takes_the_best_word_each_time() -> None:
    model = Table(5, end=-1.0)
    found = search(model, tiny.make_side(SOURCES), END_ID, Config(beam=1, extra=30))
    for source, [one] in zip(SOURCES, found, strict=True):
        code, words = int(model.encode(tiny.make_side([source]))["code"]), []
        while (v := int(model.table[code].argmax())) != END_ID:
            words.append(v)
            code = int(model.after(torch.tensor(code), torch.tensor(v)))
        assert list(one.words) == words
    assert {len(one.words) for [one] in found} != {0}


# ------------------------------------------------------------------------------------ batch, length


@pytest.mark.parametrize("name", ["table", *MODELS])
@pytest.mark.parametrize("beam", [1, 4])
def test_neither_the_batch_nor_padding_matters(beam: int, name: str) -> None:
    model = Table(6) if name == "table" else built(name, seed=6)
    config = Config(beam, 1.0, longest=1.5, extra=2)

    def find(sources: list[list[int]], width: int | None = None) -> list[list[Hypothesis]]:
        return search(model, tiny.make_side(sources, width), END_ID, config, best=beam)

    alone = [find([source])[0] for source in SOURCES]
    check_equal(find(SOURCES), alone)
    check_equal(find(SOURCES, width=11), alone)
    check_equal(find(SOURCES[::-1]), alone[::-1])


@pytest.mark.parametrize("beam", [1, 3])
def test_no_translation_is_longer_than_the_limit(beam: int) -> None:
    model = Table(7, end=-12.0)  # it would never end
    config = Config(beam, longest=1.5, extra=2)
    found = search(model, tiny.make_side(SOURCES), END_ID, config, best=beam)
    for source, hypotheses in zip(SOURCES, found, strict=True):
        assert {len(one.words) for one in hypotheses} == {int(1.5 * len(source)) + 2}
        of_model = log_probs(model, source, [one.words for one in hypotheses])
        assert [one.log_prob for one in hypotheses] == pytest.approx(of_model)


def test_the_empty_translation_may_win_only_without_normalisation() -> None:
    """An end at .2 at once is more than .3 and then .1 for the end; longer ones only lose more."""
    model = Table(8)
    source = tiny.make_side([[3, 2]])
    model.table[:] = torch.tensor([0.0, 0.05, 0.1, 0.35, 0.3, 0.2]).log().double()
    start = int(model.encode(source)["code"])
    model.table[start] = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.3, 0.1]).log().double()
    config = Config(beam=6, length_normalisation=0.0, longest=0.0, extra=9)
    [[one]] = search(model, source, END_ID, config)
    assert one.words == ()
    assert one.log_prob == one.score == pytest.approx(math.log(0.2))
    [[one]] = search(model, source, END_ID, replace(config, length_normalisation=1.0))
    assert len(one.words) == 9


# ---------------------------------------------------------------------------------- work, bad input


def test_sentences_that_are_done_cost_nothing() -> None:
    model = Table(9, end=-3.0)
    sources = [[3] * (2 * n) + [END_ID] for n in range(6)]
    search(model, tiny.make_side(sources), END_ID, Config(2, longest=1.0, extra=1))
    assert model.sizes[0] == 6
    assert model.sizes == sorted(model.sizes, reverse=True) and model.sizes[-1] < 3
    assert len(model.sizes) <= 13  # the longest one has 11 + 1 words and its end


def test_the_search_stops_when_no_hypothesis_can_overtake() -> None:
    """Without normalisation, .9 for the end at once is never beaten: one step is enough."""
    model = Table(10)
    model.table[:] = torch.tensor([0.0, 0.02, 0.9, 0.03, 0.03, 0.02]).log().double()
    source = tiny.make_side([[3, 2]])
    [[one]] = search(model, source, END_ID, Config(beam=5, length_normalisation=0.0))
    assert (one.words, len(model.sizes)) == ((), 1)
    model.sizes.clear()
    found = search(model, source, END_ID, Config(beam=5, length_normalisation=0.0), best=2)
    assert (len(found[0]), len(model.sizes)) == (2, 2)


def test_what_a_model_says_of_no_hypothesis_does_not_matter() -> None:
    """Places of the beam without a hypothesis are fed the end mark, after which nothing is said."""

    class Silent(Table):
        @staticmethod
        def after(code: Tensor, words: Tensor) -> Tensor:
            return torch.where(words == END_ID, CLASSES, Table.after(code, words))

    plain, silent = Table(11, end=2.0), Silent(11, end=2.0)
    silent.table = torch.cat([plain.table, torch.full((1, V), torch.nan)])
    source = tiny.make_side([[3, 4], [5], [1, 4, 4]])  # without their ends
    for beam in (2, 40):
        config = Config(beam, longest=0.0, extra=4)
        found = [search(model, source, END_ID, config, best=2) for model in (plain, silent)]
        check_equal(*found)
    silent.table[CLASSES:] = 0.0  # as probable as can be
    check_equal(search(silent, source, END_ID, config, best=2), found[0])


def test_the_mode_of_the_model_is_the_callers() -> None:
    model = built(MODELS[0])
    model.train()
    search(model, tiny.make_side(SOURCES), END_ID, Config(beam=2, extra=2, longest=0.0))
    assert model.training


@pytest.mark.parametrize(
    "bad", [{"beam": 0}, {"length_normalisation": -0.1}, {"longest": -1.0}, {"extra": 0}]
)
def test_settings_that_mean_nothing(bad: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Config(**bad)


@pytest.mark.parametrize("best", [0, 3])
def test_more_hypotheses_than_the_beam_holds(best: int) -> None:
    with pytest.raises(ValueError, match="of a beam of 2"):
        search(Table(0), tiny.make_side(SOURCES), END_ID, Config(beam=2), best)
