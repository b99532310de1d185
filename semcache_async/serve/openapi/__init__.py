"""GET /openapi.json: the whole service in OpenAPI 3.1."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import msgspec
from aiohttp import web

from semcache_async.serve.http.responses import json_response, render_problem
from semcache_async.serve.openapi.describe import describe
from semcache_async.serve.openapi.shapes import ERROR, ERROR_SCHEMAS, JSON, content, operation
from semcache_async.serve.protocol import Access, Protocol, Route
from semcache_async.serve.service import Service

__all__ = ["describing"]


def describing(protocols: Sequence[Protocol]) -> Protocol:
    """The protocol that describes ``protocols`` and itself."""

    @cache
    def body() -> bytes:
        return msgspec.json.encode(describe([*protocols, this]))

    async def tell(_service: Service, _request: web.Request) -> web.Response:
        return json_response(body())

    told = operation("This description", ERROR, answer=content(JSON, {"type": "object"}))
    this = Protocol(
        name="operations",
        render=render_problem,
        routes=(Route("GET", "/openapi.json", Access.OPEN, tell, told),),
        schemas=ERROR_SCHEMAS,
    )
    return this
