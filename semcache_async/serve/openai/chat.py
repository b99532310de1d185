"""POST /v1/chat/completions and /v1/completions, in front of an upstream."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any, TypeAlias

import msgspec
from aiohttp import web

from semcache_async.reply import Reply
from semcache_async.serve.completions.control import Control, read_control
from semcache_async.serve.completions.flow import CorruptError, text_of
from semcache_async.serve.completions.plan import Plan
from semcache_async.serve.completions.produce import garbage
from semcache_async.serve.completions.request import ChatRequest, read_chat, read_text
from semcache_async.serve.completions.stored import as_events
from semcache_async.serve.errors import Problem
from semcache_async.serve.http.access import caller_of, signed
from semcache_async.serve.http.body import parse_object, read_body
from semcache_async.serve.http.responses import json_response
from semcache_async.serve.openai.stream import STREAM, BrokeOffError, ReaderLeftError, send_frames
from semcache_async.serve.service import Service
from semcache_async.serve.upstream.answered import NO_RETRY
from semcache_async.serve.upstream.completion import Frame
from semcache_async.serve.upstream.passing import NOTHING
from semcache_async.types import Answer, Timings

__all__ = ["complete", "complete_text"]

_Form: TypeAlias = Callable[[dict[str, Any]], ChatRequest]
_LEFT = 499
"""What nobody gets to see."""


async def complete(service: Service, request: web.Request) -> web.StreamResponse:
    """One chat completion."""
    return await _complete(service, request, read_chat)


async def complete_text(service: Service, request: web.Request) -> web.StreamResponse:
    """One completion of a text."""
    return await _complete(service, request, read_text)


async def _complete(service: Service, request: web.Request, form: _Form) -> web.StreamResponse:
    plan, control = await _read(service, request, form)
    try:
        if control.only_if_cached:
            return await _cached(service, plan, control)
        if not plan.request.stream:
            done = await service.completions.whole(plan, control)
            return json_response(done.body, headers=done.headers)
        try:
            return await _stream(service, request, plan, control)
        except CorruptError:
            control = msgspec.structs.replace(control, read=False)
            return await _stream(service, request, plan, control)
    except BrokeOffError as error:
        service.metrics.http_error(error.status)
        return error.response
    except ReaderLeftError:
        return web.Response(status=_LEFT)


async def _read(service: Service, request: web.Request, form: _Form) -> tuple[Plan, Control]:
    raw = await read_body(request, service)
    headers, completions = request.headers, service.completions
    planner, passed = completions.planner, completions.passing.of(headers, request.query)
    asker = (caller_of(request).tenant, headers.get("x-semcache-locale", ""), passed.scope)
    plan = planner.recall(raw, form.__name__, *asker)
    if plan is not None:
        control = read_control(plan.request.cache, headers)
    else:
        chat = form(parse_object(raw))
        control = read_control(chat.cache, headers)
        tenant, locale, telling = asker
        plan = planner.plan(chat, tenant, locale, control.namespace, telling)
        planner.remember(plan, raw, form.__name__, *asker)
    tags, author = signed(request, control.tags), caller_of(request).author
    again = control.read and completions.again.asked(plan, author)
    if tags or author or again or passed != NOTHING:
        read = control.read and (not again or control.only_if_cached)
        control = msgspec.structs.replace(
            control, read=read, tags=tags, asker=author, passed=passed
        )
    return plan, control


async def _stream(
    service: Service, request: web.Request, plan: Plan, control: Control
) -> web.StreamResponse:
    """Raises ``CorruptError``; nothing was sent then."""
    async with service.completions.begin(plan, control) as reply:
        if reply.hit is not None:
            return _hit(service, plan, control, reply.hit, reply.timings)
        return await _live(service, request, plan, control, reply)


async def _live(
    service: Service, request: web.Request, plan: Plan, control: Control, reply: Reply[Frame]
) -> web.StreamResponse:
    """A stream of what is being made: as it comes, or where it was made without streaming, of the
    whole."""
    completions, include_usage = service.completions, plan.request.include_usage
    async with aclosing(aiter(reply)) as frames:
        first = await anext(frames, None)
        if first is not None:
            headers = completions.headers(plan, control, reply.source, None, reply.shadow)
            response, usage = await send_frames(
                request, first, frames, headers, include_usage=include_usage
            )
            completions.note(plan, control, reply.source, None, reply.timings, usage, reply.shadow)
            return response
    answer = await reply.answer()
    made = as_events(text_of(answer), include_usage=include_usage)
    if made is None:
        raise garbage()
    events, usage = made
    completions.note(plan, control, reply.source, answer, reply.timings, usage, reply.shadow)
    headers = completions.headers(plan, control, reply.source, answer, reply.shadow)
    return web.Response(body=events, headers={**headers, **STREAM})


async def _cached(service: Service, plan: Plan, control: Control) -> web.StreamResponse:
    """What is stored, or else nothing (RFC 9111, section 5.2.1.7)."""
    answer = await service.completions.stored(plan, control)
    if answer is not None:
        with suppress(CorruptError):
            return _hit(service, plan, control, answer, answer.timings)
    raise Problem(
        "There is no stored answer, and the request forbids to make one.",
        status=504,
        code="only_if_cached",
        headers={**NO_RETRY, "Cache-Status": "semcache; fwd=miss; detail=only-if-cached"},
    )


def _hit(
    service: Service, plan: Plan, control: Control, answer: Answer, timings: Timings
) -> web.StreamResponse:
    completions = service.completions
    headers = completions.headers(plan, control, answer.source, answer)
    if not plan.request.stream:
        body, usage = completions.reissued(answer)
        completions.note(plan, control, answer.source, answer, timings, usage)
        return json_response(body, headers=headers)
    made = as_events(answer.text, include_usage=plan.request.include_usage)
    if made is None:
        raise CorruptError
    events, usage = made
    completions.note(plan, control, answer.source, answer, timings, usage)
    return web.Response(body=events, headers={**headers, **STREAM})
