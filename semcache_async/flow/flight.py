"""One flight and a place in it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Generic, NamedTuple, TypeVar

from semcache_async.types import EntryKey, Scope, Vector

__all__ = ["Flight", "Raised", "Seat"]

R = TypeVar("R")


class Flight(Generic[R]):
    """One LLM call under way, from the moment its leader boards until its answer is stored.

    What the call emits is kept until then, so that a late follower reads it from the start.
    """

    __slots__ = (
        "_grounded",
        "_listeners",
        "chunks",
        "ended",
        "key",
        "prompt",
        "started_at",
        "tags",
        "task",
        "vector",
        "waiters",
        "worthwhile",
    )

    def __init__(
        self,
        key: EntryKey,
        prompt: str,
        vector: Vector | None,
        tags: tuple[str, ...],
        started_at: float,
    ) -> None:
        self.key = key
        self.prompt = prompt
        self.vector = vector
        self.tags = tags
        self.started_at = started_at
        self._grounded = False
        self._listeners: list[asyncio.Future[None]] = []
        self.task: asyncio.Task[R | Raised] | None = None
        self.waiters: set[asyncio.Future[R]] = set()
        self.chunks: list[object] = []
        """What the LLM call has emitted so far."""
        self.ended = False
        """The LLM call has returned: no more chunks."""
        self.worthwhile = True
        """Its answer is for later callers too, so it may be finished when all have left."""

    def is_grounded(self) -> bool:
        """Was its answer invalidated while it was being made? Then deliver it, do not store it."""
        return self._grounded

    def ground(self) -> None:
        """Keep its answer out of the store."""
        self._grounded = True

    def emit(self, chunk: object) -> None:
        """Hand a chunk to every reader."""
        self.chunks.append(chunk)
        self.wake()

    def end(self) -> None:
        """There are no more chunks; storing may go on."""
        self.ended = True
        self.wake()

    def wake(self) -> None:
        """Let every reader look again."""
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            if not listener.done():
                listener.set_result(None)

    def change(self) -> asyncio.Future[None]:
        """Done when there is something new to read."""
        listener: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listeners.append(listener)
        return listener

    def meets(self, scope: Scope | None, tags: Collection[str]) -> bool:
        """Is it within ``scope`` (None: any) and, where tags are named, does it carry one?"""
        if scope is not None and not scope.covers(self.key.scope):
            return False
        return not tags or not set(tags).isdisjoint(self.tags)


class Seat(NamedTuple, Generic[R]):
    """One caller's place in a flight."""

    flight: Flight[R]
    waiter: asyncio.Future[R]
    leads: bool
    distance: float
    """Cosine distance from the caller's prompt to the leader's."""


class Raised(NamedTuple):
    """What a flight's body raised. Kept out of its task, since a ``SystemExit`` that leaves a task
    stops the event loop before anybody is told."""

    error: BaseException
