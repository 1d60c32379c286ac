"""From text to the words of a topic model: how it is split, and which words are kept."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from unicodedata import category

from latentnlp.config import at_least
from latentnlp.data.documents import LETTER
from latentnlp.data.textfiles import read_lines
from latentnlp.data.vocabulary import SPECIALS, Vocabulary
from latentnlp.errors import UserError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class TextConfig:
    """The first two say how text is split into words, always. The others choose the vocabulary of
    a new model: words that are left out of it are left out of every document.

    A list of tokens is not split again; ``lowercase`` holds for it too. A vocabulary that is given
    may have capitals: a word that it does not have as it stands is looked up in lower case.
    """

    lowercase: bool = True
    split: Literal["letters", "alphanumeric", "spaces"] = "letters"
    """letters: runs of letters of any script, with their marks; digits, punctuation, apostrophes
    and hyphens stand between words. alphanumeric: digits count as letters. spaces: what stands
    between white space, for text that is split into words already."""
    stop_words: str = ""
    """"": none. english: the list in this file. Else: a file with one word a line."""
    min_length: int = 2  # characters of a word
    min_documents: int = 5  # that a word occurs in
    max_share: float = 0.5  # of the documents that a word may occur in
    max_size: int | None = None  # words; the most frequent ones are kept

    def __post_init__(self) -> None:
        at_least(self, min_length=1, min_documents=1, max_size=1)
        if not 0 < self.max_share <= 1:
            raise ValueError(f"max_share = {self.max_share} is not above 0 and at most 1")


_NOT_A_LETTER = r"\x00-\x1f\x7f\u200b\ufeff" + LETTER[2:]  # and all that LETTER leaves out
_SPLITTERS: dict[str, Callable[[str], list[str]]] = {
    "letters": re.compile(rf"[^\d_{_NOT_A_LETTER}+").findall,
    "alphanumeric": re.compile(rf"[^_{_NOT_A_LETTER}+").findall,
    "spaces": str.split,
}


def split_text(text: str, split: str) -> list[str]:
    """The words of a text (in NFC, so that é is one letter), case kept; see `TextConfig`."""
    return _SPLITTERS[split](unicodedata.normalize("NFC", text))


# --- choosing a vocabulary ----------------------------------------------------------------------


def choose_vocabulary(
    words: Sequence[str],
    documents: np.ndarray,
    tokens: np.ndarray,
    total: int,
    text: TextConfig,
    name: str,
) -> Vocabulary:
    """The words that pass, by falling number of tokens; its <unk> counts the tokens of the others.

    documents, tokens: in how many of the `total` documents, and how often, each word occurs, [W].

    Raises:
        UserError: no word passes; says which bar kept how many out.
    """
    stop = stop_words(text.stop_words)
    most = text.max_share * total
    kept: dict[str, int] = {}
    out: dict[str, int] = dict.fromkeys(
        ("stop_words", "min_length", "min_documents", "max_share"), 0
    )
    for word, found, count in zip(words, documents.tolist(), tokens.tolist(), strict=True):
        if word in SPECIALS or word.lower() in stop:
            out["stop_words"] += 1
        elif len(word) < text.min_length:
            out["min_length"] += 1
        elif found < text.min_documents:
            out["min_documents"] += 1
        elif found > most:
            out["max_share"] += 1
        else:
            kept[word] = count
    if not kept:
        raise UserError(f"{name}: {_nothing_left(len(words), total, out, text)}")
    for word in kept:
        # A token that was given; a vocabulary has one word a line. (Joiners, which words of Persian
        # and Hindi have inside, are not "printable" but no harm.)
        if not word.isprintable() and any(category(sign) in ("Cc", "Cs") for sign in word):
            raise UserError(f"{name}: the token {word!r} holds a tab, a line end or the like")
    chosen = Vocabulary.build(kept, max_size=text.max_size)
    return Vocabulary(
        zip(chosen.words[len(SPECIALS) :], chosen.counts[len(SPECIALS) :], strict=True),
        int(tokens.sum()) - sum(chosen.counts[len(SPECIALS) :]),
    )


def _nothing_left(words: int, total: int, out: dict[str, int], text: TextConfig) -> str:
    if not words:
        return (
            f"none of its {total} documents has a word (split = {text.split!r}); look at the file "
            "or split it otherwise"
        )
    reasons = [f"{count} by {key} = {getattr(text, key)!r}" for key, count in out.items() if count]
    return (
        f"no word is left for the vocabulary: of {words} words in {total} documents "
        f"{', '.join(reasons)} were left out; change what left out most, for example [text] "
        "min_documents = 1"
    )


def stop_words(name: str) -> frozenset[str]:
    """ "": none; "english": those below; else the lines of a file, in lower case.

    Raises:
        UserError: the file cannot be read.
    """
    if name == "english":
        return frozenset(_ENGLISH.split())
    if not name:
        return frozenset()
    return frozenset(line.strip().lower() for _, line in read_lines(name)) - {""}


# The closed classes of English, with what is left of contractions split at the apostrophe. Written
# for this project.
_ENGLISH = """
    a an the this that these those such same other another each every either neither both all any
    some few several many much more most less least enough no none own
    i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his
    himself she her hers herself it its itself they them their theirs themselves one ones
    who whom whose which what whoever whatever whichever
    someone somebody something anyone anybody anything everyone everybody everything nobody nothing
    about above across after against along among amongst around as at before behind below beneath
    beside besides between beyond by despite down during except for from in inside into like near of
    off on onto out outside over past per since through throughout till to toward towards under
    until unto up upon via with within without
    and but or nor so yet if unless although though because while whereas whether than lest
    when where why how whenever wherever however then there here hence thus therefore
    not never ever always often sometimes also too very just only even still already again almost
    quite rather really perhaps maybe once now indeed else instead otherwise moreover
    am is are was were be been being have has had having do does did doing done
    can could may might must shall should will would ought cannot
    get gets got getting let
    s t d m o ll re ve don doesn didn isn aren wasn weren hasn haven hadn won wouldn couldn shouldn
    mustn shan needn ain can couldnt dont doesnt didnt isnt wasnt im ive youre thats
"""
