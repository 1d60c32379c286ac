"""A corpus as data_prep/ writes it: train, dev and test text, gold links, manifest.json."""

from __future__ import annotations

import json
from pathlib import Path

from latentnlp.data.corpora import ListText, ParallelText, concatenate, open_parallel
from latentnlp.data.links import Gold, read_gold
from latentnlp.errors import UserError


class CanonicalCorpus:
    """The folder ``folder``; ``source`` and ``target`` are its languages, the files' suffixes."""

    def __init__(self, folder: str | Path) -> None:
        """Raises UserError: no such folder, or no manifest in it."""
        self.folder = Path(folder)
        manifest = self.folder / "manifest.json"
        try:
            record = json.loads(manifest.read_text(encoding="utf-8"))
            self.name = str(record["name"])
            self.source, self.target = (str(language) for language in record["languages"])
        except FileNotFoundError:
            raise UserError(
                f"{self.folder}: no corpus here (it has no manifest.json); make it with the script "
                "of its name in data_prep/"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{manifest}: damaged ({error}); make the corpus again") from None

    def has(self, part: str) -> bool:
        return (self.folder / f"{part}.{self.source}").exists()

    def has_gold(self, part: str) -> bool:
        return (self.folder / f"{part}.gold").exists()

    def text(self, part: str, pairs: int | None = None) -> ParallelText:
        """The sentences of "train", "dev" or "test", or the first ``pairs`` of them."""
        source, target = (
            self.folder / f"{part}.{self.source}",
            self.folder / f"{part}.{self.target}",
        )
        text = open_parallel(source, target)
        if pairs is None or pairs >= len(text):
            return text
        kept = [text[number] for number in range(pairs)]
        return ListText([s for s, _ in kept], [t for _, t in kept], text.name)

    def gold(self, part: str) -> list[Gold]:
        """Raises UserError where a link lies outside its sentences."""
        source, target = zip(*((len(s), len(t)) for s, t in self.text(part)), strict=True)
        return read_gold(
            self.folder / f"{part}.gold", "pharaoh", source_lengths=source, target_lengths=target
        )

    def training_text(
        self, parts: tuple[str, ...], train_pairs: int | None
    ) -> tuple[ParallelText, range]:
        """The text of the ``parts`` that there are, one after the other (never their gold), and
        which of its lines are those of "dev"."""
        texts: list[ParallelText] = []
        dev = range(0)
        for part in parts:
            if not self.has(part):
                continue
            text = self.text(part, train_pairs if part == "train" else None)
            if part == "dev":
                before = sum(map(len, texts))
                dev = range(before, before + len(text))
            texts.append(text)
        if not texts:
            raise UserError(f"{self.folder}: has none of the parts {', '.join(parts)}")
        return concatenate(texts), dev
