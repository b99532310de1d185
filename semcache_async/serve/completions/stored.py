"""A completion that was made before, given out as a new one: whole, or as a stream."""

from __future__ import annotations

import random
import re
import secrets
import time
from collections.abc import Sequence
from functools import lru_cache
from itertools import zip_longest

import msgspec

from semcache_async.serve.completions.replay import replay
from semcache_async.serve.upstream.completion import UNREADABLE
from semcache_async.serve.upstream.kinds import CHAT, TEXT, kind_of

__all__ = [
    "NO_USAGE",
    "Usage",
    "as_events",
    "as_whole",
    "usage_in",
    "with_pieces",
    "without_pieces",
]


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one LLM call."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Used(msgspec.Struct):
    usage: Usage | None = None


NO_USAGE = Usage()
_REMEMBERED, _LONGEST_REMEMBERED = 1_024, 8_192
"""Stored completions whose reading is remembered, and characters of the longest."""
_PIECES, _MOST_PIECES = "semcache_pieces", 256
"""The field that says in what pieces each choice's content came; it never leaves the service."""
_AT_END = re.compile(rf',"{_PIECES}":\[[0-9,\[\]]*\]\}}\Z')
_OF_TEXT = msgspec.Raw(msgspec.json.encode(TEXT.whole))
_NOT_AGAIN = frozenset(("id", "created", _PIECES))
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


def with_pieces(text: str, sizes: Sequence[Sequence[int]]) -> str:
    """A completion that says how its stream was cut; of very many pieces, neighbours as one."""
    kept = [list(some) for some in sizes]
    if not any(len(some) > 1 for some in kept):
        return text
    for at, some in enumerate(kept):
        while len(some) > _MOST_PIECES:
            pairs = zip_longest(some[::2], some[1::2], fillvalue=0)
            some = [one + other for one, other in pairs]
        kept[at] = some
    return f'{text[:-1]},"{_PIECES}":{msgspec.json.encode(kept).decode()}}}'


def without_pieces(text: str) -> str:
    """The completion alone."""
    return _AT_END.sub("}", text) if _PIECES in text[-_LONGEST_REMEMBERED:] else text


def as_whole(text: str) -> tuple[bytes, Usage] | None:
    """A stored completion as a new one, all but its id and time byte by byte as it was, and what it
    used; None for what is no completion."""
    known = _split(text) if len(text) <= _LONGEST_REMEMBERED else _split.__wrapped__(text)
    if known is None:
        return None
    rest, usage, id_ = known
    return b'{"id":"%b","created":%d,%b' % (_new_id(id_), time.time(), rest), usage


def as_events(text: str, *, include_usage: bool) -> tuple[bytes, Usage] | None:
    """A whole completion as a new one's stream, and what it used; None for what is none."""
    make = _template if len(text) <= _LONGEST_REMEMBERED else _template.__wrapped__
    known = make(text, include_usage)
    if known is None:
        return None
    template, usage, id_ = known
    made = template.replace(_AN_ID, _new_id(id_)).replace(_A_TIME, b"%d" % time.time())
    return made, usage


@lru_cache(maxsize=_REMEMBERED)
def _split(text: str) -> tuple[bytes, Usage, str] | None:
    """A completion's JSON after its id and time; what it used; how its id begins."""
    try:
        fields = _fields_of(text)
        usage = _usage(fields["usage"]) if "usage" in fields else None
        if not _choices(fields.get("choices", b"")):
            return None
    except UNREADABLE:
        return None
    rest = {name: raw for name, raw in fields.items() if name not in _NOT_AGAIN}
    kind = TEXT if rest.get("object") == _OF_TEXT else CHAT
    return msgspec.json.encode(rest)[1:], usage or NO_USAGE, kind.id


@lru_cache(maxsize=_REMEMBERED)
def _template(text: str, include_usage: bool) -> tuple[bytes, Usage, str] | None:
    """A completion's stream with an id and a time to be replaced; the rest as of ``_split``."""
    try:
        completion = msgspec.json.decode(text)
        kind = kind_of(completion["choices"][0])
        events = replay(
            completion,
            id=_AN_ID.decode(),
            created=int(_A_TIME),
            include_usage=include_usage,
            sizes=completion.pop(_PIECES, ()),
        )
    except UNREADABLE:
        return None
    except (AttributeError, IndexError, KeyError, TypeError):  # JSON of another shape
        return None
    return b"".join(events), usage_in(text), kind.id


def _new_id(beginning: str) -> bytes:
    return b"%b%024x" % (beginning.encode(), random.getrandbits(96))


# Random, so that no answer holds them.
_AN_ID = _new_id(CHAT.id)
_A_TIME = b"%d" % (10**17 + secrets.randbelow(10**17))
