"""Answers to chat requests: their headers, and whole bodies."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Mapping
from functools import lru_cache

import msgspec
from aiohttp import web

from semcache_async.serve.completion import replay
from semcache_async.serve.upstream import UpstreamAnsweredError
from semcache_async.types import Answer, Source

__all__ = [
    "NO_USAGE",
    "OF_EVENTS",
    "Usage",
    "again",
    "as_events",
    "headers_of",
    "json_response",
    "passed_on",
    "usage_in",
]

OF_EVENTS = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one LLM call."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Used(msgspec.Struct):
    usage: Usage | None = None


NO_USAGE = Usage()
_REMEMBERED, _LONGEST_REMEMBERED = 1_024, 8_192
"""Stored completions whose reading is remembered, and characters of the longest."""
_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_choices = msgspec.json.Decoder(list[msgspec.Raw]).decode
_used = msgspec.json.Decoder(_Used).decode
_usage = msgspec.json.Decoder(Usage | None).decode
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)


def usage_in(body: bytes | str) -> Usage:
    """What a completion or a chunk says was used; nothing where it does not say."""
    try:
        return _used(body).usage or NO_USAGE
    except _UNREADABLE:
        return NO_USAGE


def again(text: str) -> tuple[bytes, Usage] | None:
    """A stored completion as a new one, all but its id and time byte by byte as it was, and what it
    used; None for what is no completion."""
    known = _split(text) if len(text) <= _LONGEST_REMEMBERED else _split.__wrapped__(text)
    if known is None:
        return None
    rest, usage = known
    return b'{"id":"%b","created":%d,%b' % (_new_id(), time.time(), rest), usage


def as_events(text: str, *, include_usage: bool) -> tuple[bytes, Usage] | None:
    """A whole completion as a new one's stream, and what it used; None for what is none."""
    make = _template if len(text) <= _LONGEST_REMEMBERED else _template.__wrapped__
    known = make(text, include_usage)
    if known is None:
        return None
    template, usage = known
    return template.replace(_AN_ID, _new_id()).replace(_A_TIME, b"%d" % time.time()), usage


@lru_cache(maxsize=_REMEMBERED)
def _split(text: str) -> tuple[bytes, Usage] | None:
    """A completion's JSON after its id and time."""
    try:
        fields = _fields_of(text)
        usage = _usage(fields["usage"]) if "usage" in fields else None
        if not _choices(fields.get("choices", b"")):
            return None
    except _UNREADABLE:
        return None
    rest = {name: raw for name, raw in fields.items() if name not in ("id", "created")}
    return msgspec.json.encode(rest)[1:], usage or NO_USAGE


@lru_cache(maxsize=_REMEMBERED)
def _template(text: str, include_usage: bool) -> tuple[bytes, Usage] | None:
    """A completion's stream with an id and a time to be replaced."""
    try:
        completion = msgspec.json.decode(text)
        if not completion["choices"]:
            return None
        events = replay(
            completion, id=_AN_ID.decode(), created=int(_A_TIME), include_usage=include_usage
        )
    except _UNREADABLE:
        return None
    except (AttributeError, IndexError, KeyError, TypeError):  # JSON of another shape
        return None
    return b"".join(events), usage_in(text)


def _new_id() -> bytes:
    return b"chatcmpl-%024x" % random.getrandbits(96)


# Random, so that no answer holds them.
_AN_ID = _new_id()
_A_TIME = b"%d" % (10**17 + secrets.randbelow(10**17))


def headers_of(
    source: Source,
    answer: Answer | None,
    *,
    reason: str | None,
    unread: bool,
    hide_similarity: bool,
) -> dict[str, str]:
    """What the cache did. ``answer``: None while it is still coming; ``unread``: the request itself
    wanted no stored answer."""
    headers = {"x-semcache-status": source.value}
    if source is Source.BYPASSED:
        reason = reason or ("request" if unread else "too_long")
        headers["x-semcache-reason"] = reason
        headers["Cache-Status"] = f"semcache; fwd=bypass; detail={reason}"
    elif source is Source.SHARED:
        headers["Cache-Status"] = "semcache; fwd=miss; collapsed"
    elif source is Source.GENERATED:
        stored = "; stored" if answer is not None and answer.entry_id is not None else ""
        headers["Cache-Status"] = f"semcache; fwd={'request' if unread else 'miss'}{stored}"
    else:
        headers["Cache-Status"] = "semcache; hit"
    if answer is None:
        return headers
    if source in (Source.EXACT, Source.SEMANTIC):
        headers["Age"] = str(int(answer.age_s))
    if answer.entry_id is not None:
        headers["x-semcache-entry-id"] = answer.entry_id
    if answer.distance is not None and not hide_similarity:
        headers["x-semcache-similarity"] = f"{1.0 - answer.distance:.4f}"
        headers["x-semcache-distance"] = f"{answer.distance:.4f}"
    return headers


def json_response(body: bytes, headers: Mapping[str, str]) -> web.Response:
    """A completion."""
    return web.Response(body=body, headers={"Content-Type": "application/json", **headers})


def passed_on(error: UpstreamAnsweredError) -> web.Response:
    """The upstream's error as it is."""
    headers = {**error.headers, "Content-Type": "application/json"}
    return web.Response(status=error.status, body=error.body, headers=headers)
