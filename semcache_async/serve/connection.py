"""What aiohttp would say of its own accord, said in our words: to requests that are not HTTP, and
to ``Expect``."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import HttpVersion11, web

from semcache_async.serve.problems import TooLarge
from semcache_async.serve.replies import reply
from semcache_async.serve.service import Service

__all__ = ["Runner", "expecting"]

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_MALFORMED = msgspec.json.encode(
    {
        "error": {
            "message": "The request breaks HTTP's own rules.",
            "type": "invalid_request_error",
            "param": None,
            "code": "malformed_request",
        }
    }
)


class _Connection(web.RequestHandler):
    __slots__ = ()

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
        response = web.Response(
            status=status,
            body=_MALFORMED,
            content_type="application/json",
            headers={"Server": "semcache"},
        )
        response.force_close()
        return response


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """An ``AppRunner`` whose connections are ours; aiohttp has no other way to name their class."""

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = _Server
        return server


def expecting(service: Service, route: web.RouteDef) -> web.RouteDef:
    """The route, with an answer to ``Expect: 100-continue`` that may be no; of anything else that
    is expected RFC 9110 lets a server know nothing."""

    async def answer(request: web.Request) -> web.StreamResponse | None:
        limit = service.settings.max_body_bytes
        if (request.content_length or 0) > limit:
            service.metrics.http_error(413)
            problem = TooLarge(
                f"The body is over the limit of {limit} bytes.", code="body_too_large"
            )
            return reply(request.path, problem)
        if request.version == HttpVersion11 and request.headers["Expect"].lower() == "100-continue":
            await request.writer.write(_CONTINUE)
            request.writer.output_size = 0  # that was no part of the answer
        return None

    options: dict[str, Any] = {**route.kwargs, "expect_handler": answer}
    return web.RouteDef(route.method, route.path, route.handler, options)
