"""`latentnlp evaluate translation`: files of translations against files of references."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from latentnlp.data.textfiles import STDIN, read_lines
from latentnlp.errors import UserError
from latentnlp.evaluation.translation import (
    Settings,
    check_lines,
    looks_tokenised,
    score,
)


@dataclass(frozen=True)
class EvaluateOptions:
    hypotheses: str
    references: tuple[str, ...]
    baseline: str | None
    tokenize: str
    detokenize: str | None
    lowercase: bool
    samples: int
    seed: int
    as_json: bool


def evaluate_command(options: EvaluateOptions) -> None:
    """Print the scores of a file of translations. Raises UserError (file, what is wrong)."""
    try:
        settings = Settings(
            tokenize=options.tokenize,
            detokenize=options.detokenize,
            lowercase=options.lowercase,
            samples=options.samples,
            seed=options.seed,
        )
    except ValueError as error:
        raise UserError(f"--{error}") from None
    names = [options.hypotheses, *options.references]
    if options.baseline is not None:
        names.append(options.baseline)
    if names.count(STDIN) > 1:
        raise UserError("only one of the texts can come from stdin (-)")
    texts = {name: [text for _, text in read_lines(name)] for name in names}
    check_lines(texts)
    as_it_is = settings.detokenize is None and settings.tokenize != "none"
    if as_it_is and looks_tokenised(texts[options.hypotheses]):
        print(
            f"latentnlp: {options.hypotheses} looks tokenised, but --tokenize {settings.tokenize} "
            "is for running text: give --detokenize LANG, or --tokenize none",
            file=sys.stderr,
        )
    found = score(
        texts[options.hypotheses],
        [texts[name] for name in options.references],
        settings,
        None if options.baseline is None else texts[options.baseline],
    )
    print(json.dumps(found.to_dict()) if options.as_json else "\n".join(found.lines()))
