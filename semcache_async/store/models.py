"""One store of several models', each with an index of its own under the one name.

An entry lies in the index of the model that reads its scope, or in that of the cache's own while
the other one is not there yet. What is common to all indexes of a name (fences, versions, inboxes,
exact repeats) the first store sees to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from semcache_async.store.partitioned.claims import PartitionedClaims
from semcache_async.store.partitioned.holding import Held
from semcache_async.store.partitioned.partitions import PartitionedStore
from semcache_async.store.partitioned.together import all_at_once, for_ever, spread
from semcache_async.store.redis_store import RedisStore
from semcache_async.store.tenants import TenantStores
from semcache_async.types import Entry, EntryKey, Neighbour, Owner, Record, Scope, VectorQuery

__all__ = ["AnyStore", "ModelStores"]

AnyStore: TypeAlias = RedisStore | PartitionedStore | TenantStores

T = TypeVar("T")


class ModelStores:
    """See ``protocols.Store`` and all that derive from it for what the methods promise."""

    def __init__(self, own: AnyStore, model_of: Callable[[Scope], str]) -> None:
        """``own``: that of the model ``""``."""
        self._own = own
        self._model_of = model_of
        self._stores: list[AnyStore] = [own]
        self._models = [""]
        self._grown = asyncio.Event()
        self.now, self.remove, self.would_remove = own.now, own.remove, own.would_remove
        self.versions, self.bump = own.versions, own.bump
        self.watch_versions = own.watch_versions
        claims = PartitionedClaims(self._stores, self._spread, self._at)
        self.claim, self.stand, self.withdraw = claims.claim, claims.stand, claims.withdraw
        self.renew, self.vectors = claims.renew, claims.vectors
        self.write, self.hear, self.leave = own.write, own.hear, own.leave

    async def add(self, model: str, dim: int, fingerprint: str, reach: float) -> AnyStore:
        """The store of another model, from now on."""
        store = await self._own.of_model(dim, fingerprint, reach)
        self._models.append(model)
        self._stores.append(store)
        self._grown.set()
        return store

    @property
    def connections(self) -> int:
        """Connections open now: the models share them."""
        return self._own.connections

    @property
    def unopened(self) -> int:
        """Sealed data that did not open, so far."""
        return self._own.unopened

    async def fetch(self, keys: Sequence[EntryKey]) -> list[Entry | Exception | None]:
        return await self._spread(
            keys, lambda key: self._at(key.scope), lambda store, mine: store.fetch(mine)
        )

    async def search(self, queries: Sequence[VectorQuery]) -> list[list[Neighbour] | Exception]:
        return await self._spread(
            queries, lambda one: self._at(one.scope), lambda store, mine: store.search(mine)
        )

    async def put(self, records: Sequence[Record]) -> list[str | Exception]:
        return await self._spread(
            records, lambda one: self._at(one.key.scope), lambda store, mine: store.put(mine)
        )

    async def watch(self, changed: Callable[[str | None], None]) -> None:
        """Until another model's store is there: then it is to be called again."""
        self._grown.clear()
        sources = [store.watch for store in self._stores]
        both = [
            asyncio.ensure_future(for_ever(sources, changed)),
            asyncio.ensure_future(self._grown.wait()),
        ]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for one in done:
                one.result()
        finally:
            for one in both:
                one.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def browse(self, tags: Collection[str], limit: int) -> list[Entry]:
        found = await all_at_once(store.browse(tags, limit) for store in self._stores)
        entries = [entry for page in found for entry in page]
        return sorted(entries, key=lambda entry: entry.created_at, reverse=True)[:limit]

    async def count(self, tenant: str) -> int:
        return sum(await all_at_once(store.count(tenant) for store in self._stores))

    async def check(self) -> None:
        await all_at_once(store.check() for store in self._stores)

    def owner(self, scope: Scope) -> Owner:
        return self._owned(self._at(scope), self._own.owner(scope))

    async def tally(
        self, owner: Owner, period: int, amounts: Mapping[str, float], *, pooled: bool
    ) -> None:
        await self._of(owner).tally(owner, period, amounts, pooled=pooled)

    async def tallies(
        self, owner: Owner, periods: Sequence[int]
    ) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
        return await self._of(owner).tallies(owner, periods)

    async def noted(self, entry_id: str, scope: Scope | None = None) -> Held | None:
        if scope is not None:
            place = self._at(scope)
            found = await self._stores[place].noted(entry_id, scope)
            return found and (found[0], self._owned(place, found[1]), found[2])
        seen: list[bytes | None] = []

        def look(_: Entry, notes: bytes | None) -> bytes | None:
            seen.append(notes)
            return notes

        held = await self.annotate(entry_id, look)  # asks no index beside its own, as noted does
        return (*held, seen[-1]) if held else await self._own.noted(entry_id)

    async def annotate(
        self, entry_id: str, change: Callable[[Entry, bytes | None], bytes | None]
    ) -> tuple[Entry, Owner] | None:
        for place, store in enumerate(self._stores):
            if (found := await store.annotate(entry_id, change)) is not None:
                return found[0], self._owned(place, found[1])
        return None

    async def amend(
        self, entry_id: str, change: Callable[[Entry], Entry | None], scope: Scope | None = None
    ) -> bool:
        if scope is not None:
            return await self._stores[self._at(scope)].amend(entry_id, change, scope)
        for store in self._stores:
            if await store.amend(entry_id, change):
                return True
        return False

    def _at(self, scope: Scope) -> int:
        model = self._model_of(scope)
        return self._models.index(model) if model in self._models else 0

    def _owned(self, place: int, owner: Owner) -> Owner:
        return owner._replace(model=self._models[place])

    def _of(self, owner: Owner) -> AnyStore:
        return self._stores[self._models.index(owner.model)]

    async def _spread(
        self,
        items: Sequence[T],
        place_of: Callable[[T], int],
        call: Callable[[Any, Sequence[T]], Awaitable[Any]],
    ) -> list[Any]:
        """Each item's outcome from the store of its scope's model."""
        return await spread(
            items, place_of, lambda place, mine: call(self._stores[place], mine), otherwise=0
        )
