"""The live page, and the JSON that it alone needs."""

from __future__ import annotations

from semcache_async.serve.http.responses import render_problem
from semcache_async.serve.page.handlers import InvalidationRequest, ReviewRequest
from semcache_async.serve.page.routes import ROUTES, SCHEMAS
from semcache_async.serve.protocol import Protocol

__all__ = ["PROTOCOL"]

PROTOCOL = Protocol(
    name="page",
    render=render_problem,
    routes=ROUTES,
    structs=(ReviewRequest, InvalidationRequest),
    schemas=SCHEMAS,
)
