"""The LangCache REST API: the public ``langcache`` SDK works here by changing its URL."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

import msgspec
from aiohttp import web

from semcache_async.serve.body import read_json
from semcache_async.serve.forms import read_form, read_text, translated
from semcache_async.serve.langcache_forms import (
    ConversationalSearchRequest,
    ConversationalSearchResponse,
    DeleteRequest,
    DeleteResponse,
    SearchRequest,
    SearchResponse,
    SetRequest,
    SetResponse,
)
from semcache_async.serve.langcache_search import find
from semcache_async.serve.problems import Invalid, NotFound
from semcache_async.serve.service import Service
from semcache_async.types import Scope

__all__ = ["routes"]


def routes(service: Service) -> list[web.RouteDef]:
    """The paths under /v1/caches/{cacheId}."""
    base = "/v1/caches/{cacheId}"
    return [
        web.post(f"{base}/entries", partial(_set, service)),
        web.post(f"{base}/entries/search", partial(_search, service)),
        web.post(f"{base}/conversations/search", partial(_search_conversation, service)),
        web.delete(f"{base}/entries", partial(_delete_by_attributes, service)),
        web.delete(f"{base}/entries/{{entryId}}", partial(_delete_by_id, service)),
        web.post(f"{base}/flush", partial(_flush, service)),
    ]


async def _set(service: Service, request: web.Request) -> web.Response:
    scope = _scope(service, request)
    form = read_form(await read_json(request, service), SetRequest)
    prompt = read_text("prompt", form.prompt)
    response = read_text("response", form.response)
    ttl_s = None if form.ttl_millis is None else form.ttl_millis / 1_000
    entry_id = await service.cache.store(
        prompt, response, scope=_narrowed(scope, form.attributes), ttl_s=ttl_s
    )
    return _json(SetResponse(entry_id), status=201)


async def _search(service: Service, request: web.Request) -> web.Response:
    scope = _scope(service, request)
    form = read_form(await read_json(request, service), SearchRequest)
    questions = [read_text("prompt", form.prompt).strip()]
    hits = await find(service, _narrowed(scope, form.attributes), form, questions)
    return _json(SearchResponse(hits))


async def _search_conversation(service: Service, request: web.Request) -> web.Response:
    scope = _scope(service, request)
    form = read_form(await read_json(request, service), ConversationalSearchRequest)
    questions = [
        *(read_text(f"context[{n}]", text) for n, text in enumerate(form.context or ())),
        read_text("prompt", form.prompt),
    ]
    questions = [text.strip() for text in questions]
    hits = await find(service, _narrowed(scope, form.attributes), form, questions)
    return _json(ConversationalSearchResponse("\n".join(questions), hits))


async def _delete_by_attributes(service: Service, request: web.Request) -> web.Response:
    scope = _scope(service, request)
    form = read_form(await read_json(request, service), DeleteRequest)
    removed = await service.cache.invalidate(scope=_narrowed(scope, form.attributes))
    return _json(DeleteResponse(removed))


async def _delete_by_id(service: Service, request: web.Request) -> web.Response:
    scope = _scope(service, request)
    entry_id = request.match_info["entryId"]
    removed = await service.cache.invalidate(scope=scope, entry_ids=[entry_id])
    if not removed:
        raise NotFound("This cache has no entry of that id.", param="entryId")
    return web.Response(status=204)


async def _flush(service: Service, request: web.Request) -> web.Response:
    scope = _scope(service, request)
    await service.cache.invalidate(scope=scope)
    return web.Response(status=204)


def _scope(service: Service, request: web.Request) -> Scope:
    """The caller's own cache of the name in the path."""
    caller = service.keys.caller(request)
    cache_id = request.match_info["cacheId"]
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", cache_id):
        raise Invalid(
            "A cacheId is 1 to 64 letters, digits, '_' or '-'.", param="cacheId", code="pattern"
        )
    return Scope(tenant=caller.tenant, parameters={"api": "langcache", "cache": cache_id})


def _narrowed(scope: Scope, attributes: Mapping[str, str] | None) -> Scope:
    with translated("attributes"):
        return msgspec.structs.replace(scope, attributes=attributes or {})


def _json(body: msgspec.Struct, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json"
    )
