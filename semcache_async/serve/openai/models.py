"""GET /v1/models and /v1/models/{id}: the upstream's."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from semcache_async.serve.errors import NotFound, Problem, UpstreamAnswered, UpstreamFailed
from semcache_async.serve.http.body import parse_object
from semcache_async.serve.http.responses import json_response
from semcache_async.serve.service import Service

__all__ = ["model", "models"]

_NO_SUCH_PATH = (404, 405, 501)
_DOTS = frozenset(("", ".", ".."))
"""Names of no model, which would lead to other paths of the upstream."""


async def models(service: Service, request: web.Request) -> web.StreamResponse:
    """The upstream's list."""
    passed = service.completions.passing.of(request.headers, request.query)
    body = await service.upstream.models(passed)
    _read(body)
    return json_response(body)


async def model(service: Service, request: web.Request) -> web.StreamResponse:
    """One model: what the upstream says of it, or where it has no such path, what its list says."""
    name = request.match_info["id"]
    if not _DOTS.isdisjoint(name.split("/")):
        raise _unknown()
    passed = service.completions.passing.of(request.headers, request.query)
    try:
        body = await service.upstream.models(passed, name)
        _read(body)
        return json_response(body)
    except UpstreamAnswered as error:
        if error.status not in _NO_SUCH_PATH:
            raise
    listed = _read(await service.upstream.models(passed)).get("data")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, dict) and one.get("id") == name:
            return json_response(one)
    raise _unknown()


def _unknown() -> NotFound:
    return NotFound("The upstream has no such model.", param="model", code="model_not_found")


def _read(body: bytes) -> dict[str, Any]:
    try:
        return parse_object(body)
    except Problem:
        raise UpstreamFailed(
            "What the upstream says of its models cannot be read.", code="upstream_garbage"
        ) from None
