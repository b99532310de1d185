"""The name of a request, in its answer and in every line of the log that it causes."""

from __future__ import annotations

import itertools
import re
import secrets
from contextvars import ContextVar

__all__ = ["RequestIds", "request_id"]

request_id: ContextVar[str] = ContextVar("request_id")
_SANE = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class RequestIds:
    """The caller's own where it sends a sane one, else one of ours."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._prefix = secrets.token_hex(6)

    def of(self, given: str | None) -> str:
        """``given`` is what the caller sent."""
        if given is not None and _SANE.fullmatch(given):
            return given
        return f"req-{self._prefix}-{next(self._numbers):x}"
