"""What answers a request of an LLM, in OpenAPI's words."""

from __future__ import annotations

from collections.abc import Mapping

from semcache_async.serve.bypass import Bypass, Unkept
from semcache_async.serve.openapi.shapes import (
    JSON,
    Schema,
    content,
    number,
    operation,
    parameter,
    ref,
    text,
)
from semcache_async.types import Source

__all__ = ["completing"]


def _meanings(reasons: type[Bypass] | type[Unkept]) -> str:
    return " ".join(f"{reason.value}: {reason.meaning}" for reason in reasons)


def completing(
    summary: str,
    errors: Mapping[str, str],
    asked: str,
    made: str,
    description: str,
    stream: str = "Chunks, then data: [DONE].",
) -> Schema:
    """The operation that answers with ``made``, or ``stream``, what ``asked`` asks: both names of
    schemas. ``errors``: as of ``operation``."""
    return operation(
        *(summary, errors),
        body=asked,
        answer={
            **content(JSON, ref(made)),
            **content("text/event-stream", {"description": stream}),
        },
        description=description,
        parameters=[
            parameter("Cache-Control", "header", text(), "no-cache, no-store, max-age, ..."),
            parameter(
                "x-semcache-max-distance",
                "header",
                number(minimum=0, maximum=2),
                "May only tighten.",
            ),
            parameter(
                "x-semcache-similarity-threshold",
                "header",
                number(minimum=-1, maximum=1),
                "1 - distance; may only tighten.",
            ),
            parameter("x-semcache-locale", "header", text(), "Part of the scope, such as de-CH."),
            parameter("x-semcache-tags", "header", text(), "Comma-separated; to invalidate by."),
            parameter(
                *("x-semcache-widen", "header", text()),
                "Comma-separated fields of the scope that a stored answer may differ in, where the "
                "service lets it (widenable).",
            ),
        ],
        sends={
            "Cache-Status": text("RFC 9211."),
            "x-semcache-status": text(enum=[source.value for source in Source]),
            "x-semcache-similarity": text("1 - distance."),
            "x-semcache-distance": text(),
            "x-semcache-entry-id": text(),
            "x-semcache-widened": text("The entry is of another scope.", enum=["true"]),
            "x-semcache-shadow": text(
                "In shadow mode: what would have been served instead.", enum=["exact", "semantic"]
            ),
            "x-semcache-not-stored": text(
                "Why a new answer, unless streamed, was not kept. " + _meanings(Unkept),
                enum=[reason.value for reason in Unkept],
            ),
            "x-semcache-api": text(
                "The API in which the upstream answered, where it is another than the request's."
            ),
            "x-semcache-reason": text(
                "Why the cache was bypassed. " + _meanings(Bypass),
                enum=[reason.value for reason in Bypass],
            ),
            "Age": text("Seconds."),
        },
    )
