"""A reply that is read while it is being made."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from semcache_async.request import Request
from semcache_async.stats import Counters
from semcache_async.types import Answer, Source, Timings

if TYPE_CHECKING:
    from semcache_async.answering import Answering, Landing
    from semcache_async.flow.flight import Seat
    from semcache_async.protocols import Produce

__all__ = ["Journey", "Reply"]


class Journey:
    """A request on its way: through the tiers to a stored answer, or into a flight."""

    __slots__ = ("_answering", "_produce", "_request", "seat")

    def __init__(self, answering: Answering, request: Request, produce: Produce) -> None:
        self._answering = answering
        self._request = request
        self._produce = produce
        self.seat: Seat[Landing] | None = None

    @property
    def timings(self) -> Timings:
        """Seconds spent so far."""
        return self._request.timings()

    async def begin(self) -> Answer | Source:
        """A stored answer; or a seat in a flight that has emitted its first chunk or ended, and
        what an answer from it counts as."""
        request = self._request
        while True:
            found = await self._answering.seek(request, self._produce)
            if isinstance(found, Answer):
                return found
            self.seat = found
            began = time.perf_counter()
            emitted = await self._answering.read(found, 0)
            request.generate_s += time.perf_counter() - began
            if emitted or found.flight.ended:
                return self._answering.source(request, found)
            # It has landed without a call: its leader found an answer on its second look.
            landed = await self._answering.landing(request, found)
            self.end()
            if landed is not None:
                return landed

    async def chunks(self) -> AsyncIterator[Any]:
        seat, seen = self.seat, 0
        while seat is not None and await self._answering.read(seat, seen):
            for chunk in seat.flight.chunks[seen:]:
                yield chunk
                seen += 1

    async def whole(self) -> Answer:
        assert self.seat is not None
        landed = await self._answering.landing(self._request, self.seat)
        assert landed is not None  # begin has waited until this is sure
        return landed

    def end(self) -> None:
        """Give the seat up, if there is one."""
        if self.seat is not None:
            self._answering.leave(self.seat)
            self.seat = None


class Reply:
    """One request's answer, from ``async with cache.reply(...)``.

    On entry it is decided where the answer comes from: a hit is there, or a flight has emitted its
    first chunk or ended. Entry raises what the LLM call raised before that, to all its callers.
    """

    __slots__ = ("_counters", "_journey", "hit", "source")

    def __init__(self, counters: Counters, journey: Journey | None) -> None:
        self._counters = counters
        self._journey = journey
        self.hit: Answer | None = None
        """The stored answer, if it is one."""
        self.source = Source.BYPASSED
        """Where the answer comes from."""

    @classmethod
    def of_hit(cls, counters: Counters, hit: Answer) -> Reply:
        """A reply whose answer is there already."""
        reply = cls(counters, None)
        reply.hit, reply.source = hit, hit.source
        return reply

    @property
    def timings(self) -> Timings:
        """Seconds spent so far."""
        return Timings() if self._journey is None else self._journey.timings

    async def __aenter__(self) -> Reply:
        if self._journey is None:
            return self
        try:
            begun = await self._journey.begin()
        except BaseException as error:
            self._settle(error)
            raise
        if isinstance(begun, Answer):
            self.hit, self.source = begun, begun.source
        else:
            self.source = begun
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._settle(error)

    def __aiter__(self) -> AsyncIterator[Any]:
        """What the LLM call emits, from its first chunk on, as it comes; nothing for a hit. Ends
        when the call returns, while storing goes on; raises what it raised in mid-stream."""
        return _nothing() if self._journey is None else self._journey.chunks()

    async def answer(self) -> Answer:
        """The whole answer, once it is stored where it is to be."""
        if self.hit is not None:
            return self.hit
        assert self._journey is not None
        return await self._journey.whole()

    def _settle(self, error: BaseException | None) -> None:
        if self._journey is not None:
            self._journey.end()
        if error is None:
            self._counters.count(self.source)
            return
        self._counters.failed += 1
        self._counters.cancelled += isinstance(error, asyncio.CancelledError | GeneratorExit)


async def _nothing() -> AsyncIterator[Any]:
    return
    yield
