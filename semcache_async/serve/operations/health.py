"""``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

from collections.abc import Iterator

from aiohttp import web

from semcache_async.serve.http.responses import NO_STORE, json_response
from semcache_async.serve.service import Service

__all__ = ["alive", "metrics", "ready"]

_TEXT = "text/plain; version=0.0.4; charset=utf-8"


async def alive(_service: Service, _request: web.Request) -> web.Response:
    """The event loop turns."""
    return json_response({"status": "ok"}, headers=NO_STORE)


async def ready(service: Service, _request: web.Request) -> web.Response:
    """Redis answers and has the right index, and this process is not about to end. Where nothing
    can be written, or the embedder is out of reach, that is said: what is stored is served as
    before, or to the very same prompt."""
    trouble = "draining" if service.draining else await service.readiness.trouble()
    if trouble is None:
        told = {"status": "ready"}
        troubles = list(_troubles(service))
        if troubles:
            told["degraded"] = " ".join(troubles)
        return json_response(told, headers=NO_STORE)
    return json_response({"status": "not ready", "reason": trouble}, status=503, headers=NO_STORE)


def _troubles(service: Service) -> Iterator[str]:
    stats = service.cache.stats()
    if (unkept := stats.store_trouble) is not None:
        yield f"Answers are not kept: {unkept}"
    if not stats.embedder_up:
        yield "The embedder is out of reach: the exact tier answers alone."
    for model in service.cache.models():
        if not model.ready:
            yield f"The model {model.name} is not loaded: {model.trouble or 'it is being done.'}"


async def metrics(service: Service, _request: web.Request) -> web.Response:
    """All processes' numbers, in Prometheus' text format."""
    from semcache_async.serve.metrics.exposition import expose

    response = web.Response(body=expose(service.metrics, await service.measured()))
    response.headers["Content-Type"] = _TEXT
    return response
