"""Whether a part is asked at all (the store, a remote embedder): after one failure it is not, until
a probe gets through."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from semcache_async.errors import SemcacheError, StoreUnavailableError
from semcache_async.types import EntryKey, Scope

__all__ = ["PROBE", "Breaker", "is_outage"]

_log = logging.getLogger("semcache_async")

PROBE = EntryKey(Scope(tenant="is anybody there?"), "?")
"""What nobody has stored: asked for to see whether a store answers."""
_FIRST_S, _SECOND_S, _LONGEST_S = 0.01, 0.1, 5.0
"""Pauses before the first probe and the second; then twice as long each time, up to the longest.
Each is a random half to whole of that, so that processes do not come back all at once."""


def is_outage(error: BaseException, kind: type[SemcacheError] = StoreUnavailableError) -> bool:
    """Does ``error`` say that the part cannot be reached, rather than what it answered?"""
    return isinstance(error, (kind, OSError))  # TimeoutError is an OSError


class Breaker:
    """Closed: the part is asked. Open, from the first outage on: whoever would ask it is told no
    at once, while one probe at a time, with growing pauses, looks for its return.

    ``probe`` asks it for as little as can be, and ends or raises within its own time limit.
    ``opened`` is called as it opens, to let go of whoever waits for it. ``name`` is what the log
    calls it, ``meanwhile`` what is so until it is back, ``kind`` the error of an outage.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[object]],
        *,
        timeout_s: float,
        opened: Callable[[Exception], None],
        name: str = "The store",
        meanwhile: str = "lookups miss at once",
        kind: type[SemcacheError] = StoreUnavailableError,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._probe = probe
        self._timeout_s = timeout_s
        self._opened = opened
        self._name = name
        self._meanwhile = meanwhile
        self._kind = kind
        self._sleep = sleep
        self._loop = asyncio.get_running_loop()
        self._since = 0.0
        self._task: asyncio.Task[None] | None = None
        self.is_open = False
        """Is it taken for unreachable?"""
        self.skipped = 0
        """How often it was not asked."""

    def skip(self) -> None:
        """It was not asked, since this is open."""
        self.skipped += 1

    def note(self, error: BaseException) -> None:
        """An operation failed: an outage opens the breaker."""
        if self.is_open or not is_outage(error, self._kind):
            return
        self.is_open = True
        self._since = self._loop.time()
        self._task = self._loop.create_task(self._look_for_it())
        reason = str(error).rstrip(".") if isinstance(error, self._kind) else type(error).__name__
        _log.warning(
            *("%s is out of reach (%s): %s until it is back.", self._name, reason),
            self._meanwhile,
        )
        self._opened(self.refusal())

    def refusal(self) -> SemcacheError:
        """What whoever would ask is told."""
        return self._kind(f"{self._name} is out of reach; it is not asked for now.")

    async def _look_for_it(self) -> None:
        pause = _FIRST_S
        while True:
            await self._sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads probes
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._probe()
            except Exception as error:  # whatever it may raise; it is back once none is
                if is_outage(error, self._kind):
                    pause = min(_LONGEST_S, max(_SECOND_S, 2 * pause))
                    continue
            break
        self.is_open = False
        _log.warning(
            "%s is back after %.1f s; %d operations were skipped so far.",
            self._name,
            self._loop.time() - self._since,
            self.skipped,
        )

    async def aclose(self) -> None:
        """Stop probing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
