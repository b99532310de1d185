"""One store of many: each tenant's entries in an index of their own, made when it first keeps one.

Fences, claims, versions and sums are common to all, so that what concerns many tenants is one step
as ever; what searches or deletes goes through every index that there is.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, TypeVar

from semcache_async.errors import StoreError
from semcache_async.flow.recent import Recent
from semcache_async.store.entries.moving import Outcome
from semcache_async.store.entries.schema import is_missing_index
from semcache_async.store.partitioned.holding import Held, Holding
from semcache_async.store.partitioned.together import all_at_once, spread
from semcache_async.store.portable import Exported
from semcache_async.store.redis_store import RedisStore
from semcache_async.types import (
    Entry,
    EntryKey,
    Neighbour,
    Record,
    Scope,
    Vector,
    VectorQuery,
)

__all__ = ["TenantStores"]

_OPEN = 1_024
"""Tenants whose store is kept open in this process: what is known of their scopes' sizes."""
_SEEN_S = 10.0
"""After which writes alone look again: what is in no index could not be found to be deleted."""
_AT_ONCE = 50
"""Indexes asked at a time where all have to be."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class _Own:
    store: RedisStore
    seen_at: float = -inf
    """When its index was there last, as far as this process knows (``time.monotonic``)."""

    async def prepare(self) -> None:
        """Make the index, unless it was there a moment ago."""
        if time.monotonic() - self.seen_at > _SEEN_S:
            await self.store.make_index()
            self.seen_at = time.monotonic()


class TenantStores(Holding):
    """See ``protocols.Store`` and all that derive from it for what the methods promise."""

    def __init__(self, common: RedisStore) -> None:
        """``common`` has everything but the entries."""
        self._common = common
        self._own: Recent[str, _Own] = Recent(_OPEN)
        self.owner, self.now = common.owner, common.now
        self.tally, self.tallies = common.tally, common.tallies
        self.versions, self.bump = common.versions, common.bump
        self.watch_versions = common.watch_versions
        self.claim, self.stand, self.withdraw = common.claim, common.stand, common.withdraw
        self.renew, self.write, self.hear = common.renew, common.write, common.hear
        self.vectors, self.leave = common.vectors, common.leave
        self.remove, self.would_remove = common.remove, common.would_remove
        self.check = common.check

    @property
    def connections(self) -> int:
        """Connections open now: all tenants share them."""
        return self._common.connections

    @property
    def unmoved(self) -> dict[str, int]:
        """As of entries that are nobody's own."""
        return self._common.unmoved

    @property
    def elsewhere(self) -> int:
        """As of entries that are nobody's own."""
        return self._common.elsewhere

    @property
    def unopened(self) -> int:
        """Sealed data that did not open, so far."""
        return self._common.unopened

    async def fetch(self, keys: Sequence[EntryKey]) -> list[Entry | Exception | None]:
        async def ask(own: _Own, mine: Sequence[EntryKey]) -> Sequence[Any]:
            return await own.store.fetch(mine)

        return await self._spread(keys, lambda key: key.scope, ask)

    async def search(self, queries: Sequence[VectorQuery]) -> list[list[Neighbour] | Exception]:
        """A tenant without an index has no entries."""

        async def ask(own: _Own, mine: Sequence[VectorQuery]) -> Sequence[Any]:
            found = await own.store.search(mine)
            missing = any(is_missing_index(one) for one in found)
            if missing or not any(isinstance(one, Exception) for one in found):
                own.seen_at = -inf if missing else time.monotonic()
            return [[] if is_missing_index(one) else one for one in found]

        return await self._spread(queries, lambda query: query.scope, ask)

    async def put(self, records: Sequence[Record]) -> list[str | Exception]:
        async def ask(own: _Own, mine: Sequence[Record]) -> Sequence[Any]:
            try:
                await own.prepare()
            except StoreError as error:
                return [error] * len(mine)
            return await own.store.put(mine)

        return await self._spread(records, lambda record: record.key.scope, ask)

    async def restore(self, items: Sequence[tuple[Exported, Vector | None]]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for one, vector in items:
            own = self._of(one.digests.tenant)
            await own.prepare()
            outcomes += await own.store.restore([(one, vector)])
        return outcomes

    async def watch(self, changed: Callable[[str | None], None]) -> None:
        await self._common.watch(changed, of_tenants=True)

    async def browse(self, tags: Collection[str], limit: int) -> list[Entry]:
        newest: list[Entry] = []
        async for pages in self._each(lambda store: store.browse(tags, limit)):
            newest = sorted(
                [*newest, *(entry for page in pages for entry in page)],
                key=lambda entry: entry.created_at,
                reverse=True,
            )[:limit]
        return newest

    async def count(self, tenant: str) -> int:
        own = self._of(self._common.digest_of(tenant))
        return await _unless_missing(own.store.count(tenant)) or 0

    async def of_model(self, dim: int, fingerprint: str, reach: float) -> TenantStores:
        """Beside this, for another model's vectors."""
        return TenantStores(await self._common.of_model(dim, fingerprint, reach))

    async def size(self) -> tuple[int, int]:
        """Entries and bytes of all tenants' indexes."""
        total, size = await self._common.size()
        async for sizes in self._each(lambda store: store.size()):
            total += sum(entries for entries, _ in sizes)
            size += sum(bytes_ for _, bytes_ in sizes)
        return total, size

    async def _at_home(self, scope: Scope, ask: Callable[[RedisStore], Awaitable[R]]) -> R:
        return await ask(self._of(self.owner(scope).tenant).store)

    async def _holding(self, entry_id: str) -> tuple[RedisStore, Held | None]:

        async def look(store: RedisStore) -> tuple[RedisStore, Any]:
            return store, await store.noted(entry_id)

        async for looked in self._each(look):
            for store, found in looked:
                if found is not None:
                    return store, found
        return self._common, None

    async def _each(self, ask: Callable[[RedisStore], Awaitable[R]]) -> AsyncIterator[list[R]]:
        """What every tenant's store says, some at a time, without those that have gone since."""
        tenants = await self._common.tenants()
        for start in range(0, len(tenants), _AT_ONCE):
            stores = [self._common.of_tenant(one) for one in tenants[start : start + _AT_ONCE]]
            said = await all_at_once(_unless_missing(ask(store)) for store in stores)
            yield [one for one in said if one is not None]

    def _of(self, tenant: str) -> _Own:
        own = self._own.get(tenant)
        if own is None:
            own = _Own(self._common.of_tenant(tenant))
            self._own.put(tenant, own)
        return own

    async def _spread(
        self,
        items: Sequence[T],
        scope_of: Callable[[T], Scope],
        ask: Callable[[_Own, Sequence[T]], Awaitable[Sequence[Any]]],
    ) -> list[Any]:
        """Each item's outcome from its tenant's store, all at once."""
        return await spread(
            items,
            lambda item: self.owner(scope_of(item)).tenant,
            lambda tenant, mine: ask(self._of(tenant), mine),
            otherwise=self._common.digest_of(""),
        )


async def _unless_missing(asked: Awaitable[R]) -> R | None:
    """None where the index is not there."""
    try:
        return await asked
    except StoreError as error:
        if is_missing_index(error):
            return None
        raise
