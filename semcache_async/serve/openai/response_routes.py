"""The paths of OpenAI's responses."""

from __future__ import annotations

from collections.abc import Iterable

from semcache_async.serve.apis import RESPONSES
from semcache_async.serve.asking.describing import completing
from semcache_async.serve.asking.handler import asking
from semcache_async.serve.openai.errors import render
from semcache_async.serve.openai.responses import (
    broken,
    cancel,
    delete,
    input_items,
    retrieve,
)
from semcache_async.serve.openai.routes import ERRORS
from semcache_async.serve.openapi.shapes import (
    JSON,
    Schema,
    array,
    content,
    nullable,
    obj,
    operation,
    parameter,
    ref,
    text,
)
from semcache_async.serve.protocol import Access, Route

__all__ = ["ROUTES", "SCHEMAS"]

_EVENTS = "Events, the last of which holds the whole response."


def _named(summary: str, answer: Schema, *query: str, description: str = "") -> Schema:
    return operation(
        *(summary, ERRORS),
        answer=answer,
        parameters=_parameters(query),
        description=description,
    )


def _parameters(query: Iterable[str]) -> Iterable[Schema]:
    yield parameter("id", "path", text(), "Its id, or that of a hit.")
    yield parameter("model", "query", text(), "Any of the upstream's that has it.")
    for name in query:
        yield parameter(name, "query", text(), "The upstream's to understand.")


_CREATE = completing(
    "Answer in a response",
    ERRORS,
    "ResponseRequest",
    "Response",
    "The last user message is looked up as a chat's is. A hit has ids of its own, by which it can "
    "be continued, retrieved and referred to all the same.",
    _EVENTS,
)
_RESPONSE = content(JSON, ref("Response"))
_RETRIEVE = _named(
    "A response that the upstream keeps",
    {**_RESPONSE, **content("text/event-stream", {"description": _EVENTS})},
    *("include[]", "stream", "starting_after", "include_obfuscation"),
    description="A hit's id leads to the response from which it was made.",
)
_DELETE = _named(
    "Delete a response that the upstream keeps",
    content(JSON, ref("DeletedResponse")),
    description="Of a hit nothing is deleted, since others have it too.",
)
_CANCEL = _named("Cancel a response that is made in the background", _RESPONSE)
_ITEMS = _named(
    "What was asked for a response",
    content(JSON, ref("ResponseItems")),
    *("include[]", "after", "limit", "order"),
)

_PATH = "/v1/responses"
ROUTES = (
    Route("POST", _PATH, Access.KEY, asking(RESPONSES, render, broken), _CREATE, "responses"),
    Route("GET", f"{_PATH}/{{id}}", Access.KEY, retrieve, _RETRIEVE),
    Route("DELETE", f"{_PATH}/{{id}}", Access.KEY, delete, _DELETE),
    Route("POST", f"{_PATH}/{{id}}/cancel", Access.KEY, cancel, _CANCEL),
    Route("GET", f"{_PATH}/{{id}}/input_items", Access.KEY, input_items, _ITEMS),
)

SCHEMAS: dict[str, Schema] = {
    "ResponseRequest": obj(
        {
            "model": text(),
            "input": {"type": ["string", "array"]},
            "instructions": nullable(text()),
            "stream": {"type": ["boolean", "null"]},
            "cache": nullable(ref("CacheControl")),
        },
        required=("model", "input"),
        description="OpenAI's request, as with a chat.",
    ),
    "Response": obj(
        {
            "id": text(),
            "object": text(const="response"),
            "status": text(),
            "model": text(),
            "output": array({"type": "object"}),
            "usage": {"type": ["object", "null"]},
        },
        required=("object",),
        description="As the upstream answered it; a hit has ids and times of its own.",
    ),
    "DeletedResponse": obj({"id": text(), "deleted": {"type": "boolean"}}),
    "ResponseItems": obj({"object": text(const="list"), "data": array({"type": "object"})}),
}
