"""GET /v1/models and /v1/models/{id}: the upstreams'."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from semcache_async.serve.errors import NotFound, Problem, UpstreamAnswered, UpstreamFailed
from semcache_async.serve.http.body import parse_object
from semcache_async.serve.http.responses import json_response
from semcache_async.serve.service import Service
from semcache_async.serve.upstream.client import Upstream
from semcache_async.serve.upstream.passing import Passed
from semcache_async.serve.upstream.routing import Upstreams

__all__ = ["model", "models"]

_DOTS = frozenset(("", ".", ".."))
"""Names of no model, which would lead to other paths of the upstream."""


async def models(service: Service, request: web.Request) -> web.StreamResponse:
    """The upstream's list; of several each model where it is served from, without those of an
    upstream that fails.

    A caller's own key goes to no upstream but that of the model which it asks: several are asked
    for their lists with the service's."""
    passed = service.completions.passing.of(request.headers, request.query)
    first, *others = service.upstreams
    if not others:
        body = await first.models(passed)
        _read(body)
        return json_response(body)
    all_of, passed = service.upstreams, passed.without_key()
    found = await asyncio.gather(*(_listed(all_of, upstream, passed) for upstream in all_of))
    if not any(isinstance(one, list) for one in found):
        raise next(one for one in found if isinstance(one, UpstreamFailed))
    data = [one for listed in found if isinstance(listed, list) for one in listed]
    return json_response({"object": "list", "data": data})


async def model(service: Service, request: web.Request) -> web.StreamResponse:
    """One model: what its upstream says of it, or where it has no such path, what its list says."""
    name = request.match_info["id"]
    if not _DOTS.isdisjoint(name.split("/")):
        raise _unknown()
    passed = service.completions.passing.of(request.headers, request.query)
    upstream = service.upstreams.of(name)
    try:
        body = await upstream.models(passed, name)
        _read(body)
        return json_response(body)
    except UpstreamAnswered as error:
        if not error.no_such_path:
            raise
    for one in _models(await upstream.models(passed)):
        if one["id"] == name:
            return json_response(one)
    raise _unknown()


async def _listed(
    upstreams: Upstreams, upstream: Upstream, passed: Passed
) -> list[dict[str, Any]] | UpstreamFailed:
    try:
        models = _models(await upstream.models(passed))
        return [one for one in models if upstreams.serves(upstream, one["id"])]
    except UpstreamFailed as error:
        upstreams.complaints.warn(f"The models of {upstream.name} are left out", str(error))
        return error


def _models(body: bytes) -> list[dict[str, Any]]:
    listed = _read(body).get("data")
    return [
        one
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, dict) and isinstance(one.get("id"), str)
    ]


def _unknown() -> NotFound:
    return NotFound("The upstream has no such model.", param="model", code="model_not_found")


def _read(body: bytes) -> dict[str, Any]:
    try:
        return parse_object(body)
    except Problem:
        raise UpstreamFailed(
            "What the upstream says of its models cannot be read.", code="upstream_garbage"
        ) from None
