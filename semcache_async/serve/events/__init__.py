"""What has changed in the world, told by whoever changed it."""

from __future__ import annotations

from semcache_async.serve.events.routes import ROUTES, SCHEMAS
from semcache_async.serve.http.responses import render_problem
from semcache_async.serve.protocol import Protocol
from semcache_async.worker.events import Event

__all__ = ["PROTOCOL"]

PROTOCOL = Protocol(
    name="events", render=render_problem, routes=ROUTES, structs=(Event,), schemas=SCHEMAS
)
