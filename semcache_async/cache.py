"""The one flow: prompt, exact tier, embed, search, decide, flight, LLM, store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import NamedTuple

import anyio
import anyio.to_thread

from semcache_async.config import CacheConfig
from semcache_async.errors import ConfigError, PromptError
from semcache_async.flow.flights import Flight, Flights, Seat
from semcache_async.flow.vectors import Vectors, open_vectors
from semcache_async.protocols import Embedder, Generate, Store
from semcache_async.request import Request, check_answer, check_tags, remembered
from semcache_async.stats import Counters, Stats
from semcache_async.tiers import Tiers
from semcache_async.types import Answer, Scope, Source

__all__ = ["SemanticCache"]


class _Made(NamedTuple):
    """What a flight brings that called the LLM."""

    text: str
    entry_id: str | None


class SemanticCache:
    """Answers prompts from what was answered before. Make one with ``open``.

    All methods may be called from any number of tasks of the event loop that opened the cache.
    """

    def __init__(
        self, *, vectors: Vectors, store: Store, config: CacheConfig, redis_url: str | None
    ) -> None:
        self.config = config
        self.redis_url = redis_url
        """Where a second process finds the same Redis; None with a store of another kind."""
        self._counters = Counters()
        self._tiers = Tiers(vectors, store, config, self._counters)
        self._flights: Flights[Answer | _Made] = Flights(finish_abandoned=config.finish_abandoned)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        redis_url: str | None = None,
        *,
        config: CacheConfig | None = None,
        embedder: Embedder | None = None,
        store: Store | None = None,
    ) -> AsyncIterator[SemanticCache]:
        """A cache for as long as the ``async with`` lasts.

        ``redis_url``: None for an embedded Redis that ends with the cache, ``"embedded:DIRECTORY"``
        for one that persists there and is shared by every process that names it, or the URL of
        your own Redis with Search. ``embedder``: None for the default model. ``store``: one you
        opened yourself, instead of Redis.

        Raises ``ConfigError``, ``ModelError``, ``EmbeddingError``, ``EmbeddedRedisError`` or a
        ``StoreError``, each with what to do about it.
        """
        config = config or CacheConfig()
        if store is not None and redis_url is not None:
            raise ConfigError("Give a redis_url or a store, not both.")
        async with AsyncExitStack() as stack:
            if embedder is None:
                from semcache_async.embed import default_embedder

                embedder = await anyio.to_thread.run_sync(default_embedder)
            vectors = await stack.enter_async_context(
                open_vectors(embedder, remembered=config.embedding_cache_size)
            )
            kept_in: Store
            if store is not None:
                kept_in = store
            else:
                from semcache_async.store import open_redis

                redis_url, kept_in = await stack.enter_async_context(
                    open_redis(redis_url, embedder.dim, embedder.fingerprint, config)
                )
            cache = cls(vectors=vectors, store=kept_in, config=config, redis_url=redis_url)
            try:
                yield cache
            finally:
                with anyio.CancelScope(shield=True):
                    await cache._aclose()

    @property
    def embedder(self) -> Embedder:
        """What turns prompts into vectors."""
        return self._tiers.embedder

    # -- the flow

    async def get_or_generate(
        self,
        prompt: str,
        generate: Generate,
        *,
        scope: Scope = Scope(),
        tags: Collection[str] = (),
        ttl_s: float | None = None,
        max_distance: float | None = None,
    ) -> Answer:
        """The cached answer to ``prompt`` or to one near enough, else ``await generate(prompt)``,
        which is then kept; callers who ask the same meanwhile share that one call.

        ``ttl_s`` replaces both tiers' times to live; ``max_distance`` may tighten the config's,
        never loosen it. A failing store or embedder counts as a miss. Raises what ``generate``
        raises (``TimeoutError`` past ``generate_timeout_s``), ``PromptError`` or ``ConfigError``
        for arguments that make no sense, ``CacheClosedError`` if the cache closes meanwhile.
        """
        entry = self._tiers.recall(prompt, scope)
        if entry is not None:
            self._counters.exact += 1
            return remembered(entry)
        request = Request.make(prompt, scope, tags, ttl_s, max_distance, self.config)
        try:
            answer = await self._answer(request, generate)
        except BaseException as error:
            self._counters.failed += 1
            self._counters.cancelled += isinstance(error, asyncio.CancelledError)
            raise
        self._counters.count(answer.source)
        return answer

    async def lookup(
        self, prompt: str, *, scope: Scope = Scope(), max_distance: float | None = None
    ) -> Answer | None:
        """The cached answer to ``prompt`` or to one near enough, or None. Never calls the LLM."""
        entry = self._tiers.recall(prompt, scope)
        if entry is not None:
            self._counters.lookups += 1
            self._counters.lookup_hits += 1
            return remembered(entry)
        return await self._look(Request.make(prompt, scope, (), None, max_distance, self.config))

    async def lookup_many(
        self,
        prompts: Sequence[str],
        *,
        scope: Scope = Scope(),
        max_distance: float | None = None,
    ) -> list[Answer | None]:
        """``lookup`` for each prompt, in order, in as few batches as possible."""
        if isinstance(prompts, str):
            raise PromptError("lookup_many takes a sequence of prompts; for one, use lookup.")
        requests = [
            Request.make(prompt, scope, (), None, max_distance, self.config) for prompt in prompts
        ]
        return await asyncio.gather(*[self._look(request) for request in requests])

    async def _look(self, request: Request) -> Answer | None:
        self._counters.lookups += 1
        answer = None if request.oversize else await self._tiers.find(request)
        self._counters.lookup_hits += answer is not None
        return answer

    async def _answer(self, request: Request, generate: Generate) -> Answer:
        if request.oversize:
            text = await self._call(request.prompt, generate)
            return request.answer(text, Source.BYPASSED)
        while True:
            seat = self._flights.join(request.key)
            if seat is None:
                found = await self._tiers.find(request)
                if found is not None:
                    return found
                seat = self._flights.board(
                    request.flight(), request.policy, partial(self._fly, request, generate)
                )
            landed = await self._ride(request, seat)
            if landed is not None:
                return landed

    # -- flights

    async def _ride(self, request: Request, seat: Seat[Answer | _Made]) -> Answer | None:
        """The flight's answer; None for a follower whose leader found, on its second look, an
        answer that was made for a third prompt: near the leader is not near the follower."""
        began = time.perf_counter()
        landing = await self._flights.ride(seat)
        request.generate_s += time.perf_counter() - began
        if isinstance(landing, Answer):
            return landing if seat.leads else None
        if seat.leads:
            return request.answer(landing.text, Source.GENERATED, entry_id=landing.entry_id)
        return request.answer(
            landing.text,
            Source.SHARED,
            entry_id=landing.entry_id,
            distance=seat.distance,
            matched_prompt=seat.flight.prompt,
        )

    async def _fly(
        self, request: Request, generate: Generate, flight: Flight[Answer | _Made]
    ) -> Answer | _Made:
        """A flight's body: look again, since another's store may have landed between this
        request's search and its boarding; else call the LLM and store what it says."""
        found = await self._tiers.find(request)
        if found is not None:
            return found
        text = await self._call(request.prompt, generate)
        return _Made(text, await self._keep(request, flight, text))

    async def _call(self, prompt: str, generate: Generate) -> str:
        self._counters.llm_calls += 1
        try:
            async with asyncio.timeout(self.config.generate_timeout_s):
                text = await generate(prompt)
            if not isinstance(text, str):
                raise TypeError(
                    f"generate returned {type(text).__name__}; it must return the answer as a str."
                )
        except BaseException:
            self._counters.llm_errors += 1
            raise
        return text

    async def _keep(
        self, request: Request, flight: Flight[Answer | _Made], text: str
    ) -> str | None:
        """The id of the stored entry, or None where the answer was not stored."""
        entry_id = None
        if not flight.is_grounded():
            entry_id = await self._tiers.keep(request, text, flight.started_at)
        if entry_id is not None and flight.is_grounded():
            await self._tiers.withdraw(request, entry_id)
            entry_id = None
        self._counters.not_stored += entry_id is None
        return entry_id

    # -- writing and looking from outside

    async def store(
        self,
        prompt: str,
        text: str,
        *,
        scope: Scope = Scope(),
        tags: Collection[str] = (),
        ttl_s: float | None = None,
    ) -> str:
        """Keep ``text`` as the answer to ``prompt``, replacing the one it had; returns the entry
        id once the store has acknowledged. Raises ``PromptError`` for what cannot be kept,
        ``EmbeddingError`` or a ``StoreError`` where those parts fail."""
        request = Request.make(prompt, scope, tags, ttl_s, None, self.config)
        if request.oversize:
            raise PromptError(
                f"The prompt is longer than max_prompt_bytes={self.config.max_prompt_bytes}."
            )
        check_answer(text, self.config)
        return await self._tiers.put(request, text, started_at=time.time())

    async def invalidate(
        self,
        *,
        scope: Scope | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
    ) -> int:
        """Delete the entries that meet every condition named (of ``tags``, any one will do) and
        return how many there were. Answers being generated for that scope and those tags are
        still delivered, but not stored. Raises ``StoreError`` where the store fails."""
        check_tags(tags)
        if isinstance(entry_ids, str):
            raise ConfigError("entry_ids must be a collection of ids; wrap the one id in a tuple.")
        if scope is None and not tags and not entry_ids:
            raise ConfigError("Nothing named to invalidate; give a scope, tags or entry_ids.")
        if not entry_ids:
            self._flights.ground(lambda flight: flight.meets(scope, tags))
        return await self._tiers.remove(scope=scope, tags=tags, entry_ids=entry_ids)

    def stats(self) -> Stats:
        """A snapshot of every counter and gauge."""
        return self._tiers.stats(flights=len(self._flights), waiting=self._flights.waiting)

    async def _aclose(self) -> None:
        await self._flights.aclose()
        await self._tiers.aclose()
