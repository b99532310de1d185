"""The page's paths, each with who may ask it and what it does."""

from __future__ import annotations

from semcache_async.serve.openapi.shapes import (
    DISTANCE,
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
    parameter,
    ref,
    text,
)
from semcache_async.serve.page import handlers
from semcache_async.serve.page.files import file
from semcache_async.serve.protocol import Access, Handler, Route

__all__ = ["ROUTES", "SCHEMAS"]

_BASE = "/semantic-cache"
_LIMIT = parameter(
    *("limit", "query", {"type": "integer", "minimum": 1, "maximum": 1_000}), "Rows at most."
)
_TAG = parameter("tag", "query", text(pattern=r"\S"), "Only entries that carry it.")


def _file(path: str, name: str, kind: str, summary: str) -> Route:
    described = operation(summary, ERROR, answer=content(kind, text()))
    return Route("GET", path, Access.OPEN, file(name, kind), described)


def _listed(path: str, handler: Handler, summary: str, name: str, *more: Schema) -> Route:
    described = operation(summary, ERROR, answer=content(JSON, ref(name)), parameters=more)
    return Route("GET", f"{_BASE}{path}", Access.ADMIN, handler, described)


ROUTES = (
    _file("/", "index.html", "text/html", "The page"),
    _file("/page.css", "page.css", "text/css", "Its style"),
    _file("/page.js", "page.js", "text/javascript", "Its script"),
    _file("/icon.svg", "icon.svg", "image/svg+xml", "Its icon"),
    Route(
        *("GET", f"{_BASE}/config", Access.KEY, handlers.config),
        operation("What the page has to know", ERROR, answer=content(JSON, ref("PageConfig"))),
    ),
    Route(
        *("GET", f"{_BASE}/savings", Access.KEY, handlers.savings),
        operation("What the last hour saved", ERROR, answer=content(JSON, ref("Savings"))),
    ),
    _listed("/near", handlers.near, "Hits near the threshold", "NearHits", _LIMIT),
    _listed("/reviews", handlers.reviews, "What people said of hits", "Reviews", _LIMIT),
    Route(
        *("POST", f"{_BASE}/reviews", Access.ADMIN, handlers.review),
        operation(
            *("Say whether a hit was right", ERROR),
            body="ReviewRequest",
            ok=204,
            description="It is kept for calibration, and holds for the entry at once.",
        ),
    ),
    Route(
        *("GET", f"{_BASE}/reviews.jsonl", Access.ADMIN, handlers.reviews_jsonl),
        operation(
            *("The reviews as labelled pairs", ERROR),
            answer=content("application/jsonl", text("text_a, text_b, label in each line.")),
        ),
    ),
    _listed("/entries", handlers.entries, "The newest entries", "Entries", _TAG, _LIMIT),
    Route(
        *("POST", f"{_BASE}/invalidate", Access.ADMIN, handlers.invalidate),
        operation(
            *("Delete entries, or say which would be", ERROR),
            body="InvalidationRequest",
            answer=content(JSON, ref("Removed")),
        ),
    ),
)

_SIMILARITY = number("1 - distance.", minimum=-1, maximum=1)
_VERDICT = text(enum=["right", "wrong"])
_NEAR = {
    "at": number("Unix seconds."),
    "prompt": text(),
    "matched_prompt": text(),
    "distance": DISTANCE,
    "similarity": _SIMILARITY,
    "entry_id": nullable(text()),
    "tenant": text(),
    "locale": text(),
    "model": text(),
}
_ENTRY = obj(
    {
        "id": text(),
        "prompt": text(),
        "answer": text(),
        "tags": array(text()),
        "created_at": number("Unix seconds."),
    }
)
SCHEMAS: dict[str, Schema] = {
    "PageConfig": obj(
        {
            "name": text(),
            "max_distance": DISTANCE,
            "shadow": {"type": "boolean", "description": "Nothing is served."},
            "embedder": text(),
            "open": {"type": "boolean", "description": "Nobody needs a key."},
            "admin": {"type": "boolean"},
            "tenant": text(),
        }
    ),
    "Savings": obj(
        dict.fromkeys(
            ("avoided", "llm_calls", "seconds", "tokens", "usd"),
            array(number(), minItems=60, maxItems=60),
        ),
        description="Sums of all processes by minute, the oldest first and the last one under way: "
        "LLM calls avoided and made, and the seconds, tokens and US dollars saved, as estimated.",
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
            "entries": array(_ENTRY),
            "tags": {
                "type": "object",
                "additionalProperties": count(),
                "description": "How many of the newest entries carry each.",
            },
        }
    ),
    "Removed": obj(
        {
            "removed": count(),
            "count": count("What would be removed (dry_run)."),
            "examples": array(_ENTRY),
        },
        required=("removed",),
    ),
}
