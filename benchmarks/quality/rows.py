"""Who decides: the real cache with options, and what peers do by default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.store import MatrixStore
from benchmarks.quality.vectors import Remembered
from semcache_async import CacheConfig, Scope, SemanticCache, Source
from semcache_async.data import Question
from semcache_async.tune.pairs import Pair

__all__ = ["CACHE_ROWS", "PEERS", "Cached", "Outcome", "Row", "Static", "near", "taking"]


class Outcome(NamedTuple):
    """What became of one request."""

    hit: bool
    right: bool
    """Of a hit: was it the right answer? Of a miss, True."""
    distance: float | None = None
    exact: bool = False
    """Of the same wording: no decision about meaning."""


class Row(Protocol):
    """One line of the tables."""

    @property
    def name(self) -> str: ...

    async def replay(self, questions: Sequence[Question], seed: int) -> list[Outcome]:
        """Ask one after another; what misses is stored."""


# -- the real cache


@dataclass(frozen=True)
class Cached:
    """The cache itself, with options by name. ``opened`` goes to ``SemanticCache.open``: the word
    "judge" there stands for a judge that knows the intents."""

    name: str
    embedder: Remembered = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict)
    opened: Mapping[str, Any] = field(default_factory=dict)
    learns: bool = False
    """Single pairs say nothing about it."""
    explained: list[str] = field(default_factory=list, repr=False)
    """What each replay came to."""

    def _open(self, intents: Mapping[str, str]) -> Any:
        config = CacheConfig(exact_ttl_s=1e7, semantic_ttl_s=1e7, **self.options)
        opened = dict(self.opened)
        if opened.pop("judge", None):

            async def judge(case: Any) -> float:
                return float(intents[case.prompt] == intents[case.matched_prompt])

            opened["judge"] = judge
        opener: Any = SemanticCache.open
        return opener(config=config, embedder=self.embedder, store=MatrixStore(), **opened)

    async def replay(self, questions: Sequence[Question], seed: int) -> list[Outcome]:
        intents = {question.text: question.intent for question in questions}

        async def generate(prompt: str) -> str:
            return f"The answer to {intents[prompt]}."

        outcomes = []
        async with self._open(intents) as cache:
            for text, intent in questions:
                answer = await cache.get_or_generate(text, generate)
                hit = answer.source in (Source.EXACT, Source.SEMANTIC)
                right = not hit or answer.text == f"The answer to {intent}."
                exact = answer.source is Source.EXACT
                outcomes.append(Outcome(hit, right, answer.distance, exact))
            found = await cache.reach()
            self.explained.append("" if found is None else found.explain())
        return outcomes

    async def judge(self, pairs: Sequence[Pair]) -> list[bool]:
        """Would the answer to ``text_a`` be served for ``text_b``?"""
        served = []
        async with self._open({}) as cache:
            for number, pair in enumerate(pairs):
                scope = Scope(tenant=str(number))
                await cache.store(pair.text_a, "A", scope=scope)
                served.append(await cache.lookup(pair.text_b, scope=scope) is not None)
        return served


# -- on the vectors alone


@dataclass(frozen=True)
class Static:
    """Serves the nearest neighbour within a fixed distance."""

    name: str
    embedder: Remembered = field(repr=False)
    max_distance: float

    async def replay(self, questions: Sequence[Question], seed: int) -> list[Outcome]:
        vectors = self.embedder.embed([question.text for question in questions])
        return taking(questions, vectors, self.max_distance)

    async def judge(self, pairs: Sequence[Pair]) -> list[bool]:
        """As ``Cached.judge``."""
        return [distance <= self.max_distance for distance in near(self.embedder, pairs)]


def taking(
    questions: Sequence[Question],
    vectors: NDArray[np.float32],
    reach: float,
) -> list[Outcome]:
    """Questions one after another: the nearest stored one is served within ``reach``, else the
    question is stored. Equal texts are exact hits."""
    stored = np.zeros_like(vectors)
    intents: list[str] = []
    texts: dict[str, str] = {}
    outcomes = []
    for request, (text, intent) in enumerate(questions):
        if text in texts:
            outcomes.append(Outcome(True, texts[text] == intent, 0.0, exact=True))
            continue
        distance, right = None, True
        if intents:
            similar = stored[: len(intents)] @ vectors[request]
            best = int(similar.argmax())
            distance = max(0.0, 1.0 - float(similar[best]))
            right = intents[best] == intent
        hit = distance is not None and distance <= reach
        outcomes.append(Outcome(hit, right or not hit, distance))
        if not hit:
            stored[len(intents)] = vectors[request]
            intents.append(intent)
            texts[text] = intent
    return outcomes


def near(embedder: Remembered, pairs: Sequence[Pair]) -> list[float]:
    """The distance of each pair."""
    one = embedder.embed([pair.text_a for pair in pairs])
    other = embedder.embed([pair.text_b for pair in pairs])
    found: list[float] = np.maximum(0.0, 1.0 - np.einsum("nd,nd->n", one, other)).tolist()
    return found


PEERS: Mapping[str, float] = {
    "articles, similarity .95": 0.05,
    "articles, similarity .93": 0.07,
    "articles, similarity .92": 0.08,
    "RedisVL default": 0.1,
    "cachellm default": 0.11,
    "GPTCache default": 0.4,
}
"""Cosine distances. GPTCache: its threshold .8 of the range 4 of squared Euclidean distances leaves
.8, which is .4."""

_NO_LIMIT = {"judge_rate": None}
CACHE_ROWS: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = (
    ("cache, default", {}, {}),
    ("cache, no guards", {"guards": ()}, {}),
    ("cache, .10", {"max_distance": 0.1}, {}),
    ("cache, .10, no guards", {"max_distance": 0.1, "guards": ()}, {}),
    ("cache, .20", {"max_distance": 0.2}, {}),
    ("cache, .20, no guards", {"max_distance": 0.2, "guards": ()}, {}),
    ("cache, target .98", {"target_precision": 0.98, **_NO_LIMIT}, {"judge": True}),
    ("cache, target .95", {"target_precision": 0.95, **_NO_LIMIT}, {"judge": True}),
    (
        "cache, target .95, no guards",
        {"target_precision": 0.95, "guards": (), **_NO_LIMIT},
        {"judge": True},
    ),
    ("cache, verified .98", {"verified": 0.98, **_NO_LIMIT}, {"judge": True}),
)
"""Name, options of ``CacheConfig``, arguments of ``open``."""
