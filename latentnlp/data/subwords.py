"""Sentencepiece subwords that know their word, and links of pieces projected back to words.

Each word is segmented on its own (its first piece begins with ``▁``), so which word a piece belongs
to is known and need not be guessed from the pieces' spelling.

    Kudo and Richardson 2018, "SentencePiece"; Sennrich et al. 2016 for byte-pair encoding.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import sentencepiece

from latentnlp.data.corpora import Pair, ParallelText
from latentnlp.data.links import Link, Links
from latentnlp.data.textfiles import open_bytes, write_atomically_bytes
from latentnlp.errors import UserError

KINDS = ("bpe", "unigram")
SEED = 1  # of sentencepiece's own sampling
MOST_SENTENCES = 1_000_000  # learnt from; a larger corpus is sampled


class Subwords:
    """A trained segmentation of the words of one language."""

    def __init__(self, model: bytes) -> None:
        """`model`: the content of a sentencepiece .model file. ValueError if it is not one."""
        self.model = model
        try:
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        except RuntimeError as error:
            raise ValueError("not a sentencepiece model") from error
        if not model:  # sentencepiece takes no bytes for no argument
            raise ValueError("not a sentencepiece model")
        self._pieces: dict[str, list[str]] = {}

    @classmethod
    def train(
        cls,
        sentences: Iterable[Sequence[str]],
        size: int = 8000,
        kind: str = "bpe",
        lowercase: bool = True,
    ) -> Subwords:
        """Learns about `size` pieces (fewer where the text has no more) from tokenised sentences.

        Raises:
            UserError: unknown kind, no text, or `size` below the number of characters.
        """
        if kind not in KINDS:
            raise UserError(f"unknown kind of subwords {kind!r}: take {' or '.join(KINDS)}")
        lines = (" ".join(words) for words in sentences if words)
        model = io.BytesIO()
        sentencepiece.set_random_generator_seed(SEED)
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=map(str.lower, lines) if lowercase else lines,
                model_writer=model,
                vocab_size=size,
                model_type=kind,
                hard_vocab_limit=False,
                normalization_rule_name="identity",  # a word must remain that word
                input_sentence_size=MOST_SENTENCES,
                max_sentence_length=1 << 20,
                minloglevel=2,
            )
        except RuntimeError as error:
            reason = str(error).rpartition("] ")[2].strip() or "there is no text to learn from"
            raise UserError(f"subwords cannot be learnt: {reason}") from error
        return cls(model.getvalue())

    def segment(self, words: Iterable[str]) -> tuple[list[str], list[int]]:
        """All pieces of `words`, and for each piece the position of its word."""
        pieces: list[str] = []
        word_of_piece: list[int] = []
        for position, word in enumerate(words):
            of_word = self._of_word(word)
            pieces.extend(of_word)
            word_of_piece.extend([position] * len(of_word))
        return pieces, word_of_piece

    def _of_word(self, word: str) -> list[str]:
        pieces = self._pieces.get(word)
        if pieces is None:
            # Every word has a piece, or links could not be projected back to it.
            pieces = self._processor.encode(word, out_type=str) or [word]
            self._pieces[word] = pieces
        return pieces

    def save(self, path: str | Path) -> None:
        with write_atomically_bytes(path) as stream:
            stream.write(self.model)

    @classmethod
    def load(cls, path: str | Path) -> Subwords:
        """Raises UserError if the file is missing or not a sentencepiece model."""
        with open_bytes(path) as stream:
            model = stream.read()
        try:
            return cls(model)
        except ValueError:
            raise UserError(f"{path}: not a sentencepiece model") from None


class SubwordText(ParallelText):
    """A parallel text seen in pieces; vocabularies, `encode` and batches work on it unchanged.

    With `lowercase` words are lower-cased before they are cut: the same choice as for `train`.
    """

    def __init__(
        self, text: ParallelText, source: Subwords, target: Subwords, lowercase: bool = True
    ) -> None:
        self.name = text.name
        self._text, self._source, self._target, self._lowercase = text, source, target, lowercase

    def __len__(self) -> int:
        return len(self._text)

    def __getitem__(self, number: int) -> Pair:
        (source, _), (target, _) = self._segment(self._text[number])
        return source, target

    def __iter__(self) -> Iterator[Pair]:
        for pair in self._text:
            (source, _), (target, _) = self._segment(pair)
            yield source, target

    def word_maps(self, number: int) -> tuple[list[int], list[int]]:
        """For each source piece of a pair the position of its word, and the same for the target."""
        (_, source), (_, target) = self._segment(self._text[number])
        return source, target

    def project(self, number: int, links: Collection[Link]) -> Links:
        """Links between the pieces of a pair as links between its words."""
        return project(links, *self.word_maps(number))

    def _segment(self, pair: Pair) -> tuple[tuple[list[str], list[int]], ...]:
        if self._lowercase:
            pair = list(map(str.lower, pair[0])), list(map(str.lower, pair[1]))
        return self._source.segment(pair[0]), self._target.segment(pair[1])


def project(
    links: Collection[Link],
    source_word_of_piece: Sequence[int],
    target_word_of_piece: Sequence[int],
) -> Links:
    """Word links: two words are linked if and only if any of their pieces are."""
    return frozenset((source_word_of_piece[i], target_word_of_piece[j]) for i, j in links)
