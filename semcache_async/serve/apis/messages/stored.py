"""A message that was made before, given out as a new one: whole, or as a stream."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from semcache_async.serve.apis.api import UNREADABLE, Usage
from semcache_async.serve.apis.messages.replay import replay
from semcache_async.serve.apis.messages.saying import new_id, usage_in
from semcache_async.serve.apis.pieces import PIECES, taken

__all__ = ["as_events", "as_whole"]

_REMEMBERED, _LONGEST_REMEMBERED = 1_024, 8_192
"""Stored messages whose reading is remembered, and characters of the longest."""
_NOT_AGAIN = frozenset(("id", PIECES))
_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_blocks = msgspec.json.Decoder(list[msgspec.Raw]).decode


def as_whole(text: str) -> tuple[bytes, Usage] | None:
    """A stored message as a new one, all but its id byte by byte as it was, and what it used; None
    for what is no message."""
    known = _split(text) if len(text) <= _LONGEST_REMEMBERED else _split.__wrapped__(text)
    if known is None:
        return None
    rest, usage = known
    return b'{"id":"%b",%b' % (new_id().encode(), rest), usage


def as_events(text: str) -> tuple[bytes, Usage] | None:
    """The same as a new one's stream."""
    known = _template(text) if len(text) <= _LONGEST_REMEMBERED else _template.__wrapped__(text)
    if known is None:
        return None
    template, usage = known
    return template.replace(_AN_ID, new_id().encode()), usage


@lru_cache(maxsize=_REMEMBERED)
def _split(text: str) -> tuple[bytes, Usage] | None:
    """A message's JSON after its id, and what it used."""
    try:
        fields = _fields_of(text)
        _blocks(fields.get("content", b""))
    except UNREADABLE:
        return None
    rest = {name: raw for name, raw in fields.items() if name not in _NOT_AGAIN}
    return msgspec.json.encode(rest)[1:], usage_in(text)


@lru_cache(maxsize=_REMEMBERED)
def _template(text: str) -> tuple[bytes, Usage] | None:
    """A message's stream with an id to be replaced, and what it used."""
    try:
        message = msgspec.json.decode(text)
        sizes = taken(message)
        events = b"".join(replay({**message, "id": _AN_ID.decode()}, sizes))
    except UNREADABLE:
        return None
    except (AttributeError, KeyError, TypeError):  # JSON of another shape
        return None
    return events, usage_in(text)


_AN_ID = new_id("an-id-").encode()
"""Random, so that no answer holds it."""
