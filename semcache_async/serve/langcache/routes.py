"""LangCache's paths, each with who may ask it and what it does."""

from __future__ import annotations

from semcache_async.serve.langcache import handlers
from semcache_async.serve.openapi.shapes import (
    JSON,
    Schema,
    array,
    content,
    obj,
    operation,
    parameter,
    ref,
    text,
)
from semcache_async.serve.protocol import Access, Handler, Route

__all__ = ["ROUTES", "SCHEMAS"]

_BASE = "/v1/caches/{cacheId}"
_CACHE = parameter(
    *("cacheId", "path", text(pattern="^[A-Za-z0-9_-]{1,64}$")),
    "A cache of the caller's own; it needs no creating.",
)
_ENTRY = parameter("entryId", "path", text(), "As set returned it.")
_ERRORS = {"LangCacheError": "424: Redis or the embedding model cannot serve now."}


def _route(
    method: str,
    path: str,
    handler: Handler,
    summary: str,
    *more: Schema,
    body: str = "",
    answer: str = "",
    ok: int = 200,
) -> Route:
    """All of them concern the caller's own caches alone."""
    described = operation(
        *(summary, _ERRORS),
        body=body,
        answer=content(JSON, ref(answer)) if answer else None,
        ok=ok,
        parameters=(_CACHE, *more),
    )
    return Route(
        method, f"{_BASE}{path}", Access.OWN_KEY, handler, described, counted_as="langcache"
    )


ROUTES = (
    _route(
        *("POST", "/entries", handlers.keep, "Keep an answer"),
        body="SetRequest",
        answer="SetResponse",
        ok=201,
    ),
    _route(
        *("POST", "/entries/search", handlers.search, "Look a prompt up"),
        body="SearchRequest",
        answer="SearchResponse",
    ),
    _route(
        *("POST", "/conversations/search", handlers.search_conversation),
        "Look a conversation's next question up",
        body="ConversationalSearchRequest",
        answer="ConversationalSearchResponse",
    ),
    _route(
        *("DELETE", "/entries", handlers.delete_by_attributes, "Delete by attributes"),
        body="DeleteRequest",
        answer="DeleteResponse",
    ),
    _route(
        *("DELETE", "/entries/{entryId}", handlers.delete_by_id, "Delete one entry", _ENTRY),
        ok=204,
    ),
    _route("POST", "/flush", handlers.flush, "Delete all entries", ok=204),
)

SCHEMAS: dict[str, Schema] = {
    "LangCacheError": obj(
        {
            "title": text(),
            "type": text(
                enum=[
                    f"/errors/{kind}"
                    for kind in (
                        *("invalid-data", "authentication-failed", "insufficient-permissions"),
                        *("resource-not-found", "payload-too-large", "resource-unavailable"),
                        *("database-out-of-memory", "too-many-requests", "unexpected-error"),
                    )
                ]
            ),
            "status": {"type": "integer"},
            "detail": text(),
            "fields": array(obj({"field": text(), "rule": text(), "message": text()})),
        },
        required=("title", "type"),
    ),
}
