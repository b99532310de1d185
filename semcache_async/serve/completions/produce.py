"""The LLM call of a flight: ask the upstream, hand on what comes, say whether it may be kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeAlias

import msgspec

from semcache_async.protocols import Produce
from semcache_async.serve.apis.api import UNREADABLE, Api, Frame, Reader, Request
from semcache_async.serve.apis.pieces import with_pieces
from semcache_async.serve.bypass import Unkept
from semcache_async.serve.completions.keeping import Keeping
from semcache_async.serve.errors import UpstreamAnswered, UpstreamFailed
from semcache_async.serve.sse import EventSplitter, data_of
from semcache_async.serve.upstream.answered import said_error
from semcache_async.serve.upstream.client import Upstream
from semcache_async.serve.upstream.passing import Passed
from semcache_async.types import Produced

__all__ = ["Answered", "garbage", "producer"]

Answered: TypeAlias = Callable[[Request, dict[str, Any] | None], None]

_Made: TypeAlias = tuple[str, dict[str, Any] | None]
"""A text, and the answer that it is; None for one that is not all there."""
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def producer(
    upstream: Upstream,
    request: Request,
    passed: Passed,
    keeping: Keeping,
    unkept: Callable[[Unkept], None],
    answered: Answered | None = None,
) -> Produce[Frame]:
    """What makes the answer: the text is the whole answer as JSON, and "" where a stream's events
    do not add up to one. A stream is emitted as ``Frame``s, byte by byte what the upstream sent: in
    chat completions, where it does not know the API that was asked for. ``unkept`` is told why the
    answer is not to be kept, where it is not; ``answered``, what came of which request."""

    async def ask(request: Request, emit: Callable[[Frame], None]) -> _Made:
        if request.stream:
            stream = upstream.stream(request.body, passed, request.api)
            return await _streamed(stream, request.api, emit)
        return _made(await upstream.complete(request.body, passed, request.api), request.api)

    async def produce(_prompt: str, emit: Callable[[Frame], None]) -> Produced:
        asked = request
        if upstream.lacks(request.api):
            asked = request.api.in_chat(request) or request
        try:
            text, answer = await ask(asked, emit)
        except UpstreamAnswered as error:
            known = asked is not request or request.api.is_error(error.body)
            if not error.no_such_path or known:
                raise
            instead = request.api.in_chat(request)
            if instead is None:
                raise
            asked = instead
            text, answer = await ask(asked, emit)
            upstream.note_lacking(request.api)
        if answered is not None:
            answered(asked, answer)
        why = await keeping.why_not(answer, asked) if answer else Unkept.INCOMPLETE
        if why is not None:
            unkept(why)
        return Produced(text, keep=why is None)

    return produce


async def _streamed(
    stream: AbstractAsyncContextManager[AsyncIterator[bytes] | bytes],
    api: Api,
    emit: Callable[[Frame], None],
) -> _Made:
    splitter, reader = EventSplitter(), api.reader()
    async with stream as answer:
        if isinstance(answer, bytes):
            return _made(answer, api)
        async for piece in answer:
            for event in splitter.feed(piece):
                if reader.ended and data_of(event) != b"[DONE]":
                    break  # some say it after an end that is one without it
                _take(event, reader, emit)
            if reader.ended:
                return _assembled(reader)
        for event in splitter.end():
            _take(event, reader, emit)
            if reader.ended:
                return _assembled(reader)
    return _ended(splitter.rest, reader, emit)


def _ended(rest: bytes, reader: Reader, emit: Callable[[Frame], None]) -> _Made:
    """The stream is over without its last event; ``rest`` lacks the blank line that ends one.
    Servers leave out the one or the other: what counts is that every choice has said its last."""
    last = rest.rstrip(b"\r\n") + b"\n\n"
    whole = _is_whole(last)
    if whole and rest.strip():
        _take(last, reader, emit)
    if not reader.complete:
        raise UpstreamFailed(
            "The upstream broke off before the end of its answer.", code="upstream_broke_off"
        )
    made = _assembled(reader)
    return made if whole else (made[0], None)


def _is_whole(event: bytes) -> bool:
    """Is an event whose end is not known to have come one that was not cut?"""
    data = data_of(event)
    if data is None or data == b"[DONE]":
        return True
    try:
        _decode(data)
    except UNREADABLE:
        return False
    return True


def _take(event: bytes, reader: Reader, emit: Callable[[Frame], None]) -> None:
    """Hand one event on."""
    frame = reader.read(event)
    if reader.garbage:
        raise garbage()
    if reader.error is not None:
        raise _said_error(data_of(event) or b"")
    emit(frame)


def _assembled(reader: Reader) -> _Made:
    if not reader.complete:
        return "", None
    answer = reader.answer()
    return with_pieces(msgspec.json.encode(answer).decode(), reader.sizes), answer


def _made(body: bytes, api: Api) -> _Made:
    try:
        answer = msgspec.json.decode(body)
        text = body.decode()
    except UNREADABLE:
        raise garbage() from None
    if not isinstance(answer, dict):
        raise garbage()
    if api.is_answer(answer):
        return text, answer
    if answer.get("error") or "error" in (answer.get("object"), answer.get("type")):
        raise _said_error(body)
    raise garbage()


def _said_error(body: bytes) -> UpstreamAnswered:
    """An error under a status of success."""
    return said_error(502, body, {})


def garbage() -> UpstreamFailed:
    """The problem of an answer that is none."""
    return UpstreamFailed("The upstream's answer is no completion.", code="upstream_garbage")
