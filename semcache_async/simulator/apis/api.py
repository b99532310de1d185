"""What an API of the simulated upstream is made of."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from semcache_async.simulator.answer import Answer, Asked

__all__ = ["Api", "Call", "RefusedError", "Route", "event", "new_id", "openai_error"]


class RefusedError(Exception):
    """A request is answered with an error."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param
        self.headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was read. It is answered once, in one of the two ways."""

    asked: Asked
    whole: Callable[[Answer], dict[str, Any]]
    events: Callable[[Answer], list[bytes]]
    """The answer as a stream's, a token each."""


@dataclass(frozen=True, slots=True)
class Route:
    """What an API has beside the one path that answers; ``tell`` may raise ``RefusedError``."""

    method: str
    path: str
    tell: Callable[[web.Request], Awaitable[dict[str, Any]]]


def openai_error(refused: RefusedError, _: str = "") -> dict[str, Any]:
    """The body of OpenAI's errors."""
    kind = "server_error" if refused.status >= 500 else "invalid_request_error"
    if refused.status == 429:
        kind = "requests"
    error = {"message": str(refused), "type": kind, "param": refused.param, "code": refused.code}
    return {"error": error}


def _openai_broken(_: int) -> bytes:
    return b'data: {"error":{"message":"The server had an error","type":"server_error"}}\n\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """How one is asked, and how it answers."""

    path: str
    read: Callable[[bytes], Call]
    """Raises ``msgspec.DecodeError``, ``RecursionError`` or ``RefusedError``."""
    error: Callable[[RefusedError, str], dict[str, Any]] = openai_error
    """The body of an error, of the request with that id."""
    broken: Callable[[int], bytes] = _openai_broken
    """The event with which a stream breaks off after so many."""
    id_header: str = "x-request-id"
    key_header: str | None = None
    """Where the key may be, other than in Authorization."""
    others: tuple[Route, ...] = ()


def event(kind: str, **fields: Any) -> bytes:
    """An event that names its kind, and so do its data."""
    data = msgspec.json.encode({"type": kind, **fields})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def new_id(prefix: str) -> str:
    return f"{prefix}{random.getrandbits(96):024x}"
