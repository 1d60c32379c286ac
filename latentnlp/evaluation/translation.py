"""Scores of translations, all of them sacrebleu's (Post 2018), in its points of 0 to 100.

BLEU     Papineni, Roukos, Ward and Zhu 2002; of words, which ``tokenize`` cuts
chrF2    Popović 2015, of characters; chrF2++ of characters and words (Popović 2017)
TER      Snover, Dorr, Schwartz, Micciulla and Makhoul 2006: edits per word, lower is better

Each comes with a signature: scores of different signatures must not be compared. BLEU's default
tokenizer 13a is made for running text. A text that was cut into words is scored either as it is
(``tokenize="none"``: comparable only within this cutting) or after ``detokenize`` has put it
together with the rules of Moses, hypotheses and references alike.

Intervals: sentences are drawn with replacement; 95 % of the scores of these samples lie within
mean ± margin. A baseline is scored on the same samples (paired bootstrap, Koehn 2004), and p is the
share of them in which the difference, counted from its mean, exceeds the one that was found.
Samples and seed are those of sacrebleu's own ``--paired-bs``, and so are the figures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.significance import PairedTest, Result

from latentnlp.config import at_least
from latentnlp.errors import UserError

TOKENIZERS = ("13a", "none", "intl", "zh", "char")  # those that need nothing else installed
_SEED = "SACREBLEU_SEED"


@dataclass(frozen=True)
class Settings:
    tokenize: str = "13a"  # of BLEU
    detokenize: str | None = None  # the language whose rules put words together: de, en, …
    lowercase: bool = False  # BLEU and chrF; sacrebleu's TER never looks at case
    samples: int = 1000
    seed: int = 12345

    def __post_init__(self) -> None:
        # sacrebleu takes a seed of 0 for none.
        at_least(self, samples=1, seed=1)
        if self.tokenize not in TOKENIZERS:
            raise ValueError(f"tokenize={self.tokenize!r} is none of {', '.join(TOKENIZERS)}")
        code = self.detokenize
        if code is not None and not (code.isascii() and code.islower() and len(code) in (2, 3)):
            raise ValueError(f"detokenize={code!r} is not the code of a language, such as de")


@dataclass(frozen=True)
class TranslationScore:
    """One score of one system, and how it came about."""

    metric: str
    score: float
    mean: float  # of the samples
    margin: float  # 95 % of them lie within mean ± margin
    p_value: float | None  # how often chance alone makes such a difference from the baseline
    signature: str

    def format(self) -> str:
        return f"{self.score:.2f} ({self.mean:.2f} ± {self.margin:.2f})"


@dataclass(frozen=True)
class TranslationScores:
    """All scores of a system, and of the baseline beside it."""

    sentences: int
    system: Mapping[str, TranslationScore]  # by metric
    baseline: Mapping[str, TranslationScore] | None
    precisions: tuple[float, ...]  # of BLEU, by length of the n-grams
    brevity_penalty: float  # of BLEU
    length_ratio: float  # words of the system per word of the reference

    def lines(self) -> list[str]:
        """A table, a score in each row and its signature last, and what BLEU is made of."""
        rows = [("", "score", "baseline", "p", "signature")]
        for name, one in self.system.items():
            other, p = "", ""
            if self.baseline is not None and one.p_value is not None:
                other, p = self.baseline[name].format(), f"{one.p_value:.4f}"
            rows.append((name, one.format(), other, p, one.signature))
        if self.baseline is None:
            rows = [(name, score, signature) for name, score, _, _, signature in rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        precisions = "/".join(f"{one:.1f}" for one in self.precisions)
        return [
            *lines,
            f"BLEU's precisions {precisions}, brevity penalty {self.brevity_penalty:.3f}, "
            f"length ratio {self.length_ratio:.3f}; {self.sentences} sentences",
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON; scores in points of 0 to 100."""
        return asdict(self)


def score(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    settings: Settings | None = None,
    baseline: Sequence[str] | None = None,
) -> TranslationScores:
    """BLEU, chrF2, chrF2++ and TER of N translations, and of those of a ``baseline`` beside them.

    references: one or several texts, of N lines each. Memory: 100 bytes a sample and sentence.
    Raises UserError if there is no sentence, or the numbers of sentences differ.
    """
    settings = settings or Settings()
    texts = {"the translations": hypotheses}
    if baseline is not None:
        texts["the baseline"] = baseline
    texts |= {f"reference {n}": text for n, text in enumerate(references, start=1)}
    check_lines(texts)
    if settings.detokenize is not None:
        language = settings.detokenize
        texts = {name: detokenize(text, language) for name, text in texts.items()}
    systems = list(texts.items())[: len(texts) - len(references)]
    sources = list(texts.values())[-len(references) :]

    metrics = _metrics(settings)
    with _seeded(settings.seed):
        # The first system is that which the others are compared to.
        test = PairedTest(systems[::-1], metrics, sources, "bs", settings.samples)
        signatures, results = test()
    results.pop("System")
    scores = [
        {
            name: _score(name, found[place], f"{name}|{signatures[name]}", settings)
            for name, found in results.items()
        }
        for place in range(len(systems))
    ]
    bleu = metrics["BLEU"].corpus_score(texts["the translations"], sources)
    return TranslationScores(
        sentences=len(hypotheses),
        system=scores[-1],
        baseline=None if baseline is None else scores[0],
        precisions=tuple(bleu.precisions),
        brevity_penalty=bleu.bp,
        length_ratio=bleu.ratio,
    )


def check_lines(texts: Mapping[str, Sequence[str]]) -> None:
    """That texts, by name, have as many lines as the first one, and some. Raises UserError."""
    first, lines = next(iter(texts.items()))
    if not len(lines):
        raise UserError(f"{first}: no line, so nothing can be scored")
    for name, text in texts.items():
        if len(text) != len(lines):
            raise UserError(
                f"{name} has {len(text)} lines but {first} has {len(lines)}: give one line for "
                "each sentence, in the same order"
            )


def looks_tokenised(lines: Sequence[str]) -> bool:
    """Does a tenth of the lines end in a full stop that stands alone?"""
    return 10 * sum(line.endswith(" .") for line in lines) > len(lines)


def detokenize(lines: Sequence[str], language: str) -> list[str]:
    """Words put together as running text, by sacremoses' port of Moses' detokenizer."""
    from sacremoses import MosesDetokenizer  # a second that only those wait for who want it

    together = MosesDetokenizer(lang=language)
    return [str(together.detokenize(line.split())) for line in lines]


def _metrics(settings: Settings) -> dict[str, Metric]:
    lowercase, chinese = settings.lowercase, settings.tokenize == "zh"
    return {
        # force: no words about text that looks tokenised; `looks_tokenised` is for those.
        "BLEU": BLEU(lowercase=lowercase, tokenize=settings.tokenize, force=True),
        "chrF2": CHRF(lowercase=lowercase),
        "chrF2++": CHRF(lowercase=lowercase, word_order=2),
        "TER": TER(normalized=chinese, asian_support=chinese),  # without spaces: of characters
    }


def _score(name: str, found: Result | str, signature: str, settings: Settings) -> TranslationScore:
    assert isinstance(found, Result) and found.mean is not None and found.ci is not None
    if settings.detokenize is not None:
        from sacremoses import __version__

        signature += f"|detok:{settings.detokenize}-sacremoses-{__version__}"
    return TranslationScore(
        metric=name,
        score=float(found.score),
        mean=float(found.mean),
        margin=float(found.ci),
        p_value=None if found.p_value is None else float(found.p_value),
        signature=signature,
    )


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """sacrebleu takes the seed of its samples from the environment, and from nowhere else."""
    before = os.environ.get(_SEED)
    os.environ[_SEED] = str(seed)
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SEED]
        else:
            os.environ[_SEED] = before
