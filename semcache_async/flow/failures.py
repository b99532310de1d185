"""LLM calls that failed, for as long as they are not made again."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

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
    """The error of a flight's LLM call is given again for ``error_ttl_s``. An entry that was to be
    made anew, and was not, is left alone for a second, and twice as long each time."""

    def __init__(self, error_ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._error_ttl_s = error_ttl_s
        self._clock = clock
        self._errors: Recent[EntryKey, tuple[float, BaseException]] = Recent(_REMEMBERED)
        self._pauses: Recent[str, _Pause] = Recent(_REMEMBERED)

    def error(self, key: EntryKey) -> BaseException | None:
        """What to raise instead of a call."""
        known = self._errors.get(key) if self._error_ttl_s else None
        if known is None:
            return None
        until, error = known
        if self._clock() < until:
            return copied(error).with_traceback(None)
        self._errors.drop(key)
        return None

    def note(self, key: EntryKey, error: BaseException) -> None:
        """An LLM call raised."""
        if not (self._error_ttl_s and isinstance(error, Exception)):
            return
        now = self._clock()
        for other, (until, _) in self._errors.items():
            if now < until:
                break
            self._errors.drop(other)
        kept = copied(error)
        if kept is not error:  # what its frames hold would be held, too
            kept = kept.with_traceback(None)
        self._errors.drop(key)
        self._errors.put(key, (now + self._error_ttl_s, kept))

    def forget(self, key: EntryKey) -> None:
        """A call for it went well."""
        self._errors.drop(key)

    def pauses(self, entry_id: str) -> bool:
        """Is it too early to try again to make it anew?"""
        pause = self._pauses.get(entry_id)
        return pause is not None and self._clock() < pause.until

    def tried(self, entry_id: str, *, renewed: bool) -> None:
        """It was to be made anew."""
        before = self._pauses.get(entry_id)
        self._pauses.drop(entry_id)
        if not renewed:
            length_s = _FIRST_S if before is None else min(_LONGEST_S, 2 * before.length_s)
            self._pauses.put(entry_id, _Pause(self._clock() + length_s, length_s))
