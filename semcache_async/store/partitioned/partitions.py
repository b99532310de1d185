"""One store of many: scopes are spread over partitions, which may lie on different servers.

A scope's partition follows from what is equal in all scopes that one call may find entries of (its
digest, as a rule), so whatever is about one scope goes to one partition, and what is about many
goes to all. A partition that is out of reach fails alone: its lookups miss
at once until it is back, and only when none is left is the store out of reach.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

from semcache_async.config import CacheConfig
from semcache_async.errors import StoreError, StoreUnavailableError
from semcache_async.flow.breaker import PROBE, Breaker, is_outage
from semcache_async.store.clock import ServerClock
from semcache_async.store.opening import redis_stores, removing_stores
from semcache_async.store.partitioned.claims import PartitionedClaims
from semcache_async.store.partitioned.holding import Held, Holding
from semcache_async.store.partitioned.together import (
    all_at_once,
    all_in_reach,
    for_ever,
    out_of_reach,
    spread,
)
from semcache_async.store.portable import Exported
from semcache_async.store.redis_store import RedisStore
from semcache_async.store.tenants import TenantStores
from semcache_async.store.wire.replies import checked
from semcache_async.types import (
    Affected,
    Entry,
    EntryKey,
    Neighbour,
    Owner,
    Record,
    Scope,
    Vector,
    VectorQuery,
)

__all__ = ["PartitionedStore", "open_removing_store", "open_store"]

_SHARE = 0.8
"""Of the store's time limit, what one of several partitions has: it is to be found out before the
store is."""

T = TypeVar("T")
R = TypeVar("R")


class _Part(NamedTuple):
    store: RedisStore
    breaker: Breaker


@asynccontextmanager
async def open_store(
    url: str,
    *,
    dim: int,
    fingerprint: str,
    config: CacheConfig,
    clock: ServerClock | None = None,
    probe: Vector | None = None,
) -> AsyncIterator[RedisStore | PartitionedStore | TenantStores]:
    """The store of all partitions, or of all tenants. Raises as ``redis_stores`` does."""
    timeout_s = _timeout_s(config)
    async with (
        redis_stores(
            url,
            dim=dim,
            fingerprint=fingerprint,
            config=config,
            clock=clock,
            timeout_s=timeout_s,
            probe=probe,
        ) as stores,
        _together(stores, timeout_s) as store,
    ):
        if config.index_per_tenant and isinstance(store, RedisStore):
            yield TenantStores(store)
        else:
            yield store


@asynccontextmanager
async def open_removing_store(
    url: str, *, config: CacheConfig
) -> AsyncIterator[RedisStore | PartitionedStore]:
    """The same, of those that only remove (``removing_stores``)."""
    timeout_s = _timeout_s(config)
    async with (
        removing_stores(url, config=config, timeout_s=timeout_s) as stores,
        _together(stores, timeout_s) as store,
    ):
        yield store


def _timeout_s(config: CacheConfig) -> float:
    return config.store_timeout_s * (_SHARE if config.partitions > 1 else 1.0)


@asynccontextmanager
async def _together(
    stores: Sequence[RedisStore], timeout_s: float
) -> AsyncIterator[RedisStore | PartitionedStore]:
    if len(stores) == 1:
        yield stores[0]
        return
    parts = [_Part(store, _breaker(store, n, timeout_s)) for n, store in enumerate(stores)]
    try:
        yield PartitionedStore(parts)
    finally:
        for part in parts:
            await part.breaker.aclose()


def _breaker(store: RedisStore, number: int, timeout_s: float) -> Breaker:
    async def probe() -> None:
        for outcome in await store.fetch([PROBE]):
            checked(outcome)

    name = f"Partition {number} of the store"
    return Breaker(probe, timeout_s=timeout_s, opened=lambda _error: None, name=name)


class PartitionedStore(Holding):
    """See ``protocols.Store`` and all that derive from it for what the methods promise."""

    def __init__(self, parts: Sequence[_Part]) -> None:
        self._parts = parts
        self._stores = [part.store for part in parts]
        first = self._stores[0]
        self.owner = first.owner
        self.watch_versions = first.watch_versions
        claims = PartitionedClaims(self._stores, self._spread, self._at)
        self.claim, self.stand, self.withdraw = claims.claim, claims.stand, claims.withdraw
        self.renew, self.write, self.hear = claims.renew, claims.write, claims.hear
        self.vectors, self.leave = claims.vectors, claims.leave

    @property
    def connections(self) -> int:
        """Connections to all servers open now: the partitions share them."""
        return self._stores[0].connections

    @property
    def unopened(self) -> int:
        """Sealed data that did not open, so far: one sealer serves all partitions."""
        return self._stores[0].unopened

    @property
    def unmoved(self) -> dict[str, int]:
        """Of each other fingerprint how many entries there were at the start, where this one's
        index was as good as empty."""
        total = Counter[str]()
        for store in self._stores:
            total.update(store.unmoved)
        return dict(total)

    @property
    def elsewhere(self) -> int:
        """Entries of other models under this name, as of the last 10 s or so."""
        return sum(store.elsewhere for store in self._stores)

    def now(self) -> float:
        """Unix seconds by the servers' clocks, of which none is behind: what begins now begins
        before any invalidation that comes after it, wherever that is."""
        return min(store.now() for store in self._stores)

    async def fetch(self, keys: Sequence[EntryKey]) -> list[Entry | Exception | None]:
        return await self._spread(keys, lambda key: self._at(key.scope), RedisStore.fetch)

    async def search(self, queries: Sequence[VectorQuery]) -> list[list[Neighbour] | Exception]:
        return await self._spread(queries, lambda one: self._at(one.scope), RedisStore.search)

    async def put(self, records: Sequence[Record]) -> list[str | Exception]:
        return await self._spread(records, lambda one: self._at(one.key.scope), RedisStore.put)

    async def restore(self, items: Sequence[tuple[Exported, Vector | None]]) -> list[Any]:
        def place_of(item: tuple[Exported, Vector | None]) -> int:
            digests = item[0].digests
            homes = (*digests.wide[-1:], digests.owner, digests.scope)
            return self._place(next(filter(None, homes)))

        return await self._spread(items, place_of, RedisStore.restore)

    async def remove(
        self,
        *,
        scope: Scope | None = None,
        tenant: str | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
    ) -> int:
        removed = await all_at_once(
            store.remove(scope=scope, tenant=tenant, tags=tags, entry_ids=entry_ids)
            for store in self._concerned(scope)
        )
        return sum(removed)

    async def would_remove(
        self,
        *,
        scope: Scope | None = None,
        tenant: str | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
        examples: int,
    ) -> Affected:
        parts = await all_at_once(
            store.would_remove(
                scope=scope, tenant=tenant, tags=tags, entry_ids=entry_ids, examples=examples
            )
            for store in self._concerned(scope)
        )
        entries = [entry for part in parts for entry in part.examples]
        entries.sort(key=lambda entry: entry.created_at, reverse=True)
        return Affected(sum(part.count for part in parts), entries[:examples])

    def _concerned(self, scope: Scope | None) -> Sequence[RedisStore]:
        """One partition where a scope is named, else every one."""
        return self._stores if scope is None else [self.of(scope)]

    async def watch(self, changed: Callable[[str | None], None]) -> None:
        await for_ever([store.watch for store in self._stores], changed)

    async def browse(self, tags: Collection[str], limit: int) -> list[Entry]:
        found = await all_at_once(store.browse(tags, limit) for store in self._stores)
        entries = [entry for page in found for entry in page]
        return sorted(entries, key=lambda entry: entry.created_at, reverse=True)[:limit]

    async def count(self, tenant: str) -> int:
        """Those in the partitions in reach: an outage of one is no reason to store nothing."""
        said = await all_in_reach(store.count(tenant) for store in self._stores)
        return sum(one for one in said if not isinstance(one, StoreError))

    async def check(self) -> None:
        """Raise a ``StoreError`` unless some partition answers, and those that do are as they have
        to be."""
        checks = [store.check() for store in self._stores]
        said = await asyncio.gather(*checks, return_exceptions=True)
        failures = [one for one in said if one is not None]
        wrong = [one for one in failures if not is_outage(one)]
        if wrong or len(failures) == len(said):
            raise (wrong or failures)[0]

    async def versions(self, namespaces: Sequence[str]) -> list[int | Exception]:
        """The first partition has those of all."""
        return await self._said(self._parts[0], lambda store: store.versions(namespaces))

    async def bump(self, namespace: str) -> int:
        return await self._said(self._parts[0], lambda store: store.bump(namespace))

    async def tally(
        self, owner: Owner, period: int, amounts: Mapping[str, float], *, pooled: bool
    ) -> None:
        """A tenant's sums lie in parts, each with those of the scopes that they are of."""
        await self._owned(owner).tally(owner, period, amounts, pooled=pooled)

    async def tallies(
        self, owner: Owner, periods: Sequence[int]
    ) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
        said = await all_at_once(store.tallies(owner, periods) for store in self._stores)
        own = said[self._stores.index(self._owned(owner))][0]
        pooled: list[dict[str, float]] = [{} for _ in periods]
        for _, tenants in said:
            for total, sums in zip(pooled, tenants, strict=True):
                for name, amount in sums.items():
                    total[name] = total.get(name, 0.0) + amount
        return own, pooled

    async def of_model(self, dim: int, fingerprint: str, reach: float) -> PartitionedStore:
        """Beside this, for another model's vectors."""
        beside = [
            _Part(await part.store.of_model(dim, fingerprint, reach), part.breaker)
            for part in self._parts
        ]
        return PartitionedStore(beside)

    async def size(self) -> tuple[int, int]:
        """Entries and bytes of the indexes in reach."""
        said = await all_in_reach(store.size() for store in self._stores)
        sizes = [one for one in said if not isinstance(one, StoreError)]
        return sum(entries for entries, _ in sizes), sum(size for _, size in sizes)

    def of(self, scope: Scope) -> RedisStore:
        """The store that has a scope."""
        return self._stores[self._at(scope)]

    def _at(self, scope: Scope) -> int:
        return self._place(self._stores[0].home(scope))

    def _owned(self, owner: Owner) -> RedisStore:
        return self._stores[self._place(owner.scope)]

    def _place(self, digest: str) -> int:
        return int(digest[:8], 16) % len(self._stores)

    async def _spread(
        self,
        items: Sequence[T],
        place_of: Callable[[T], int],
        call: Callable[[RedisStore, Sequence[T]], Awaitable[Sequence[R]]],
    ) -> list[Any]:
        """Each item's outcome from the partition that it belongs to, all at once. Raises
        ``StoreUnavailableError`` where no partition is left."""

        async def ask(place: int, mine: Sequence[T]) -> Sequence[R | Exception]:
            return await self._ask(self._parts[place], call, mine)

        outcomes = await spread(items, place_of, ask, otherwise=0)
        if items and all(part.breaker.is_open for part in self._parts):
            raise StoreUnavailableError("No partition of the store is in reach.")
        return outcomes

    async def _ask(
        self,
        part: _Part,
        call: Callable[[RedisStore, Sequence[T]], Awaitable[Sequence[R]]],
        items: Sequence[T],
    ) -> Sequence[R | Exception]:
        if part.breaker.is_open:
            part.breaker.skip()
            return [_not_asked()] * len(items)
        try:
            answers: Sequence[R | Exception] = await call(part.store, items)
        except StoreError as error:
            answers = [error] * len(items)
        return [self._alone(part, one) if isinstance(one, Exception) else one for one in answers]

    async def _said(self, part: _Part, ask: Callable[[RedisStore], Awaitable[R]]) -> R:
        """What a partition says; raises a ``StoreError`` that is none of the store's outage."""
        if part.breaker.is_open:
            part.breaker.skip()
            raise _not_asked()
        try:
            return await ask(part.store)
        except StoreError as error:
            raise self._alone(part, error) from error

    def _alone(self, part: _Part, error: Exception) -> Exception:
        """An outage of one partition is none of the store's."""
        if not is_outage(error):
            return error
        part.breaker.note(error)
        return out_of_reach(error)

    async def _at_home(self, scope: Scope, ask: Callable[[RedisStore], Awaitable[R]]) -> R:
        return await self._said(self._parts[self._at(scope)], ask)

    async def _holding(self, entry_id: str) -> tuple[RedisStore, Held | None]:
        asked = [store.noted(entry_id) for store in self._stores]
        said = await asyncio.gather(*asked, return_exceptions=True)
        for store, found in zip(self._stores, said, strict=True):
            if isinstance(found, tuple):
                return store, found
        for found in said:
            if isinstance(found, BaseException):
                raise found
        return self._stores[0], None


def _not_asked() -> StoreError:
    return StoreError("A partition is out of reach, and not asked for now.")
