"""Every path of the service, as OpenAPI has it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from semcache_async.serve.openapi_shapes import Schema, number, ref, text
from semcache_async.types import Source

__all__ = ["PATHS"]

_JSON, _TEXT = "application/json", "text/plain"

_OPENAI = {
    "OpenAIError": "400 what is wrong, 401 no such key, 404 no such model, 413 too large, 429 too "
    "many; 5xx the upstream's error, or 503 with Retry-After."
}
_LANGCACHE = {"LangCacheError": "424: Redis or the embedding model cannot serve now."}
_PLAIN = {"Error": "What is wrong, in one sentence."}
_NO_KEY: list[dict[str, list[str]]] = [{}]
_ADMIN = "For admins: it concerns every tenant."


def _openai() -> dict[str, Any]:
    tag = "OpenAI"
    headers = [
        _parameter("Cache-Control", "header", text(), "no-cache, no-store, max-age, ..."),
        _parameter(
            "x-semcache-max-distance", "header", number(minimum=0, maximum=2), "May only tighten."
        ),
        _parameter(
            "x-semcache-similarity-threshold",
            "header",
            number(minimum=-1, maximum=1),
            "1 - distance; may only tighten.",
        ),
        _parameter("x-semcache-locale", "header", text(), "Part of the scope, such as de-CH."),
        _parameter("x-semcache-tags", "header", text(), "Comma-separated; to invalidate by."),
    ]
    chat = _operation(
        *(tag, "Answer a chat", _OPENAI),
        body="ChatRequest",
        answer={
            **_content(_JSON, ref("ChatCompletion")),
            **_content("text/event-stream", text("Chunks, then data: [DONE].")),
        },
        parameters=headers,
        description=(
            "The last user message is looked up, by meaning, among those of the same scope: "
            "tenant, model, every other message and parameter. A miss goes upstream, once for "
            "all who ask the same meanwhile."
        ),
        sends={
            "Cache-Status": text("RFC 9211."),
            "x-semcache-status": text(enum=[source.value for source in Source]),
            "x-semcache-similarity": text("1 - distance."),
            "x-semcache-distance": text(),
            "x-semcache-entry-id": text(),
            "x-semcache-reason": text("Why the cache was bypassed."),
            "Age": text("Seconds."),
        },
    )
    embed = _operation(
        *(tag, "Embed texts with the cache's own model", _OPENAI),
        body="EmbeddingsRequest",
        answer=_content(_JSON, ref("Embeddings")),
    )
    models = _operation(
        *(tag, "The upstream's models", _OPENAI), answer=_content(_JSON, ref("Models"))
    )
    return {
        "/v1/chat/completions": {"post": chat},
        "/v1/models": {"get": models},
        "/v1/embeddings": {"post": embed},
    }


def _langcache() -> dict[str, Any]:
    base, tag = "/v1/caches/{cacheId}", "LangCache"
    cache = _parameter(
        *("cacheId", "path", text(pattern="^[A-Za-z0-9_-]{1,64}$")),
        "A cache of the caller's own; it needs no creating.",
    )

    def called(summary: str, body: str = "", answer: str = "", ok: int = 200) -> Any:
        return {
            "parameters": [cache],
            "post": _operation(
                *(tag, summary, _LANGCACHE),
                body=body,
                answer=_content(_JSON, ref(answer)) if answer else None,
                ok=ok,
            ),
        }

    entries = called("Keep an answer", "SetRequest", "SetResponse", 201)
    entries["delete"] = _operation(
        *(tag, "Delete by attributes", _LANGCACHE),
        body="DeleteRequest",
        answer=_content(_JSON, ref("DeleteResponse")),
    )
    one = {
        "parameters": [cache, _parameter("entryId", "path", text(), "As set returned it.")],
        "delete": _operation(*(tag, "Delete one entry", _LANGCACHE), ok=204),
    }
    return {
        f"{base}/entries": entries,
        f"{base}/entries/search": called("Look a prompt up", "SearchRequest", "SearchResponse"),
        f"{base}/conversations/search": called(
            "Look a conversation's next question up",
            "ConversationalSearchRequest",
            "ConversationalSearchResponse",
        ),
        f"{base}/entries/{{entryId}}": one,
        f"{base}/flush": called("Delete all entries", ok=204),
    }


def _plain() -> dict[str, Any]:
    answer = _operation(
        *("plain", "Answer a prompt", _PLAIN),
        body="AnswerRequest",
        answer=_content(_JSON, ref("AnswerResponse")),
    )
    metrics = _operation(
        *("plain", "What the cache has been doing", _PLAIN),
        answer=_content(_JSON, ref("Metrics")),
    )
    return {
        "/semantic-cache/answer": {"post": answer},
        "/semantic-cache/metrics": {"get": metrics},
    }


def _page() -> dict[str, Any]:
    tag, base = "page", "/semantic-cache"
    limit = _parameter(
        *("limit", "query", {"type": "integer", "minimum": 1, "maximum": 1_000}), "Rows at most."
    )
    of_tag = _parameter("tag", "query", text(pattern=r"\S"), "Only entries that carry it.")

    def shown(summary: str, name: str, *parameters: Schema) -> Schema:
        return _operation(
            *(tag, summary, _PLAIN),
            answer=_content(_JSON, ref(name)),
            parameters=parameters,
            description=_ADMIN,
        )

    return {
        f"{base}/config": {
            "get": _operation(
                *(tag, "What the page has to know", _PLAIN),
                answer=_content(_JSON, ref("PageConfig")),
            )
        },
        f"{base}/near": {"get": shown("Hits near the threshold", "NearHits", limit)},
        f"{base}/reviews": {
            "get": shown("What people said of hits", "Reviews", limit),
            "post": _operation(
                *(tag, "Say whether a hit was right", _PLAIN),
                body="ReviewRequest",
                ok=204,
                description=_ADMIN,
            ),
        },
        f"{base}/reviews.jsonl": {
            "get": _operation(
                *(tag, "The reviews as labelled pairs", _PLAIN),
                answer=_content("application/jsonl", text("text_a, text_b, label in each line.")),
                description=_ADMIN,
            )
        },
        f"{base}/entries": {"get": shown("The newest entries", "Entries", of_tag, limit)},
        f"{base}/invalidate": {
            "post": _operation(
                *(tag, "Delete entries", _PLAIN),
                body="InvalidationRequest",
                answer=_content(_JSON, ref("Removed")),
                description=_ADMIN,
            )
        },
        **{
            path: {
                "get": _operation(tag, summary, _PLAIN, answer=_content(kind, text()), open=True)
            }
            for path, summary, kind in (
                ("/", "The page", "text/html"),
                ("/page.css", "Its style", "text/css"),
                ("/page.js", "Its script", "text/javascript"),
                ("/icon.svg", "Its icon", "image/svg+xml"),
            )
        },
    }


def _operations() -> dict[str, Any]:
    tag = "operations"
    ready = _operation(
        *(tag, "May this process get work?", _PLAIN),
        answer=_content(_JSON, ref("Health")),
        open=True,
    )
    ready["responses"]["503"] = {
        "description": "Not now; the reason says why.",
        "content": _content(_JSON, ref("Health")),
    }
    alive = _operation(
        *(tag, "Does this process live?", _PLAIN),
        answer=_content(_JSON, ref("Health")),
        open=True,
    )
    metrics = _operation(
        *(tag, "For Prometheus", _PLAIN), answer=_content(_TEXT, text()), open=True
    )
    this = _operation(
        *(tag, "This description", _PLAIN),
        answer=_content(_JSON, {"type": "object"}),
        open=True,
    )
    return {
        "/healthz": {"get": alive},
        "/readyz": {"get": ready},
        "/metrics": {"get": metrics},
        "/openapi.json": {"get": this},
    }


def _operation(
    tag: str,
    summary: str,
    errors: dict[str, str],
    *,
    body: str = "",
    answer: Schema | None = None,
    ok: int = 200,
    parameters: Iterable[Schema] = (),
    description: str = "",
    sends: dict[str, Schema] | None = None,
    open: bool = False,  # noqa: A002 - no key is needed
) -> dict[str, Any]:
    success: dict[str, Any] = {"description": "Done."}
    if answer is not None:
        success["content"] = answer
    if sends is not None:
        success["headers"] = {name: {"schema": schema} for name, schema in sends.items()}
    ((schema, said),) = errors.items()
    failure = {"description": said, "content": _content(_JSON, ref(schema))}
    operation: dict[str, Any] = {
        "tags": [tag],
        "summary": summary,
        "responses": {str(ok): success, "4XX": failure, "5XX": failure},
    }
    if description:
        operation["description"] = description
    if body:
        operation["requestBody"] = {"required": True, "content": _content(_JSON, ref(body))}
    if listed := list(parameters):
        operation["parameters"] = listed
    if open:
        operation["security"] = _NO_KEY
    return operation


def _content(kind: str, schema: Schema) -> Schema:
    return {kind: {"schema": schema}}


def _parameter(name: str, place: str, schema: Schema, description: str) -> Schema:
    return {
        "name": name,
        "in": place,
        "required": place == "path",
        "schema": schema,
        "description": description,
    }


PATHS: dict[str, Any] = {**_openai(), **_langcache(), **_plain(), **_page(), **_operations()}
