"""What answers a request of an LLM, in any API: from the cache, or from an upstream behind it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing, suppress
from functools import partial

import msgspec
from aiohttp import HttpVersion11, web

from semcache_async.request.reply import Reply
from semcache_async.serve.apis.api import Api, Frame
from semcache_async.serve.asking.kept import admit_kept
from semcache_async.serve.asking.sending import STREAM, BrokeOffError, ReaderLeftError, begun
from semcache_async.serve.completions.control import Control, read_control
from semcache_async.serve.completions.flow import CorruptError, text_of
from semcache_async.serve.completions.plan import Plan
from semcache_async.serve.completions.produce import garbage
from semcache_async.serve.errors import Problem
from semcache_async.serve.http.access import caller_of, signed
from semcache_async.serve.http.body import parse_object, read_body
from semcache_async.serve.http.responses import AtOnce
from semcache_async.serve.protocol import Broken, Handler, Render, broken_event
from semcache_async.serve.service import Service
from semcache_async.serve.upstream.answered import NO_RETRY
from semcache_async.serve.upstream.passing import NOTHING
from semcache_async.types import Answer, Timings

__all__ = ["asking"]

_JSON = {"Content-Type": "application/json"}
_SMALL = 65_536
_LEFT = 499
"""What nobody gets to see."""


def asking(api: Api, render: Render, broken: Broken = broken_event) -> Handler:
    """The handler of a protocol's path at which requests of ``api`` come."""

    async def handle(service: Service, request: web.Request) -> web.StreamResponse:
        return await _answered(service, request, api, partial(broken, render))

    return handle


async def _answered(
    service: Service, request: web.Request, api: Api, broken: Callable[[Problem], bytes]
) -> web.StreamResponse:
    plan, control = await _read(service, request, api)
    try:
        if control.only_if_cached:
            return await _cached(service, request, plan, control)
        if not plan.request.stream:
            done = await service.completions.whole(plan, control)
            return _given(service, request, done.body, {**done.headers, **_JSON})
        try:
            return await _stream(service, request, plan, control, broken)
        except CorruptError:
            control = msgspec.structs.replace(control, read=False)
            return await _stream(service, request, plan, control, broken)
    except BrokeOffError as error:
        service.metrics.http_error(error.status)
        return error.response
    except ReaderLeftError:
        return web.Response(status=_LEFT)


def _given(
    service: Service, request: web.Request, body: bytes, headers: dict[str, str]
) -> web.StreamResponse:
    """A whole answer."""
    alive = request.version == HttpVersion11 and request.keep_alive and not service.draining
    if alive and len(body) <= _SMALL and "Origin" not in request.headers:
        return AtOnce(body, headers)
    return web.Response(body=body, headers=headers)


async def _read(service: Service, request: web.Request, api: Api) -> tuple[Plan, Control]:
    raw = await read_body(request, service)
    headers, completions = request.headers, service.completions
    planner, passed = (
        completions.planner,
        completions.passing.of(headers, request.query, api.headers),
    )
    asker = (caller_of(request).tenant, headers.get("x-semcache-locale", ""), passed.scope)
    named = headers.get("x-semcache-namespace", "")
    plan = planner.recall(raw, api.name, *asker, named)
    if plan is not None:
        control = read_control(plan.request.cache, headers)
    else:
        asked = api.read(parse_object(raw))
        control = read_control(asked.cache, headers)
        tenant, locale, telling = asker
        plan = planner.plan(asked, tenant, locale, control.namespace, telling)
        planner.remember(plan, raw, api.name, *asker, named)
    if plan.request.refers:
        admit_kept(service, request)
    tags, author = signed(request, control.tags), caller_of(request).author
    again = control.read and completions.again.asked(plan, author)
    if tags or author or again or passed != NOTHING:
        read = control.read and (not again or control.only_if_cached)
        control = msgspec.structs.replace(
            control, read=read, tags=tags, asker=author, passed=passed
        )
    return plan, control


async def _stream(
    service: Service,
    request: web.Request,
    plan: Plan,
    control: Control,
    broken: Callable[[Problem], bytes],
) -> web.StreamResponse:
    """Raises ``CorruptError``; nothing was sent then."""
    async with service.completions.begin(plan, control) as reply:
        if reply.hit is not None:
            return _hit(service, request, plan, control, reply.hit, reply.timings)
        return await _live(service, request, plan, control, reply, broken)


async def _live(
    service: Service,
    request: web.Request,
    plan: Plan,
    control: Control,
    reply: Reply[Frame],
    broken: Callable[[Problem], bytes],
) -> web.StreamResponse:
    """A stream of what is being made: as it comes, or where it was made without streaming, of the
    whole."""
    completions, source = service.completions, reply.source
    async with aclosing(aiter(reply)) as frames:
        stream = await begun(frames, plan.request, crosses=plan.crosses)
        if stream is not None:
            headers = completions.headers(plan, control, source, None, reply.shadow, stream.made_in)
            response, usage = await stream.send(request, headers, broken)
            completions.note(plan, control, source, None, reply.timings, usage, reply.shadow)
            return response
    answer = await reply.answer()
    try:
        events, usage, made_in = completions.replayed(plan, text_of(answer))
    except CorruptError:
        raise garbage() from None
    completions.note(plan, control, source, answer, reply.timings, usage, reply.shadow)
    headers = completions.headers(plan, control, source, answer, reply.shadow, made_in)
    return _given(service, request, events, {**headers, **STREAM})


async def _cached(
    service: Service, request: web.Request, plan: Plan, control: Control
) -> web.StreamResponse:
    """What is stored, or else nothing (RFC 9111, section 5.2.1.7)."""
    answer = await service.completions.stored(plan, control)
    if answer is not None:
        with suppress(CorruptError):
            return _hit(service, request, plan, control, answer, answer.timings)
    raise Problem(
        "There is no stored answer, and the request forbids to make one.",
        status=504,
        code="only_if_cached",
        headers={**NO_RETRY, "Cache-Status": "semcache; fwd=miss; detail=only-if-cached"},
    )


def _hit(
    service: Service,
    request: web.Request,
    plan: Plan,
    control: Control,
    answer: Answer,
    timings: Timings,
) -> web.StreamResponse:
    completions, source = service.completions, answer.source
    if not plan.request.stream:
        body, usage, made_in = completions.reissued(plan, answer)
    else:
        body, usage, made_in = completions.replayed(plan, answer.text)
    headers = completions.headers(plan, control, source, answer, made_in=made_in)
    completions.note(plan, control, source, answer, timings, usage)
    kind = STREAM if plan.request.stream else _JSON
    return _given(service, request, body, {**headers, **kind})
