"""One system of ``document_peers.py``: ``_document_peers.py SYSTEM FOLDER SEED [CORPUS SETTING…]``.

A process of its own, so that its CPU seconds and memory are its own. FOLDER has train, dev and test
as .npz: offsets, words, counts (see `latentnlp.data.bags`) and how many words. Written there:

    cost.json    CPU seconds of the fit, all threads: without imports, reading, coding or writing
    lda.npz      of the LDA: word counts or weights of each topic [K, V], alpha [K], and the
                 codes of each part [D, K]: E θ by the package's own inference
    peer.safetensors   weights of the two in Pyro, whose networks are in `_neural_documents.py`
    model/       of latentnlp: what `latentnlp topics train` saves
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

TOPICS = 50
# Of its own tutorial. Ten passes with its other defaults stay near the unigram on 20 Newsgroups.
GENSIM: dict[str, Any] = {"passes": 20, "iterations": 400, "alpha": "auto", "eta": "auto"}
SWEEPS = 1000  # of tomotopy's Gibbs sampler
PARTS = ("train", "dev", "test")


class Part(NamedTuple):
    """Documents, and how many words there are in all."""

    offsets: np.ndarray
    words: np.ndarray
    counts: np.ndarray
    size: int  # V

    def documents(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start, end in zip(self.offsets, self.offsets[1:], strict=False):
            yield self.words[start:end], self.counts[start:end]


class Lda(NamedTuple):
    words: np.ndarray  # [K, V], not normalised
    alpha: np.ndarray  # [K]
    code: Callable[[Part], np.ndarray]  # documents to E θ, [D, K]


# ------------------------------------------------------------------------------------ classical LDA


def tomotopy(parts: dict[str, Part], seed: int) -> tuple[Lda, float]:
    import tomotopy  # pyright: ignore[reportMissingImports]  # an optional extra, as the others

    def tokens(words: np.ndarray, counts: np.ndarray) -> list[str]:
        return [str(word) for word in np.repeat(words, counts)]

    model = tomotopy.LDAModel(k=TOPICS, seed=seed)
    for document in parts["train"].documents():
        if len(document[0]):
            model.add_doc(tokens(*document))
    before = time.process_time()
    model.train(SWEEPS, workers=1)
    seconds = time.process_time() - before
    known = np.array([int(word) for word in model.used_vocabs])
    table = np.full((TOPICS, parts["train"].size), model.eta)  # also words that training lacks
    for topic in range(TOPICS):
        table[topic, known] = model.get_topic_word_dist(topic, normalize=False)

    def code(part: Part) -> np.ndarray:
        codes = np.tile(model.alpha / model.alpha.sum(), (len(part.offsets) - 1, 1))
        rows, texts = [], []
        for row, (words, counts) in enumerate(part.documents()):
            here = np.isin(words, known)
            if here.any():  # a document of no known word keeps the prior's code
                rows.append(row)
                texts.append(model.make_doc(tokens(words[here], counts[here])))
        codes[rows] = model.infer(texts, workers=1)[0]
        return codes

    return Lda(table, np.array(model.alpha), code), seconds


def gensim_batch(parts: dict[str, Part], seed: int) -> tuple[Lda, float]:
    return gensim(parts, seed, update_every=0, chunksize=len(parts["train"].offsets))


def gensim(parts: dict[str, Part], seed: int, **settings: Any) -> tuple[Lda, float]:
    from gensim.models import LdaModel  # pyright: ignore[reportMissingImports]

    def texts(part: Part) -> list[list[tuple[int, int]]]:
        return [
            list(zip(words.tolist(), counts.tolist(), strict=True))
            for words, counts in part.documents()
        ]

    corpus = [text for text in texts(parts["train"]) if text]
    names = {word: str(word) for word in range(parts["train"].size)}
    before = time.process_time()
    model = LdaModel(corpus, TOPICS, id2word=names, random_state=seed, **GENSIM, **settings)
    seconds = time.process_time() - before

    def code(part: Part) -> np.ndarray:
        gamma = model.inference(texts(part))[0]
        return gamma / gamma.sum(1, keepdims=True)

    return Lda(model.get_topics(), np.asarray(model.alpha), code), seconds


def scikit_learn(parts: dict[str, Part], seed: int) -> tuple[Lda, float]:
    from scipy.sparse import csr_matrix  # pyright: ignore[reportMissingImports]
    from sklearn.decomposition import LatentDirichletAllocation  # pyright: ignore[reportMissingImports]

    def matrix(part: Part) -> Any:
        shape = (len(part.offsets) - 1, part.size)
        return csr_matrix((part.counts, part.words, part.offsets), shape=shape)

    x = matrix(parts["train"])
    x = x[x.getnnz(1) > 0]
    model = LatentDirichletAllocation(TOPICS, random_state=seed)
    before = time.process_time()
    model.fit(x)
    seconds = time.process_time() - before
    alpha = np.full(TOPICS, model.doc_topic_prior_)
    return Lda(model.components_, alpha, lambda part: model.transform(matrix(part))), seconds


LDA = {
    "tomotopy": tomotopy,
    "gensim": gensim,
    "gensim-batch": gensim_batch,
    "scikit-learn": scikit_learn,
}


# ---------------------------------------------------------------------------------------- latentnlp


def latentnlp(folder: Path, corpus: Path, recipe: Path | None, settings: list[str]) -> float:
    """Train as ``latentnlp topics train --corpus …`` does."""
    import torch

    from latentnlp import config as configuration
    from latentnlp.data.bag_corpora import BagFolder
    from latentnlp.run import RunDirectory, seed_everything
    from latentnlp.tasks.topics import TopicsConfig, train

    config = configuration.load(TopicsConfig, recipe, settings)
    files = BagFolder(corpus)
    training = files.open("train", config.text)
    dev = None
    if files.has("dev"):
        dev = files.open("dev", config.text, training.vocabulary).bags
    seed_everything(config.seed)
    with tempfile.TemporaryDirectory() as work:
        run = RunDirectory.create(Path(work) / "run", config, seed=config.seed, temporary=True)
        device, before = torch.device("cpu"), time.process_time()
        model = train(config, training.bags, training.vocabulary, run, device, dev, False)
        seconds = time.process_time() - before
    model.save(folder / "model")
    return seconds


# ------------------------------------------------------------------------------------- command line


def read(path: Path) -> Part:
    with np.load(path) as arrays:
        return Part(arrays["offsets"], arrays["words"], arrays["counts"], int(arrays["size"]))


def main(system: str, folder: Path, seed: int, rest: list[str]) -> None:
    if system in LDA:
        parts = {part: read(folder / f"{part}.npz") for part in PARTS}
        found, seconds = LDA[system](parts, seed)
        arrays: dict[str, Any] = {
            name: found.code(part) if len(part.offsets) > 1 else np.zeros((0, TOPICS))
            for name, part in parts.items()
        }
        np.savez(folder / "lda.npz", words=found.words, alpha=found.alpha, **arrays)
    elif system.startswith("pyro-"):
        from _neural_documents import train

        seconds = train(system, folder, seed)
    else:
        corpus, recipe, *settings = rest
        path = None if recipe == "-" else Path(recipe)
        seconds = latentnlp(folder, Path(corpus), path, [*settings, f"seed={seed}"])
    (folder / "cost.json").write_text(json.dumps({"cpu_seconds": seconds}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
