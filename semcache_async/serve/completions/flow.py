"""One call of an LLM through the cache, in whatever API it is asked."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from semcache_async.cache import SemanticCache
from semcache_async.request.reply import Reply
from semcache_async.serve.apis.api import NO_USAGE, Api, Frame, Usage
from semcache_async.serve.apis.crossing import given_in
from semcache_async.serve.apis.pieces import without_pieces
from semcache_async.serve.bypass import Unkept
from semcache_async.serve.completions.again import Again
from semcache_async.serve.completions.control import Control
from semcache_async.serve.completions.headers import headers_of, reason_of
from semcache_async.serve.completions.keeping import Keeping, Worth
from semcache_async.serve.completions.plan import Plan, Planner
from semcache_async.serve.completions.produce import Answered, producer
from semcache_async.serve.errors import UpstreamFailed
from semcache_async.serve.journal import Journal
from semcache_async.serve.metrics.metrics import Metrics
from semcache_async.serve.settings import Settings
from semcache_async.serve.upstream.passing import Passing
from semcache_async.serve.upstream.routing import Upstreams
from semcache_async.types import Answer, Neighbour, Source, Timings

__all__ = ["Completed", "Completions", "CorruptError", "text_of"]


_FRESH = (Source.GENERATED, Source.SHARED)


class CorruptError(Exception):
    """What is stored under the prompt is no answer for this caller."""


class Completed(NamedTuple):
    """A whole answer, and how the cache came by it."""

    body: bytes
    answer: Answer
    headers: dict[str, str]


class Completions:
    """The LLM calls of one service."""

    def __init__(
        self,
        cache: SemanticCache,
        upstreams: Upstreams,
        settings: Settings,
        metrics: Metrics,
        journal: Journal,
        answered: Answered | None = None,
    ) -> None:
        """``answered`` is told what upstreams answer."""
        self._cache = cache
        self._answered = answered
        self._upstreams = upstreams
        self._metrics = metrics
        self._journal = journal
        self._hide_similarity = settings.hide_similarity
        self._keeping = Keeping(
            *(settings.finish_reasons, settings.pure_tools),
            refuse_personal=settings.cache.refuse_personal,
            worth=Worth.of(settings),
        )
        self.again = Again(settings.regenerate_s)
        self.passing = Passing(settings)
        self.planner = Planner(settings, upstreams.identity_of)

    async def whole(self, plan: Plan, control: Control) -> Completed:
        """The answer for a caller who wants no stream."""
        try:
            return await self._whole(plan, control)
        except CorruptError:
            return await self._whole(plan, msgspec.structs.replace(control, read=False))

    async def _whole(self, plan: Plan, control: Control) -> Completed:
        async with self.begin(plan, control) as reply:
            answer = await reply.answer()
            if reply.hit is not None:
                body, usage, source = self.reissued(plan, answer)
            else:
                text, source = self.given(plan, without_pieces(text_of(answer)))
                body, usage = text.encode(), NO_USAGE
                if answer.source is Source.SHARED:
                    usage = plan.request.api.usage_in(body)
            held_back = reply.shadow
            self.note(plan, control, reply.source, answer, reply.timings, usage, held_back)
        headers = self.headers(plan, control, answer.source, answer, held_back, source)
        if answer.source in _FRESH and answer.entry_id is None:
            why = await self._keeping.why_not(msgspec.json.decode(body), plan.request)
            if why is not None:
                headers["x-semcache-not-stored"] = why.value
        return Completed(body, answer, headers)

    def begin(self, plan: Plan, control: Control) -> Reply[Frame]:
        """The reply to read the answer from, as it comes."""
        cacheable = plan.reason is None
        write = control.write and cacheable
        upstream, limit = self._upstreams.of(plan.request.model), plan.request.limit

        def unkept(why: Unkept) -> None:
            if write:
                self._metrics.count("unkept_answers", why.value)

        return self._cache.reply(
            plan.prompt,
            producer(
                *(upstream, plan.request, control.passed, self._keeping, unkept), self._answered
            ),
            emits=Frame,
            scope=plan.scope,
            tags=control.tags,
            ttl_s=control.ttl_s,
            max_distance=control.max_distance,
            max_age_s=control.max_age_s,
            read=control.read and cacheable,
            write=write,
            crew="" if limit is None or not plan.neutral else str(limit),
            widen=control.widen,
            vetted=True,
        )

    async def stored(self, plan: Plan, control: Control) -> Answer | None:
        """What is stored and young enough; the LLM is not asked."""
        if plan.reason is not None or not control.read:
            return None
        answer = await self._cache.lookup(
            plan.prompt,
            scope=plan.scope,
            max_distance=control.max_distance,
            widen=control.widen,
        )
        oldest = control.max_age_s
        return None if answer and oldest is not None and answer.age_s > oldest else answer

    def given(self, plan: Plan, text: str) -> tuple[str, Api]:
        """An answer as the caller's API writes it, and the API in which it was made."""
        api = plan.request.api
        return given_in(text, api) if plan.crosses else (text, api)

    def reissued(self, plan: Plan, answer: Answer) -> tuple[bytes, Usage, Api]:
        """A stored answer as a new one, what it used, and the API in which it was made. Raises
        ``CorruptError``."""
        text, source = self.given(plan, answer.text)
        made = plan.request.api.reissued(text)
        return (*self._usable(plan, made), source)

    def replayed(self, plan: Plan, text: str) -> tuple[bytes, Usage, Api]:
        """The same as a new one's stream."""
        text, source = self.given(plan, text)
        made = plan.request.api.replayed(text, include_usage=plan.request.include_usage)
        return (*self._usable(plan, made), source)

    def _usable(self, plan: Plan, made: tuple[bytes, Usage] | None) -> tuple[bytes, Usage]:
        """Of requests that share their answers without regard to limits, one that is longer than
        the caller's is none for it."""
        limit = plan.request.limit
        if made is None or (plan.neutral and limit is not None and _tokens(made) > limit):
            raise CorruptError
        return made

    def headers(
        self,
        plan: Plan,
        control: Control,
        source: Source,
        answer: Answer | None,
        shadow: Neighbour | None = None,
        made_in: Api | None = None,
    ) -> dict[str, str]:
        """What the cache did; ``answer`` is None while it is still coming; ``made_in``: the API of
        the upstream's answer."""
        headers = headers_of(
            source,
            answer,
            shadow=shadow,
            reason=plan.reason,
            unread=not control.read,
            hide_similarity=self._hide_similarity,
        )
        if made_in is not None and made_in is not plan.request.api:
            headers["x-semcache-api"] = made_in.name
        return headers

    def note(
        self,
        plan: Plan,
        control: Control,
        source: Source,
        answer: Answer | None,
        timings: Timings,
        usage: Usage,
        shadow: Neighbour | None = None,
    ) -> None:
        """Count an answer. ``usage``: of the call that a hit or a shared answer saved; ``shadow``:
        the stored answer that shadow mode held back, which is for people to review like a hit."""
        self.again.answered(plan, control.asker)
        if source in (Source.GENERATED, Source.BYPASSED):
            usage = NO_USAGE
        self._metrics.answered(
            source,
            timings,
            saved_prompt_tokens=usage.prompt_tokens,
            saved_completion_tokens=usage.completion_tokens,
        )
        if source is Source.BYPASSED:
            self._metrics.bypassed(reason_of(plan.reason, unread=not control.read))
        hit = answer if shadow is None else _would_be(shadow)
        if hit is not None and hit.source is Source.SEMANTIC:
            self._journal.note_hit(prompt=plan.prompt, answer=hit, scope=plan.scope)


def _tokens(made: tuple[bytes, Usage]) -> int:
    """None is of less than a byte."""
    body, usage = made
    return usage.completion_tokens or len(body)


def _would_be(shadow: Neighbour) -> Answer:
    """The hit that shadow mode held back."""
    return Answer(
        text=shadow.entry.text,
        source=Source.SEMANTIC if shadow.distance else Source.EXACT,
        distance=shadow.distance,
        matched_prompt=shadow.prompt,
        entry_id=shadow.entry.id,
    )


def text_of(answer: Answer) -> str:
    """A fresh answer."""
    if not answer.text:
        raise UpstreamFailed(
            "The upstream's stream does not add up to a completion.", code="upstream_garbage"
        )
    return answer.text
