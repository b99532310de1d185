"""/semantic-cache/answer, /feedback, /reaches and /metrics."""

from __future__ import annotations

from aiohttp import web
from msgspec.structs import asdict

from semcache_async.bounds.choice import Choice
from semcache_async.bounds.intervals import measured
from semcache_async.errors import EmbeddingError, OverloadedError, StoreError
from semcache_async.serve.apis import content_of
from semcache_async.serve.apis.chat import CHAT
from semcache_async.serve.completions.control import Control
from semcache_async.serve.completions.flow import Completed
from semcache_async.serve.completions.plan import Plan
from semcache_async.serve.errors import Forbidden, Invalid, NotFound
from semcache_async.serve.http.access import caller_of, signed
from semcache_async.serve.http.body import read_json
from semcache_async.serve.http.forms import read_form, read_text
from semcache_async.serve.http.responses import NO_STORE, json_response
from semcache_async.serve.keys import Caller
from semcache_async.serve.plain.forms import (
    AnswerRequest,
    AnswerResponse,
    FeedbackRequest,
    Milliseconds,
    Near,
)
from semcache_async.serve.service import Service
from semcache_async.types import Scope, Source

__all__ = ["answer", "feedback", "metrics", "reaches"]

_EXPLAINED = 5
"""Neighbours shown, at most."""
_REACHES = 1_000
"""Scopes shown, at most."""


async def feedback(service: Service, request: web.Request) -> web.Response:
    """Somebody's verdict, which holds on return."""
    form = read_form(await read_json(request, service), FeedbackRequest)
    prompt = read_text("prompt", form.prompt)
    entry_id = read_text("entry_id", form.entry_id)
    if not await service.cache.feedback(prompt, entry_id, right=form.right):
        raise NotFound("There is no such entry, or it is no longer kept.", param="entry_id")
    return web.Response(status=204)


async def reaches(service: Service, _: web.Request) -> web.Response:
    """How far this process's scopes serve, and why: those with the most evidence first."""
    found = sorted(service.cache.reaches(), key=lambda one: -one[1].promise.samples)
    told = [
        {
            "tenant": scope.tenant,
            "model": scope.model,
            "locale": scope.locale,
            "max_distance": choice.max_distance,
            "origin": choice.origin,
            "samples": choice.promise.samples,
            "explanation": choice.explain(),
            "target": choice.promise.target,
            "outcome": choice.outcome,
            "audits": _audits(choice),
        }
        for scope, choice in found[:_REACHES]
    ]
    return json_response({"reaches": told}, headers=NO_STORE)


def _audits(choice: Choice) -> dict[str, float] | None:
    counts = choice.audited
    found = measured(counts.right, counts.total)
    if found is None:
        return None
    return {**dict(zip(("precision", "low", "high"), found, strict=True)), "count": counts.total}


async def metrics(service: Service, _: web.Request) -> web.Response:
    """The counters of all processes."""
    return json_response(service.metrics.summary(await service.measured()))


async def answer(service: Service, request: web.Request) -> web.Response:
    """As a chat of one message, so that its answers are the proxy's too."""
    form = read_form(await read_json(request, service), AnswerRequest)
    read_text("prompt", form.prompt)
    tenant = _tenant(caller_of(request), form.tenant)
    messages = [{"role": "user", "content": form.prompt}]
    if form.system:
        messages.insert(0, {"role": "system", "content": form.system})
    completions = service.completions
    passed = completions.passing.of(request.headers, request.query)
    model = form.model or await service.upstreams.only_model(passed)
    if model is None:
        raise Invalid(
            "Name a model: there is not just one here.",
            param="model",
            code="missing_field",
        )
    chat = CHAT.read({"model": model, "messages": messages})
    plan = completions.planner.plan(chat, tenant, form.locale or "", passed=passed.scope)
    tags, limit = signed(request, form.tags or ()), _limit(service, form, plan.scope)
    control = Control(locale=form.locale or "", max_distance=limit, tags=tags, passed=passed)
    done = await completions.whole(plan, control)
    told = _told(service, plan, done, limit)
    if form.explain:
        told.neighbours = await _near(service, plan, done, limit)
    return json_response(told, headers=done.headers)


def _tenant(caller: Caller, named: str | None) -> str:
    """Whose answers are meant. Only an admin's word counts: anybody else's would be a way into
    another's."""
    if named is None or named == caller.tenant:
        return caller.tenant
    if not caller.admin:
        raise Forbidden(
            "The tenant is that of the API key; leave the field out.",
            param="tenant",
            code="foreign_tenant",
        )
    return named


def _limit(service: Service, form: AnswerRequest, scope: Scope) -> float:
    limits = [service.cache.ceiling(scope)]
    if form.max_distance is not None:
        limits.append(form.max_distance)
    if form.similarity_threshold is not None:
        limits.append(1.0 - form.similarity_threshold)
    return min(limits)


async def _near(service: Service, plan: Plan, done: Completed, limit: float) -> list[Near] | None:
    """The nearest prompts but the one that this request has stored; None where there is nothing
    to say, or nobody to ask."""
    if plan.reason is not None or service.settings.hide_similarity:
        return None
    try:
        neighbours = await service.cache.nearest(
            plan.prompt, scope=plan.scope, limit=_EXPLAINED + 1
        )
    except (StoreError, EmbeddingError, OverloadedError):
        return None  # the answer is worth more than its explanation
    shadow = service.cache.config.shadow
    own = done.answer.entry_id if done.answer.source is Source.GENERATED else None
    return [
        Near(
            prompt=near.prompt,
            distance=near.distance,
            similarity=1.0 - near.distance,
            entry_id=near.entry.id,
            accepted=near.distance <= limit and near.refused_by is None and not shadow,
            refused_by=near.refused_by,
        )
        for near in neighbours
        if near.entry.id != own
    ][:_EXPLAINED]


def _told(service: Service, plan: Plan, done: Completed, limit: float) -> AnswerResponse:
    answer, hidden = done.answer, service.settings.hide_similarity
    if plan.reason is None:
        limit = min(limit, service.cache.serves_up_to(plan.scope))
    timings = {name.removesuffix("_s"): s * 1e3 for name, s in asdict(answer.timings).items()}
    return AnswerResponse(
        answer=content_of(done.body),
        source=answer.source,
        hit=answer.source in (Source.EXACT, Source.SEMANTIC),
        similarity=None if hidden else answer.similarity,
        distance=None if hidden else answer.distance,
        matched_prompt=None if hidden else answer.matched_prompt,
        entry_id=answer.entry_id,
        age_s=answer.age_s,
        timings_ms=Milliseconds(**timings),
        max_distance=limit,
        reason=done.headers.get("x-semcache-reason"),
    )
