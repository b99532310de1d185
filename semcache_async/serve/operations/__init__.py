"""Whether this process lives and may get work, and what it has counted."""

from __future__ import annotations

from semcache_async.serve.http.responses import render_problem
from semcache_async.serve.operations.routes import ROUTES, SCHEMAS
from semcache_async.serve.protocol import Protocol

__all__ = ["PROTOCOL"]

PROTOCOL = Protocol(name="operations", render=render_problem, routes=ROUTES, schemas=SCHEMAS)
