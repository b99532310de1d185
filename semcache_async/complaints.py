"""Warnings about a failing part: each kind at most once a second, with how many were held back."""

from __future__ import annotations

import logging
import time
import traceback
from contextlib import suppress

from semcache_async.errors import SemcacheError

__all__ = ["Complaints", "status_of", "trace_of"]

_logger = logging.getLogger("semcache_async")
_EVERY_S = 1.0
_FRAMES = 12


class Complaints:
    """Keeps a failing Redis from flooding the log at thousands of requests a second."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def warn(self, kind: str, error: BaseException | str) -> None:
        """Log ``kind`` and ``error``: errors of this package hold no prompts and no secrets; of
        others the type is named, and where it was raised."""
        now = time.monotonic()
        if now - self._last.get(kind, -_EVERY_S) < _EVERY_S:
            self._held_back[kind] = self._held_back.get(kind, 0) + 1
            return
        self._last[kind] = now
        if isinstance(error, SemcacheError):
            error = f"{error} See: {error.docs}" if error.docs else error
        elif isinstance(error, BaseException):
            error = _where(error)
        more = self._held_back.pop(kind, 0)
        _logger.warning("%s: %s%s", kind, error, f" ({more} more since)" if more else "")


def status_of(error: object) -> int | None:
    """The HTTP status that an error, or a response, says that it has."""
    for name in ("status", "status_code"):
        with suppress(Exception):  # of a property
            told = getattr(error, name)
            if isinstance(told, int) and not isinstance(told, bool):
                return int(told)
    return None


def trace_of(error: BaseException) -> list[str]:
    """Where ``error`` was raised, without its words: the last calls, the innermost at the end."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def _where(error: BaseException) -> str:
    return type(error).__qualname__ + "".join(f"\n  {call}" for call in trace_of(error))
