"""The page at ``/``, and the JSON that it alone needs: near hits, reviews, entries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from hashlib import blake2b
from importlib.resources import files
from typing import Any

import msgspec
from aiohttp import web

from semcache_async.serve.body import read_json
from semcache_async.serve.forms import Form, read_form, translated
from semcache_async.serve.journal import Review, Verdict
from semcache_async.serve.problems import Forbidden, Invalid
from semcache_async.serve.service import Caller, Service
from semcache_async.types import Entry, Scope

__all__ = ["InvalidationRequest", "ReviewRequest", "routes"]

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_FILES = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_SHOWN = 2_000
"""Characters of an answer in a list."""
_COUNTED = 500
"""The newest entries, whose tags are counted."""
_LISTED = 1_000
"""Rows of a list at most."""


class ReviewRequest(Form):
    """What somebody says of a hit."""

    id: str
    verdict: Verdict


class InvalidationRequest(Form):
    """Tags (any one), ids, and the fields of a scope, which is then meant whole."""

    tags: list[str] | None = None
    entry_ids: list[str] | None = None
    tenant: str | None = None
    locale: str | None = None
    model: str | None = None
    system_prompt: str | None = None
    temperature: float | None = None
    parameters: dict[str, str | int | float | bool | None] | None = None
    corpus_version: str | None = None
    attributes: dict[str, str] | None = None

    def scope(self) -> Scope | None:
        """The scope that was named, if one was."""
        given = {name: getattr(self, name) for name in Scope.__struct_fields__}
        named: dict[str, Any] = {name: part for name, part in given.items() if part is not None}
        return Scope(**named) if named else None


def routes(service: Service) -> list[web.RouteDef]:
    """The page's paths."""
    page = _Page(service)
    return [
        *[web.get(path, _file(*file)) for path, file in _FILES.items()],
        web.get("/semantic-cache/config", page.config),
        web.get("/semantic-cache/near", page.near),
        web.get("/semantic-cache/reviews", page.reviews),
        web.post("/semantic-cache/reviews", page.review),
        web.get("/semantic-cache/reviews.jsonl", page.reviews_jsonl),
        web.get("/semantic-cache/entries", page.entries),
        web.post("/semantic-cache/invalidate", page.invalidate),
    ]


def _file(name: str, content_type: str) -> Handler:
    body = files("semcache_async.serve").joinpath("static", name).read_bytes()
    etag = blake2b(body, digest_size=12).hexdigest()

    async def serve(request: web.Request) -> web.Response:
        known = any(tag.value in (etag, "*") for tag in request.if_none_match or ())
        response = web.Response(status=304) if known else web.Response(body=body)
        response.headers.update(_HEADERS)
        response.etag = etag
        if not known:
            response.content_type = content_type
            response.charset = "utf-8"
        return response

    return serve


class _Page:
    """Handlers. All but ``config`` are for admins: they show what any tenant asked."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def config(self, request: web.Request) -> web.Response:
        """What the page has to know to draw itself."""
        caller: Caller = self._service.keys.caller(request)
        cache = self._service.cache
        return _json(
            {
                "name": cache.config.name,
                "max_distance": cache.config.max_distance,
                "embedder": cache.stats().embedder,
                "open": self._service.keys.open,
                "admin": caller.admin,
                "tenant": caller.tenant,
            }
        )

    async def near(self, request: web.Request) -> web.Response:
        self._admit(request)
        limit = _limit(request, 50)
        with translated():
            listed = await self._service.journal.near(limit)
        hits = [
            {
                "id": one.id,
                **_built(one.hit),
                "similarity": 1.0 - one.hit.distance,
                "verdict": one.verdict,
            }
            for one in listed
        ]
        return _json({"hits": hits})

    async def reviews(self, request: web.Request) -> web.Response:
        self._admit(request)
        limit = _limit(request, 200)
        with translated():
            reviews = await self._service.journal.reviews()
        verdicts = Counter(review.verdict for review in reviews)
        return _json(
            {
                "reviews": [
                    {**_built(review.hit), "verdict": review.verdict, "at": review.at}
                    for review in reviews[:limit]
                ],
                "right": verdicts["right"],
                "wrong": verdicts["wrong"],
            }
        )

    async def reviews_jsonl(self, request: web.Request) -> web.Response:
        """What ``semcache calibrate`` reads."""
        self._admit(request)
        with translated():
            reviews = await self._service.journal.reviews()
        return web.Response(
            body=b"".join([_line(review) for review in reviews]),
            content_type="application/jsonl",
            headers={"Content-Disposition": 'attachment; filename="reviews.jsonl"'},
        )

    async def review(self, request: web.Request) -> web.Response:
        self._admit(request)
        given = read_form(await read_json(request, self._service), ReviewRequest)
        with translated():
            await self._service.journal.review(given.id, given.verdict)
        return web.Response(status=204)

    async def entries(self, request: web.Request) -> web.Response:
        self._admit(request)
        limit, tag = _limit(request, 100), request.query.get("tag")
        cache = self._service.cache
        with translated():
            newest = await cache.browse(limit=max(limit, _COUNTED))
            found = newest if tag is None else await cache.browse(tags=(tag,), limit=limit)
        tags = Counter(tag for entry in newest for tag in entry.tags)
        return _json(
            {
                "entries": [_entry(entry) for entry in found[:limit]],
                "tags": dict(sorted(tags.items(), key=lambda item: (-item[1], item[0]))),
            }
        )

    async def invalidate(self, request: web.Request) -> web.Response:
        self._admit(request)
        given = read_form(await read_json(request, self._service), InvalidationRequest)
        with translated():
            removed = await self._service.cache.invalidate(
                scope=given.scope(), tags=given.tags or (), entry_ids=given.entry_ids or ()
            )
        return _json({"removed": removed})

    def _admit(self, request: web.Request) -> None:
        if not self._service.keys.caller(request).admin:
            raise Forbidden("This needs an admin's API key.", code="admin_only")


def _limit(request: web.Request, default: int) -> int:
    text = request.query.get("limit", str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= _LISTED):
        raise Invalid(f"limit must be a whole number from 1 to {_LISTED}.", param="limit")
    return int(text)


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "prompt": entry.prompt[:_SHOWN],
        "answer": _readable(entry.text)[:_SHOWN],
        "tags": entry.tags,
        "created_at": entry.created_at,
    }


class _Message(msgspec.Struct):
    content: str


class _Choice(msgspec.Struct):
    message: _Message


class _Completion(msgspec.Struct):
    choices: list[_Choice]


def _readable(text: str) -> str:
    """What a chat completion says, else the text as it is."""
    try:
        return msgspec.json.decode(text, type=_Completion).choices[0].message.content
    except (msgspec.DecodeError, IndexError, UnicodeError):
        return text


def _line(review: Review) -> bytes:
    hit, label = review.hit, int(review.verdict == "right")
    pair = {"text_a": hit.prompt, "text_b": hit.matched_prompt, "label": label}
    return msgspec.json.encode(pair) + b"\n"


def _built(record: msgspec.Struct) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(record)
    return built


def _json(value: object) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(value),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )
