"""The plain paths, each with who may ask it and what it does."""

from __future__ import annotations

from semcache_async.serve.openapi.shapes import (
    ERROR,
    JSON,
    Schema,
    content,
    count,
    number,
    obj,
    operation,
    ref,
)
from semcache_async.serve.plain.handlers import answer, metrics
from semcache_async.serve.protocol import Access, Route

__all__ = ["ROUTES", "SCHEMAS"]

_ANSWER = operation(
    *("Answer a prompt", ERROR), body="AnswerRequest", answer=content(JSON, ref("AnswerResponse"))
)
_METRICS = operation("What the cache has been doing", ERROR, answer=content(JSON, ref("Metrics")))

ROUTES = (
    Route("POST", "/semantic-cache/answer", Access.KEY, answer, _ANSWER),
    Route("GET", "/semantic-cache/metrics", Access.KEY, metrics, _METRICS),
)

_PERCENTILES = obj({"p50": number(), "p95": number(), "p99": number(), "count": count()})
_BY_NAME = {"type": "object", "additionalProperties": _PERCENTILES}
SCHEMAS: dict[str, Schema] = {
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
}
