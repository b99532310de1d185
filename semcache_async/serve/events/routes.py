"""The path for events, with who may ask it and what it does."""

from __future__ import annotations

from semcache_async.serve.events.handlers import events
from semcache_async.serve.openapi.shapes import (
    JSON,
    Schema,
    array,
    content,
    count,
    obj,
    operation,
    ref,
)
from semcache_async.serve.protocol import Access, Route

__all__ = ["ROUTES", "SCHEMAS"]

_ERRORS = {"OpenAIError": "What is wrong, as everywhere under /v1."}
_EVENTS = operation(
    *("Do away with what a change has made stale", _ERRORS),
    body="Events",
    answer=content(JSON, ref("Applied")),
    description="Each thing named goes, whatever else is named. Telling it again does no harm.",
)

ROUTES = (Route("POST", "/v1/events", Access.ADMIN, events, _EVENTS),)

SCHEMAS: dict[str, Schema] = {
    "Events": {"anyOf": [ref("Event"), array(ref("Event"), minItems=1)]},
    "Applied": obj(
        {
            "removed": count("Entries deleted."),
            "versions": {
                "type": "object",
                "additionalProperties": count(),
                "description": "The new version of each namespace named.",
            },
        }
    ),
}
