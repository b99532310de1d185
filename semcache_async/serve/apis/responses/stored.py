"""A response that was made before, given out as a new one: whole, or as a stream."""

from __future__ import annotations

import secrets
import time
from functools import lru_cache
from typing import Any

import msgspec

from semcache_async.serve.apis.api import UNREADABLE, Usage
from semcache_async.serve.apis.pieces import PIECES, taken
from semcache_async.serve.apis.responses.events import replay
from semcache_async.serve.apis.responses.ids import new_mark
from semcache_async.serve.apis.responses.saying import usage_in

__all__ = ["as_events", "as_whole", "marked"]

_REMEMBERED, _LONGEST_REMEMBERED = 1_024, 8_192
"""Stored responses whose reading is remembered, and characters of the longest."""
_TIMES = ("created_at", "completed_at")
_ASKERS: dict[str, Any] = {
    "metadata": {},
    "instructions": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "user": None,
}
"""What a response repeats of its request and is not the affair of others who are given it."""
_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_items_of = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode
_encode = msgspec.json.encode


def as_whole(text: str) -> tuple[bytes, Usage] | None:
    """A stored response as a new one: all but ids, times and what is its first asker's byte by byte
    as it was; and what it used. None for what is none."""
    make = _template if len(text) <= _LONGEST_REMEMBERED else _template.__wrapped__
    return _filled(make(text))


def as_events(text: str) -> tuple[bytes, Usage] | None:
    """The same as a new one's stream."""
    make = _events if len(text) <= _LONGEST_REMEMBERED else _events.__wrapped__
    return _filled(make(text))


def marked(body: bytes, mark: str) -> bytes:
    """A response of the upstream with ``mark`` behind its ids, for whoever was given it so."""
    made = _rewritten(body)
    return body if made is None else made.replace(_A_MARK, mark.encode())


def _filled(known: tuple[bytes, Usage] | None) -> tuple[bytes, Usage] | None:
    if known is None:
        return None
    template, usage = known
    made = template.replace(_A_MARK, new_mark().encode())
    return made.replace(_A_TIME, b"%d" % time.time()), usage


@lru_cache(maxsize=_REMEMBERED)
def _template(text: str) -> tuple[bytes, Usage] | None:
    """With a mark and a time to be replaced."""
    made = _rewritten(text, time=msgspec.Raw(_A_TIME))
    return None if made is None else (made, usage_in(text))


@lru_cache(maxsize=_REMEMBERED)
def _events(text: str) -> tuple[bytes, Usage] | None:
    """Likewise."""
    known = _template.__wrapped__(text)
    if known is None:
        return None
    template, usage = known
    try:
        sizes = taken(msgspec.json.decode(text))
        return b"".join(replay(msgspec.json.decode(template), sizes)), usage
    except (AttributeError, KeyError, TypeError):  # JSON of another shape
        return None


def _rewritten(text: str | bytes, time: msgspec.Raw | None = None) -> bytes | None:
    """A response with ``_A_MARK`` behind its ids; None for what is none."""
    try:
        fields = _fields_of(text)
        if msgspec.json.decode(fields.get("object", b"null")) != "response":
            return None
        output = [_marked(item) for item in _items_of(fields["output"])]
    except (KeyError, *UNREADABLE):
        return None
    made: dict[str, Any] = {**_marked(fields), "output": output}
    made |= {name: value for name, value in _ASKERS.items() if name in made}
    if time is not None:
        made |= {name: time for name in _TIMES if made.get(name, _NULL) != _NULL}
    made.pop(PIECES, None)
    return _encode(made)


def _marked(fields: dict[str, msgspec.Raw]) -> dict[str, msgspec.Raw]:
    known = msgspec.json.decode(fields.get("id", b"null"))
    if not isinstance(known, str):
        return fields
    return {**fields, "id": msgspec.Raw(_encode(known + _A_MARK.decode()))}


_NULL = msgspec.Raw(b"null")
# Random, so that no answer holds them.
_A_MARK = b"a-mark-%032x" % secrets.randbits(128)
_A_TIME = b"%d" % (10**17 + secrets.randbelow(10**17))
