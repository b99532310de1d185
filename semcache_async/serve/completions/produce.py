"""The LLM call of a flight: ask the upstream, hand on what comes, say whether it may be kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import msgspec

from semcache_async.protocols import Produce
from semcache_async.serve.bypass import Unkept
from semcache_async.serve.completions.keeping import Keeping
from semcache_async.serve.completions.request import ChatRequest
from semcache_async.serve.completions.stored import with_pieces
from semcache_async.serve.errors import UpstreamAnswered, UpstreamFailed
from semcache_async.serve.sse import EventSplitter, data_of
from semcache_async.serve.upstream.answered import said_error
from semcache_async.serve.upstream.client import Upstream
from semcache_async.serve.upstream.completion import (
    UNREADABLE,
    Assembler,
    Completion,
    Frame,
    is_whole,
)
from semcache_async.serve.upstream.passing import Passed
from semcache_async.types import Produced

__all__ = ["garbage", "producer"]

_Made: TypeAlias = tuple[str, Completion | None]
"""A text, and the completion that it is; None for one that is not all there."""


def producer(
    upstream: Upstream,
    request: ChatRequest,
    passed: Passed,
    keeping: Keeping,
    unkept: Callable[[Unkept], None],
) -> Produce[Frame]:
    """What makes the answer: the text is the whole completion as JSON, and "" where a
    stream's events do not add up to one. A stream is emitted as ``Frame``s, byte by byte what the
    upstream sent. ``unkept`` is told why the answer is not to be kept, where it is not."""

    async def produce(_prompt: str, emit: Callable[[Frame], None]) -> Produced:
        if request.stream:
            text, completion = await _streamed(
                upstream.stream(request.body, passed, request.kind), emit
            )
        else:
            text, completion = _made(await upstream.complete(request.body, passed, request.kind))
        why = await keeping.why_not(completion, request) if completion else Unkept.INCOMPLETE
        if why is not None:
            unkept(why)
        return Produced(text, keep=why is None)

    return produce


async def _streamed(
    stream: AbstractAsyncContextManager[AsyncIterator[bytes] | bytes],
    emit: Callable[[Frame], None],
) -> _Made:
    splitter, assembler = EventSplitter(), Assembler()
    async with stream as answer:
        if isinstance(answer, bytes):
            return _made(answer)
        async for piece in answer:
            for event in splitter.feed(piece):
                if _take(event, assembler, emit):
                    return _assembled(assembler)
        for event in splitter.end():
            if _take(event, assembler, emit):
                return _assembled(assembler)
    return _ended(splitter.rest, assembler, emit)


def _ended(rest: bytes, assembler: Assembler, emit: Callable[[Frame], None]) -> _Made:
    """The stream is over without its ``[DONE]``; ``rest`` lacks the blank line that ends an event.
    Servers leave out the one or the other: what counts is that every choice has said its last."""
    last = rest.rstrip(b"\r\n") + b"\n\n"
    whole = is_whole(last)
    if whole and rest.strip():
        _take(last, assembler, emit)
    if not assembler.complete:
        raise UpstreamFailed(
            "The upstream broke off before the end of its answer.", code="upstream_broke_off"
        )
    made = _assembled(assembler)
    return made if whole else (made[0], None)


def _take(event: bytes, assembler: Assembler, emit: Callable[[Frame], None]) -> bool:
    """Hand one event on; was it the last?"""
    frame = assembler.read(event)
    if assembler.garbage:
        raise garbage()
    data = data_of(event)
    if assembler.error is not None:
        raise _said_error(data or b"")
    emit(frame)
    return data == b"[DONE]"


def _assembled(assembler: Assembler) -> _Made:
    if not assembler.complete:
        return "", None
    completion = assembler.completion()
    text = msgspec.json.encode(completion).decode()
    return with_pieces(text, assembler.sizes), completion


def _made(body: bytes) -> _Made:
    try:
        completion = msgspec.json.decode(body)
        text = body.decode()
    except UNREADABLE:
        raise garbage() from None
    if not isinstance(completion, dict):
        raise garbage()
    if completion.get("error") or completion.get("object") == "error":
        raise _said_error(body)
    if not isinstance(completion.get("choices"), list):
        raise garbage()
    return text, completion


def _said_error(body: bytes) -> UpstreamAnswered:
    """An error under a status of success."""
    return said_error(502, body, {})


def garbage() -> UpstreamFailed:
    """The problem of an answer that is no completion."""
    return UpstreamFailed("The upstream's answer is no completion.", code="upstream_garbage")
