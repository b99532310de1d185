"""Anthropic's messages: any client of theirs works here by changing its URL."""

from __future__ import annotations

from semcache_async.serve.anthropic.errors import broken, render
from semcache_async.serve.anthropic.routes import ROUTES, SCHEMAS
from semcache_async.serve.protocol import Protocol

__all__ = ["PROTOCOL"]

PROTOCOL = Protocol(
    name="Anthropic",
    prefix="/v1/messages",
    render=render,
    broken=broken,
    routes=ROUTES,
    schemas=SCHEMAS,
)
