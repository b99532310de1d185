"""All protocols behind one port: routes, errors, request ids."""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import secrets
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from semcache_async.complaints import Complaints
from semcache_async.errors import SemcacheError
from semcache_async.serve import chat, embeddings, health, langcache, openapi, page, plain
from semcache_async.serve.connection import expecting
from semcache_async.serve.forms import translated
from semcache_async.serve.logs import request_id
from semcache_async.serve.origins import Origins
from semcache_async.serve.problems import Draining, Invalid, Problem, Unavailable
from semcache_async.serve.replies import reply
from semcache_async.serve.service import Service

__all__ = ["REQUEST_ID", "break_off", "make_app"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = logging.getLogger(__name__)
REQUEST_ID = web.RequestKey("request_id", str)
_RESPONSE = web.RequestKey("response", web.StreamResponse)
_SANE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
_ALWAYS = frozenset(("/healthz", "/readyz", "/metrics"))
"""Answered while draining too."""


def make_app(service: Service) -> web.Application:
    """The application; ``run.serve_app`` has the options that its server needs."""
    door = _Door(service)
    app = web.Application(
        middlewares=[door.pass_through], client_max_size=service.settings.max_body_bytes
    )
    app[_DOOR] = door
    app.on_response_prepare.append(door.before_headers)
    for module in (chat, embeddings, langcache, plain, page, openapi, health):
        app.add_routes([expecting(service, route) for route in module.routes(service)])
    return app


def break_off(app: web.Application) -> int:
    """Tell the requests under way that they end now, and how many they are."""
    tasks = app[_DOOR].tasks
    for task in tasks:
        task.cancel()
    return len(tasks)


class _Door:
    """What every request passes on its way in and out."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._metrics = service.metrics
        self._origins = Origins(service)
        self._ids = itertools.count(1)
        self._prefix = secrets.token_hex(6)
        self._complaints = Complaints()
        self.tasks: set[asyncio.Task[Any]] = set()
        """Of the requests under way."""

    @web.middleware
    async def pass_through(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        headers = request.headers
        given = headers.get("X-Request-Id")
        if given is None or not _SANE_ID.fullmatch(given):
            given = f"req-{self._prefix}-{next(self._ids):x}"
        request[REQUEST_ID] = given
        request_id.set(given)
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self._metrics.under_way += 1
        try:
            if self._service.draining and request.path not in _ALWAYS:
                raise Draining("This process is about to end; try again.", code="draining")
            origin = headers.get("Origin")
            if origin is not None and (preflight := self._origins.admit(request, origin)):
                return preflight
            return await handler(request)
        except ConnectionError:  # the client left
            raise
        except asyncio.CancelledError:
            if request.transport is None or not self._service.draining:
                raise
            task.uncancel()
            return await self._break_off(request)
        except Exception as error:
            problem = _problem(error)
            self._metrics.http_error(problem.status)
            if error is problem and problem.status >= 500 and not isinstance(error, Draining):
                self._complaints.warn(f"A request ended with {problem.status}", problem.message)
            if request.writer.output_size > 0:  # too late to say so
                _log.warning("A response broke off: %s", _name(error))
                raise ConnectionResetError("the response broke off") from error
            return reply(request.path, problem)
        finally:
            self._metrics.under_way -= 1
            self.tasks.discard(task)

    async def _break_off(self, request: web.Request) -> web.StreamResponse:
        """The end of a request that drained for too long: a stream says that it is not whole."""
        problem = Draining("The service ended before the answer was whole.", code="draining")
        self._metrics.http_error(problem.status)
        refusal = reply(request.path, problem)
        response: web.StreamResponse | None = request.get(_RESPONSE)
        if response is None:
            return refusal
        if response.content_type != "text/event-stream":
            raise ConnectionResetError("the response broke off")
        assert isinstance(refusal.body, bytes)
        await response.write(b"data: " + refusal.body + b"\n\n")
        await response.write_eof()
        return response

    async def before_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        headers = response.headers
        given = request.get(REQUEST_ID)
        if given is not None:
            headers["X-Request-Id"] = given
        headers["X-Content-Type-Options"] = "nosniff"
        headers["Server"] = "semcache"
        request[_RESPONSE] = response
        self._origins.mark(request, response)
        if self._service.draining:
            response.force_close()
            headers["Connection"] = "close"  # aiohttp has decided on it before


_DOOR = web.AppKey("door", _Door)


def _problem(error: Exception) -> Problem:
    """What to tell the caller. Of an error that nobody expected only the type and the place are
    logged: its message may hold a prompt."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, web.HTTPException) and error.status >= 400:
        return _from_aiohttp(error)
    if isinstance(error, SemcacheError):
        try:
            with translated():
                raise error
        except Problem as problem:
            return problem
        except SemcacheError:
            _log.warning("A request failed: %s: %s", _name(error), error)
            return Unavailable("The cache cannot serve this request now; try again.")
    _log.error(
        "A request failed with %s", _name(error), extra={"trace": _trace(error), "event": "bug"}
    )
    return Problem("Something went wrong here; the log has more under this request's id.")


def _from_aiohttp(error: web.HTTPException) -> Problem:
    texts = {
        404: "There is no such path here.",
        405: "This path does not know that method.",
        413: "The body is over the limit.",
    }
    code = error.reason.lower().replace(" ", "_")
    problem = Invalid(texts.get(error.status, f"{error.reason}."), code=code)
    problem.status = error.status
    if "Allow" in error.headers:
        problem.headers["Allow"] = error.headers["Allow"]
    return problem


def _name(error: BaseException) -> str:
    return type(error).__qualname__


def _trace(error: BaseException) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-12:]]
