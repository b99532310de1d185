"""How many LLM calls are under way at once, and who waits for one: a queue with an end, and a limit
that gives way when the LLM says that it is too much.

The limit follows TCP's rule, additive increase and multiplicative decrease (Chiu and Jain, 1989, as
Netflix's concurrency-limits applies it to services): one more call, or a twentieth more, for each
round of successes at the limit; three quarters of it after a sign of overload, once a round. A
caller who would wait longer than it may is turned away at once rather than after that time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from semcache_async.complaints import status_of
from semcache_async.errors import OverloadedError

__all__ = ["Limiter", "is_overload"]

_FEWER, _BACK = 0.75, 0.05
"""After a sign of overload; and what a success at the limit adds at least, so that the way back
from far down takes a hundred rounds and not as many as there were calls."""
_NEWEST = 0.1
"""What the newest call counts in the mean duration of a call."""
_OVERLOADED = {429, 503, 504, 529}
"""HTTP statuses by which LLM services say so."""


def is_overload(error: BaseException) -> bool:
    """Does an LLM call's error say that there are too many of them? By what the errors of the
    common clients (openai, anthropic, aiohttp, httpx) carry; a time-out counts."""
    if any("Timeout" in kind.__name__ for kind in type(error).__mro__):
        return True
    return any(status_of(one) in _OVERLOADED for one in (error, getattr(error, "response", None)))


class Limiter:
    """``most`` calls at once at most; ``wait_s``: how long one may wait for its turn."""

    def __init__(self, *, most: int, wait_s: float) -> None:
        self._most = most
        self._wait_s = wait_s
        self._loop = asyncio.get_running_loop()
        self._limit = float(most)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._mean_s = 0.0
        self._round = 0
        """How often the limit was lowered."""
        self.under_way = 0
        """Calls that have begun and not ended."""

    @property
    def limit(self) -> int:
        """Calls that may be under way now."""
        return int(self._limit)

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        return len(self._waiting)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for one's turn, and hold it. Raises ``OverloadedError`` where that takes, or would
        take, too long."""
        if self.under_way >= self.limit or self._waiting:
            await self._wait()
        else:
            self.under_way += 1
        began, begun_in = self._loop.time(), self._round
        try:
            yield
            self._raise(self._loop.time() - began)
        except BaseException as error:
            if begun_in == self._round and is_overload(error):
                self._lower()
            raise
        finally:
            self._leave()

    async def _wait(self) -> None:
        """Returns with the turn taken."""
        ahead = len(self._waiting) + 1
        if ahead * self._mean_s / self.limit > self._wait_s:
            raise self._refusal()
        turn: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._leave()  # it came just now
            else:
                with suppress(ValueError):  # passed over already
                    self._waiting.remove(turn)
            if isinstance(error, TimeoutError):
                raise self._refusal() from None
            raise

    def _raise(self, took_s: float) -> None:
        took_s = min(took_s, 2.0 * self._wait_s)
        self._mean_s += (took_s - self._mean_s) * (_NEWEST if self._mean_s else 1.0)
        if self._is_telling():
            step = max(1.0 / self._limit, _BACK)
            self._limit = min(float(self._most), self._limit + step)

    def _lower(self) -> None:
        if self._is_telling():
            self._limit = max(1.0, self._limit * _FEWER)
            self._round += 1

    def _is_telling(self) -> bool:
        """Are so many under way that how they fare says something of the limit?"""
        return self.under_way >= self._limit / 2.0

    def _leave(self) -> None:
        self.under_way -= 1
        while self._waiting and self.under_way < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self.under_way += 1
                turn.set_result(None)

    def _refusal(self) -> OverloadedError:
        return OverloadedError(
            f"{self.under_way} LLM calls are under way and {self.waiting} wait; ask again later."
        )
