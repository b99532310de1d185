"""GET /openapi.json: the whole service in OpenAPI 3.1. Bodies are described by what checks them."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
from aiohttp import web

from semcache_async import __version__
from semcache_async.serve import langcache_forms as langcache
from semcache_async.serve.embeddings import EmbeddingsRequest
from semcache_async.serve.openapi_paths import PATHS
from semcache_async.serve.openapi_shapes import SCHEMAS
from semcache_async.serve.page import InvalidationRequest, ReviewRequest
from semcache_async.serve.plain import AnswerRequest, AnswerResponse
from semcache_async.serve.service import Service

__all__ = ["describe", "routes"]

_STRUCTS = (
    *(EmbeddingsRequest, AnswerRequest, AnswerResponse, ReviewRequest, InvalidationRequest),
    *(langcache.SetRequest, langcache.SetResponse, langcache.SearchRequest),
    *(langcache.SearchResponse, langcache.ConversationalSearchRequest),
    *(langcache.ConversationalSearchResponse, langcache.DeleteRequest, langcache.DeleteResponse),
)
_REF = "#/components/schemas/{name}"


def routes(service: Service) -> list[web.RouteDef]:
    """The one path. It needs no key."""
    body = msgspec.json.encode(describe())

    async def serve(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    return [web.get("/openapi.json", serve)]


def describe() -> dict[str, Any]:
    """The description."""
    _, found = msgspec.json.schema_components(_STRUCTS, ref_template=_REF)
    for schema in found.values():
        schema["description"] = " ".join(inspect.cleandoc(schema["description"]).split())
        del schema["title"]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "semcache",
            "version": __version__,
            "description": "A semantic cache in front of an LLM, in three protocols.",
        },
        "security": [{}, {"key": []}],
        "paths": PATHS,
        "components": {
            "schemas": {**SCHEMAS, **found},
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key; without a keys file, none is needed.",
                }
            },
        },
    }
