"""Both tiers behind micro-batches, failing open: what fails is counted, logged and a miss."""

from __future__ import annotations

import asyncio
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Hashable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import NamedTuple, TypeVar

import msgspec

from semcache_async.complaints import Complaints
from semcache_async.config import CacheConfig
from semcache_async.errors import (
    CacheClosedError,
    ConfigError,
    EmbeddingError,
    LeaseLostError,
    OverloadedError,
    PromptError,
    QuotaError,
    SemcacheError,
    StaleWriteError,
    StoreError,
    StoreUnavailableError,
)
from semcache_async.flow.batcher import MicroBatcher
from semcache_async.flow.breaker import PROBE, Breaker
from semcache_async.flow.limiter import Limiter
from semcache_async.flow.models import Models, Reader
from semcache_async.flow.quotas import Quotas
from semcache_async.flow.recent import Recent, RecentAnswers
from semcache_async.flow.verifying import Verifying
from semcache_async.flow.versions import Versions
from semcache_async.protocols import (
    AmendingStore,
    BrowsableStore,
    CountingStore,
    Embedder,
    EvidenceStore,
    SharingStore,
    Store,
    WatchableStore,
)
from semcache_async.request.ageing import Ageing
from semcache_async.request.attempt import Attempt, remembered
from semcache_async.request.query import Query, check_answer
from semcache_async.stats import Counters, Stats
from semcache_async.text.cacheable import has_numbers_of_somebody
from semcache_async.text.decide import UNSCORED, decide
from semcache_async.text.prompt import normalise
from semcache_async.types import (
    Affected,
    Answer,
    Entry,
    EntryKey,
    Neighbour,
    Produced,
    Record,
    Scope,
    Source,
    Vector,
    VectorQuery,
    cosine_distance,
)

__all__ = ["Tiers"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_FETCH_BATCH, _SEARCH_BATCH, _PUT_BATCH = 256, 32, 32
"""Commands in one pipeline at most: about 1 ms (fetch) to 5 ms (search) of Redis's time."""
_SEARCH_PIPELINES = 2
"""Pipelines of searches under way: one is being read while Redis works on the other."""

_UNKNOWN = -1
"""The version of a namespace's that cannot be learnt."""
_POINTED_S = 60.0
_WATCH_AGAIN_S = 1.0
_AGREE = 0.1
"""Cosine distance within which two answers may say the same."""
_BUSY = 64
"""Texts that wait for the embedder when what can wait has to."""


class _Pointer(NamedTuple):
    """From a prompt to the entry that answered it by meaning."""

    entry_id: str
    created_at: float
    distance: float
    until: float
    """By this process's clock: then it is looked for anew, as something nearer may have come."""


class Tiers:
    """The exact and the semantic tier: reading, and keeping answers."""

    def __init__(
        self,
        models: Models,
        store: Store,
        config: CacheConfig,
        counters: Counters,
        verifying: Verifying | None = None,
    ) -> None:
        self._models = models
        self._verifying = verifying
        self._store = store
        self._config = config
        self._counters = counters
        self._complaints = Complaints()
        self._count = store.count if isinstance(store, CountingStore) else _uncounted
        if config.tenant_entries is not None and self._count is _uncounted:
            raise ConfigError("tenant_entries needs a store with count(), as Redis's has.")
        self.quotas = Quotas(config)
        """What each tenant has used."""
        timeout_s = config.store_timeout_s
        self._fetches: MicroBatcher[EntryKey, Entry | None] = MicroBatcher(
            store.fetch, budget=_FETCH_BATCH, timeout_s=timeout_s
        )
        self._searches: MicroBatcher[VectorQuery, Sequence[Neighbour]] = MicroBatcher(
            store.search,
            budget=_SEARCH_BATCH,
            concurrency=_SEARCH_PIPELINES,
            timeout_s=timeout_s,
        )
        self._puts: MicroBatcher[Record, str] = MicroBatcher(
            store.put, budget=_PUT_BATCH, timeout_s=timeout_s
        )
        self._breaker = Breaker(
            lambda: store.fetch([PROBE]), timeout_s=timeout_s, opened=self._store_is_gone
        )
        self._versions = Versions(store, lease_s=config.version_lease_s, timeout_s=timeout_s)
        self._unkept: str | None = None
        """Why the last write failed; None where it did not."""
        self._noted = store.noted if isinstance(store, EvidenceStore) else None
        self._amend = store.amend if isinstance(store, AmendingStore) else None
        if config.sliding_ttl and self._amend is None:
            raise ConfigError("sliding_ttl needs a store with amend(), as Redis's has.")
        self.ageing = Ageing(config, store.now, self._amended)
        """What time does to entries."""
        self._pointers: Recent[EntryKey, _Pointer] = Recent(config.embedding_cache_size)
        """By prompts that were answered by meaning."""
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
        """What turns prompts into vectors, where no rule names another model."""
        return self._models.vectors.embedder

    @property
    def sharing(self) -> SharingStore | None:
        """The store, where flights are to be shared by it."""
        shares = self._config.share_flights and isinstance(self._store, SharingStore)
        return self._store if shares else None  # type: ignore[return-value]

    @property
    def store_is_up(self) -> bool:
        """Is the store asked, or taken for unreachable?"""
        return not self._breaker.is_open

    @property
    def busy(self) -> bool:
        """Do texts queue for an embedder by the pack?"""
        return any(vectors.queued >= _BUSY for _, vectors in self._models.ready())

    def now(self) -> float:
        """Unix seconds by the store's clock."""
        return self._store.now()

    def recall(self, prompt: str, scope: Scope) -> Answer | None:
        """An exact answer that this process remembers: no tier is asked."""
        if self._watching is None or self._config.shadow:
            return None
        now = self._store.now()
        try:
            asked = self._versions.known(scope) if scope.namespace else scope
            entry = None if asked is None else self._recent.get(asked, prompt, now)
        except (AttributeError, TypeError):  # no scope: for the checks of a query to explain
            return None
        if entry is None or self.ageing.is_due(entry, now, exact=True):
            return None
        if entry.slid_at:
            self.ageing.slide(entry, scope, now)
        return remembered(entry, now)

    async def pinned(self, query: Query) -> Query:
        """The query under its namespace's version. One that cannot be learnt has nothing stored,
        and nothing is stored under it."""
        scope = query.key.scope
        if not scope.namespace:
            return query
        try:
            if self._breaker.is_open and self._versions.known(scope) is None:
                self._check_store()
            return query.pinned(await self._versions.pin(scope))
        except (StoreError, TimeoutError) as error:
            self.store_failed(error)
            return query.pinned(msgspec.structs.replace(scope, epoch=_UNKNOWN))

    async def pin(self, query: Query) -> Query:
        """The same, raising a ``StoreError`` instead."""
        return query.pinned(await self._versioned(query.key.scope, self._versions.pin))

    async def newest(self, scope: Scope) -> Scope:
        """A scope under the version that its namespace has now, in whatever process it began;
        raises a ``StoreError``."""
        return await self._versioned(scope, self._versions.learn)

    async def _versioned(self, scope: Scope, version: Callable[[Scope], Awaitable[Scope]]) -> Scope:
        try:
            return await version(scope)
        except TimeoutError as error:
            raise self._late(error) from error

    async def bump(self, namespace: str) -> int:
        """Begin a new version; raises a ``StoreError``."""
        return await self._versions.bump(namespace)

    async def find(self, attempt: Attempt) -> Answer | None:
        """What the tiers have for this query, exact before semantic, fresh before stale; what is
        to be made anew is noted. In shadow mode, None: what would have been served is only
        noted."""
        query = attempt.query
        entry = await self._fetch(attempt)
        if entry is not None:
            now = self._store.now()
            young = query.max_age_s is None or now - entry.created_at <= query.max_age_s
            if young and (attempt.replaces is None or _is_newer(entry, attempt.replaces)):
                if self._config.shadow:
                    self._counters.shadow_exact += 1
                    attempt.shadow = Neighbour(0.0, entry)
                    return None
                if not (entry.stale_s or entry.slid_at or self._config.early_refresh):
                    return attempt.hit(Source.EXACT, entry, 0.0, now)
                stale = self.ageing.note(attempt, entry, now, exact=True)
                hit = attempt.hit(Source.EXACT, entry, 0.0, now, stale=stale)
                newer = await self._pointed(attempt) if stale else None
                if newer is None or newer.age_s >= hit.age_s:
                    return hit
                attempt.renews = None
                return newer
        if (pointed := await self._pointed(attempt)) is not None:
            return pointed
        try:
            async with asyncio.timeout(self._config.lookup_budget_s) as limit:
                if not attempt.embed_failed:
                    await self._embed(attempt)
                neighbours = await self._search(attempt)
        except TimeoutError:
            attempt.embed_failed = not attempt.embedded
            self._counters.lookup_timeouts += 1
            self._complaints.warn("lookup", "out of time, counted as a miss")
            return None
        now = self._store.now()
        near = self._servable(query, neighbours, now)
        chosen = self._choose(attempt, near, now)
        if self._verifying is not None:
            attempt.ask_until = limit.when() or 0.0
            while chosen is None and await self.verify(attempt, _undecided(attempt.refused)):
                chosen = self._choose(attempt, near, now)
        if chosen is None:
            return None
        if self._config.shadow:
            self._counters.shadow_semantic += 1
            attempt.shadow = chosen
            return None
        entry = chosen.entry
        if chosen.widened:
            return attempt.hit(Source.SEMANTIC, entry, chosen.distance, now, widened=True)
        if self._noted is not None:
            until = time.monotonic() + _POINTED_S
            pointer = _Pointer(entry.id, entry.created_at, chosen.distance, until)
            self._pointers.put(query.key, pointer)
        if not (entry.stale_s or entry.slid_at or self._config.early_refresh):
            return attempt.hit(Source.SEMANTIC, entry, chosen.distance, now)
        stale = self.ageing.note(attempt, entry, now)
        return attempt.hit(Source.SEMANTIC, entry, chosen.distance, now, stale=stale)

    def _choose(self, attempt: Attempt, near: Sequence[Neighbour], now: float) -> Neighbour | None:
        """The neighbour to serve: of the query's own scope before others that it leaves open, fresh
        before stale, near before far."""
        query = attempt.query
        attempt.near = near
        if query.widen:
            attempt.near = [one for one in near if not one.widened]
        if (old := attempt.replaces) is not None:
            attempt.near = [one for one in attempt.near if _is_newer(one.entry, old)]
        decision = decide(query.prompt, attempt.near, query.policy)
        if (chosen := decision.chosen) is not None and chosen.entry.is_stale(now):
            fresh = [near for near in attempt.near if not near.entry.is_stale(now)]
            younger = decide(query.prompt, fresh, query.policy)
            decision = decision if younger.chosen is None else younger
        if decision.chosen is None and query.widen and attempt.replaces is None:
            fresh = [one for one in near if not (one.widened and one.entry.is_stale(now))]
            decision = decide(query.prompt, fresh, query.policy)
        attempt.refused = ()
        if decision.refused:
            attempt.refused = tuple(
                msgspec.structs.replace(near, refused_by=by) for near, by in decision.refused
            )
            if attempt.span is not None:
                attempt.span.refused(attempt.refused)
        chosen = decision.chosen
        if chosen is None:
            return None
        teaches = not (chosen.widened or chosen.entry.is_stale(now))
        attempt.served = chosen if teaches else None
        return chosen

    async def verify(self, attempt: Attempt, prompts: Iterable[str]) -> bool:
        """Ask the verifier about the first of ``prompts`` that it was not asked about on this
        attempt; False where there is none left, or no time."""
        query, loop = attempt.query, asyncio.get_running_loop()
        left = 2 * self._config.neighbours - len(attempt.asked)  # as many leaders of flights
        if self._verifying is None or left <= 0 or loop.time() >= attempt.ask_until:
            return False
        for prompt in prompts:
            if prompt not in attempt.asked:
                attempt.asked += (prompt,)
                await self._verifying.ask(
                    *(query.prompt, prompt),
                    tenant=query.key.scope.tenant,
                    bulk=attempt.bulk,
                    until=attempt.ask_until,
                )
                return True
        return False

    def look_anew(self, prompt: str) -> None:
        """What answers a wording by meaning is to be found again."""
        wording = normalise(prompt)
        for key in self._pointers.keys():  # noqa: SIM118 - no dict
            if key.normalised == wording:
                self._pointers.drop(key)

    async def _amended(
        self, entry_id: str, change: Callable[[Entry], Entry | None], scope: Scope | None
    ) -> None:
        if self._amend is None or self._breaker.is_open:
            return
        try:
            await self._amend(entry_id, change, scope)
            self._recent.change(entry_id)
        except Exception as error:
            self.store_failed(error)

    async def _pointed(self, attempt: Attempt) -> Answer | None:
        """What answered the very same wording by meaning before, if it still may: the very same
        answer, of an entry that has gone on, by the policy and the verdicts of now."""
        query = attempt.query
        pointer = self._pointers.get(query.key)
        if pointer is None or self._noted is None or attempt.replaces is not None:
            return None
        if self._config.shadow or self._breaker.is_open:
            return None
        if pointer.until <= time.monotonic():
            self._pointers.drop(query.key)
            return None
        began = time.perf_counter()
        try:
            found = await self._noted(pointer.entry_id, query.key.scope)
        except Exception as error:
            self.store_failed(error)
            return None
        finally:
            attempt.search_s += time.perf_counter() - began
            if attempt.span is not None:
                attempt.span.stage("search", began)
        now = self._store.now()
        if found is not None and found[0].created_at == pointer.created_at:
            entry, _, notes = found
            near = Neighbour(pointer.distance, entry, None, notes)
            oldest = 0.0 if query.max_age_s is None else now - query.max_age_s
            ends = entry.semantic_until <= now or self.ageing.is_due(entry, now)
            if not ends and entry.created_at >= oldest and self._servable(query, [near], now):
                decision = decide(query.prompt, [near], query.policy)
                if decision.chosen is not None:
                    self._counters.pointed += 1
                    self.ageing.slide(entry, query.key.scope, now)
                    attempt.served, attempt.near = near, [near]
                    return attempt.hit(Source.SEMANTIC, entry, near.distance, now)
        self._pointers.drop(query.key)
        return None

    async def vector(
        self,
        text: str,
        *,
        reader: Reader | None = None,
        tenant: str | None = None,
        bulk: bool = False,
    ) -> Vector | None:
        """None for a text that the model (None: the cache's own) cannot read whole, or while it is
        still to come; raises ``EmbeddingError``. ``tenant``: whose text it is; None for the cache's
        own purposes."""
        vectors = self._models.vectors if reader is None else reader.vectors
        if vectors is None:
            return None
        try:
            return await vectors.vector(text, tenant=tenant, bulk=bulk)
        except (EmbeddingError, CacheClosedError, OverloadedError):
            raise
        except Exception as error:
            self._complaints.warn("embedder", error)
            raise EmbeddingError(  # its words may be about a text of another caller's
                f"The embedder failed with {type(error).__name__}; the log says where."
            ) from None

    async def distance(self, one: str, other: str, model: str = "") -> float | None:
        """The cosine distance of two texts as a model has it; None where it cannot read both.
        Raises as ``vector`` does."""
        reader = self._models.named(model)
        first = await self.vector(one, reader=reader)
        second = await self.vector(other, reader=reader)
        if first is None or second is None:
            return None
        return cosine_distance(first, second)

    async def _read(self, query: Query) -> Vector | None:
        scope = query.key.scope
        reader = self._models.of(scope).reader
        reader.unready += reader.vectors is None
        return await self.vector(query.prompt, reader=reader, tenant=scope.tenant)

    async def agree(self, one: str, other: str) -> bool | None:
        """Do two answers say the same, as far as their vectors and words show?"""
        distance = await self.distance(one, other)
        if distance is None:
            return None
        return distance <= _AGREE and not self._models.own.reader.wording.objects(one, other)

    async def exact(self, query: Query) -> Entry | None:
        """What the exact tier has; raises a ``StoreError`` where the store fails."""
        return await self._asked(self._fetches, (await self.pin(query)).key)

    async def nearest(self, query: Query, limit: int) -> Sequence[Neighbour]:
        """The nearest entries at whatever distance, each with what speaks against it; raises
        ``EmbeddingError`` or a ``StoreError``."""
        query = await self.pin(query)
        vector = await self._read(query)
        if vector is None:
            return ()
        asked = VectorQuery(query.key.scope, vector, limit, widen=query.widen)
        found = await self._asked(self._searches, asked)
        seen = self._refused_by(query, self._servable(query, found, self._store.now()))
        if self._verifying is None or not (left := _undecided(seen)):
            return seen
        ask, tenant = self._verifying.ask, query.key.scope.tenant
        until = asyncio.get_running_loop().time() + self._config.lookup_budget_s / 2
        await asyncio.gather(*(ask(query.prompt, one, tenant=tenant, until=until) for one in left))
        return self._refused_by(query, seen)

    def _refused_by(self, query: Query, near: Sequence[Neighbour]) -> list[Neighbour]:
        refused_by = query.policy.refused_by
        return [
            msgspec.structs.replace(one, refused_by=refused_by(query.prompt, one)) for one in near
        ]

    async def browse(self, tags: Collection[str], limit: int) -> Sequence[Entry]:
        """Some live entries; raises a ``StoreError`` where the store fails."""
        return await self._browsable.browse(tags, limit)

    async def would_remove(
        self,
        *,
        scope: Scope | None,
        tenant: str | None,
        tags: Collection[str],
        entry_ids: Collection[str],
        examples: int,
    ) -> Affected:
        """What ``remove`` would delete; raises a ``StoreError`` where the store fails."""
        scope = None if scope is None else await self.newest(scope)
        return await self._browsable.would_remove(
            scope=scope, tenant=tenant, tags=tags, entry_ids=entry_ids, examples=examples
        )

    async def check(self) -> None:
        """Raise a ``StoreError`` unless the store can serve."""
        await self._browsable.check()

    @property
    def _browsable(self) -> BrowsableStore:
        if not isinstance(self._store, BrowsableStore):
            raise ConfigError("This needs a store with browse(), would_remove() and check().")
        return self._store

    async def embed(self, attempt: Attempt) -> None:
        """Embed its prompt, unless that was done or takes too long."""
        if not attempt.embedded:
            await self._embed_for_keeping(attempt)

    @asynccontextmanager
    async def embedding(self, attempt: Attempt) -> AsyncIterator[None]:
        """Meanwhile, embed a prompt that is to be kept and was not embedded in time."""
        if attempt.embedded or not attempt.query.writes:
            yield
            return
        task = asyncio.create_task(self._embed_for_keeping(attempt))
        try:
            yield
        finally:
            task.cancel()

    async def keep(
        self,
        attempt: Attempt,
        made: Produced,
        started_at: float,
        tags: Mapping[str, None],
        claim: str | None,
        llm_s: float,
    ) -> str | None:
        """Store an answer that was just made; its entry id, or None where it was not stored, which
        is counted with its reason. ``tags`` may grow meanwhile, by followers."""
        counters, query = self._counters, attempt.query
        if query.personal:
            counters.not_stored_personal += 1
            return None
        if not (made.keep and query.writes):
            counters.not_stored_unkept += 1
            return None
        if llm_s < self._config.min_llm_s:
            counters.not_stored_cheap += 1
            return None
        if query.wary and has_numbers_of_somebody(made.text):
            counters.not_stored_personal += 1
            return None
        scope = query.key.scope
        if scope.epoch == _UNKNOWN or not self._versions.is_current(scope):
            counters.not_stored_store += scope.epoch == _UNKNOWN
            counters.not_stored_invalidated += scope.epoch != _UNKNOWN
            return None
        made_s = round(max(0.0, self._store.now() - started_at), 3)
        try:
            text = check_answer(made.text, self._config)
        except PromptError as error:
            counters.not_stored_invalid += 1
            self._complaints.warn("answer not stored", error)
            return None
        try:
            await self._may_write(attempt.query)
            await self._embed_for_keeping(attempt)
            while True:
                known = tuple(tags)
                entry_id = await self._put(
                    *(attempt.query, text, attempt.vector, started_at, known),
                    made_s=made_s,
                    claim=claim,
                )
                if len(tags) == len(known):
                    return entry_id
        except LeaseLostError:
            counters.not_stored_overtaken += 1
        except QuotaError as error:
            counters.not_stored_quota += 1
            self._complaints.warn("answer not stored", error)
        except StaleWriteError:
            counters.not_stored_invalidated += 1
        except (CacheClosedError, asyncio.CancelledError):
            counters.not_stored_closed += 1
            raise
        except Exception as error:
            counters.not_stored_store += 1
            self.store_failed(error)
        return None

    async def put(self, query: Query, text: str) -> str:
        """Store an answer; raises ``EmbeddingError`` or a ``StoreError`` where those fail,
        ``QuotaError`` where the tenant may store no more."""
        query = query.pinned(await self.newest(query.key.scope))
        await self._may_write(query)
        started_at = self._store.now()
        vector = await self._read(query)
        try:
            return await self._put(query, text, vector, started_at, query.tags)
        except TimeoutError as error:
            raise self._late(error) from error

    async def remove(
        self,
        *,
        scope: Scope | None,
        tenant: str | None,
        tags: Collection[str],
        entry_ids: Collection[str],
    ) -> int:
        """Delete what meets every condition; raises ``StoreError`` where the store fails."""
        scope = None if scope is None else await self.newest(scope)
        try:
            return await self._store.remove(
                scope=scope, tenant=tenant, tags=tags, entry_ids=entry_ids
            )
        finally:
            self._recent.forget_all()
            self.quotas.recount()

    def stats(
        self,
        *,
        flights: int,
        waiting: int,
        judging: int,
        limiter: Limiter,
        scopes: Mapping[str, int],
    ) -> Stats:
        """A snapshot of every counter and gauge."""
        batchers = (self._fetches, self._searches, self._puts)
        readers = self._models.readers
        vectors = [one for _, one in self._models.ready()]
        packs = sum(one.packs for one in vectors)
        return Stats(
            **asdict(self._counters),
            requests=self._counters.all_requests(),
            not_stored=self._counters.all_not_stored(),
            flights=flights,
            waiting=waiting,
            judging=judging,
            **scopes,
            llm_limit=limiter.limit,
            llm_waiting=limiter.waiting,
            queued=sum(one.queued for one in vectors)
            + sum(one.queued for one in batchers)
            + getattr(self._verifying, "queued", 0),
            connections=self._store.connections,
            erased=sum(one.wording.erased for one in readers),
            guarded=sum(one.wording.guarded for one in readers),
            doubted=sum(one.wording.doubted for one in readers),
            unready=sum(one.unready for one in readers),
            verifier_asked=getattr(self._verifying, "asked", 0),
            verifier_refused=getattr(self._verifying, "refused", 0),
            verifier_failed=getattr(self._verifying, "failed", 0),
            unopened=getattr(self._store, "unopened", 0),
            store_up=not self._breaker.is_open,
            store_keeps=self._unkept is None,
            store_trouble=self._unkept,
            elsewhere=getattr(self._store, "elsewhere", 0),
            store_skips=self._breaker.skipped,
            embedder=getattr(self.embedder, "backend", type(self.embedder).__name__),
            hint=getattr(self.embedder, "hint", None),
            embedded_texts=sum(one.texts for one in vectors),
            embed_batches=packs,
            embed_fill=sum(one.packer.fill * one.packs for one in vectors) / (packs or 1),
            embed_remembered=sum(one.hits for one in vectors),
            embedder_up=not self._models.vectors.breaker.is_open,
            embed_skips=self._models.vectors.breaker.skipped,
            embed_requests=getattr(self.embedder, "requests", 0),
            embed_retries=getattr(self.embedder, "retries", 0),
            embed_tokens=getattr(self.embedder, "tokens", 0),
            embed_usd=getattr(self.embedder, "usd", 0.0),
            exact_batches=self._fetches.batches,
            search_batches=self._searches.batches,
            searches=self._searches.items,
        )

    async def aclose(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        self.ageing.close()
        await self._breaker.aclose()
        await self._versions.aclose()
        for batcher in (self._fetches, self._searches, self._puts):
            await batcher.aclose()
        if self._verifying is not None:
            await self._verifying.aclose()

    def _servable(
        self, query: Query, neighbours: Sequence[Neighbour], now: float
    ) -> Sequence[Neighbour]:
        """Without those of the very same wording that the exact tier may serve no longer."""
        return [
            near
            for near in neighbours
            if near.entry.exact_until > now or normalise(near.prompt) != query.key.normalised
        ]

    async def _fetch(self, attempt: Attempt) -> Entry | None:
        if self._breaker.is_open:
            self._breaker.skip()
            return None
        began = time.perf_counter()
        since = self._recent.now()
        key = attempt.query.key
        try:
            entry = await self._fetches.submit(key, bulk=attempt.bulk)
            if entry is not None:
                self._recent.keep(key.scope, attempt.query.prompt, entry, since)
            return entry
        except Exception as error:
            self.store_failed(error)
            return None
        finally:
            attempt.exact_s += time.perf_counter() - began
            if attempt.span is not None:
                attempt.span.stage("exact", began)

    async def _embed(self, attempt: Attempt) -> None:
        if attempt.embedded:
            return
        query = attempt.query
        reader = (self._models.only or self._models.of(query.key.scope)).reader
        vectors = reader.vectors
        if vectors is None:
            reader.unready += not attempt.unready
            attempt.unready = True
            return
        began = time.perf_counter()
        try:
            attempt.vector = await vectors.vector(
                query.prompt, tenant=query.key.scope.tenant, bulk=attempt.bulk
            )
            attempt.embedded = True
        except (CacheClosedError, OverloadedError):
            raise
        except Exception as error:
            self._counters.embed_errors += not attempt.embed_failed
            attempt.embed_failed = True
            self._complaints.warn("embedder", error)
        finally:
            attempt.embed_s += time.perf_counter() - began
            if attempt.span is not None:
                attempt.span.stage("embed", began)

    async def _embed_for_keeping(self, attempt: Attempt) -> None:
        """What was late or failed on the way in is tried once more on the way out."""
        try:
            async with asyncio.timeout(self._config.lookup_budget_s):
                await self._embed(attempt)
        except (TimeoutError, OverloadedError):
            self._complaints.warn("embedder", "out of time: an answer is stored without its vector")

    async def _search(self, attempt: Attempt) -> Sequence[Neighbour]:
        if attempt.vector is None:
            return ()
        if self._breaker.is_open:
            self._breaker.skip()
            return ()
        began = time.perf_counter()
        query = attempt.query
        after = 0.0 if query.max_age_s is None else self._store.now() - query.max_age_s
        asked = VectorQuery(
            query.key.scope, attempt.vector, self._config.neighbours, after, query.widen
        )
        try:
            return await self._searches.submit(asked, bulk=attempt.bulk)
        except Exception as error:
            self.store_failed(error)
            return ()
        finally:
            attempt.search_s += time.perf_counter() - began
            if attempt.span is not None:
                attempt.span.stage("search", began)

    async def _put(
        self,
        query: Query,
        text: str,
        vector: Vector | None,
        started_at: float,
        tags: tuple[str, ...],
        *,
        made_s: float | None = None,
        claim: str | None = None,
    ) -> str:
        self._check_store()
        record = query.record(
            *(self._config, text, vector),
            tags=tags,
            started_at=started_at,
            made_s=made_s,
            claim=claim,
        )
        try:
            entry_id = await self._puts.submit(record)
        except (StaleWriteError, CacheClosedError):
            raise
        except Exception as error:
            told = isinstance(error, SemcacheError)
            self._unkept = str(error) if told else type(error).__name__
            raise
        self._unkept = None
        self._recent.change(entry_id)
        return entry_id

    def _check_store(self) -> None:
        """Raises ``StoreUnavailableError`` where it is not asked for now."""
        if self._breaker.is_open:
            self._breaker.skip()
            raise StoreUnavailableError("The store is out of reach; nothing is stored for now.")

    async def _may_write(self, query: Query) -> None:
        """Raises ``QuotaError``, and ``StoreError`` where the store cannot be asked."""
        self._check_store()
        await self.quotas.write(query.key.scope.tenant, self._count)

    async def _asked(self, batcher: MicroBatcher[K, V], key: K) -> V:
        """What the store answers, whatever the breaker says; failures are raised."""
        try:
            return await batcher.submit(key)
        except TimeoutError as error:
            raise self._late(error) from error

    def _late(self, error: TimeoutError) -> StoreUnavailableError:
        self._breaker.note(error)
        return StoreUnavailableError(
            f"The store did not answer within {self._config.store_timeout_s:g} s."
        )

    async def _watch(self, store: WatchableStore) -> None:
        while True:
            try:
                await store.watch(self._recent.change)
            except StoreError as error:
                self._complaints.warn("local answers are off", error)
            finally:
                self._recent.deafen()
            await asyncio.sleep(_WATCH_AGAIN_S)

    def store_failed(self, error: Exception) -> None:
        """Something that was asked of the store failed: it counts, and may open the breaker."""
        if isinstance(error, CacheClosedError):
            raise error
        self._counters.store_errors += 1
        self._breaker.note(error)
        if not self._breaker.is_open:
            self._complaints.warn("store", error)

    def _store_is_gone(self, error: Exception) -> None:
        for batcher in (self._fetches, self._searches, self._puts):
            batcher.fail(error)
        self._versions.fail(error)


def _undecided(seen: Iterable[Neighbour]) -> list[str]:
    """Of which prompts nothing but the verifier's word is wanting?"""
    return [near.prompt for near in seen if near.refused_by == UNSCORED]


def _is_newer(entry: Entry, old: Entry) -> bool:
    return entry.created_at > old.created_at


async def _uncounted(_tenant: str) -> int:
    """Of a store that cannot say it."""
    return 0
