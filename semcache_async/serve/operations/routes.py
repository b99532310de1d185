"""Paths for whoever runs the service. They need no key: they name nobody."""

from __future__ import annotations

from semcache_async.serve.openapi.shapes import (
    ERROR,
    JSON,
    Schema,
    content,
    obj,
    operation,
    ref,
    text,
)
from semcache_async.serve.operations.health import alive, metrics, ready
from semcache_async.serve.protocol import Access, Route

__all__ = ["ROUTES", "SCHEMAS"]

_READY = operation("May this process get work?", ERROR, answer=content(JSON, ref("Health")))
_READY["responses"]["503"] = {
    "description": "Not now; the reason says why.",
    "content": content(JSON, ref("Health")),
}
_ALIVE = operation("Does this process live?", ERROR, answer=content(JSON, ref("Health")))
_METRICS = operation("For Prometheus", ERROR, answer=content("text/plain", text()))

ROUTES = (
    Route("GET", "/healthz", Access.OPEN, alive, _ALIVE, when_draining=True),
    Route("GET", "/readyz", Access.OPEN, ready, _READY, when_draining=True),
    Route("GET", "/metrics", Access.OPEN, metrics, _METRICS, when_draining=True),
)

SCHEMAS: dict[str, Schema] = {
    "Health": obj({"status": text(), "reason": text(), "degraded": text()}, required=("status",)),
}
