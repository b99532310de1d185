"""A completion that was made before, given out as a new one: whole, or as a stream."""

from __future__ import annotations

import random
import secrets
import time
from functools import lru_cache

import msgspec

from semcache_async.serve.apis.api import NO_USAGE, UNREADABLE, Usage
from semcache_async.serve.apis.chat.replay import replay
from semcache_async.serve.apis.pieces import PIECES, taken

__all__ = ["as_events", "as_whole", "usage_in"]


class _Used(msgspec.Struct):
    usage: Usage | None = None


_REMEMBERED, _LONGEST_REMEMBERED = 1_024, 8_192
"""Stored completions whose reading is remembered, and characters of the longest."""
_NOT_AGAIN = frozenset(("id", "created", PIECES))
_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_choices = msgspec.json.Decoder(list[msgspec.Raw]).decode
_used = msgspec.json.Decoder(_Used).decode
_usage = msgspec.json.Decoder(Usage | None).decode


def usage_in(body: bytes | str) -> Usage:
    """What a completion or a chunk says was used; nothing where it does not say."""
    try:
        return _used(body).usage or NO_USAGE
    except UNREADABLE:
        return NO_USAGE


def as_whole(text: str, beginning: str) -> tuple[bytes, Usage] | None:
    """A stored completion as a new one, all but its id and time byte by byte as it was, and what it
    used; None for what is no completion. ``beginning``: of its id."""
    known = _split(text) if len(text) <= _LONGEST_REMEMBERED else _split.__wrapped__(text)
    if known is None:
        return None
    rest, usage = known
    return b'{"id":"%b","created":%d,%b' % (_new_id(beginning), time.time(), rest), usage


def as_events(text: str, beginning: str, *, include_usage: bool) -> tuple[bytes, Usage] | None:
    """A whole completion as a new one's stream, and what it used; None for what is none."""
    make = _template if len(text) <= _LONGEST_REMEMBERED else _template.__wrapped__
    known = make(text, include_usage)
    if known is None:
        return None
    template, usage = known
    made = template.replace(_AN_ID, _new_id(beginning)).replace(_A_TIME, b"%d" % time.time())
    return made, usage


@lru_cache(maxsize=_REMEMBERED)
def _split(text: str) -> tuple[bytes, Usage] | None:
    """A completion's JSON after its id and time, and what it used."""
    try:
        fields = _fields_of(text)
        usage = _usage(fields["usage"]) if "usage" in fields else None
        if not _choices(fields.get("choices", b"")):
            return None
    except UNREADABLE:
        return None
    rest = {name: raw for name, raw in fields.items() if name not in _NOT_AGAIN}
    return msgspec.json.encode(rest)[1:], usage or NO_USAGE


@lru_cache(maxsize=_REMEMBERED)
def _template(text: str, include_usage: bool) -> tuple[bytes, Usage] | None:
    """A completion's stream with an id and a time to be replaced, and what it used."""
    try:
        completion = msgspec.json.decode(text)
        events = replay(
            completion,
            id=_AN_ID.decode(),
            created=int(_A_TIME),
            include_usage=include_usage,
            sizes=taken(completion),
        )
    except UNREADABLE:
        return None
    except (AttributeError, IndexError, KeyError, TypeError):  # JSON of another shape
        return None
    return b"".join(events), usage_in(text)


def _new_id(beginning: str) -> bytes:
    return b"%b%024x" % (beginning.encode(), random.getrandbits(96))


# Random, so that no answer holds them.
_AN_ID = _new_id("an-id-")
_A_TIME = b"%d" % (10**17 + secrets.randbelow(10**17))
