"""Anthropic's paths, each with who may ask it and what it does."""

from __future__ import annotations

from semcache_async.serve.anthropic.counting import count as count_tokens
from semcache_async.serve.anthropic.errors import broken, render
from semcache_async.serve.apis import MESSAGES
from semcache_async.serve.asking.describing import completing
from semcache_async.serve.asking.handler import asking
from semcache_async.serve.openapi.shapes import (
    JSON,
    Schema,
    array,
    content,
    count,
    nullable,
    obj,
    operation,
    ref,
    text,
)
from semcache_async.serve.protocol import Access, Route

__all__ = ["ROUTES", "SCHEMAS"]

_answer = asking(MESSAGES, render, broken)
_ERRORS = {
    "AnthropicError": "400 what is wrong, 401 no such key, 404 no such model, 413 too large, 429 "
    "too many; 5xx the upstream's error, or 503 with Retry-After."
}
_MESSAGE = completing(
    "Answer messages",
    _ERRORS,
    "MessagesRequest",
    "Message",
    "The last user message is looked up as a chat's is. An upstream that knows chat completions "
    "only is asked in those.",
    "Events from message_start to message_stop.",
)
_COUNT = operation(
    *("The upstream's count of a request's tokens", _ERRORS),
    body="CountTokensRequest",
    answer=content(JSON, ref("TokenCount")),
)

ROUTES = (
    Route("POST", "/v1/messages", Access.KEY, _answer, _MESSAGE, "messages"),
    Route("POST", "/v1/messages/count_tokens", Access.KEY, count_tokens, _COUNT, "messages"),
)

SCHEMAS: dict[str, Schema] = {
    "AnthropicError": obj(
        {
            "type": text(const="error"),
            "error": obj({"type": text(), "message": text()}),
            "request_id": nullable(text()),
        },
        required=("type", "error"),
    ),
    "MessagesRequest": obj(
        {
            "model": text(),
            "max_tokens": {"type": "integer"},
            "messages": array({"type": "object"}),
            "stream": {"type": ["boolean", "null"]},
            "cache": nullable(ref("CacheControl")),
        },
        required=("model", "max_tokens", "messages"),
        description=(
            "Anthropic's request. It goes upstream as it is, but for `cache`; what it may hold is "
            "for the upstream to say. Fields that are not named here are part of the scope, except "
            "`cache_control`, `metadata` and `service_tier`."
        ),
    ),
    "Message": obj(
        {
            "id": text(),
            "type": text(const="message"),
            "role": text(),
            "model": text(),
            "content": array({"type": "object"}),
            "stop_reason": nullable(text()),
            "usage": {"type": ["object", "null"]},
        },
        required=("id", "type", "content"),
        description="As the upstream answered it; a hit has an id of its own.",
    ),
    "CountTokensRequest": obj(
        {"model": text(), "messages": array({"type": "object"})},
        description="Anthropic's request; it goes upstream as it is.",
    ),
    "TokenCount": obj({"input_tokens": count()}),
}
