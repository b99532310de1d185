"""The cache as its users see it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import anyio.to_thread

from semcache_async.answering import Answering, in_pieces, whole
from semcache_async.config import CacheConfig, check_limit
from semcache_async.errors import ConfigError, PromptError
from semcache_async.flow.vectors import Vectors, open_vectors
from semcache_async.protocols import Embedder, Generate, GenerateStream, Produce, Store
from semcache_async.reply import Journey, Reply
from semcache_async.request import Request, check_answer, check_tags, remembered
from semcache_async.stats import Counters, Stats
from semcache_async.text.prompt import check_text
from semcache_async.tiers import Tiers
from semcache_async.types import Answer, Entry, Neighbour, Scope, Source, Vector

__all__ = ["SemanticCache"]


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
        self._answering = Answering(self._tiers, config, self._counters)

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
            answer = await self._answering.answer(request, whole(generate))
        except BaseException as error:
            self._counters.failed += 1
            self._counters.cancelled += isinstance(error, asyncio.CancelledError)
            raise
        self._counters.count(answer.source)
        return answer

    async def stream(
        self,
        prompt: str,
        generate_stream: GenerateStream,
        *,
        scope: Scope = Scope(),
        tags: Collection[str] = (),
        ttl_s: float | None = None,
        max_distance: float | None = None,
    ) -> AsyncGenerator[str, None]:
        """``get_or_generate`` in pieces: a hit is one piece; on a miss every caller of the flight
        gets the pieces of ``generate_stream(prompt)`` as they come, a late one from the start.

        Only an answer that came to its end is kept. Close the iterator (``contextlib.aclosing``)
        where you leave it early. Raises as ``get_or_generate`` does, in mid-stream too.
        """
        reply = self.reply(
            prompt,
            in_pieces(generate_stream),
            scope=scope,
            tags=tags,
            ttl_s=ttl_s,
            max_distance=max_distance,
        )
        async with reply:
            emitted = False
            async for piece in reply:
                emitted = True
                yield piece
            if not emitted:
                yield (await reply.answer()).text

    def reply(
        self,
        prompt: str,
        produce: Produce,
        *,
        scope: Scope = Scope(),
        tags: Collection[str] = (),
        ttl_s: float | None = None,
        max_distance: float | None = None,
        max_age_s: float | None = None,
        read: bool = True,
        write: bool = True,
    ) -> Reply:
        """What services are built on: ``async with cache.reply(...) as reply`` says where the
        answer comes from before it is there, and hands out what ``produce`` emits as it comes.

        ``max_age_s``: older entries are misses. Without ``read``, the LLM is called and its answer
        replaces what is stored; without ``write``, nothing is stored; without both, the request
        bypasses the cache. Raises as ``get_or_generate`` does.
        """
        if read and max_age_s is None:
            entry = self._tiers.recall(prompt, scope)
            if entry is not None:
                return Reply.of_hit(self._counters, remembered(entry))
        request = Request.make(
            *(prompt, scope, tags, ttl_s, max_distance, self.config),
            max_age_s=max_age_s,
            use=(read, write),
        )
        return Reply(self._counters, Journey(self._answering, request, produce))

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

    async def lookup_exact(self, prompt: str, *, scope: Scope = Scope()) -> Answer | None:
        """What the exact tier alone has. Raises a ``StoreError`` where the store fails."""
        request = Request.make(prompt, scope, (), None, None, self.config)
        self._counters.lookups += 1
        entry = await self._tiers.exact(request)
        self._counters.lookup_hits += entry is not None
        return None if entry is None else request.hit(Source.EXACT, entry, 0.0)

    async def nearest(
        self, prompt: str, *, scope: Scope = Scope(), limit: int = 3
    ) -> Sequence[Neighbour]:
        """The ``limit`` (1..100) nearest entries of the scope at whatever distance, nearest first;
        none for a prompt that only the exact tier serves. Raises ``EmbeddingError`` or a
        ``StoreError`` where those parts fail."""
        request = Request.make(prompt, scope, (), None, None, self.config)
        return await self._tiers.nearest(request, check_limit(limit))

    async def _look(self, request: Request) -> Answer | None:
        self._counters.lookups += 1
        recalled = self._tiers.recall(request.prompt, request.key.scope)
        if recalled is not None:
            self._counters.lookup_hits += 1
            return remembered(recalled)
        answer = await self._tiers.find(request) if request.reads else None
        self._counters.lookup_hits += answer is not None
        return answer

    async def embed(self, texts: Sequence[str]) -> list[Vector | None]:
        """Each text's vector, in packs shared with everybody's prompts; None for a text that the
        model cannot read whole. Raises ``PromptError`` or ``EmbeddingError``."""
        if isinstance(texts, str):
            raise PromptError("embed takes a sequence of texts; wrap the one text in a list.")
        checked = [check_text("text", text) for text in texts]
        return await asyncio.gather(*[self._tiers.vector(text) for text in checked])

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
        if not request.writes:
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
            self._answering.ground(scope, tags)
        return await self._tiers.remove(scope=scope, tags=tags, entry_ids=entry_ids)

    async def browse(self, *, tags: Collection[str] = (), limit: int = 100) -> Sequence[Entry]:
        """Some ``limit`` (1..1,000) live entries of any scope, newest of them first; where tags are
        named, those that carry one. Raises ``StoreError`` where the store fails."""
        return await self._tiers.browse(check_tags(tags), check_limit(limit, 1_000))

    async def check(self) -> None:
        """Raise a ``StoreError`` unless the store answers and its index is as it has to be."""
        await self._tiers.check()

    def stats(self) -> Stats:
        """A snapshot of every counter and gauge."""
        return self._tiers.stats(flights=len(self._answering), waiting=self._answering.waiting)

    async def _aclose(self) -> None:
        await self._answering.aclose()
        await self._tiers.aclose()
