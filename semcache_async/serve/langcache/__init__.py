"""The LangCache REST API: the public ``langcache`` SDK works here by changing its URL."""

from __future__ import annotations

from semcache_async.serve.langcache import forms
from semcache_async.serve.langcache.errors import render
from semcache_async.serve.langcache.routes import ROUTES, SCHEMAS
from semcache_async.serve.protocol import Protocol

__all__ = ["PROTOCOL"]

PROTOCOL = Protocol(
    name="LangCache",
    prefix="/v1/caches/",
    render=render,
    routes=ROUTES,
    structs=(
        *(forms.SetRequest, forms.SetResponse, forms.SearchRequest, forms.SearchResponse),
        *(forms.ConversationalSearchRequest, forms.ConversationalSearchResponse),
        *(forms.DeleteRequest, forms.DeleteResponse),
    ),
    schemas=SCHEMAS,
)
