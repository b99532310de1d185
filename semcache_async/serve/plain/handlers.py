"""/semantic-cache/answer and /semantic-cache/metrics."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web
from msgspec.structs import asdict

from semcache_async.errors import EmbeddingError, StoreError
from semcache_async.serve.completions.control import Control
from semcache_async.serve.completions.flow import Completed
from semcache_async.serve.completions.plan import Plan
from semcache_async.serve.completions.request import read_chat
from semcache_async.serve.errors import Forbidden, Invalid
from semcache_async.serve.http.access import caller_of
from semcache_async.serve.http.body import read_json
from semcache_async.serve.http.forms import read_form, read_text
from semcache_async.serve.http.responses import json_response
from semcache_async.serve.keys import Caller
from semcache_async.serve.plain.forms import AnswerRequest, AnswerResponse, Milliseconds, Near
from semcache_async.serve.service import Service
from semcache_async.types import Source

__all__ = ["answer", "metrics"]

_EXPLAINED = 5
"""Neighbours shown, at most."""


async def metrics(service: Service, _: web.Request) -> web.Response:
    """The counters of all processes."""
    return json_response(service.metrics.summary())


async def answer(service: Service, request: web.Request) -> web.Response:
    """As a chat of one message, so that its answers are the proxy's too."""
    form = read_form(await read_json(request, service), AnswerRequest)
    read_text("prompt", form.prompt)
    tenant, limit = _tenant(caller_of(request), form.tenant), _limit(service, form)
    messages = [{"role": "user", "content": form.prompt}]
    if form.system:
        messages.insert(0, {"role": "system", "content": form.system})
    model = form.model or await service.upstream.only_model()
    if model is None:
        raise Invalid(
            "Name a model: the LLM's service does not have just one.",
            param="model",
            code="missing_field",
        )
    chat = read_chat({"model": model, "messages": messages})
    plan = service.completions.planner.plan(chat, tenant, form.locale or "")
    control = Control(locale=form.locale or "", max_distance=limit, tags=tuple(form.tags or ()))
    done = await service.completions.whole(plan, control)
    told = _told(service, done, limit)
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


def _limit(service: Service, form: AnswerRequest) -> float:
    limits = [service.cache.config.max_distance]
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
    except (StoreError, EmbeddingError):  # the answer is worth more than its explanation
        return None
    own = done.answer.entry_id if done.answer.source is Source.GENERATED else None
    return [
        Near(
            prompt=near.prompt,
            distance=near.distance,
            similarity=1.0 - near.distance,
            entry_id=near.entry.id,
            accepted=near.distance <= limit and near.refused_by is None,
            refused_by=near.refused_by,
        )
        for near in neighbours
        if near.entry.id != own
    ][:_EXPLAINED]


def _told(service: Service, done: Completed, limit: float) -> AnswerResponse:
    answer, hidden = done.answer, service.settings.hide_similarity
    timings = {name.removesuffix("_s"): s * 1e3 for name, s in asdict(answer.timings).items()}
    return AnswerResponse(
        answer=_content(msgspec.json.decode(done.body)),
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


def _content(completion: dict[str, Any]) -> str | None:
    try:
        content = completion["choices"][0]["message"]["content"]
    except (LookupError, TypeError):
        return None
    return content if isinstance(content, str) else None
