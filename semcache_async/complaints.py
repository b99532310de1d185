"""Warnings about a failing part: each kind at most once a second, with how many were held back."""

from __future__ import annotations

import logging
import time

from semcache_async.errors import SemcacheError

__all__ = ["Complaints"]

_logger = logging.getLogger("semcache_async")
_EVERY_S = 1.0


class Complaints:
    """Keeps a failing Redis from flooding the log at thousands of requests a second."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._held_back: dict[str, int] = {}

    def warn(self, kind: str, error: BaseException | str) -> None:
        """Log ``kind`` and ``error``: errors of this package hold no prompts and no secrets, of
        others only the type is named."""
        now = time.monotonic()
        if now - self._last.get(kind, -_EVERY_S) < _EVERY_S:
            self._held_back[kind] = self._held_back.get(kind, 0) + 1
            return
        self._last[kind] = now
        if isinstance(error, BaseException) and not isinstance(error, SemcacheError):
            error = type(error).__name__
        more = self._held_back.pop(kind, 0)
        _logger.warning("%s: %s%s", kind, error, f" ({more} more since)" if more else "")
