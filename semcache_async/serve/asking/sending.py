"""A stream on its way to one reader, as fast as that one takes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing

from aiohttp import web

from semcache_async.serve.apis.api import NO_USAGE, Api, Frame, Request, Usage
from semcache_async.serve.apis.crossing import crossing_of, told_in
from semcache_async.serve.errors import Problem, UpstreamFailed, problem_of
from semcache_async.serve.http.middleware import BROKE_OFF
from semcache_async.serve.sse import data_of

__all__ = ["BrokeOffError", "ReaderLeftError", "STREAM", "Stream", "begun"]

STREAM = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
"""Headers of a stream of events."""
_STALLED_S = 120.0
"""A reader that takes nothing for so long is sent away."""
_USAGE = b'"usage"'


class BrokeOffError(Exception):
    """The stream ended with an error event, which was sent."""

    def __init__(self, response: web.StreamResponse, status: int) -> None:
        super().__init__("the stream broke off")
        self.response = response
        self.status = status


class ReaderLeftError(Exception):
    """There is nobody to send anything to."""


async def begun(frames: AsyncIterator[Frame], request: Request, *, crosses: bool) -> Stream | None:
    """The stream of ``frames`` for who made ``request``; None where there are no frames.
    ``crosses``: they may be of another API."""
    ahead: list[Frame] = []
    made_in: Api | None = None if crosses else request.api
    while made_in is None or not ahead:
        frame = await anext(frames, None)
        if frame is None:
            break
        ahead.append(frame)
        made_in = made_in or told_in(frame.raw)
    return Stream(request, ahead, frames, made_in or request.api) if ahead else None


class Stream:
    """One live stream. ``made_in``: the API of its frames."""

    def __init__(
        self, request: Request, ahead: list[Frame], frames: AsyncIterator[Frame], made_in: Api
    ) -> None:
        self._request = request
        self._ahead = ahead
        self._frames = frames
        self.made_in = made_in

    async def send(
        self, request: web.Request, headers: Mapping[str, str], broken: Callable[[Problem], bytes]
    ) -> tuple[web.StreamResponse, Usage]:
        """Send it, its usage event only to those who asked; ``broken``: the event that tells of a
        problem. Raises ``ReaderLeftError`` or ``BrokeOffError``."""
        response = web.StreamResponse(headers={**headers, **STREAM})
        try:
            return response, await self._send(request, response, broken)
        except ConnectionError as error:
            raise ReaderLeftError from error

    async def _send(
        self, request: web.Request, response: web.StreamResponse, broken: Callable[[Problem], bytes]
    ) -> Usage:
        await response.prepare(request)
        api, include_usage = self._request.api, self._request.include_usage
        usage = NO_USAGE
        try:
            async with aclosing(self._given()) as frames:
                async for raw, is_usage in frames:
                    if is_usage or (_USAGE in raw and not api.asks_usage):
                        usage = _more(usage, api.usage_in(data_of(raw) or b""))
                    if include_usage or not is_usage:
                        await _write(response, raw)
        except ConnectionError:
            raise
        except Exception as error:
            problem = problem_of(error) or UpstreamFailed("The answer broke off.", code="broke_off")
            await _write(response, broken(problem))
            await response.write_eof()
            response[BROKE_OFF] = True
            raise BrokeOffError(response, problem.status) from error
        await response.write_eof()
        return usage

    async def _given(self) -> AsyncGenerator[Frame, None]:
        """The frames in the reader's API."""
        crossing = crossing_of(self.made_in, self._request.api)
        for frame in self._ahead:
            yield frame if crossing is None else crossing.cross(frame)
        async for frame in self._frames:
            yield frame if crossing is None else crossing.cross(frame)
        for frame in () if crossing is None else crossing.end():
            yield frame


def _more(before: Usage, told: Usage) -> Usage:
    """Some APIs say what was asked at the beginning, and what was said at the end."""
    return Usage(
        max(before.prompt_tokens, told.prompt_tokens),
        max(before.completion_tokens, told.completion_tokens),
    )


async def _write(response: web.StreamResponse, data: bytes) -> None:
    if not data:
        return
    try:
        async with asyncio.timeout(_STALLED_S):
            await response.write(data)
    except TimeoutError:
        raise ConnectionResetError("the reader stalled") from None
