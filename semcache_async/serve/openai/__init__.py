"""OpenAI's completions of chats and texts, responses, models and embeddings: any client of theirs
works here by changing its URL."""

from __future__ import annotations

from semcache_async.serve.openai import response_routes
from semcache_async.serve.openai.embeddings import EmbeddingsRequest
from semcache_async.serve.openai.errors import render
from semcache_async.serve.openai.responses import broken
from semcache_async.serve.openai.routes import ROUTES, SCHEMAS
from semcache_async.serve.protocol import Protocol

__all__ = ["PROTOCOL", "RESPONSES"]

PROTOCOL = Protocol(
    name="OpenAI",
    prefix="/v1/",
    render=render,
    routes=ROUTES,
    structs=(EmbeddingsRequest,),
    schemas=SCHEMAS,
)
RESPONSES = Protocol(
    name="OpenAI's responses",
    prefix="/v1/responses",
    render=render,
    broken=broken,
    routes=response_routes.ROUTES,
    schemas=response_routes.SCHEMAS,
)
