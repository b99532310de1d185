"""One flight and a place in it."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextvars import ContextVar
from typing import Any, Generic, NamedTuple, TypeVar

from semcache_async.types import EntryKey, Scope, Vector

__all__ = ["Flight", "Generated", "Raised", "Seat", "inside"]

C = TypeVar("C")
R = TypeVar("R")


class Flight(Generic[C, R]):
    """One LLM call under way, from the moment its leader boards until its answer is stored.

    What the call emits is kept until then, so that a late follower reads it from the start.
    """

    __slots__ = (
        "_listeners",
        "apart",
        "called",
        "chunks",
        "claim",
        "elsewhere",
        "emits",
        "ended",
        "key",
        "led_by",
        "llm_s",
        "prompt",
        "quiet",
        "started_at",
        "stored",
        "tags",
        "takes_over",
        "task",
        "traceparent",
        "vector",
        "waiters",
        "waits_for",
        "within",
    )

    def __init__(
        self,
        key: EntryKey,
        prompt: str,
        vector: Vector | None,
        tags: Collection[str],
        started_at: float,
        *,
        stored: bool = True,
        emits: Any = None,
        quiet: bool = False,
    ) -> None:
        self.key = key
        self.prompt = prompt
        """Of whoever leads it: this process's leader, or that of the process it follows."""
        self.vector = vector
        """Of that prompt."""
        self.tags = dict.fromkeys(tags)
        """Of its leader and of all followers, in the order they came."""
        self.started_at = started_at
        """Unix seconds by the store's clock."""
        self.stored = stored
        """Its answer is kept for later callers, so the call may be finished when all have left."""
        self.quiet = quiet
        """It makes anew what is served meanwhile: nobody waits for it but who finds nothing else,
        and it goes on without anybody."""
        self.llm_s = 0.0
        """Seconds that its LLM call took."""
        self._listeners: dict[asyncio.Future[None], None] = {}
        self.task: asyncio.Task[R | Raised] | None = None
        self.emits = emits
        """The type of what it emits; None where that cannot be told to other processes."""
        self.claim: str | None = None
        """By which it leads, or asks to lead, the flights of all processes."""
        self.elsewhere = False
        """Another process leads it."""
        self.takes_over = False
        """It leads in place of a process that fell silent."""
        self.traceparent = self.led_by = ""
        """Its own, and that of the flight in another process that it follows, where those are
        recorded: ``protocols.Span``."""
        self.apart = 0.0
        """Cosine distance from the prompt that it was boarded for to the one that leads it."""
        self.waiters: dict[asyncio.Future[R | None], float] = {}
        """One for each seat, the leader's first, with how far ``apart`` it may be for that one."""
        self.within: Flight[C, R] | None = inside.get()
        """The flight whose LLM call asked the cache."""
        self.waits_for: list[Flight[C, R]] = []
        """The flights that this one's LLM call has seats in."""
        self.chunks: list[C] = []
        """What the LLM call has emitted so far."""
        self.called = False
        """The LLM call has begun: it is paid for."""
        self.ended = False
        """The LLM call has returned: no more chunks, and nothing cancels the storing."""

    def emit(self, chunk: C) -> None:
        """Hand a chunk to every reader."""
        self.chunks.append(chunk)
        self.wake()

    def end(self) -> None:
        """There are no more chunks; storing may go on."""
        self.ended = True
        self.wake()

    def wake(self) -> None:
        """Let every reader look once more."""
        listeners, self._listeners = self._listeners, {}
        for listener in listeners:
            if not listener.done():
                listener.set_result(None)

    async def change(self) -> None:
        """Wait until there is something new to read."""
        listener: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listeners[listener] = None
        try:
            await listener
        finally:
            self._listeners.pop(listener, None)

    def concerns(self, scope: Scope | None, tenant: str | None, tags: Collection[str]) -> bool:
        """Would its answer be among the entries of ``scope`` (of whatever version) and ``tenant``
        (None: any) that carry one of ``tags`` (none: any)?"""
        own = self.key.scope.unversioned()
        if scope is not None and not scope.unversioned().covers(own):
            return False
        if tenant is not None and tenant != self.key.scope.tenant:
            return False
        return not tags or not set(tags).isdisjoint(self.tags)

    def is_under_way(self) -> bool:
        """Has it begun, and not landed yet?"""
        return self.task is not None and not self.task.done()

    def leads_to(self, other: Flight[C, R]) -> bool:
        """Does its end depend on that of ``other``?"""
        seen: set[int] = set()
        path = [self]
        while path:
            flight = path.pop()
            if flight is other:
                return True
            if id(flight) not in seen:
                seen.add(id(flight))
                path += flight.waits_for
        return False


inside: ContextVar[Flight | None] = ContextVar("semcache_flight", default=None)  # type: ignore[type-arg]
"""The flight whose LLM call the current code is part of."""


class Seat(NamedTuple, Generic[C, R]):
    """One caller's place in a flight."""

    flight: Flight[C, R]
    waiter: asyncio.Future[R | None]
    """None: look once more, since whom this flight turned out to follow may not be near."""
    leads: bool
    distance: float
    """Cosine distance from the caller's prompt to the leader's."""
    passenger: Flight[C, R] | None
    """The flight that the caller is part of, if it is."""


class Generated(NamedTuple):
    """What a flight brings that an LLM call was made for."""

    text: str
    entry_id: str | None
    age_s: float
    """Since the call began."""


class Raised(NamedTuple):
    """What a flight's body raised. Kept out of its task, since a ``SystemExit`` that leaves a task
    stops the event loop before anybody is told."""

    error: BaseException
