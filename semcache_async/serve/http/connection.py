"""What aiohttp would say of its own accord, said in our words: to requests that are not HTTP, and
to ``Expect``; and the paths that are meant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import HttpVersion11, web

from semcache_async.serve.errors import Invalid
from semcache_async.serve.http.body import too_large
from semcache_async.serve.http.paths import Paths
from semcache_async.serve.protocol import Render
from semcache_async.serve.service import Service

__all__ = ["Runner", "expecting"]

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class _Server(web.Server):
    render: Render

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class _Connection(web.RequestHandler):
    __slots__ = ("_render",)

    def __init__(self, manager: _Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._render = manager.render

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """For what never became a request: aiohttp's own answer repeats it."""
        if request.writer.output_size > 0:
            raise ConnectionResetError("the response broke off")
        problem = Invalid(
            "The request breaks HTTP's own rules.", status=status, code="malformed_request"
        )
        response = self._render(problem)
        response.headers["Server"] = "semcache"
        response.force_close()
        return response


class Runner(web.AppRunner):
    """An ``AppRunner`` whose connections are ours; aiohttp has no other way to name their class.
    ``render``: how to say that a request is none."""

    def __init__(self, app: web.Application, render: Render, **options: Any) -> None:
        super().__init__(app, **options)
        self._render = render

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = _Server
        assert isinstance(server, _Server)
        server.render = self._render
        make, paths = server.request_factory, Paths(self.app)
        server.request_factory = lambda message, *rest: make(paths.rewritten(message), *rest)
        return server


def expecting(
    service: Service, render: Render
) -> Callable[[web.Request], Awaitable[web.StreamResponse | None]]:
    """An answer to ``Expect: 100-continue`` that may be no; of anything else that is expected RFC
    9110 lets a server know nothing."""

    async def answer(request: web.Request) -> web.StreamResponse | None:
        limit = service.settings.max_body_bytes
        if (request.content_length or 0) > limit:
            service.metrics.http_error(413)
            return render(too_large(limit))
        if request.version == HttpVersion11 and request.headers["Expect"].lower() == "100-continue":
            await request.writer.write(_CONTINUE)
            request.writer.output_size = 0  # that was no part of the answer
        return None

    return answer
