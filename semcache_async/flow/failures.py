"""LLM calls that failed, for as long as they are not made again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from semcache_async.flow.flight import Flight
from semcache_async.flow.flights import copied
from semcache_async.flow.recent import Recent
from semcache_async.types import EntryKey

__all__ = ["Failures"]

_REMEMBERED = 4_096
_FIRST_S, _LONGEST_S = 1.0, 60.0


class _Pause(NamedTuple):
    until: float
    length_s: float


class Failures:
    """Of callers' flights the error is given again for ``error_ttl_s``. What a quiet flight failed
    to make anew is left alone for a second, and twice as long each time."""

    def __init__(self, error_ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._error_ttl_s = error_ttl_s
        self._clock = clock
        self._errors: Recent[EntryKey, tuple[float, Exception]] = Recent(_REMEMBERED)
        self._pauses: Recent[EntryKey, _Pause] = Recent(_REMEMBERED)

    def error(self, key: EntryKey) -> BaseException | None:
        """What to raise instead of a call."""
        known = self._errors.get(key) if self._error_ttl_s else None
        if known is None:
            return None
        until, error = known
        if self._clock() < until:
            return copied(error)
        self._errors.drop(key)
        return None

    def pauses(self, key: EntryKey) -> bool:
        """Is it too early to try again to make it anew?"""
        pause = self._pauses.get(key)
        return pause is not None and self._clock() < pause.until

    def note(self, flight: Flight, error: BaseException) -> None:  # type: ignore[type-arg]
        """A flight's LLM call raised."""
        if not isinstance(error, Exception):
            return
        now = self._clock()
        if self._error_ttl_s:
            self._errors.put(flight.key, (now + self._error_ttl_s, error))
        if flight.quiet:
            before = self._pauses.get(flight.key)
            length_s = _FIRST_S if before is None else min(_LONGEST_S, 2 * before.length_s)
            self._pauses.put(flight.key, _Pause(now + length_s, length_s))

    def forget(self, key: EntryKey) -> None:
        """A call for it went well."""
        self._pauses.drop(key)
