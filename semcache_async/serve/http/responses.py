"""Answers: JSON, and what went wrong in the form that is the service's own."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

import msgspec
from aiohttp import web

from semcache_async.serve.errors import Problem

__all__ = ["NO_STORE", "REQUEST_ID", "AtOnce", "error_response", "json_response", "render_problem"]

REQUEST_ID = web.RequestKey("request_id", str)

NO_STORE = {"Cache-Control": "no-store"}
"""For what is true now and not later."""
_STILL_SENDING = (408, 413)
"""The client may still be sending, so the connection cannot be used again."""


class AtOnce(web.StreamResponse):
    """A small whole answer of status 200, written in one piece: what is answered most, without most
    of what a response can do. ``headers``: with its kind, and none with a line end in it."""

    keep_alive = True

    def __init__(self, body: bytes, headers: Mapping[str, str]) -> None:
        super().__init__(headers=headers)
        self._whole = body

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write it, as fast as it is read: whoever asks on and reads nothing has to wait."""
        if request.transport is None:
            raise ConnectionResetError("the client left")
        lines = [f"{name}: {value}\r\n" for name, value in self.headers.items()]
        head = "".join((_head(int(time.time())), *lines))
        given, length = request[REQUEST_ID], len(self._whole)
        head = f"{head}X-Request-Id: {given}\r\nContent-Length: {length}\r\n\r\n"
        request.transport.write(head.encode() + self._whole)
        await request.writer.drain()

    async def write_eof(self, data: bytes = b"") -> None:
        """It was written."""


@lru_cache(maxsize=2)
def _head(now: int) -> str:
    return (
        f"HTTP/1.1 200 OK\r\nDate: {formatdate(now, usegmt=True)}\r\nServer: semcache\r\n"
        "X-Content-Type-Options: nosniff\r\n"
    )


def json_response(
    value: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """``value`` as JSON; bytes are JSON already."""
    return web.Response(
        body=value if type(value) is bytes else msgspec.json.encode(value),
        status=status,
        content_type="application/json",
        headers=headers,
    )


def error_response(body: object, problem: Problem, *, status: int | None = None) -> web.Response:
    """``body`` with all that goes with ``problem`` in any protocol."""
    status = status or problem.status
    headers: Mapping[str, str] = problem.headers
    if status == 503 and "retry-after" not in map(str.lower, headers):
        headers = {"Retry-After": "1", **headers}
    response = json_response(body, status=status, headers=headers)
    if status in _STILL_SENDING:
        response.force_close()
    return response


def render_problem(problem: Problem) -> web.Response:
    """The service's own form, for all paths that belong to nobody else's protocol."""
    kind = problem.code or HTTPStatus(problem.status).phrase.lower().replace(" ", "_")
    error = {"message": problem.message, "type": kind}
    if problem.param is not None:
        error["param"] = problem.param
    return error_response({"error": error}, problem)
