"""Whether this process lives, may get work, and what it has counted."""

from __future__ import annotations

import asyncio
import time

import msgspec
from aiohttp import web

from semcache_async.errors import SemcacheError
from semcache_async.serve.service import Service

__all__ = ["routes"]

_REMEMBERED_S = 0.5
"""Checks come no faster than this, however many ask."""
_TEXT = "text/plain; version=0.0.4; charset=utf-8"


def routes(service: Service) -> list[web.RouteDef]:
    """``/healthz``, ``/readyz`` and ``/metrics``. None needs a key: they name nobody."""
    health = _Health(service)
    return [
        web.get("/healthz", health.alive),
        web.get("/readyz", health.ready),
        web.get("/metrics", health.metrics),
    ]


class _Health:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = asyncio.Lock()
        self._checked_at = -_REMEMBERED_S
        self._trouble: str | None = None

    async def alive(self, request: web.Request) -> web.Response:
        """The event loop turns."""
        return _json({"status": "ok"})

    async def ready(self, request: web.Request) -> web.Response:
        """Redis answers and has the right index, and this process is not about to end."""
        trouble = "draining" if self._service.draining else await self._check()
        if trouble is None:
            return _json({"status": "ready"})
        return _json({"status": "not ready", "reason": trouble}, status=503)

    async def metrics(self, request: web.Request) -> web.Response:
        """All processes' numbers, in Prometheus' text format."""
        from semcache_async.serve.exposition import expose

        response = web.Response(body=expose(self._service.metrics))
        response.headers["Content-Type"] = _TEXT
        return response

    async def _check(self) -> str | None:
        async with self._lock:
            if time.monotonic() - self._checked_at >= _REMEMBERED_S:
                self._trouble = await self._look()
                self._checked_at = time.monotonic()
            return self._trouble

    async def _look(self) -> str | None:
        cache = self._service.cache
        try:
            async with asyncio.timeout(2 * cache.config.store_timeout_s):
                await cache.check()
        except TimeoutError:
            return "Redis does not answer in time."
        except SemcacheError as error:
            return str(error)
        return None


def _json(body: dict[str, str], status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
