"""A stream on its way to one reader, as fast as that one takes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from aiohttp import web

from semcache_async.serve.completions.stored import NO_USAGE, Usage, usage_in
from semcache_async.serve.errors import UpstreamAnswered, UpstreamFailed, problem_of
from semcache_async.serve.http.middleware import BROKE_OFF
from semcache_async.serve.openai.errors import render
from semcache_async.serve.sse import data_of, event_of
from semcache_async.serve.upstream.completion import Frame

__all__ = ["BrokeOffError", "ReaderLeftError", "STREAM", "send_frames"]

STREAM = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
"""Headers of a stream of events."""
_STALLED_S = 120.0
"""A reader that takes nothing for so long is sent away."""


class BrokeOffError(Exception):
    """The stream ended with an error event, which was sent."""

    def __init__(self, response: web.StreamResponse, status: int) -> None:
        super().__init__("the stream broke off")
        self.response = response
        self.status = status


class ReaderLeftError(Exception):
    """There is nobody to send anything to."""


async def send_frames(
    request: web.Request,
    first: Frame,
    others: AsyncIterator[Frame],
    headers: Mapping[str, str],
    *,
    include_usage: bool,
) -> tuple[web.StreamResponse, Usage]:
    """Send a live stream; its usage event only to those who asked. Raises ``ReaderLeftError`` or
    ``BrokeOffError``."""
    response = web.StreamResponse(headers={**headers, **STREAM})
    try:
        return response, await _send(request, response, first, others, include_usage)
    except ConnectionError as error:
        raise ReaderLeftError from error


async def _send(
    request: web.Request,
    response: web.StreamResponse,
    first: Frame,
    others: AsyncIterator[Frame],
    include_usage: bool,
) -> Usage:
    await response.prepare(request)
    usage = NO_USAGE
    frame = first
    try:
        while True:
            if frame.is_usage:
                usage = usage_in(data_of(frame.raw) or b"")
            if include_usage or not frame.is_usage:
                await _write(response, frame.raw)
            frame = await anext(others)
    except StopAsyncIteration:
        pass
    except ConnectionError:
        raise
    except Exception as error:
        event, status = _error_event(error)
        await _write(response, event)
        await response.write_eof()
        response[BROKE_OFF] = True
        raise BrokeOffError(response, status) from error
    await response.write_eof()
    return usage


async def _write(response: web.StreamResponse, data: bytes) -> None:
    try:
        async with asyncio.timeout(_STALLED_S):
            await response.write(data)
    except TimeoutError:
        raise ConnectionResetError("the reader stalled") from None


def _error_event(error: Exception) -> tuple[bytes, int]:
    problem = problem_of(error) or UpstreamFailed("The answer broke off.", code="broke_off")
    body = render(problem).body
    assert isinstance(body, bytes)
    if isinstance(problem, UpstreamAnswered):
        body = b" ".join(body.splitlines())
    return event_of(body), problem.status
