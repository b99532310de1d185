"""When a call of a service is made once more: here alone, and within one budget a process.

The budget is that of gRPC and Finagle: every call earns a part of a retry, and a few are earned by
time alone, so that a quiet client may retry and a service that is down is asked little more than
it would be without.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import NamedTuple, TypeAlias, TypeVar

__all__ = ["Again", "Count", "Retries", "told_s"]

T = TypeVar("T")
Count: TypeAlias = Callable[[str, str], None]
"""Counts one more under a name and a label."""

_MOST = 2
"""Retries of one call."""
_SAVED = 10.0
"""Retries that may be saved up."""
_PER_S = 0.1
"""Earned by time alone."""
_FIRST_S, _FACTOR = 0.25, 4.0
"""The pause before the first retry, and how much longer the next one is."""
_LONGEST_S = 5.0
"""Whoever is told to come again later than that is not kept waiting here."""


class Again(NamedTuple):
    """What failed may be asked for once more."""

    reason: str
    after_s: float | None = None
    """How long the service said to wait; None: it did not."""
    at_once: bool = False


class Retries:
    """The retries of one process. ``share``: how many there may be for each call; 0 for none.
    ``again``: what an error says of that; None for one that forbids it. ``name``: what they are
    counted as."""

    def __init__(
        self,
        share: float,
        *,
        again: Callable[[Exception], Again | None],
        name: str = "upstream_retries",
        count: Count | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._share = share
        self._again = again
        self._name = name
        self._count = count
        self._sleep = sleep
        self._clock = clock
        self._draw = draw
        self._left = _SAVED if share else 0.0
        self._earned_at = clock()

    async def calling(self, call: Callable[[], Awaitable[T]], end_s: float) -> T:
        """What ``call`` brings, called again where it failed in a way that allows it; ``end_s``:
        seconds in which all of it has to be over. ``call`` must not have handed anything on when
        it fails."""
        end = self._clock() + end_s
        self._earn()
        made = 0
        while True:
            try:
                return await call()
            except Exception as error:
                again = self._again(error)
                pause_s = None if again is None or made == _MOST else self._pause_s(again, made)
                if again is None or pause_s is None or not self._may(pause_s, end):
                    raise
                self._note(self._name, again.reason)
            made += 1
            await self._sleep(pause_s)

    def _pause_s(self, again: Again, made: int) -> float | None:
        """How long to wait before the next try; None where nobody is kept waiting for so long."""
        if again.at_once:
            return 0.0
        jitter = self._draw()
        if again.after_s is None:
            return _FIRST_S * _FACTOR**made * (0.5 + jitter / 2.0)
        return None if again.after_s > _LONGEST_S else again.after_s + _FIRST_S * jitter

    def _may(self, pause_s: float, end: float) -> bool:
        """Is there time and budget for a retry? The budget is spent then."""
        if self._clock() + pause_s >= end:
            self._note(f"{self._name}_refused", "time")
            return False
        if self._left < 1.0:
            if self._share:
                self._note(f"{self._name}_refused", "budget")
            return False
        self._left -= 1.0
        return True

    def _earn(self) -> None:
        if self._share:
            now = self._clock()
            earned = self._share + (now - self._earned_at) * _PER_S
            self._left, self._earned_at = min(_SAVED, self._left + earned), now

    def _note(self, name: str, label: str) -> None:
        if self._count is not None:
            self._count(name, label)


def told_s(headers: Mapping[str, str]) -> float | None:
    """What ``retry-after-ms`` or ``retry-after`` (names in small letters) says, in seconds; None
    where they say nothing."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if seconds >= 0.0:  # no NaN
            return seconds
    try:
        at = parsedate_to_datetime(headers["retry-after"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return None
    return max(0.0, at - time.time())
