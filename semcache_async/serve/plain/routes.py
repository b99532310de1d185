"""The plain paths, each with who may ask it and what it does."""

from __future__ import annotations

from semcache_async.bounds.choice import Origin, Outcome
from semcache_async.serve.openapi.shapes import (
    ERROR,
    JSON,
    Schema,
    array,
    content,
    count,
    nullable,
    number,
    obj,
    operation,
    ref,
    text,
)
from semcache_async.serve.plain.handlers import answer, feedback, metrics, reaches
from semcache_async.serve.protocol import Access, Route

__all__ = ["ROUTES", "SCHEMAS"]

_ANSWER = operation(
    *("Answer a prompt", ERROR), body="AnswerRequest", answer=content(JSON, ref("AnswerResponse"))
)
_METRICS = operation("What the cache has been doing", ERROR, answer=content(JSON, ref("Metrics")))
_FEEDBACK = operation(
    "Say whether an entry's answer is right for a prompt", ERROR, body="FeedbackRequest", ok=204
)
_REACHES = operation(
    *("How far each scope serves other wordings, and why", ERROR),
    answer=content(JSON, ref("Reaches")),
    description="Empty unless target_precision is set. Of the process that answers: what it goes "
    "by, of the scopes that it has served.",
)

ROUTES = (
    Route("POST", "/semantic-cache/answer", Access.KEY, answer, _ANSWER, "plain"),
    Route("POST", "/semantic-cache/feedback", Access.ADMIN, feedback, _FEEDBACK),
    Route("GET", "/semantic-cache/reaches", Access.ADMIN, reaches, _REACHES),
    Route("GET", "/semantic-cache/metrics", Access.KEY, metrics, _METRICS),
)

_PERCENTILES = obj({"p50": number(), "p95": number(), "p99": number(), "count": count()})
_SHARE = number(minimum=0, maximum=1)
_TABLE = {
    "type": "object",
    "additionalProperties": {"type": "object", "additionalProperties": count()},
}
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
                    "seconds": number("That callers of hits did not wait, an estimate."),
                }
            ),
            "target_precision": nullable(_SHARE),
            "wrong_hits": {
                **nullable(
                    obj({"share": _SHARE, "low": _SHARE, "high": _SHARE, "audited": count()})
                ),
                "description": "The share of wrong ones among the semantic hits and its 95 % "
                "interval, as audits measure it; null without audits.",
            },
            "latency_ms": {**_BY_NAME, "description": "Whole requests, by source."},
            "stage_ms": {**_BY_NAME, "description": "Waits, by stage."},
            "first_byte_ms": {
                **_BY_NAME,
                "description": "From a call to the first byte of its answer, by upstream.",
            },
            "protocol_requests": {**_TABLE, "description": "By protocol and result."},
            "upstream_calls": {**_TABLE, "description": "By upstream and outcome."},
        },
        description="Of all processes together; every counter of the cache is there by its name.",
    ),
    "Reaches": obj(
        {
            "reaches": array(
                obj(
                    {
                        "tenant": text(),
                        "model": text(),
                        "locale": text(),
                        "max_distance": {
                            **nullable(number(minimum=0, maximum=2)),
                            "description": "Null: nothing is served by meaning.",
                        },
                        "origin": text(enum=[origin.value for origin in Origin]),
                        "samples": number("What it rests on.", minimum=0),
                        "explanation": text(),
                        "target": {**_SHARE, "description": "The target_precision."},
                        "outcome": text(
                            "The target held against the audits, with 95 %.",
                            enum=[outcome.value for outcome in Outcome],
                        ),
                        "audits": {
                            **nullable(
                                obj(
                                    {
                                        **dict.fromkeys(("precision", "low", "high"), _SHARE),
                                        "count": number(minimum=0),
                                    }
                                )
                            ),
                            "description": "Of the scope's hits that were judged afterwards: the "
                            "share of right ones, its 95 % interval, and how many; older ones "
                            "count less. Null without any.",
                        },
                    }
                )
            )
        }
    ),
}
