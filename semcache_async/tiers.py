"""Both tiers behind micro-batches, failing open: what fails is counted, logged and a miss."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from typing import Protocol, runtime_checkable

from semcache_async.complaints import Complaints
from semcache_async.config import CacheConfig
from semcache_async.errors import (
    CacheClosedError,
    ConfigError,
    EmbeddingError,
    PromptError,
    StoreError,
)
from semcache_async.flow.batcher import MicroBatcher
from semcache_async.flow.recent import RecentAnswers
from semcache_async.flow.vectors import Vectors
from semcache_async.protocols import Embedder, Store
from semcache_async.request import Request, check_answer
from semcache_async.stats import Counters, Stats
from semcache_async.text.decide import decide
from semcache_async.types import (
    Answer,
    Entry,
    EntryKey,
    Neighbour,
    Record,
    Scope,
    Source,
    Vector,
    VectorQuery,
)

__all__ = ["Tiers"]

_FETCH_BATCH, _SEARCH_BATCH, _PUT_BATCH = 256, 32, 32
"""Commands in one pipeline at most: about 1 ms (fetch) to 5 ms (search) of Redis's time."""
_SEARCH_PIPELINES = 2
"""Pipelines of searches under way: one is being read while Redis works on the other."""

_WATCH_AGAIN_S = 1.0


@runtime_checkable
class WatchableStore(Store, Protocol):
    """A store that tells of changes by any client: the Redis store."""

    async def watch(self, changed: Callable[[str | None], None]) -> None: ...


@runtime_checkable
class BrowsableStore(Store, Protocol):
    """A store that people can look into."""

    async def browse(self, tags: Collection[str], limit: int) -> Sequence[Entry]: ...
    async def check(self) -> None: ...


class Tiers:
    """The exact and the semantic tier: reading, and keeping answers."""

    def __init__(
        self, vectors: Vectors, store: Store, config: CacheConfig, counters: Counters
    ) -> None:
        self._vectors = vectors
        self._store = store
        self._config = config
        self._counters = counters
        self._complaints = Complaints()
        self._fetches: MicroBatcher[EntryKey, Entry | None] = MicroBatcher(
            store.fetch, budget=_FETCH_BATCH
        )
        self._searches: MicroBatcher[VectorQuery, Sequence[Neighbour]] = MicroBatcher(
            store.search, budget=_SEARCH_BATCH, concurrency=_SEARCH_PIPELINES
        )
        self._puts: MicroBatcher[Record, str] = MicroBatcher(store.put, budget=_PUT_BATCH)
        self._recent = RecentAnswers(config.local_answers)
        self._watching: asyncio.Task[None] | None = None
        if config.local_answers:
            if not isinstance(store, WatchableStore):
                raise ConfigError(
                    "local_answers needs a store that reports changes, as the Redis store does; "
                    "leave it at 0."
                )
            self._watching = asyncio.create_task(self._watch(store))

    @property
    def embedder(self) -> Embedder:
        """What turns prompts into vectors."""
        return self._vectors.embedder

    def recall(self, prompt: str, scope: Scope) -> Entry | None:
        """An exact answer that this process remembers: no tier is asked."""
        if self._watching is None:
            return None
        try:
            return self._recent.get(scope, prompt)
        except TypeError:  # unhashable: for the checks of a request to explain
            return None

    async def find(self, request: Request) -> Answer | None:
        """What the tiers have for this request, exact before semantic."""
        entry = await self._fetch(request)
        if entry is not None and request.accepts(entry):
            return request.hit(Source.EXACT, entry, 0.0)
        try:
            async with asyncio.timeout(self._config.lookup_budget_s):
                await self._embed(request)
                neighbours = await self._search(request)
        except TimeoutError:
            self._counters.lookup_timeouts += 1
            self._complaints.warn("lookup", "out of time, counted as a miss")
            return None
        if request.max_age_s is not None:
            neighbours = [near for near in neighbours if request.accepts(near.entry)]
        chosen = decide(request.prompt, neighbours, request.policy).chosen
        if chosen is None:
            return None
        return request.hit(Source.SEMANTIC, chosen.entry, chosen.distance)

    async def vector(self, text: str) -> Vector | None:
        """None for a text that the model cannot read whole; raises ``EmbeddingError``."""
        try:
            return await self._vectors.vector(text)
        except (EmbeddingError, CacheClosedError):
            raise
        except Exception as error:
            raise EmbeddingError(f"The embedder failed: {error!r}") from error

    async def exact(self, request: Request) -> Entry | None:
        """What the exact tier has; raises a ``StoreError`` where the store fails."""
        return await self._fetches.submit(request.key)

    async def nearest(self, request: Request, limit: int) -> Sequence[Neighbour]:
        """The nearest entries at whatever distance; raises ``EmbeddingError`` or a
        ``StoreError``."""
        vector = await self.vector(request.prompt)
        if vector is None:
            return ()
        return await self._searches.submit(VectorQuery(request.key.scope, vector, limit))

    async def browse(self, tags: Collection[str], limit: int) -> Sequence[Entry]:
        """Some live entries; raises a ``StoreError`` where the store fails."""
        return await self._browsable.browse(tags, limit)

    async def check(self) -> None:
        """Raise a ``StoreError`` unless the store can serve."""
        await self._browsable.check()

    @property
    def _browsable(self) -> BrowsableStore:
        if not isinstance(self._store, BrowsableStore):
            raise ConfigError("This needs a store with browse() and check(), as Redis's has.")
        return self._store

    async def keep(self, request: Request, text: str, started_at: float) -> str | None:
        """Store an answer that was just made; its entry id, or None where it was not stored."""
        if request.store_failed:
            return None
        try:
            check_answer(text, self._config)
            return await self._put(request, text, started_at)
        except PromptError as error:
            self._complaints.warn("answer not stored", error)
        except Exception as error:
            self._store_failed(request, error)
        return None

    async def withdraw(self, request: Request, entry_id: str) -> None:
        """Delete an entry that was invalidated while it was being stored."""
        try:
            await self.remove(scope=None, tags=(), entry_ids=[entry_id])
        except Exception as error:
            self._store_failed(request, error)

    async def put(self, request: Request, text: str, started_at: float) -> str:
        """Store an answer; raises ``EmbeddingError`` or a ``StoreError`` where those fail."""
        request.vector = await self.vector(request.prompt)
        return await self._put(request, text, started_at)

    async def remove(
        self, *, scope: Scope | None, tags: Collection[str], entry_ids: Collection[str]
    ) -> int:
        """Delete what meets every condition; raises ``StoreError`` where the store fails."""
        try:
            return await self._store.remove(scope=scope, tags=tags, entry_ids=entry_ids)
        finally:
            self._recent.forget_all()

    def stats(self, *, flights: int, waiting: int) -> Stats:
        """A snapshot of every counter and gauge."""
        packer = self._vectors.packer
        batchers = (self._fetches, self._searches, self._puts)
        return Stats(
            **asdict(self._counters),
            requests=self._counters.requests,
            flights=flights,
            waiting=waiting,
            queued=self._vectors.queued + sum(batcher.queued for batcher in batchers),
            connections=getattr(self._store, "connections", 0),
            embedder=getattr(self.embedder, "backend", type(self.embedder).__name__),
            embedded_texts=packer.items,
            embed_batches=packer.batches,
            embed_fill=packer.fill,
            embed_remembered=self._vectors.hits,
            exact_batches=self._fetches.batches,
            search_batches=self._searches.batches,
            searches=self._searches.items,
        )

    async def aclose(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        for batcher in (self._fetches, self._searches, self._puts):
            await batcher.aclose()

    async def _fetch(self, request: Request) -> Entry | None:
        if request.store_failed:
            return None
        began = time.perf_counter()
        since = self._recent.now()
        try:
            entry = await self._fetches.submit(request.key)
            if entry is not None:
                self._recent.keep(request.key.scope, request.prompt, entry, since)
            return entry
        except Exception as error:
            self._store_failed(request, error)
            return None
        finally:
            request.exact_s += time.perf_counter() - began

    async def _embed(self, request: Request) -> None:
        if request.embedded:
            return
        request.embedded = True
        began = time.perf_counter()
        try:
            request.vector = await self._vectors.vector(request.prompt)
        except CacheClosedError:
            raise
        except Exception as error:
            self._counters.embed_errors += 1
            self._complaints.warn("embedder", error)
        finally:
            request.embed_s += time.perf_counter() - began

    async def _search(self, request: Request) -> Sequence[Neighbour]:
        if request.vector is None or request.store_failed:
            return ()
        began = time.perf_counter()
        query = VectorQuery(request.key.scope, request.vector, self._config.neighbours)
        try:
            return await self._searches.submit(query)
        except Exception as error:
            self._store_failed(request, error)
            return ()
        finally:
            request.search_s += time.perf_counter() - began

    async def _put(self, request: Request, text: str, started_at: float) -> str:
        entry_id = await self._puts.submit(request.record(text, started_at))
        self._recent.change(entry_id)
        return entry_id

    async def _watch(self, store: WatchableStore) -> None:
        while True:
            try:
                await store.watch(self._recent.change)
            except StoreError as error:
                self._complaints.warn("local answers are off", error)
            finally:
                self._recent.deafen()
            await asyncio.sleep(_WATCH_AGAIN_S)

    def _store_failed(self, request: Request, error: Exception) -> None:
        if isinstance(error, CacheClosedError):
            raise error
        request.store_failed = True
        self._counters.store_errors += 1
        self._complaints.warn("store", error)
