"""Searching: the nearest entries of a scope that may be served, hidden by none that may not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import numpy as np

from semcache_async.errors import StoreError, StoreUnavailableError
from semcache_async.store.clock import ServerClock
from semcache_async.store.entries.knn import KnnPlanner
from semcache_async.store.entries.payload import Found, read_neighbours
from semcache_async.store.entries.schema import SCOPE, IndexShape, is_missing_index
from semcache_async.store.keys import KeySpace
from semcache_async.store.sealing import Sealer
from semcache_async.store.wire import Command
from semcache_async.store.wire.replies import checked
from semcache_async.types import Neighbour, Vector, VectorQuery

__all__ = ["Searcher", "each"]

_WIDER, _WIDEST = 4, 100
"""Where dead neighbours took the places of live ones, so many times more are looked at; where that
was not enough, so many."""

T = TypeVar("T")
R = TypeVar("R")


class Execute(Protocol):
    """Runs commands until a time by the loop's clock; a reply or an error for each."""

    async def __call__(self, commands: Sequence[Command], until: float | None, /) -> list[Any]: ...


class Searcher:
    """Searches one index; ``remake`` makes it anew where it is gone."""

    def __init__(
        self,
        execute: Execute,
        remake: Callable[[], Awaitable[None]],
        keys: KeySpace,
        shape: IndexShape,
        clock: ServerClock,
        sealer: Sealer,
        reach: float,
    ) -> None:
        """``reach``: the distance within which a neighbour may be served."""
        self._timed = execute
        self._remake = remake
        self._keys = keys
        self._clock = clock
        self._sealer = sealer
        self._dtype = np.dtype(shape.dtype)
        self._planner = KnnPlanner(keys.index, graph=shape.algorithm == "hnsw")
        self._prefix = keys.prefix.encode()
        self._reach = reach
        self._used: dict[str, None] = {}

    async def search(
        self, queries: Sequence[VectorQuery], until: float
    ) -> list[list[Neighbour] | Exception]:
        """Semantic tier: one ``FT.SEARCH`` an item, and wider ones only where entries that may not
        be served took places. An index that is gone (a flushed or replaced server) is an error for
        these queries, and made anew for the next."""
        asked = [query.neighbours for query in queries]
        outcomes = await self._look(queries, asked, until)
        for factor in (_WIDER, _WIDEST):
            again = [
                n
                for n, outcome in enumerate(outcomes)
                if isinstance(outcome, Found) and outcome.hiding and asked[n] < _WIDEST
            ]
            if not again:
                break
            for n in again:
                asked[n] = min(_WIDEST, asked[n] * factor)
            with suppress(StoreUnavailableError):  # what was found counts
                wider = await self._look(
                    [queries[n] for n in again], [asked[n] for n in again], until
                )
                for n, outcome in zip(again, wider, strict=True):
                    outcomes[n] = outcome if isinstance(outcome, Found) else outcomes[n]
        for outcome in outcomes:
            if isinstance(outcome, Found) and outcome.neighbours:
                nearest = outcome.neighbours[0]
                if nearest.distance <= self._reach:
                    self._used[nearest.entry.id] = None
        return [
            outcome if isinstance(outcome, Exception) else outcome.neighbours[: query.neighbours]
            for query, outcome in zip(queries, outcomes, strict=True)
        ]

    async def _look(
        self, queries: Sequence[VectorQuery], asked: Sequence[int], until: float
    ) -> list[Found | StoreError]:
        """One search each, for as many neighbours as ``asked``."""
        digests = each(self._keys.scope, [query.scope for query in queries])
        for n, query in enumerate(queries):
            if query.widen and not isinstance(digests[n], Exception):
                digests[n] = self._keys.widened(query.scope, query.widen)
        good = [n for n, digest in enumerate(digests) if not isinstance(digest, Exception)]
        commands: list[Command] = []
        for n in good:
            wider = queries[n]._replace(neighbours=asked[n])
            commands.append(self._planner.search(digests[n], wider, self._bytes(wider.vector)))
        questions = self._planner.questions(dict.fromkeys(digests[n] for n in good))
        replies = await self._timed([*commands, *questions.values(), *self._uses()], until)
        for subject, reply in zip(questions, replies[len(commands) :], strict=False):
            self._planner.learn(subject, reply)
        if any(is_missing_index(reply) for reply in replies):
            with suppress(TimeoutError):
                async with asyncio.timeout_at(until):
                    await self._remake()
        now = self._clock.now()
        outcomes: list[Found | StoreError] = list(digests)
        for n, reply in zip(good, replies, strict=False):
            query = queries[n]
            try:
                outcomes[n] = read_neighbours(
                    *(checked(reply), self._prefix, digests[n], query.scope.attributes, now),
                    created_after=query.created_after,
                    wanted=query.neighbours,
                    asked=asked[n],
                    sealer=self._sealer,
                )
            except StoreError as error:
                outcomes[n] = error
        return outcomes

    def _uses(self) -> list[Command]:
        """Reads that tell Redis which entries earlier searches brought: it does not count those
        itself, and would evict what serves by meaning alone. ``TOUCH`` would do as well, but a user
        of the store may be allowed no more."""
        used, self._used = self._used, {}
        return [("HGET", self._keys.key(entry_id), SCOPE) for entry_id in used]

    def _bytes(self, vector: Vector) -> bytes:
        return vector.astype(self._dtype, copy=False).tobytes()


def each(make: Callable[[T], R], items: Sequence[T]) -> list[Any]:
    """``make`` of each item, an item that it refuses failing alone."""
    try:
        return [make(item) for item in items]
    except Exception:
        made: list[Any] = []
        for item in items:
            try:
                made.append(make(item))
            except Exception as error:
                made.append(
                    StoreError(f"This cannot be looked up in Redis ({type(error).__name__}).")
                )
        return made
