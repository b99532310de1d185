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

__all__ = ["Reply"]


class Reply:
    """One request's answer, from ``async with cache.reply(...)``.

    On entry it is decided where the answer comes from: a hit is there, or a flight has emitted its
    first chunk or ended. Entry raises what the LLM call raised before that, to all its callers.
    """

    __slots__ = ("_answering", "_counters", "_produce", "_request", "_seat", "hit", "source")

    def __init__(
        self,
        answering: Answering,
        counters: Counters,
        request: Request,
        produce: Produce,
        hit: Answer | None,
    ) -> None:
        self._answering = answering
        self._counters = counters
        self._request = request
        self._produce = produce
        self._seat: Seat[Landing] | None = None
        self.hit = hit
        """The stored answer, if it is one."""
        self.source = Source.BYPASSED if hit is None else hit.source
        """Where the answer comes from."""

    @property
    def timings(self) -> Timings:
        """Seconds spent so far."""
        return self._request.timings()

    async def __aenter__(self) -> Reply:
        if self.hit is not None:
            return self
        try:
            await self._board()
        except BaseException as error:
            self._settle(error)
            raise
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
        return self._chunks()

    async def _chunks(self) -> AsyncIterator[Any]:
        seat = self._seat
        if seat is None:
            return
        seen = 0
        while await self._answering.read(seat, seen):
            for chunk in seat.flight.chunks[seen:]:
                yield chunk
                seen += 1

    async def answer(self) -> Answer:
        """The whole answer, once it is stored where it is to be."""
        if self._seat is None:
            assert self.hit is not None
            return self.hit
        landed = await self._answering.landing(self._request, self._seat)
        assert landed is not None  # _board has waited until this is sure
        return landed

    async def _board(self) -> None:
        request = self._request
        while True:
            found = await self._answering.seek(request, self._produce)
            if not isinstance(found, Answer):
                self._seat = found
                began = time.perf_counter()
                emitted = await self._answering.read(found, 0)
                request.generate_s += time.perf_counter() - began
                if emitted or found.flight.ended:
                    self.source = self._answering.source(request, found)
                    return
                # It has landed without a call: its leader found an answer on its second look.
                landed = await self._answering.landing(request, found)
                self._answering.leave(found)
                self._seat = None
                if landed is None:
                    continue
                found = landed
            self.hit, self.source = found, found.source
            return

    def _settle(self, error: BaseException | None) -> None:
        if self._seat is not None:
            self._answering.leave(self._seat)
        if error is None:
            self._counters.count(self.source)
            return
        self._counters.failed += 1
        self._counters.cancelled += isinstance(error, asyncio.CancelledError | GeneratorExit)
