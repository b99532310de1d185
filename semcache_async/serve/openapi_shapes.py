"""JSON Schemas of what no Struct describes: chat completions as far as the service looks into
them, what the page shows, errors."""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = ["SCHEMAS", "Schema", "array", "obj", "ref", "text"]

Schema: TypeAlias = dict[str, Any]


def obj(
    fields: dict[str, Schema], *, required: bool | tuple[str, ...] = True, **more: Any
) -> Schema:
    """An object; ``required``: all of its fields, none, or the named ones."""
    names = list(fields) if required is True else list(required or ())
    return {"type": "object", "properties": fields, "required": names, **more}


def array(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def text(description: str = "", **more: Any) -> Schema:
    return {"type": "string", **({"description": description} if description else {}), **more}


def number(description: str = "", **more: Any) -> Schema:
    return {"type": "number", **({"description": description} if description else {}), **more}


def count(description: str = "") -> Schema:
    return {
        "type": "integer",
        "minimum": 0,
        **({"description": description} if description else {}),
    }


def nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_DISTANCE = number("Cosine distance: 0 is the same.", minimum=0, maximum=2)
_SIMILARITY = number("1 - distance.", minimum=-1, maximum=1)
_VERDICT = text(enum=["right", "wrong"])
_PERCENTILES = obj({"p50": number(), "p95": number(), "p99": number(), "count": count()})
_BY_NAME = {"type": "object", "additionalProperties": _PERCENTILES}
_NEAR = {
    "at": number("Unix seconds."),
    "prompt": text(),
    "matched_prompt": text(),
    "distance": _DISTANCE,
    "similarity": _SIMILARITY,
    "entry_id": nullable(text()),
    "tenant": text(),
    "locale": text(),
    "model": text(),
}

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
    "Error": obj(
        {
            "error": obj(
                {"message": text(), "type": text(), "param": text()},
                required=("message", "type"),
            )
        }
    ),
    "CacheControl": obj(
        {
            "no-cache": nullable({"type": "boolean", "description": "Do not read the cache."}),
            "no-store": nullable({"type": "boolean", "description": "Do not write to it."}),
            "ttl": nullable(number("Seconds to keep the answer.", minimum=0.001)),
            "s-maxage": nullable(number("Seconds of age beyond which no hit.", minimum=0)),
            "namespace": nullable(text("Answers are shared within it alone.", maxLength=256)),
        },
        required=False,
        additionalProperties=False,
        description="LiteLLM's object; it never goes upstream.",
    ),
    "ChatRequest": obj(
        {
            "model": text(pattern=r"\S"),
            "messages": array(
                obj(
                    {
                        "role": text(
                            enum=["system", "developer", "user", "assistant", "tool", "function"]
                        ),
                        "content": {
                            "type": ["string", "array", "null"],
                            "items": {"type": "object"},
                        },
                    },
                    required=("role",),
                ),
                minItems=1,
            ),
            "stream": {"type": ["boolean", "null"]},
            "stream_options": {"type": ["object", "null"]},
            "temperature": {"type": ["number", "null"]},
            "cache": nullable(ref("CacheControl")),
        },
        required=("model", "messages"),
        description=(
            "OpenAI's request. Fields that are not named here go upstream as they are, and are "
            "part of the scope: another value is another answer."
        ),
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
    "Metrics": obj(
        {
            **{name: count() for name in ("requests", "hits", "misses", "llm_calls")},
            "hit_rate": number("hits / (hits + misses).", minimum=0, maximum=1),
            "saved": obj(
                {
                    "tokens": count(),
                    "prompt_tokens": count(),
                    "completion_tokens": count(),
                    "usd": number("An estimate, by the configured prices."),
                }
            ),
            "latency_ms": {**_BY_NAME, "description": "Whole requests, by source."},
            "stage_ms": {**_BY_NAME, "description": "Waits, by stage."},
        },
        description="Of all processes together; every counter of the cache is there by its name.",
    ),
    "PageConfig": obj(
        {
            "name": text(),
            "max_distance": _DISTANCE,
            "embedder": text(),
            "open": {"type": "boolean", "description": "Nobody needs a key."},
            "admin": {"type": "boolean"},
            "tenant": text(),
        }
    ),
    "NearHits": obj({"hits": array(obj({"id": text(), **_NEAR, "verdict": nullable(_VERDICT)}))}),
    "Reviews": obj(
        {
            "reviews": array(obj({**_NEAR, "verdict": _VERDICT}, required=("prompt", "verdict"))),
            "right": count(),
            "wrong": count(),
        }
    ),
    "Entries": obj(
        {
            "entries": array(
                obj(
                    {
                        "id": text(),
                        "prompt": text(),
                        "answer": text(),
                        "tags": array(text()),
                        "created_at": number("Unix seconds."),
                    }
                )
            ),
            "tags": {
                "type": "object",
                "additionalProperties": count(),
                "description": "How many of the newest entries carry each.",
            },
        }
    ),
    "Removed": obj({"removed": count()}),
    "Health": obj({"status": text(), "reason": text()}, required=("status",)),
}
