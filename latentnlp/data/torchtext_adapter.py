"""torchtext 0.6's Vocab, Field, Dataset, iterators and Vectors as this project's, and back.

Needs the extra ``latentnlp[torchtext]``; torchtext is imported when something of its own is to be
made. No downloader of torchtext is ever called, and none of its pickles is read: `Vectors(name)`
keeps a pickled cache (and switches off the checking of TLS certificates for the whole process), so
`read_vectors` reads .vec files itself.

What differs: torchtext's ids begin with ``<unk>``, ``<pad>`` (here padding is 0 and unknown is 1);
its batches may be time-first, padded in front, truncated, or framed by an initial and a final token
(here none of it); its batches do not say which examples they hold (here `Batch.index` does).
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from latentnlp.data.batches import Batch, Side, side
from latentnlp.data.corpora import ListText, ParallelText
from latentnlp.data.textfiles import read_lines
from latentnlp.data.vocabulary import PAD, SPECIALS, UNK, Vocabulary
from latentnlp.errors import UserError

if TYPE_CHECKING:
    import torchtext.data as tt
    from torchtext.vocab import Vectors, Vocab

NUMBER = "latentnlp_number"  # the column of example numbers that `from_iterator` adds


def _torchtext() -> ModuleType:
    try:
        import torchtext
    except (ImportError, OSError) as error:  # OSError: 0.18 is linked against another torch
        raise UserError(
            f'torchtext 0.6.0 is needed: pip install "latentnlp[torchtext]" ({error})'
        ) from None
    return torchtext


# --- vocabularies ---------------------------------------------------------------------------------


def from_vocab(vocab: Vocab, specials: Collection[str] = ()) -> Vocabulary:
    """The words of `vocab` in its order with their counts, without its `specials`.

    Raises:
        UserError: a word that no vocabulary file can hold.
    """
    left_out = {*SPECIALS, *specials}
    words = [word for word in vocab.itos if word not in left_out]
    for word in words:
        if not word or "\t" in word or "\n" in word:
            raise UserError(
                f"the torchtext Vocab holds {word!r}: words must not be empty nor hold a tab or a "
                "line end; tokenise with another function"
            )
    return Vocabulary((word, vocab.freqs[word]) for word in words)


def from_field(field: tt.Field) -> Vocabulary:
    """The words of a Field's vocabulary, without its unknown, padding, initial and final token.

    The words are as the Field's `lower` and `preprocessing` left them: encode a text of
    `from_dataset` with ``lowercase=False``.

    Raises:
        UserError: the Field has no vocabulary yet.
    """
    return from_vocab(_vocab(field), _tokens(field))


def to_vocab(vocabulary: Vocabulary, extra: Iterable[str] = ()) -> Vocab:
    """A torchtext Vocab with the same id for every word; `extra` tokens get the ids behind them."""
    counts = Counter(dict(zip(vocabulary.words[2:], vocabulary.counts[2:], strict=True)))
    # Vocab sorts what it counts, but keeps its specials first and in order.
    specials = list(dict.fromkeys([*vocabulary.words, *extra]))
    return _torchtext().vocab.Vocab(counts, specials=specials)


def to_field(vocabulary: Vocabulary, **settings: Any) -> tt.Field:
    """A Field with this vocabulary. `settings` are Field's: ``lower``, ``batch_first``, ...

    ``lower=True`` belongs to a vocabulary of lower-case words (`build_vocabularies`' default).
    """
    field = _torchtext().data.Field(**settings)
    field.vocab = to_vocab(vocabulary, _tokens(field))
    return field


def _tokens(field: tt.Field) -> list[str]:
    tokens = (field.pad_token, field.unk_token, field.init_token, field.eos_token)
    return [token for token in tokens if token is not None]


def _vocab(field: tt.Field) -> Vocab:
    vocab = getattr(field, "vocab", None)
    if vocab is None:
        raise UserError("a torchtext Field has no vocabulary: call build_vocab(dataset) on it")
    return vocab


# --- texts ----------------------------------------------------------------------------------------


def from_dataset(dataset: tt.Dataset, names: tuple[str, str] | None = None) -> ListText:
    """The words of two Fields, after their preprocessing; pair n is example n.

    `names`: the Fields of source and target; may be left out where there are only two. Example n
    need not be line n of a file: TranslationDataset drops pairs with an empty side.

    Raises:
        UserError: no such Field, or it does not hold lists of words.
    """
    names = _two_names(dataset.fields, names)
    sides: tuple[list[list[str]], list[list[str]]] = [], []
    for number, example in enumerate(dataset):
        for name, column in zip(names, sides, strict=True):
            column.append(_words(example, name, number))
    return ListText(*sides, name=f"torchtext dataset ({names[0]}, {names[1]})")


def to_dataset(
    text: ParallelText, fields: Mapping[str, tt.Field], preprocess: bool = True
) -> tt.Dataset:
    """A Dataset of the text: Example n is pair n. `fields`: source, then target, by name.

    `preprocess`: put the words through the Fields' `lower`, `stop_words` and `preprocessing`, but
    not `tokenize`. False for words that have been through them: those of `from_dataset`. The
    `sort_key` is TranslationDataset's.

    Raises:
        UserError: not two Fields.
    """
    data = _torchtext().data
    source, target = _two_names(fields, None)
    dataset = data.Dataset([_example(fields, pair, preprocess) for pair in text], fields)
    dataset.sort_key = lambda example: data.interleave_keys(
        len(getattr(example, source)), len(getattr(example, target))
    )
    return dataset


def _example(
    fields: Mapping[str, tt.Field], sides: Sequence[list[str]], preprocess: bool
) -> tt.Example:
    example = _torchtext().data.Example()
    for (name, field), words in zip(fields.items(), sides, strict=True):
        setattr(example, name, field.preprocess(words) if preprocess else words)
    return example


def _two_names(
    fields: Mapping[str, tt.Field | None], names: tuple[str, str] | None
) -> tuple[str, str]:
    present = [name for name, field in fields.items() if field is not None]
    chosen = present if names is None else list(names)
    if len(chosen) != 2 or not {*chosen} <= {*present}:
        raise UserError(
            f"names={names} of the torchtext Fields {present}: name two of them, source and target"
        )
    return chosen[0], chosen[1]


def _words(example: tt.Example, name: str, number: int) -> list[str]:
    words = getattr(example, name, None)
    if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
        raise UserError(
            f"example {number} of the torchtext dataset has no list of words in {name!r} but "
            f"{str(words)[:60]!r}: take a sequential Field of words"
        )
    return list(words)


# --- batches --------------------------------------------------------------------------------------


def from_iterator(
    iterator: tt.Iterator,
    source_vocabulary: Vocabulary,
    target_vocabulary: Vocabulary,
    names: tuple[str, str] | None = None,
) -> Iterator[Batch]:
    """One pass over a torchtext iterator (endless if it repeats), as batches on the CPU.

    `index` holds the numbers of the examples in the iterator's dataset; pairs with an empty side
    are left out, as in `Batches`. torchtext draws new batches in every pass: `number` only counts
    them, so what is stored by batch number (`cooccurrences`) cannot be used with them.

    Raises:
        UserError: as `from_batch`.
    """
    fields = iterator.dataset.fields
    columns = _columns(fields, names, source_vocabulary, target_vocabulary)
    original, numbered = iterator.dataset, _numbered(iterator.dataset)
    batches = iter(iterator)
    number = 0
    while True:
        iterator.dataset = numbered  # the iterator's own state, which it can save, stays in use
        try:
            batch = next(batches, None)
        finally:
            iterator.dataset = original
        if batch is None:
            return
        converted = _convert(batch, columns, number, torch.tensor(getattr(batch, NUMBER)))
        if len(converted):
            yield converted
            number += 1


def from_batch(
    batch: tt.Batch,
    source_vocabulary: Vocabulary,
    target_vocabulary: Vocabulary,
    number: int,
    index: Tensor,
    names: tuple[str, str] | None = None,
) -> Batch:
    """One torchtext batch, on the CPU; `number` and `index` [B] are the caller's (see `Batch`).

    Initial and final tokens go, padding moves to the end, ids change by way of the words; rows with
    an empty side are left out. Where a Field has no ``include_lengths``, a padding token that a
    sentence itself ends with cannot be told from padding.

    Raises:
        UserError: no such Field, no vocabulary, a `postprocessing`, or not a sequence of words.
    """
    fields = getattr(batch.dataset, "fields", {})
    columns = _columns(fields, names, source_vocabulary, target_vocabulary)
    return _convert(batch, columns, number, index)


def to_batch(
    batch: Batch,
    fields: Mapping[str, tt.Field],
    source_vocabulary: Vocabulary,
    target_vocabulary: Vocabulary,
) -> tt.Batch:
    """A torchtext batch of B >= 1 pairs, in the layout and with the ids of the Fields.

    `fields`: source, then target, by name. Their `preprocessing` is not run again.

    Raises:
        UserError: not two Fields, or one without a vocabulary.
    """
    _two_names(fields, None)
    columns = zip(
        fields.values(),
        (source_vocabulary, target_vocabulary),
        (batch.source, batch.target),
        (batch.source_mask, batch.target_mask),
        strict=True,
    )
    sides = [_decode(*column) for column in columns]
    examples = [_example(fields, pair, preprocess=False) for pair in zip(*sides, strict=True)]
    data = _torchtext().data
    return data.Batch(examples, data.Dataset(examples, fields), device=batch.source.device)


def _decode(field: tt.Field, vocabulary: Vocabulary, ids: Tensor, mask: Tensor) -> list[list[str]]:
    words = list(vocabulary.words)
    if field.unk_token is not None:
        words[UNK] = field.unk_token
    known = {*_vocab(field).itos}
    words = [word if word in known else words[UNK] for word in words]
    lengths = mask.sum(1).tolist()
    return [
        [words[number] for number in row[:length]]
        for row, length in zip(ids.tolist(), lengths, strict=True)
    ]


@dataclass(frozen=True, eq=False)
class _Column:
    """One side of a torchtext batch."""

    name: str
    field: tt.Field
    table: np.ndarray  # [torchtext's ids] int64: the ids here

    def rows(self, batch: tt.Batch) -> list[np.ndarray]:
        """The word ids of each sentence: B arrays int64, without any padding."""
        value = getattr(batch, self.name)
        ids: Tensor = value[0] if self.field.include_lengths else value
        if ids.dim() != 2:
            raise UserError(
                f"torchtext Field {self.name!r} gives tensors of {ids.dim()} dimensions: take a "
                "sequential Field of words"
            )
        ids = ids if self.field.batch_first else ids.T  # [B, L]
        lengths = value[1] if self.field.include_lengths else self._lengths(ids)  # [B]
        begin = int(self.field.init_token is not None)
        end = int(self.field.eos_token is not None)
        ours, width = self.table[ids.long().cpu().numpy()], ids.shape[1]  # [B, L]
        rows = []
        for row, length in zip(ours, lengths.tolist(), strict=True):
            start = width - length if self.field.pad_first else 0
            rows.append(row[start + begin : start + length - end])
        return rows

    def _lengths(self, ids: Tensor) -> Tensor:
        """[B]: up to the last (from the first, if padded in front) position without padding."""
        filled = ids != _vocab(self.field)[self.field.pad_token]  # [B, L]
        outside_in = filled if self.field.pad_first else filled.flip(1)
        return (outside_in.cumsum(1) > 0).sum(1)


def _columns(
    fields: Mapping[str, tt.Field | None],
    names: tuple[str, str] | None,
    *vocabularies: Vocabulary,
) -> list[_Column]:
    columns = []
    for name, vocabulary in zip(_two_names(fields, names), vocabularies, strict=True):
        field = fields[name]
        assert field is not None  # _two_names has looked
        if getattr(field, "postprocessing", None) is not None:
            raise UserError(
                f"torchtext Field {name!r} has a postprocessing, which may make anything of the "
                "ids: convert the dataset instead (from_dataset)"
            )
        columns.append(_Column(name, field, np.array(vocabulary.encode(_vocab(field).itos))))
    return columns


def _convert(batch: tt.Batch, columns: list[_Column], number: int, index: Tensor) -> Batch:
    source, target = (column.rows(batch) for column in columns)
    if not len(source) == len(target) == len(index):
        raise ValueError(f"{len(source)} and {len(target)} sentences, but {len(index)} numbers")
    used = [n for n in range(len(index)) if len(source[n]) and len(target[n])]
    sides = (_side([rows[n] for n in used]) for rows in (source, target))
    return Batch(number, index[used], *sides)


def _side(rows: list[np.ndarray]) -> Side:
    """The sentences [B], padded at the end to the longest, as one side of a batch."""
    lengths = np.array([len(row) for row in rows], dtype=np.int64)
    mask = np.arange(lengths.max(initial=0)) < lengths[:, None]  # [B, T]
    words = np.full(mask.shape, PAD, dtype=np.int64)
    words[mask] = np.concatenate([np.empty(0, dtype=np.int64), *rows])
    return side(words, mask)


def _numbered(dataset: tt.Dataset) -> tt.Dataset:
    """The dataset with one more column, the examples' numbers. The examples are copies."""
    data = _torchtext().data
    examples = [copy.copy(example) for example in dataset]
    for number, example in enumerate(examples):
        setattr(example, NUMBER, number)
    return data.Dataset(examples, {**dataset.fields, NUMBER: data.RawField()})


# --- vectors --------------------------------------------------------------------------------------


def from_vectors(
    vectors: Vectors | Vocab, vocabulary: Vocabulary, initial: Tensor | None = None
) -> Tensor:
    """Word vectors [V, d] in the order of `vocabulary`; from a Vocab, those loaded into it.

    Words without a vector, and padding, keep their row of `initial` [V, d], or are zero.

    Raises:
        UserError: a Vocab without vectors, `initial` of another shape.
    """
    if vectors.vectors is None or vectors.itos is None:
        raise UserError("the torchtext Vocab has no vectors: call load_vectors on it")
    table: Tensor = vectors.vectors  # [torchtext's ids, d]
    places = {word: place for place, word in enumerate(vectors.itos)}
    known = [n for n, word in enumerate(vocabulary.words) if n != PAD and word in places]
    result = _initial(vocabulary, table.shape[1], initial, "the torchtext vectors")
    result[known] = table[[places[vocabulary.words[n]] for n in known]].to(result)
    return result


def read_vectors(path: str | Path, vocabulary: Vocabulary, initial: Tensor | None = None) -> Tensor:
    """`from_vectors` of a .vec text file (.gz by its name): ``word v_1 ... v_d`` a line.

    A first line ``count d`` is optional and held to. The numbers of other words are not looked at.

    Raises:
        UserError: file unreadable, or a line with too few or many or unusable numbers, a word given
            twice, fewer or more lines than the header says, or no word of the vocabulary.
    """
    result = None
    seen: dict[int, int] = {}
    for line, word, numbers in _vector_lines(path):
        if word not in vocabulary and word != SPECIALS[UNK]:
            continue
        n = vocabulary.id(word)
        if n in seen:
            raise UserError(
                f"{path}, line {line}: {word!r} has a vector on line {seen[n]} already; keep one"
            )
        seen[n] = line
        if result is None:
            result = _initial(vocabulary, len(numbers), initial, path)
        result[n] = _numbers(numbers, path, line).to(result)
    if result is None:
        raise UserError(f"{path}: holds a vector for none of the {len(vocabulary)} words")
    return result


def _vector_lines(path: str | Path) -> Iterator[tuple[int, str, list[str]]]:
    """(line number, word, its d numbers as text) of each vector."""
    count = dimension = None
    vectors = 0
    for line, text in read_lines(path):
        word, *numbers = text.rstrip(" ").split(" ")
        if line == 1 and len(numbers) == 1 and word.isdecimal() and numbers[0].isdecimal():
            count, dimension = int(word), int(numbers[0])
            continue
        dimension = dimension or len(numbers)
        if len(numbers) != dimension or not numbers:
            raise UserError(
                f"{path}, line {line}: expected a word and {dimension or 'its'} numbers with one "
                f"space between them, found {len(numbers)} after {word[:60]!r}"
            )
        vectors += 1
        yield line, word, numbers
    if count not in (None, vectors):
        raise UserError(
            f"{path}: its header says {count} vectors but {vectors} follow; it is cut short or "
            "damaged"
        )


def _numbers(texts: list[str], path: str | Path, line: int) -> Tensor:
    try:
        row = torch.tensor([float(text) for text in texts])  # [d]
    except ValueError as error:
        raise UserError(f"{path}, line {line}: {error}") from None
    if not row.isfinite().all():
        raise UserError(f"{path}, line {line}: a number is not finite or too large for float32")
    return row


def _initial(
    vocabulary: Vocabulary, dimension: int, initial: Tensor | None, name: str | Path
) -> Tensor:
    """A copy of `initial`, or zeros: [V, d]."""
    shape = (len(vocabulary), dimension)
    if initial is None:
        return torch.zeros(shape)
    if initial.shape != shape:
        raise UserError(f"initial has shape {tuple(initial.shape)}, but {name} need {shape}")
    return initial.detach().clone()
