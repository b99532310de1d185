"""One chat request through the cache: a hit again, a live stream, or a whole completion."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import lru_cache
from typing import cast

from aiohttp import web

from semcache_async.reply import Reply
from semcache_async.serve.chat_control import Control
from semcache_async.serve.chat_plan import Plan, Planner
from semcache_async.serve.chat_produce import producer
from semcache_async.serve.chat_reply import (
    NO_USAGE,
    OF_EVENTS,
    Usage,
    again,
    as_events,
    headers_of,
    json_response,
    usage_in,
)
from semcache_async.serve.chat_stream import send_frames
from semcache_async.serve.completion import Frame
from semcache_async.serve.problems import Problem, UpstreamFailed
from semcache_async.serve.service import Service
from semcache_async.serve.settings import Settings
from semcache_async.serve.upstream import NO_RETRY
from semcache_async.types import Answer, Source, Timings

__all__ = ["ChatFlow", "CorruptError", "NotCached"]


class NotCached(Problem):
    """``only-if-cached``, and it is not (RFC 9111, section 5.2.1.7)."""

    status = 504


class CorruptError(Exception):
    """What is stored under the prompt is no completion."""


class ChatFlow:
    """The chat completions of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._cache = service.cache
        self._hide = service.settings.hide_similarity
        self.planner = _planner(service.settings)

    async def whole(self, plan: Plan, control: Control) -> tuple[bytes, Answer]:
        """The completion for a caller who wants no stream."""
        async with self._reply(plan, control) as reply:
            answer = await reply.answer()
            if reply.hit is not None:
                body, usage = _again(answer)
            else:
                body, usage = _text(answer).encode(), _shared_usage(answer)
            self._note(plan, reply.source, answer, reply.timings, usage)
            return body, answer

    async def answer(
        self, request: web.Request, plan: Plan, control: Control
    ) -> web.StreamResponse:
        """The response to one request. Raises ``CorruptError``; nothing was sent then."""
        if control.only_if_cached:
            return await self._cached(plan, control)
        if not plan.request.stream:
            body, answer = await self.whole(plan, control)
            return json_response(body, self._headers(plan, control, answer.source, answer))
        async with self._reply(plan, control) as reply:
            if reply.hit is not None:
                response = self._hit(plan, control, reply.hit, reply.timings)
            else:
                response = await self._live(request, plan, control, reply)
        return response

    async def _live(
        self, request: web.Request, plan: Plan, control: Control, reply: Reply
    ) -> web.StreamResponse:
        """A stream of what is being made: as it comes, or where it was made without streaming, of
        the whole."""
        include_usage = plan.request.include_usage
        async with aclosing(cast("AsyncGenerator[Frame, None]", aiter(reply))) as frames:
            first = await anext(frames, None)
            if first is not None:
                headers = self._headers(plan, control, reply.source, None)
                response, usage = await send_frames(
                    request, first, frames, headers, include_usage=include_usage
                )
                if reply.source is not Source.SHARED:
                    usage = NO_USAGE
                self._note(plan, reply.source, None, reply.timings, usage)
                return response
        answer = await reply.answer()
        made = as_events(_text(answer), include_usage=include_usage)
        if made is None:
            raise _unreadable()
        events, usage = made
        if reply.source is not Source.SHARED:
            usage = NO_USAGE
        self._note(plan, reply.source, answer, reply.timings, usage)
        headers = self._headers(plan, control, reply.source, answer)
        return web.Response(body=events, headers={**headers, **OF_EVENTS})

    async def _cached(self, plan: Plan, control: Control) -> web.StreamResponse:
        """What is stored, or else nothing."""
        answer = None
        if plan.reason is None and control.read:
            answer = await self._cache.lookup(
                plan.prompt, scope=plan.scope, max_distance=control.max_distance
            )
        oldest = control.max_age_s
        if answer is None or (oldest is not None and answer.age_s > oldest):
            raise NotCached(
                "There is no stored answer, and the request forbids to make one.",
                code="only_if_cached",
                headers={**NO_RETRY, "Cache-Status": "semcache; fwd=miss; detail=only-if-cached"},
            )
        return self._hit(plan, control, answer, answer.timings)

    def _hit(
        self, plan: Plan, control: Control, answer: Answer, timings: Timings
    ) -> web.StreamResponse:
        headers = self._headers(plan, control, answer.source, answer)
        if plan.request.stream:
            made = as_events(answer.text, include_usage=plan.request.include_usage)
            if made is None:
                raise CorruptError
            events, usage = made
            self._note(plan, answer.source, answer, timings, usage)
            return web.Response(body=events, headers={**headers, **OF_EVENTS})
        body, usage = _again(answer)
        self._note(plan, answer.source, answer, timings, usage)
        return json_response(body, headers)

    def _reply(self, plan: Plan, control: Control) -> Reply:
        cacheable = plan.reason is None
        return self._cache.reply(
            plan.prompt,
            producer(self._service.upstream, plan.request),
            scope=plan.scope,
            tags=control.tags,
            ttl_s=control.ttl_s,
            max_distance=control.max_distance,
            max_age_s=control.max_age_s,
            read=control.read and cacheable,
            write=control.write and cacheable,
        )

    def _headers(
        self, plan: Plan, control: Control, source: Source, answer: Answer | None
    ) -> dict[str, str]:
        return headers_of(
            source,
            answer,
            reason=plan.reason,
            unread=not control.read,
            hide_similarity=self._hide,
        )

    def _note(
        self, plan: Plan, source: Source, answer: Answer | None, timings: Timings, usage: Usage
    ) -> None:
        """``usage``: what the LLM call would have cost, where it was saved."""
        self._service.metrics.answered(
            source,
            timings,
            saved_prompt_tokens=usage.prompt_tokens,
            saved_completion_tokens=usage.completion_tokens,
        )
        if source is Source.SEMANTIC and answer is not None:
            self._service.journal.note_hit(prompt=plan.prompt, answer=answer, scope=plan.scope)


@lru_cache(maxsize=8)
def _planner(settings: Settings) -> Planner:
    return Planner(settings)


def _again(answer: Answer) -> tuple[bytes, Usage]:
    made = again(answer.text)
    if made is None:
        raise CorruptError
    return made


def _text(answer: Answer) -> str:
    """A fresh completion."""
    if not answer.text:
        raise _unreadable()
    return answer.text


def _shared_usage(answer: Answer) -> Usage:
    return usage_in(answer.text) if answer.source is Source.SHARED else NO_USAGE


def _unreadable() -> UpstreamFailed:
    return UpstreamFailed(
        "The upstream's stream does not add up to a completion.", code="upstream_garbage"
    )
