"""What the scale benchmark stores and asks: real vectors, stretched to any number; the truth."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semcache_async.data import banking77
from semcache_async.types import EntryKey, Record, Scope

__all__ = ["SHARES", "Corpus", "Floats", "Truth", "embed_banking77", "make_corpus", "number_of"]

Floats: TypeAlias = NDArray[np.float32]

SHARES = (1, 3, 10, 30, 100, 300, 1_000, 3_000)
"""Numbers of equal scopes among which the plan part divides the entries."""
MIX_NOISE, QUERY_NOISE = 0.2, 0.1
"""Lengths of the noise vectors added to a mixture and to a query, before renormalising."""
ANSWER_BYTES = 300
TTL_S = 86_400.0

_WORDS = (
    "You can change this in the app under Settings, Account; the new value is used at once and we "
    "confirm it by e-mail. If it does not show within two working days, send us the reference on "
    "your statement and a photograph of the letter, and a colleague will look at it the same day. "
    "There is no fee for any of this, and your card keeps working meanwhile. "
)


class Corpus(NamedTuple):
    """Entries to store and queries to ask, all unit vectors."""

    vectors: Floats
    prompts: Sequence[str]
    queries: Floats

    def records(self, scopes: int, *, shares: bool = False) -> Iterator[Record]:
        """Entry ``i`` is of scope ``i % scopes``; with ``shares``, of one scope, and carries its
        share of each number in ``SHARES`` as an attribute."""
        owners = [scope_of(number) for number in range(scopes)]
        for number, vector in enumerate(self.vectors):
            scope = Scope(attributes=shares_of(number)) if shares else owners[number % scopes]
            prompt = self.prompt(number)
            yield Record(
                key=EntryKey(scope, prompt),
                prompt=prompt,
                text=answer(number),
                vector=vector,
                tags=(),
                exact_ttl_s=TTL_S,
                semantic_ttl_s=TTL_S,
                started_at=time.time(),
            )

    def prompt(self, number: int) -> str:
        """Unique, and ends with the entry's number."""
        return f"{self.prompts[number % len(self.prompts)]} #{number}"

    def raw_bytes(self, dtype: str) -> float:
        """Mean bytes of an entry's vector, prompt and answer."""
        texts = sum(len(self.prompt(n).encode()) + len(answer(n)) for n in range(len(self.vectors)))
        return texts / len(self.vectors) + float(self.vectors[0].astype(dtype).nbytes)


def scope_of(number: int) -> Scope:
    return Scope(tenant=f"tenant {number}" if number else "")


def shares_of(number: int) -> dict[str, str]:
    """Attributes that name the share of ``number`` among each of ``SHARES``."""
    return {f"of {share}": str(number % share) for share in SHARES}


def answer(number: int) -> str:
    """``ANSWER_BYTES`` of ASCII that differ from entry to entry."""
    start = number * 37 % len(_WORDS)
    return (f"{number}: {_WORDS[start:]}{_WORDS}")[:ANSWER_BYTES]


def number_of(prompt: str) -> int:
    """The entry's number from its prompt."""
    found = re.search(r"#(\d+)$", prompt)
    assert found is not None
    return int(found[1])


class Truth:
    """Exact distances from each query to the entries of its scope: query ``j`` asks scope
    ``j % scopes``."""

    def __init__(self, corpus: Corpus, neighbours: int, scopes: int = 1) -> None:
        self._corpus = corpus
        queries = len(corpus.queries)
        self.nearest: Floats = np.full((queries, neighbours), np.inf, np.float32)
        """Ascending; infinity where the scope has fewer entries."""
        for scope in range(min(scopes, queries)):
            asked = np.arange(scope, queries, scopes)
            members = corpus.vectors[scope::scopes]
            for start in range(0, len(asked), 256):
                some = asked[start : start + 256]
                distances = 1.0 - corpus.queries[some] @ members.T
                few = min(neighbours, distances.shape[1])
                nearest = np.sort(np.partition(distances, few - 1, axis=1)[:, :few], axis=1)
                self.nearest[some, :few] = nearest

    def distances(self, query: int, numbers: Sequence[int]) -> Floats:
        """Exact distances from a query to entries."""
        found = self._corpus.vectors[list(numbers)] @ self._corpus.queries[query]
        return np.asarray(1.0 - found, np.float32)


def embed_banking77(directory: Path) -> tuple[Floats, Floats, list[str]]:
    """Vectors of BANKING77's training and test questions, kept in ``directory``, and the training
    texts."""
    from semcache_async.embed import default_embedder

    texts = [question.text for question in banking77("train")]
    others = [question.text for question in banking77("test")]
    path = directory / "scale-banking77.npy"
    if path.exists():
        vectors: Floats = np.load(path)
    else:
        vectors = np.asarray(default_embedder().embed([*texts, *others]), np.float32)
        directory.mkdir(parents=True, exist_ok=True)
        np.save(path, vectors)
    return vectors[: len(texts)], vectors[len(texts) :], texts


def make_corpus(
    stored: Floats, asked: Floats, prompts: Sequence[str], size: int, queries: int, seed: int
) -> Corpus:
    """``size`` entries: the real vectors in random order, then mixtures of random pairs of them
    (weight 0.5 to 1, plus noise); and ``queries`` perturbed vectors that were never stored."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(stored))[:size]
    parts = [stored[order]]
    for start in range(len(stored), size, 50_000):
        count = min(50_000, size - start)
        first, second = rng.integers(len(stored), size=(2, count))
        weight = rng.uniform(0.5, 1.0, (count, 1)).astype(np.float32)
        mixed = weight * stored[first] + (1 - weight) * stored[second]
        parts.append(_unit(mixed + _noise(rng, mixed.shape, MIX_NOISE)))
    picked = asked[rng.permutation(len(asked))[:queries]]
    texts = [prompts[number % len(prompts)] for number in order]
    return Corpus(
        np.concatenate(parts), texts, _unit(picked + _noise(rng, picked.shape, QUERY_NOISE))
    )


def _noise(rng: np.random.Generator, shape: tuple[int, ...], length: float) -> Floats:
    noise: Floats = (rng.standard_normal(shape) * (length / np.sqrt(shape[1]))).astype(np.float32)
    return noise


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths, np.float32)
