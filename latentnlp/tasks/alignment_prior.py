"""What is known before a text is read: pseudo-counts π of a saved model, or of a dictionary.

    p(y | x) = (n(x, y) + π(x, y) + κ m(y | x)) / (n(x) + Π(x) + κ)

in both directions. A model brings its counts, its words and its positions: training under it on
more text is training that goes on. A dictionary has lines ``source<TAB>target[<TAB>weight]``, or is
a file of eflomal's priors, of which the lexical ones are used: ``LEX<TAB>source<TAB>target<TAB>α``.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from latentnlp.data.subwords import Subwords
from latentnlp.data.textfiles import read_lines
from latentnlp.data.vocabulary import PAD, SPECIALS, UNK, Vocabulary
from latentnlp.emissions.counts import CountEmission, Pseudocounts
from latentnlp.errors import UserError
from latentnlp.models.aligner import BidirectionalAligner
from latentnlp.tasks.alignment_model import AlignmentModel, Languages, TextConfig, model_folder

_LEXICAL = "LEX"
_EFLOMAL = {(_LEXICAL, 4), ("HMMF", 3), ("HMMR", 3), ("FERF", 4), ("FERR", 4)}  # (kind, columns)
_NULL = "<NULL>"  # as eflomal writes it
_MOST = 1e30  # of a weight: their sums are float32


@dataclass(frozen=True)
class Prior:
    """``source`` and ``target`` are the words that ``there`` and ``back`` are about, by id."""

    source: Vocabulary
    target: Vocabulary
    there: Pseudocounts
    back: Pseudocounts
    subwords: tuple[Subwords, Subwords] | None = None
    aligner: BidirectionalAligner | None = None  # of a model
    remark: str = ""  # for the user

    def extend(self, languages: Languages) -> Languages:
        """The words of a text and of the prior."""
        source, target = self.source, self.target
        both = _union(languages.source, source), _union(languages.target, target)
        return Languages(*both, languages.subwords)

    def counts(self, languages: Languages) -> tuple[Pseudocounts, Pseudocounts]:
        """π of both directions by the ids of ``languages``, which have all words of the prior."""
        source = _ids(self.source, languages.source)
        target = _ids(self.target, languages.target)
        sizes = len(languages.source), len(languages.target)
        there = _renumber(self.there, source, target, *sizes)
        return there, _renumber(self.back, target, source, *reversed(sizes))

    def start_positions(self, aligner: BidirectionalAligner, languages: Languages) -> None:
        """Give ``aligner``, whose words are those of ``languages``, the positions of a prior model,
        as far as it has the same. It is still on the CPU, where priors are read."""
        if self.aligner is None:
            return
        numbers = _ids(self.source, languages.source), _ids(self.target, languages.target)
        both = zip(aligner.directions(), self.aligner.directions(), numbers, strict=True)
        for ours, theirs, number in both:
            mine = ours.positions.state_dict()  # in place
            for name, value in theirs.positions.state_dict().items():
                if name not in mine or value.shape[1:] != mine[name].shape[1:]:
                    continue
                if name in ours.positions.by_word:  # they have other numbers now
                    mine[name][number] = value
                elif value.shape == mine[name].shape:
                    mine[name].copy_(value)

    def fingerprint(self) -> str:
        """SHA-256 of what a training takes from the prior, in hexadecimal."""
        digest = hashlib.sha256("\n".join((*self.source.words, *self.target.words)).encode())
        tensors = [*vars(self.there).values(), *vars(self.back).values()]
        for direction in self.aligner.directions() if self.aligner else ():
            tensors += direction.positions.state_dict().values()
        for tensor in tensors:
            digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()


def read_prior(where: str | Path, text: TextConfig) -> Prior:
    """The prior of a model's folder or of a dictionary, for a text that is read as ``text`` says.

    Raises UserError: neither of them, a line that is not one of a dictionary, a model without
    counts, or one whose text was read in another way.
    """
    path = Path(where)
    return _of_model(path, text) if path.is_dir() else _of_dictionary(path, text)


def _of_model(path: Path, text: TextConfig) -> Prior:
    folder = model_folder(path)
    if folder is None:
        raise UserError(f"{path}: a prior is a trained model or a dictionary, and here is neither")
    model = AlignmentModel.load(folder, torch.device("cpu"))
    for name in ("lowercase", "subwords"):
        theirs, ours = (str(getattr(one, name)).lower() for one in (model.text, text))
        if theirs != ours:
            raise UserError(
                f"{path}: a prior that was trained with text.{name} = {theirs} knows other words "
                f"than text.{name} = {ours} makes: give --set text.{name}={theirs}"
            )
    there, back = (direction.emission for direction in model.aligner.directions())
    if not isinstance(there, CountEmission) or not isinstance(back, CountEmission):
        raise UserError(f"{path}: {model.config.emission} emissions have no counts to be a prior")
    languages = model.languages
    return Prior(
        languages.source,
        languages.target,
        _of_emission(there),
        _of_emission(back),
        languages.subwords,
        model.aligner,
    )


def _of_emission(emission: CountEmission) -> Pseudocounts:
    source, target = emission.pair_words()
    return Pseudocounts(source, target, emission.counts, emission.totals, emission.null_counts)


def _of_dictionary(path: Path, text: TextConfig) -> Prior:
    if text.subwords:
        raise UserError(
            f"{path}: a dictionary is of words, and text.subwords = {text.subwords} makes pieces "
            "of them: leave out one or the other"
        )
    weights: dict[tuple[str, str], float] = {}
    unused: Counter[str] = Counter()
    for kind, source, target, weight in _entries(path):
        if kind != _LEXICAL or " " in source or " " in target:
            unused[kind if kind != _LEXICAL else "of several words"] += 1
            continue
        pair = (source, target) if not text.lowercase else (_lower(source), _lower(target))
        weights[pair] = weights.get(pair, 0.0) + weight
    if not weights:
        raise UserError(f"{path}: a dictionary without a word pair is no prior")
    source, target = (
        Vocabulary.build({pair[side]: 0 for pair in weights if pair[side] != _NULL}, min_count=0)
        for side in (0, 1)
    )
    back = {(y, x): weight for (x, y), weight in weights.items()}
    counts = ", ".join(f"{count} {kind}" for kind, count in unused.items())
    return Prior(
        source,
        target,
        _of_weights(weights, source, target),
        _of_weights(back, target, source),
        remark=f"{path}: lines that are not used: {counts}" if unused else "",
    )


def _entries(path: Path) -> Iterator[tuple[str, str, str, float]]:
    """(kind, source, target, weight) of each line; only the kind where it is not lexical."""
    for line, content in read_lines(path):
        kind, *columns = (column.strip(" ") for column in content.split("\t"))
        if (kind, 1 + len(columns)) not in _EFLOMAL:
            kind, columns = _LEXICAL, [kind, *columns]
        if kind != _LEXICAL:
            yield kind, "", "", 0.0
        elif columns != [""]:
            source, target, weight = (*columns, "1")[:3] if len(columns) in (2, 3) else ("",) * 3
            if not source or not target or (value := _weight(weight)) is None:
                raise UserError(
                    f"{path}, line {line}: expected source, tab, target and perhaps a tab and a "
                    f"weight from 0 to {_MOST:g}, found {content[:60]!r}"
                )
            yield kind, source, target, value


def _weight(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 <= value <= _MOST else None


def _lower(word: str) -> str:
    return word if word == _NULL else word.lower()


def _of_weights(
    weights: Mapping[tuple[str, str], float], source: Vocabulary, target: Vocabulary
) -> Pseudocounts:
    """Each pair as often as it weighs. NULL has counts of its own, and is no one's translation."""
    rows = [(source.id(x), target.id(y), n) for (x, y), n in weights.items() if _NULL not in (x, y)]
    words = torch.tensor([row[:2] for row in rows], dtype=torch.int64).reshape(-1, 2)
    counts = torch.tensor([row[2] for row in rows], dtype=torch.float32)
    null_counts = torch.zeros(len(target))
    for (x, y), n in weights.items():
        if x == _NULL != y:
            null_counts[target.id(y)] += n
    totals = torch.zeros(len(source)).index_add_(0, words[:, 0], counts)
    return Pseudocounts(words[:, 0], words[:, 1], counts, totals, null_counts)


def _union(one: Vocabulary, other: Vocabulary) -> Vocabulary:
    first = len(SPECIALS)
    counts = dict(zip(one.words[first:], one.counts[first:], strict=True))
    for word, count in zip(other.words[first:], other.counts[first:], strict=True):
        counts[word] = counts.get(word, 0) + count
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return Vocabulary(ordered, one.counts[UNK] + other.counts[UNK])


def _ids(words: Vocabulary, among: Vocabulary) -> Tensor:
    """The ids in ``among`` of all words of a vocabulary, the specials' included."""
    return torch.tensor([PAD, UNK, *among.encode(words.words[len(SPECIALS) :])])


def _renumber(
    known: Pseudocounts, source: Tensor, target: Tensor, n_source: int, n_target: int
) -> Pseudocounts:
    """The same pseudo-counts where word k has the number ``source[k]`` or ``target[k]``."""
    return Pseudocounts(
        source[known.source],
        target[known.target],
        known.counts,
        torch.zeros(n_source).index_add_(0, source, known.totals),
        torch.zeros(n_target).index_add_(0, target, known.null_counts),
    )
