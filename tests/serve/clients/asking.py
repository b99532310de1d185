"""What every client can do, whatever it is: ask, and ask for a stream."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

__all__ = ["MODEL", "TOKENS", "Asking", "Opened", "RefusedError", "status_of"]

MODEL = "m"
TOKENS = 1_000
"""At most in an answer, where that has to be said."""


@dataclass(frozen=True)
class Asking:
    """One client by one protocol. An answer is its text; whoever closes a stream leaves it, as the
    client's users would."""

    ask: Callable[[str], Awaitable[str]]
    stream: Callable[[str], AsyncGenerator[str, None]]
    """Its pieces, none of them empty."""


Opened = Callable[[str], AbstractAsyncContextManager[Asking]]
"""A client of the service at a URL, its own retries off."""


class RefusedError(Exception):
    """What a client in another process was told."""

    def __init__(self, said: str, status_code: int | None = None) -> None:
        super().__init__(said)
        self.status_code = status_code


def status_of(error: BaseException | None) -> int | None:
    """The HTTP status that an error of a client tells, or the one that it was raised for."""
    while error is not None:
        status = getattr(error, "status_code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__ or error.__context__
    return None
