"""OpenAI's completions of chats and texts, models and embeddings: any client of theirs works here
by changing its URL."""

from __future__ import annotations

from semcache_async.serve.openai.embeddings import EmbeddingsRequest
from semcache_async.serve.openai.errors import render
from semcache_async.serve.openai.routes import ROUTES, SCHEMAS
from semcache_async.serve.protocol import Protocol

__all__ = ["PROTOCOL"]

PROTOCOL = Protocol(
    name="OpenAI",
    prefix="/v1/",
    render=render,
    routes=ROUTES,
    structs=(EmbeddingsRequest,),
    schemas=SCHEMAS,
)
