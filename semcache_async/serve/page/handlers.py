"""What the page shows and does; all but ``config`` and ``savings`` names tenants."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
from aiohttp import web

from semcache_async.serve.apis import readable
from semcache_async.serve.errors import Invalid
from semcache_async.serve.http.access import caller_of
from semcache_async.serve.http.body import read_json
from semcache_async.serve.http.forms import Form, read_form
from semcache_async.serve.http.responses import NO_STORE, json_response
from semcache_async.serve.journal import Review, Verdict
from semcache_async.serve.service import Service
from semcache_async.types import Entry, Scope, scope_or_tenant

__all__ = [
    "InvalidationRequest",
    "ReviewRequest",
    "config",
    "entries",
    "invalidate",
    "near",
    "review",
    "reviews",
    "reviews_jsonl",
    "savings",
]

_SHOWN = 2_000
"""Characters of an answer in a list."""
_COUNTED = 500
"""The newest entries, whose tags are counted."""
_SKEW_S = 60.0
"""By how much Redis's clock may be ahead of the service's."""
_LISTED = 1_000
"""Rows of a list at most."""


class ReviewRequest(Form):
    """What somebody says of a hit."""

    id: str
    verdict: Verdict


class InvalidationRequest(Form):
    """Tags (any one), ids, and the fields of a scope: a tenant alone means all of its entries, with
    other fields the scope is meant whole. ``dry_run``: count and show some, delete nothing."""

    tags: list[str] | None = None
    entry_ids: list[str] | None = None
    tenant: str | None = None
    locale: str | None = None
    model: str | None = None
    system_prompt: str | None = None
    temperature: float | None = None
    parameters: dict[str, str | int | float | bool | None] | None = None
    corpus_version: str | None = None
    namespace: str | None = None
    attributes: dict[str, str] | None = None
    dry_run: bool = False

    def scope_or_tenant(self) -> tuple[Scope | None, str | None]:
        """What of the two was named, if one was."""
        names = set(Scope.__struct_fields__) & set(self.__struct_fields__)
        return scope_or_tenant({name: getattr(self, name) for name in names})


async def config(service: Service, request: web.Request) -> web.Response:
    """What the page has to know to draw itself."""
    caller = caller_of(request)
    cache = service.cache
    return json_response(
        {
            "name": cache.config.name,
            "max_distance": max(cache.ceilings()),
            "shadow": cache.config.shadow,
            "embedder": cache.stats().embedder,
            "open": service.keys.open,
            "admin": caller.admin,
            "tenant": caller.tenant,
        },
        headers=NO_STORE,
    )


async def savings(service: Service, _request: web.Request) -> web.Response:
    """The last hour of all processes, minute by minute."""
    return json_response(service.metrics.savings(), headers=NO_STORE)


async def near(service: Service, request: web.Request) -> web.Response:
    limit = _limit(request, 50)
    listed = await service.journal.near(limit)
    hits = [
        {
            "id": one.id,
            **_built(one.hit),
            "similarity": 1.0 - one.hit.distance,
            "verdict": one.verdict,
        }
        for one in listed
    ]
    return json_response({"hits": hits}, headers=NO_STORE)


async def reviews(service: Service, request: web.Request) -> web.Response:
    limit = _limit(request, 200)
    kept = await service.journal.reviews()
    verdicts = Counter(review.verdict for review in kept)
    return json_response(
        {
            "reviews": [
                {**_built(review.hit), "verdict": review.verdict, "at": review.at}
                for review in kept[:limit]
            ],
            "right": verdicts["right"],
            "wrong": verdicts["wrong"],
        },
        headers=NO_STORE,
    )


async def reviews_jsonl(service: Service, request: web.Request) -> web.Response:
    """As labelled pairs, one a line."""
    kept = await service.journal.reviews()
    return web.Response(
        body=b"".join([_line(review) for review in kept]),
        content_type="application/jsonl",
        headers={"Content-Disposition": 'attachment; filename="reviews.jsonl"'},
    )


async def review(service: Service, request: web.Request) -> web.Response:
    given = read_form(await read_json(request, service), ReviewRequest)
    hit = await service.journal.review(given.id, given.verdict)
    if hit.entry_id is not None:  # where the entry has gone, there is nothing to be done
        await service.cache.feedback(
            hit.prompt, hit.entry_id, right=given.verdict == "right", seen_at=hit.at + _SKEW_S
        )
    return web.Response(status=204)


async def entries(service: Service, request: web.Request) -> web.Response:
    limit, tag = _limit(request, 100), request.query.get("tag")
    cache = service.cache
    newest = await cache.browse(limit=max(limit, _COUNTED))
    found = newest if tag is None else await cache.browse(tags=(tag,), limit=limit)
    tags = Counter(tag for entry in newest for tag in entry.tags)
    return json_response(
        {
            "entries": [_entry(entry) for entry in found[:limit]],
            "tags": dict(sorted(tags.items(), key=lambda item: (-item[1], item[0]))),
        },
        headers=NO_STORE,
    )


async def invalidate(service: Service, request: web.Request) -> web.Response:
    given = read_form(await read_json(request, service), InvalidationRequest)
    scope, tenant = given.scope_or_tenant()
    tags, entry_ids = given.tags or (), given.entry_ids or ()
    if given.dry_run:
        affected = await service.cache.would_invalidate(
            scope=scope, tenant=tenant, tags=tags, entry_ids=entry_ids
        )
        examples = [_entry(entry) for entry in affected.examples]
        told = {"removed": 0, "count": affected.count, "examples": examples}
    else:
        removed = await service.cache.invalidate(
            scope=scope, tenant=tenant, tags=tags, entry_ids=entry_ids
        )
        told = {"removed": removed}
    return json_response(told, headers=NO_STORE)


def _limit(request: web.Request, default: int) -> int:
    text = request.query.get("limit", str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= _LISTED):
        raise Invalid(f"limit must be a whole number from 1 to {_LISTED}.", param="limit")
    return int(text)


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "prompt": entry.prompt[:_SHOWN],
        "answer": readable(entry.text)[:_SHOWN],
        "tags": entry.tags,
        "created_at": entry.created_at,
    }


def _line(review: Review) -> bytes:
    hit, label = review.hit, int(review.verdict == "right")
    pair = {"text_a": hit.prompt, "text_b": hit.matched_prompt, "label": label}
    return msgspec.json.encode(pair) + b"\n"


def _built(record: msgspec.Struct) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(record)
    return built
