"""What every request passes on its way in and out: its id, who may ask, errors, draining."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any

from aiohttp import web

from semcache_async.complaints import Complaints, trace_of
from semcache_async.errors import SemcacheError
from semcache_async.serve.errors import Draining, Problem, problem_of
from semcache_async.serve.http.access import admit
from semcache_async.serve.http.connection import expecting
from semcache_async.serve.http.hosts import Hosts
from semcache_async.serve.http.origins import Origins
from semcache_async.serve.http.request_id import RequestIds, request_id
from semcache_async.serve.http.responses import REQUEST_ID, render_problem
from semcache_async.serve.protocol import Protocol, Render, Route, broken_event
from semcache_async.serve.service import Service

__all__ = ["BROKE_OFF", "REQUEST_ID", "Middleware", "UndeclaredRouteError"]

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_log = logging.getLogger(__name__)
BROKE_OFF = web.ResponseKey("broke_off", bool)
"""Marks a stream that ended with an error."""
_RESPONSE = web.RequestKey("response", web.StreamResponse)


class UndeclaredRouteError(RuntimeError):
    """A path that does not say who may ask it."""


class Middleware:
    """The one way in and out of a service's application."""

    def __init__(self, service: Service, protocols: Iterable[Protocol]) -> None:
        self._service = service
        self._metrics = service.metrics
        self._hosts = Hosts(service)
        self._origins = Origins(service)
        self._ids = RequestIds()
        self._complaints = Complaints()
        self._declared: dict[web.AbstractRoute, Route] = {}
        prefixed = [part for part in protocols if part.prefix is not None]
        self._prefixed = sorted(prefixed, key=lambda part: -len(part.prefix or ""))
        self.tasks: set[asyncio.Task[Any]] = set()
        """Of the requests under way."""

    def declare(self, app: web.Application, route: Route) -> None:
        """Add a route to ``app``; one of GET answers HEAD too."""
        service = self._service
        resource = app.router.add_resource(route.path)
        expect = expecting(service, self.render_of(route.path))
        for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
            added = resource.add_route(
                method, partial(route.handler, service), expect_handler=expect
            )
            self._declared[added] = route

    async def refuse_undeclared(self, app: web.Application) -> None:
        """Raises ``UndeclaredRouteError`` unless every route came through ``declare``."""
        for route in app.router.routes():
            if route not in self._declared:
                raise UndeclaredRouteError(f"{route!r} does not say who may ask it; declare it.")

    def render_of(self, path: str) -> Render:
        """How problems look at ``path``."""
        protocol = self._protocol_of(path)
        return protocol.render if protocol else render_problem

    def _protocol_of(self, path: str) -> Protocol | None:
        for protocol in self._prefixed:
            if path.startswith(protocol.prefix or ""):
                return protocol
        return None

    @web.middleware
    async def pass_through(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        headers = request.headers
        request[REQUEST_ID] = given = self._ids.of(headers.get("X-Request-Id"))
        request_id.set(given)
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        self._metrics.under_way += 1
        route = self._declared.get(request.match_info.route)
        result = "failed"
        try:
            if self._service.draining and not (route is not None and route.when_draining):
                raise Draining("This process is about to end; try again.", code="draining")
            self._hosts.admit(request)
            origin = headers.get("Origin")
            if origin is not None and (preflight := self._origins.admit(request, origin)):
                return preflight
            if route is not None:
                admit(request, route.access, self._service.keys)
            elif request.method == "OPTIONS" and (methods := _methods(request)):
                return web.Response(status=204, headers={"Allow": methods})
            response = await handler(request)
            result = _result_of(response)
            return response
        except ConnectionError:  # the client left
            raise
        except asyncio.CancelledError:
            if request.transport is None or not self._service.draining:
                raise
            task.uncancel()
            return await self._break_off(request)
        except Exception as error:
            problem = self._problem(error)
            self._metrics.http_error(problem.status)
            if request.writer.output_size > 0:  # too late to say so
                _log.warning("A response broke off: %s", type(error).__qualname__)
                raise ConnectionResetError("the response broke off") from error
            return self.render_of(request.path)(problem)
        finally:
            self._metrics.under_way -= 1
            if route is not None and route.counted_as:
                self._metrics.count("protocol_requests", route.counted_as, result)
            self.tasks.discard(task)

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

    def _problem(self, error: Exception) -> Problem:
        """What to tell the caller. Of an error that nobody expected only the type and the place
        are logged: its message may hold a prompt."""
        problem = problem_of(error)
        if problem is None:
            _log.error(
                "A request failed with %s",
                type(error).__qualname__,
                extra={"trace": trace_of(error), "event": "bug"},
            )
            return Problem("Something went wrong here; the log has more under this request's id.")
        if problem.status >= 500 and not isinstance(problem, Draining):
            said = error if isinstance(error, SemcacheError) else str(problem)
            self._complaints.warn(f"A request ended with {problem.status}", said)
        return problem

    async def _break_off(self, request: web.Request) -> web.StreamResponse:
        """The end of a request that drained for too long: a stream says that it is not whole."""
        problem = Draining("The service ended before the answer was whole.", code="draining")
        self._metrics.http_error(problem.status)
        render = self.render_of(request.path)
        response: web.StreamResponse | None = request.get(_RESPONSE)
        if response is None:
            return render(problem)
        if response.content_type != "text/event-stream":
            raise ConnectionResetError("the response broke off")
        protocol = self._protocol_of(request.path)
        await response.write((protocol.broken if protocol else broken_event)(render, problem))
        await response.write_eof()
        return response


def _result_of(response: web.StreamResponse) -> str:
    """What the cache says that it did, where it did anything."""
    if response.status >= 400 or response.get(BROKE_OFF):
        return "failed"
    return response.headers.get("x-semcache-status", "other")


def _methods(request: web.Request) -> str:
    """Those that the path knows; "" for a path that is not there."""
    refused = request.match_info.http_exception
    if not isinstance(refused, web.HTTPMethodNotAllowed):
        return ""
    return ", ".join(sorted((*refused.allowed_methods, "OPTIONS")))
