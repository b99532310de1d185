"""The paths under /v1/caches/{cacheId}."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec
from aiohttp import web

from semcache_async.serve.errors import Invalid, NotFound, translated
from semcache_async.serve.http.access import caller_of, signed
from semcache_async.serve.http.body import read_json
from semcache_async.serve.http.forms import read_form, read_text
from semcache_async.serve.http.responses import json_response
from semcache_async.serve.langcache.forms import (
    ConversationalSearchRequest,
    ConversationalSearchResponse,
    DeleteRequest,
    DeleteResponse,
    Hit,
    SearchRequest,
    SearchResponse,
    SetRequest,
    SetResponse,
)
from semcache_async.serve.langcache.search import find
from semcache_async.serve.service import Service
from semcache_async.serve.sizes import is_longer
from semcache_async.types import Scope

__all__ = [
    "delete_by_attributes",
    "delete_by_id",
    "flush",
    "keep",
    "search",
    "search_conversation",
]

_MISSED = "missed"


async def keep(service: Service, request: web.Request) -> web.Response:
    scope = _scope(request)
    form = read_form(await read_json(request, service), SetRequest)
    prompt = read_text("prompt", form.prompt)
    response = read_text("response", form.response)
    most = service.cache.config.max_prompt_bytes
    if is_longer(prompt, most):
        raise Invalid(
            f"The prompt is longer than the {most} bytes that are kept.",
            param="prompt",
            code="invalid_text",
        )
    ttl_s = None if form.ttl_millis is None else form.ttl_millis / 1_000
    entry_id = await service.cache.store(
        *(prompt, response),
        scope=_narrowed(scope, form.attributes),
        tags=signed(request),
        ttl_s=ttl_s,
    )
    return json_response(SetResponse(entry_id), status=201)


async def search(service: Service, request: web.Request) -> web.Response:
    scope = _scope(request)
    form = read_form(await read_json(request, service), SearchRequest)
    questions = [read_text("prompt", form.prompt).strip()]
    hits = await find(service, _narrowed(scope, form.attributes), form, questions)
    return json_response(SearchResponse(hits), headers=_status(hits))


async def search_conversation(service: Service, request: web.Request) -> web.Response:
    scope = _scope(request)
    form = read_form(await read_json(request, service), ConversationalSearchRequest)
    questions = [
        *(read_text(f"context[{n}]", text) for n, text in enumerate(form.context or ())),
        read_text("prompt", form.prompt),
    ]
    questions = [text.strip() for text in questions]
    hits = await find(service, _narrowed(scope, form.attributes), form, questions)
    found = ConversationalSearchResponse("\n".join(questions), hits)
    return json_response(found, headers=_status(hits))


async def delete_by_attributes(service: Service, request: web.Request) -> web.Response:
    scope = _scope(request)
    form = read_form(await read_json(request, service), DeleteRequest)
    removed = await service.cache.invalidate(scope=_narrowed(scope, form.attributes))
    return json_response(DeleteResponse(removed))


async def delete_by_id(service: Service, request: web.Request) -> web.Response:
    scope = _scope(request)
    entry_id = request.match_info["entryId"]
    removed = await service.cache.invalidate(scope=scope, entry_ids=[entry_id])
    if not removed:
        raise NotFound("This cache has no entry of that id.", param="entryId")
    return web.Response(status=204)


async def flush(service: Service, request: web.Request) -> web.Response:
    scope = _scope(request)
    await service.cache.invalidate(scope=scope)
    return web.Response(status=204)


def _status(hits: Sequence[Hit]) -> dict[str, str]:
    return {"x-semcache-status": hits[0].search_strategy if hits else _MISSED}


def _scope(request: web.Request) -> Scope:
    """The caller's own cache of the name in the path."""
    cache_id = request.match_info["cacheId"]
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", cache_id):
        raise Invalid(
            "A cacheId is 1 to 64 letters, digits, '_' or '-'.", param="cacheId", code="pattern"
        )
    return Scope(
        tenant=caller_of(request).tenant, parameters={"api": "langcache", "cache": cache_id}
    )


def _narrowed(scope: Scope, attributes: Mapping[str, str] | None) -> Scope:
    with translated("attributes"):
        return msgspec.structs.replace(scope, attributes=attributes or {})
