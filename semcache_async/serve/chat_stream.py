"""A stream on its way to one reader, as fast as that one takes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from aiohttp import web

from semcache_async.errors import CacheClosedError
from semcache_async.serve.chat_reply import NO_USAGE, OF_EVENTS, Usage, usage_in
from semcache_async.serve.completion import Frame
from semcache_async.serve.problems import Draining, Problem, UpstreamFailed
from semcache_async.serve.replies import reply as error_reply
from semcache_async.serve.sse import data_of, event_of
from semcache_async.serve.upstream import TimedOut, UpstreamAnsweredError

__all__ = ["BrokeOffError", "ReaderLeftError", "problem_of", "send_frames"]

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
    response = web.StreamResponse(headers={**headers, **OF_EVENTS})
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
        raise BrokeOffError(response, status) from error
    await response.write_eof()
    return usage


async def _write(response: web.StreamResponse, data: bytes) -> None:
    try:
        async with asyncio.timeout(_STALLED_S):
            await response.write(data)
    except TimeoutError:
        raise ConnectionResetError("the reader stalled") from None


def problem_of(error: Exception) -> Problem:
    """What went wrong, where the answer came from an LLM call."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, TimeoutError):
        return TimedOut("The upstream did not answer in time.", code="upstream_timeout")
    if isinstance(error, CacheClosedError):
        return Draining("This process is about to end; try again.", code="draining")
    return UpstreamFailed("The answer broke off.", code="broke_off")


def _error_event(error: Exception) -> tuple[bytes, int]:
    if isinstance(error, UpstreamAnsweredError):
        return event_of(b" ".join(error.body.splitlines())), error.status
    problem = problem_of(error)
    body = error_reply("/v1/chat/completions", problem).body
    assert isinstance(body, bytes)
    return event_of(body), problem.status
