"""What a simulated upstream does wrong when told to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec import Meta

__all__ = ["NO_FAULTS", "Faults", "NoSuchFaultError", "read_faults", "spoiled"]

Bytes = Annotated[int, Meta(ge=0)]
Milliseconds = Annotated[float, Meta(ge=0.0, le=3_600_000.0)]


class NoSuchFaultError(ValueError):
    """Its text says which there are."""


class Faults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Any number of them at once. In writing: ``status=429, retry_after=2``, ``crlf, no_done``."""

    # instead of an answer
    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    retry_after: Annotated[float, Meta(ge=0.0, le=1e6)] | None = None
    """Seconds, said in that header; goes with ``status``."""
    hang: bool = False
    """Never answer."""

    # another answer
    finish_reason: str | None = None
    """In chats' words, or in the API's own; ``failed``: a response that failed."""
    tool_calls: bool = False
    refusal: bool = False
    reasoning: bool = False
    """Thoughts before the content."""
    empty: bool = False
    """No content."""
    no_usage: bool = False

    # later, or in part
    delay_ms: Milliseconds = 0.0
    """Before the answer, on top."""
    slow_ms: Milliseconds = 0.0
    """Between two events of a stream."""
    trickle_ms: Milliseconds = 0.0
    """Between two bytes of the body."""
    cut_after_bytes: Bytes | None = None
    """Of the body; then the connection is closed."""
    reset_after_bytes: Bytes | None = None
    """Then it is reset, and what was sent may be lost."""
    hang_after_bytes: Bytes | None = None

    # as it should not be
    garbage: bool = False
    """An event in mid-stream, or the whole body, is no JSON."""
    error: bool = False
    """The stream breaks off with an error in it."""
    no_done: bool = False
    """The stream ends without its last event."""

    # as it may be
    keepalive: bool = False
    """Comments between the events."""
    crlf: bool = False

    # how often
    first: Annotated[int, Meta(ge=1)] | None = None
    """Only so many requests of the same body meet the faults; later ones are answered well."""

    @property
    def stops_after(self) -> int | None:
        """Bytes of the body after which nothing more comes."""
        ends = (self.cut_after_bytes, self.reset_after_bytes, self.hang_after_bytes)
        return min((end for end in ends if end is not None), default=None)


NO_FAULTS = Faults()


def read_faults(written: str) -> Faults:
    """Raises ``NoSuchFaultError`` for anything but names, each once, with ``=value`` or not."""
    if not written:
        return NO_FAULTS
    given: dict[str, str] = {}
    for part in written.replace(";", ",").split(","):
        name, equals, value = part.strip().partition("=")
        given[name] = value if equals else "true"
    try:
        return msgspec.convert(given, Faults, strict=False)
    except msgspec.ValidationError as error:
        known = ", ".join(Faults.__struct_fields__)
        raise NoSuchFaultError(f"{error}. There are: {known}.") from None


def spoiled(events: list[bytes], faults: Faults, broken: Callable[[int], bytes]) -> list[bytes]:
    """A stream's events as ``faults`` wants them; cutting is left to the sender. ``broken``: the
    event with which it breaks off after so many."""
    middle = len(events) // 2
    if faults.error:
        events = [*events[:middle], broken(middle)]
    elif faults.no_done:
        events = events[:-1]
    if faults.garbage:
        before = events[middle].partition(b"data: ")[0]
        events = [*events[:middle], before + b'data: {"choices": [<html>\n\n', *events[middle:]]
    if faults.keepalive:
        events = [piece for event in events for piece in (b": keep-alive\n\n", event)]
    if faults.crlf:
        events = [event.replace(b"\n", b"\r\n") for event in events]
    return events
