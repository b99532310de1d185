"""Server-sent events as bytes: where one ends, and the data it carries."""

from __future__ import annotations

import re

__all__ = ["EventSplitter", "EventTooLargeError", "data_of", "event_of"]

_LIMIT = 4 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
# A CR counts as a line end of its own only once the byte after it is known to be no LF.
_BLANK = re.compile(rb"\r\n|\n|\r(?=[^\n])")
_END = re.compile(rb"(?>\r\n|\n|\r)(?:\r\n|\n|\r(?=[^\n]))")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_LONGEST_END = 4


class EventTooLargeError(ValueError):
    """The stream holds an event over the limit; nothing after it can be read."""


class EventSplitter:
    """Cuts a stream into events, each as received: the events and ``rest`` joined are the stream.

    An event is all bytes up to and with the blank line that ends it, comments included. Line ends
    are LF, CRLF or CR. How the stream was cut into ``feed``s makes no difference.
    """

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._buffer = b""
        self._searched = 0

    @property
    def rest(self) -> bytes:
        """What was fed since the last whole event."""
        return self._buffer

    def feed(self, data: bytes) -> list[bytes]:
        """The events that ``data`` completes.

        Raises ``EventTooLargeError``, but never before all events ahead of the one too large were
        returned.
        """
        buffer = self._buffer + data if self._buffer else data
        end_of = _event_end if b"\r" in buffer else _event_end_lf
        events: list[bytes] = []
        start, searched = 0, self._searched
        while (end := end_of(buffer, start, searched)) and end - start <= self._limit:
            events.append(buffer[start:end])
            start = searched = end
        self._buffer = buffer[start:]
        self._searched = max(0, len(self._buffer) - _LONGEST_END)
        if not events:
            self._check()
        return events

    def end(self) -> list[bytes]:
        """The stream is over. At most one event: one whose last line end is a lone CR, which only
        now is known not to be half a CRLF."""
        self._check()
        buffer = self._buffer
        if not buffer.endswith(b"\r") or not _event_end(buffer + b" ", 0, self._searched):
            return []
        self._buffer, self._searched = b"", 0
        return [buffer]

    def _check(self) -> None:
        if len(self._buffer) > self._limit:
            raise EventTooLargeError(f"an event is larger than {self._limit} bytes")


def _event_end(buffer: bytes, start: int, searched: int) -> int:
    """Where the event at ``start`` ends, or 0. It does not end before ``searched``."""
    found = _BLANK.match(buffer, start) or _END.search(buffer, searched)
    return found.end() if found else 0


def _event_end_lf(buffer: bytes, start: int, searched: int) -> int:
    """The same for a buffer without CR."""
    if buffer.startswith(b"\n", start):
        return start + 1
    return found + 2 if (found := buffer.find(b"\n\n", searched)) >= 0 else 0


def data_of(event: bytes) -> bytes | None:
    """The data of one whole event, several data lines joined by LF; None where it has none."""
    if event.startswith(b"data: ") and event.endswith(b"\n\n") and event.count(b"\n") == 2:
        line = event[6:-2]
        if b"\r" not in line:
            return line
    found = []
    for line in _LINE_END.split(event.removeprefix(_BOM)):
        name, _, value = line.partition(b":")
        if name == b"data":
            found.append(value.removeprefix(b" "))
    return b"\n".join(found) if found else None


def event_of(data: bytes, name: str = "") -> bytes:
    """The event that carries ``data``, which holds no line end."""
    return (b"event: %b\n" % name.encode() if name else b"") + b"data: %b\n\n" % data
