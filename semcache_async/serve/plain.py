"""The plain JSON service of the field's tutorials: /semantic-cache/answer and /metrics."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta
from msgspec.structs import asdict

from semcache_async.errors import EmbeddingError, StoreError
from semcache_async.serve.body import read_json
from semcache_async.serve.chat import Asked, ask
from semcache_async.serve.chat_plan import Planner
from semcache_async.serve.chat_reply import headers_of
from semcache_async.serve.chat_request import read_chat
from semcache_async.serve.forms import Form, Text, read_form, read_text
from semcache_async.serve.problems import Forbidden, Invalid
from semcache_async.serve.service import Caller, Service
from semcache_async.serve.upstream import UpstreamAnsweredError
from semcache_async.text.decide import Policy, decide
from semcache_async.types import Source

__all__ = ["AnswerRequest", "AnswerResponse", "routes"]

_EXPLAINED = 5
"""Neighbours shown, at most."""

_Tag = Annotated[Text, Meta(max_length=256)]
_Distance = Annotated[float, Meta(ge=0, le=2, description="Cosine distance: 0 is the same.")]
_Similarity = Annotated[float, Meta(ge=-1, le=1, description="1 - distance.")]


class AnswerRequest(Form):
    """A prompt to answer from the cache, or else by the LLM. ``max_distance`` and
    ``similarity_threshold`` may tighten the service's own threshold, never loosen it."""

    prompt: Text
    tenant: Annotated[str, Meta(description="An admin may name another than its own.")] | None = (
        None
    )
    locale: str | None = None
    model: (
        Annotated[
            str,
            Meta(pattern=r"\S", description="Needed unless the upstream has but one model."),
        ]
        | None
    ) = None
    system: Annotated[str, Meta(description="A system prompt.")] | None = None
    max_distance: _Distance | None = None
    similarity_threshold: _Similarity | None = None
    tags: (
        Annotated[list[_Tag], Meta(max_length=32, description="To invalidate the answer by.")]
        | None
    ) = None
    explain: Annotated[bool, Meta(description="Tell the nearest prompts too.")] | None = None


class Near(msgspec.Struct):
    """A stored prompt near the one asked."""

    prompt: str
    distance: float
    similarity: float
    entry_id: str
    accepted: Annotated[bool, Meta(description="Its answer may be served.")]


class Milliseconds(msgspec.Struct):
    """What the request waited for."""

    exact: float
    embed: float
    search: float
    generate: float
    total: float


class AnswerResponse(msgspec.Struct, omit_defaults=True):
    """The answer, and what the cache had to do with it. What says how near another's prompt was
    is null for an answer that was generated now, and where the service hides it."""

    answer: str | None
    source: Source
    hit: bool
    similarity: float | None
    distance: float | None
    matched_prompt: str | None
    entry_id: str | None
    age_s: float
    timings_ms: Milliseconds
    max_distance: Annotated[float, Meta(description="The threshold of this request.")]
    reason: Annotated[str, Meta(description="Why the cache was bypassed.")] | None = None
    neighbours: list[Near] | None = None


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


def routes(service: Service) -> list[web.RouteDef]:
    """The two paths."""
    plain = _Plain(service)
    return [
        web.post("/semantic-cache/answer", plain.answer),
        web.get("/semantic-cache/metrics", plain.metrics),
    ]


class _Plain:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._planner = Planner(service.settings)
        self._only_model: str | None = None

    async def metrics(self, request: web.Request) -> web.Response:
        """The counters of all processes."""
        self._service.keys.caller(request)
        return _json(self._service.metrics.summary())

    async def answer(self, request: web.Request) -> web.Response:
        """As a chat of one message, so that its answers are the proxy's too."""
        service = self._service
        caller = service.keys.caller(request)
        form = read_form(await read_json(request, service), AnswerRequest)
        read_text("prompt", form.prompt)
        caller, limit = _for_tenant(caller, form.tenant), self._limit(form)
        locale = form.locale or ""
        messages = [{"role": "user", "content": form.prompt}]
        if form.system:
            messages.insert(0, {"role": "system", "content": form.system})
        body = {"model": form.model or await self._default_model(), "messages": messages}
        asked = await ask(
            service, caller, body, locale=locale, max_distance=limit, tags=tuple(form.tags or ())
        )
        told = self._told(asked, limit)
        if form.explain:
            told.neighbours = await self._near(caller, body, locale, asked, limit)
        headers = headers_of(
            asked.source,
            asked.answer,
            reason=asked.reason,
            unread=False,
            hide_similarity=service.settings.hide_similarity,
        )
        return _json(told, headers)

    def _limit(self, form: AnswerRequest) -> float:
        limits = [self._service.cache.config.max_distance]
        if form.max_distance is not None:
            limits.append(form.max_distance)
        if form.similarity_threshold is not None:
            limits.append(1.0 - form.similarity_threshold)
        return min(limits)

    async def _default_model(self) -> str:
        """The upstream's only model."""
        if self._only_model is None:
            try:
                found = msgspec.json.decode(await self._service.upstream.models(), type=_Models)
            except (UpstreamAnsweredError, msgspec.DecodeError):
                found = _Models([])
            if len(found.data) != 1:
                raise Invalid(
                    "Name a model: the LLM's service does not have just one.",
                    param="model",
                    code="missing_field",
                )
            self._only_model = found.data[0].id
        return self._only_model

    async def _near(
        self, caller: Caller, body: dict[str, Any], locale: str, asked: Asked, limit: float
    ) -> list[Near] | None:
        """The nearest prompts but the one that this request has stored; None where there is
        nothing to say, or nobody to ask."""
        plan = self._planner.plan(read_chat(body), caller.tenant, locale)
        if plan.reason is not None or self._service.settings.hide_similarity:
            return None
        try:
            neighbours = await self._service.cache.nearest(
                plan.prompt, scope=plan.scope, limit=_EXPLAINED + 1
            )
        except (StoreError, EmbeddingError):  # the answer is worth more than its explanation
            return None
        own = asked.answer.entry_id if asked.source is Source.GENERATED else None
        policy = Policy(limit)
        return [
            Near(
                prompt=near.prompt,
                distance=near.distance,
                similarity=1.0 - near.distance,
                entry_id=near.entry.id,
                accepted=decide(plan.prompt, [near], policy).chosen is not None,
            )
            for near in neighbours
            if near.entry.id != own
        ][:_EXPLAINED]

    def _told(self, asked: Asked, limit: float) -> AnswerResponse:
        answer, hidden = asked.answer, self._service.settings.hide_similarity
        timings = {name.removesuffix("_s"): s * 1e3 for name, s in asdict(answer.timings).items()}
        return AnswerResponse(
            answer=_content(asked.completion),
            source=asked.source,
            hit=asked.source in (Source.EXACT, Source.SEMANTIC),
            similarity=None if hidden else answer.similarity,
            distance=None if hidden else answer.distance,
            matched_prompt=None if hidden else answer.matched_prompt,
            entry_id=answer.entry_id,
            age_s=answer.age_s,
            timings_ms=Milliseconds(**timings),
            max_distance=limit,
            reason=asked.reason,
        )


def _for_tenant(caller: Caller, tenant: str | None) -> Caller:
    """The caller, for the tenant that it names. Only an admin's word counts: anybody else's
    would be a way into another's answers."""
    if tenant is None or tenant == caller.tenant:
        return caller
    if not caller.admin:
        raise Forbidden(
            "The tenant is that of the API key; leave the field out.",
            param="tenant",
            code="foreign_tenant",
        )
    return Caller(tenant=tenant, admin=True)


def _content(completion: dict[str, Any]) -> str | None:
    try:
        content = completion["choices"][0]["message"]["content"]
    except (LookupError, TypeError):
        return None
    return content if isinstance(content, str) else None


def _json(body: object, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), content_type="application/json", headers=headers
    )
