"""sil-thot from the command line: ``_thot.py MODEL SOURCE TARGET FORWARD REVERSE [SEED]``.

Trains MODEL on SOURCE → TARGET and on TARGET → SOURCE, then writes each direction's best links
(Pharaoh, 0-based, source position first in both files). A process of its own, so that
``alignment_peers.py`` can measure it, and free of latentnlp.

The stages and all settings are those of sil-machine, the library's own front end, except that it
gives the last stage 4 iterations and here each stage has 5. Thot has no tool that finds word
classes, so IBM 4 runs without them, as it does in sil-machine by default.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import thot.alignment as thot  # pyright: ignore[reportMissingImports]  # an optional extra

ITERATIONS = 5  # of each stage
BLOCK = 10_000  # sentences decoded at a time

Sentences = list[list[str]]


def stages(name: str, seed: int) -> list[tuple[Any, int]]:
    """The models to train one after the other, each started from the one before."""
    if name == "fast_align":
        model = thot.FastAlignModel()
        model.variational_bayes = True  # fast_align's own default (its option -v)
        return [(model, ITERATIONS)]
    if name == "eflomal":
        model = thot.EflomalAlignmentModel()
        model.seed = seed
        return [(model, 0)]  # it sets its own number of sweeps by the size of the corpus
    chain = [thot.Ibm1AlignmentModel()]
    if name in {"hmm", "ibm4"}:
        chain.append(thot.HmmAlignmentModel(chain[-1]))
    if name == "ibm4":
        chain.append(thot.Ibm3AlignmentModel(chain[-1]))
        chain.append(thot.Ibm4AlignmentModel(chain[-1]))
    return [(model, ITERATIONS) for model in chain]


def align(name: str, seed: int, source: Sentences, target: Sentences) -> list[list[int]]:
    """For each pair, for each target word, the 1-based position of its source word, or 0."""
    chain = stages(name, seed)
    final = chain[-1][0]
    for pair in zip(source, target, strict=True):
        final.add_sentence_pair(*pair)
    for model, iterations in chain:
        model.start_training()
        for _ in range(iterations or model.scheduled_iterations):
            model.train()
        model.end_training()
    found: list[list[int]] = []
    for start in range(0, len(source), BLOCK):
        block = slice(start, start + BLOCK)
        best = final.get_best_alignments(source[block], target[block])
        found.extend(matrix.to_list() for _, matrix in best)
    return found


def write(path: str, found: list[list[int]], reverse: bool) -> None:
    with Path(path).open("w", encoding="utf-8") as file:
        for sentence in found:
            links = [(i - 1, j) for j, i in enumerate(sentence) if i]
            pairs = ((j, i) if reverse else (i, j) for i, j in links)
            print(*(f"{i}-{j}" for i, j in pairs), file=file)


def read(path: str) -> Sentences:
    with Path(path).open(encoding="utf-8") as file:
        return [line.split() for line in file]


def main(name: str, source: str, target: str, forward: str, reverse: str, seed: str = "1") -> None:
    sources, targets = read(source), read(target)
    write(forward, align(name, int(seed), sources, targets), reverse=False)
    write(reverse, align(name, int(seed), targets, sources), reverse=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
