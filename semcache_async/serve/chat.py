"""OpenAI's chat completions in front of an upstream: POST /v1/chat/completions, GET /v1/models."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from semcache_async.serve.body import parse_object, read_body
from semcache_async.serve.chat_control import Control, read_control
from semcache_async.serve.chat_flow import ChatFlow, CorruptError
from semcache_async.serve.chat_plan import Plan
from semcache_async.serve.chat_reply import headers_of, json_response, passed_on
from semcache_async.serve.chat_request import read_chat
from semcache_async.serve.chat_stream import BrokeOffError, ReaderLeftError, problem_of
from semcache_async.serve.problems import Problem, UpstreamFailed
from semcache_async.serve.service import Caller, Service
from semcache_async.serve.upstream import UpstreamAnsweredError
from semcache_async.types import Answer, Source

__all__ = ["Asked", "ask", "routes"]

_LEFT = 499
"""What nobody gets to see."""


class Asked(NamedTuple):
    """What ``ask`` brings."""

    completion: dict[str, Any]
    answer: Answer
    source: Source
    reason: str | None
    """Why the cache was bypassed."""


def routes(service: Service) -> list[web.RouteDef]:
    """The two paths."""
    chat = _Chat(service)
    return [
        web.post("/v1/chat/completions", chat.complete),
        web.get("/v1/models", chat.models),
    ]


async def ask(
    service: Service,
    caller: Caller,
    body: dict[str, Any],
    *,
    locale: str = "",
    max_distance: float | None = None,
    tags: tuple[str, ...] = (),
) -> Asked:
    """The answer to a chat request without ``stream``. Raises ``Problem``s."""
    flow = ChatFlow(service)
    request = read_chat(body)
    wishes = read_control(request.cache, {})
    control = msgspec.structs.replace(wishes, locale=locale, max_distance=max_distance, tags=tags)
    plan = flow.planner.plan(request, caller.tenant, locale, control.namespace)
    try:
        try:
            completion, answer = await flow.whole(plan, control)
        except CorruptError:
            control = msgspec.structs.replace(control, read=False)
            completion, answer = await flow.whole(plan, control)
    except UpstreamAnsweredError as error:
        raise _as_problem(error) from error
    except TimeoutError as error:
        raise problem_of(error) from error
    reason = headers_of(
        answer.source, None, reason=plan.reason, unread=not control.read, hide_similarity=True
    ).get("x-semcache-reason")
    return Asked(msgspec.json.decode(completion), answer, answer.source, reason)


class _Chat:
    """One service's two paths."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._flow = ChatFlow(service)

    async def models(self, request: web.Request) -> web.StreamResponse:
        """The upstream's list."""
        self._service.keys.caller(request)
        try:
            body = await self._service.upstream.models()
        except UpstreamAnsweredError as error:
            return self._passed_on(error)
        try:
            parse_object(body)
        except Problem:
            raise UpstreamFailed(
                "The upstream's list of models cannot be read.", code="upstream_garbage"
            ) from None
        return json_response(body, {})

    async def complete(self, request: web.Request) -> web.StreamResponse:
        """One chat completion."""
        plan, control = await self._read(request)
        try:
            try:
                return await self._flow.answer(request, plan, control)
            except CorruptError:
                control = msgspec.structs.replace(control, read=False)
                return await self._flow.answer(request, plan, control)
        except UpstreamAnsweredError as error:
            return self._passed_on(error)
        except BrokeOffError as error:
            self._service.metrics.http_error(error.status)
            return error.response
        except ReaderLeftError:
            return web.Response(status=_LEFT)
        except TimeoutError as error:
            raise problem_of(error) from error

    async def _read(self, request: web.Request) -> tuple[Plan, Control]:
        caller = self._service.keys.caller(request)
        raw = await read_body(request, self._service)
        headers, planner = request.headers, self._flow.planner
        locale = headers.get("x-semcache-locale", "")
        plan = planner.recall(raw, caller.tenant, locale)
        if plan is not None:
            return plan, read_control(plan.request.cache, headers)
        chat = read_chat(parse_object(raw))
        control = read_control(chat.cache, headers)
        plan = planner.plan(chat, caller.tenant, locale, control.namespace)
        planner.remember(raw, caller.tenant, locale, plan)
        return plan, control

    def _passed_on(self, error: UpstreamAnsweredError) -> web.Response:
        self._service.metrics.http_error(error.status)
        return passed_on(error)


def _as_problem(error: UpstreamAnsweredError) -> Problem:
    said = msgspec.json.decode(error.body)["error"]
    message = said.get("message") if isinstance(said, dict) else said
    problem = UpstreamFailed(str(message)[:1_000], code="upstream_error", headers=error.headers)
    problem.status = error.status
    return problem
