"""OpenAI's paths, each with who may ask it and what it does."""

from __future__ import annotations

from semcache_async.serve.apis.chat import CHAT, TEXT
from semcache_async.serve.asking.describing import completing
from semcache_async.serve.asking.handler import asking
from semcache_async.serve.openai.embeddings import create
from semcache_async.serve.openai.errors import render
from semcache_async.serve.openai.models import model, models
from semcache_async.serve.openapi.shapes import (
    JSON,
    Schema,
    array,
    content,
    count,
    nullable,
    number,
    obj,
    operation,
    parameter,
    ref,
    text,
)
from semcache_async.serve.protocol import Access, Route

__all__ = ["ERRORS", "ROUTES", "SCHEMAS"]

ERRORS = {
    "OpenAIError": "400 what is wrong, 401 no such key, 404 no such model, 413 too large, 429 too "
    "many; 5xx the upstream's error, or 503 with Retry-After."
}
"""Of all that OpenAI's API answers."""


_CHAT = completing(
    "Answer a chat",
    ERRORS,
    "ChatRequest",
    "ChatCompletion",
    "The last user message is looked up, by meaning, among those of the same scope: tenant, "
    "model, upstream, every other message and parameter. A miss goes upstream, once for all "
    "who ask the same meanwhile.",
)
_TEXT = completing(
    "Complete a text",
    ERRORS,
    "TextRequest",
    "TextCompletion",
    "OpenAI's older form. The prompt is looked up as a chat's question is; several prompts at once "
    "and tokens go upstream past the cache.",
)
_MODELS = operation("The upstream's models", ERRORS, answer=content(JSON, ref("Models")))
_MODEL = operation(
    *("One of the upstream's models", ERRORS),
    answer=content(JSON, ref("Model")),
    parameters=[parameter("id", "path", text(), "Its name, slashes and all.")],
)
_EMBEDDINGS = operation(
    *("Embed texts with the cache's own model, or another of the upstream", ERRORS),
    body="EmbeddingsRequest",
    answer=content(JSON, ref("Embeddings")),
)

ROUTES = (
    Route("POST", "/v1/chat/completions", Access.KEY, asking(CHAT, render), _CHAT, "chat"),
    Route("POST", "/v1/completions", Access.KEY, asking(TEXT, render), _TEXT, "completions"),
    Route("GET", "/v1/models", Access.KEY, models, _MODELS),
    Route("GET", "/v1/models/{id:.+}", Access.KEY, model, _MODEL),
    Route("POST", "/v1/embeddings", Access.KEY, create, _EMBEDDINGS, "embeddings"),
)

SCHEMAS: dict[str, Schema] = {
    "OpenAIError": obj(
        {
            "error": obj(
                {
                    "message": text(),
                    "type": nullable(text()),
                    "param": nullable(text("The field that is wrong.")),
                    "code": nullable({"type": ["string", "integer"]}),
                },
                required=("message",),
            )
        }
    ),
    "CacheControl": obj(
        {
            "no-cache": nullable({"type": "boolean", "description": "Do not read the cache."}),
            "no-store": nullable({"type": "boolean", "description": "Do not write to it."}),
            "ttl": nullable(number("Seconds to keep the answer.", minimum=0.001)),
            "s-max-age": nullable(number("The same as s-maxage.", minimum=0)),
            "use-cache": {"description": "Says nothing here: the cache is on."},
            "s-maxage": nullable(number("Seconds of age beyond which no hit.", minimum=0)),
            "namespace": nullable(text("Answers are shared within it alone.", maxLength=256)),
        },
        required=False,
        additionalProperties=False,
        description="LiteLLM's object; it never goes upstream.",
    ),
    "ChatRequest": obj(
        {
            "model": text(),
            "messages": array({"type": "object"}),
            "stream": {"type": ["boolean", "null"]},
            "cache": nullable(ref("CacheControl")),
        },
        required=("model", "messages"),
        description=(
            "OpenAI's request. It goes upstream as it is, but for `cache`; what it may hold is for "
            "the upstream to say. Fields that are not named here are part of the scope: another "
            "value is another answer."
        ),
    ),
    "TextRequest": obj(
        {
            "model": text(),
            "prompt": {"type": ["string", "array"]},
            "stream": {"type": ["boolean", "null"]},
            "cache": nullable(ref("CacheControl")),
        },
        required=("model", "prompt"),
        description="OpenAI's request, as with a chat.",
    ),
    "TextCompletion": obj(
        {
            "id": text(),
            "object": text(const="text_completion"),
            "choices": array(
                obj({"index": count(), "text": text(), "finish_reason": nullable(text())})
            ),
        },
        required=("choices",),
    ),
    "ChatCompletion": obj(
        {
            "id": text(),
            "object": text(const="chat.completion"),
            "created": {"type": "integer"},
            "model": text(),
            "choices": array({"type": "object"}),
            "usage": {"type": ["object", "null"]},
        },
        required=("id", "object", "created", "choices"),
        description="As the upstream answered it; a hit has an id and a time of its own.",
    ),
    "Models": obj({"object": text(const="list"), "data": array({"type": "object"})}),
    "Model": obj({"id": text()}),
    "Embeddings": obj(
        {
            "object": text(const="list"),
            "data": array(
                obj(
                    {
                        "object": text(const="embedding"),
                        "index": count(),
                        "embedding": {"type": ["array", "string"], "items": {"type": "number"}},
                    }
                )
            ),
            "model": text(),
            "usage": obj({"prompt_tokens": count(), "total_tokens": count()}),
        }
    ),
}
