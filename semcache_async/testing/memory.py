"""A store in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from semcache_async.errors import StaleWriteError
from semcache_async.types import (
    Affected,
    Entry,
    EntryKey,
    Neighbour,
    Record,
    Scope,
    VectorQuery,
    cosine_distance,
)

__all__ = ["MemoryStore", "concerns"]

_TICK_S = 1e-6


class _Row(NamedTuple):
    entry: Entry
    record: Record


class MemoryStore:
    """A ``Store`` that keeps everything in this process and finds neighbours exactly.

    No two moments that it reads from ``clock`` are the same, so that one can hold the clock and
    still tell before from after: ``now`` is a microsecond later each time.
    """

    connections = 0

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._last = 0.0
        self._rows: dict[EntryKey, _Row] = {}
        self._fences: dict[tuple[object, ...], float] = {}
        self._versions: dict[str, int] = {}
        self._watchers: list[Callable[[], None]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def now(self) -> float:
        """Unix seconds by ``clock``."""
        now = self._clock()
        if self._last - 1.0 < now <= self._last:  # it stood still, or nearly
            now = self._last + _TICK_S
        self._last = now
        return now

    async def fetch(self, keys: Sequence[EntryKey]) -> list[Entry | Exception | None]:
        now = self.now()
        found: list[Entry | Exception | None] = []
        for key in keys:
            row = self._rows.get(key)
            found.append(row.entry if row and row.entry.exact_until > now else None)
        return found

    async def search(self, queries: Sequence[VectorQuery]) -> list[list[Neighbour] | Exception]:
        now = self.now()
        return [self._near(query, now) for query in queries]

    async def put(self, records: Sequence[Record]) -> list[str | Exception]:
        now = self.now()
        return [self._put(record, now) for record in records]

    async def remove(
        self,
        *,
        scope: Scope | None = None,
        tenant: str | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
    ) -> int:
        if scope is None and tenant is None and not tags and not entry_ids:
            return 0
        now = self.now()
        for fence in _removal_fences(scope, tenant, tags, entry_ids):
            self._fences[fence] = now
        doomed = self._concerned(scope, tenant, tags, entry_ids)
        for key in doomed:
            del self._rows[key]
        return len(doomed)

    async def would_remove(
        self,
        *,
        scope: Scope | None = None,
        tenant: str | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
        examples: int,
    ) -> Affected:
        if scope is None and tenant is None and not tags and not entry_ids:
            return Affected(0, [])
        doomed = self._concerned(scope, tenant, tags, entry_ids)
        entries = [self._rows[key].entry for key in doomed]
        entries.sort(key=lambda entry: entry.created_at, reverse=True)
        return Affected(len(entries), entries[:examples])

    async def browse(self, tags: Collection[str], limit: int) -> list[Entry]:
        now = self.now()
        found = [
            row.entry
            for row in self._rows.values()
            if max(row.entry.exact_until, row.entry.semantic_until) > now
            and (not tags or not set(tags).isdisjoint(row.entry.tags))
        ]
        found.sort(key=lambda entry: entry.created_at, reverse=True)
        return found[:limit]

    async def count(self, tenant: str) -> int:
        now = self.now()
        return sum(
            key.scope.tenant == tenant
            and max(row.entry.exact_until, row.entry.semantic_until) > now
            for key, row in self._rows.items()
        )

    async def check(self) -> None:
        pass

    async def amend(
        self,
        entry_id: str,
        change: Callable[[Entry], Entry | None],
        scope: Scope | None = None,
    ) -> bool:
        now = self.now()
        for key, row in self._rows.items():
            alive = max(row.entry.exact_until, row.entry.semantic_until) > now
            if row.entry.id == entry_id and alive:
                self._rows[key] = _Row(change(row.entry) or row.entry, row.record)
                return True
        return False

    async def versions(self, namespaces: Sequence[str]) -> list[int | Exception]:
        return [self._versions.setdefault(name, int(self.now() * 1e6)) for name in namespaces]

    async def bump(self, namespace: str) -> int:
        version = max(int(self.now() * 1e6), self._versions.get(namespace, 0) + 1)
        self._versions[namespace] = version
        for changed in self._watchers:
            changed()
        return version

    async def watch_versions(self, changed: Callable[[], None]) -> None:
        self._watchers.append(changed)
        try:
            await asyncio.Event().wait()
        finally:
            self._watchers.remove(changed)

    def _put(self, record: Record, now: float) -> str | Exception:
        id_ = entry_id(record.key)
        fences = _record_fences(record, id_)
        if any(self._fences.get(fence, -1.0) >= record.started_at for fence in fences):
            return StaleWriteError("An invalidation came after this answer began to be made.")
        entry = Entry(
            id_,
            record.prompt,
            record.text,
            record.started_at,
            now + record.exact_ttl_s,
            record.tags,
            dict(record.key.scope.attributes),
            now + record.semantic_ttl_s,
            record.stale_s,
            record.made_s,
            0.0,
            now if record.slides else 0.0,
        )
        self._rows[record.key] = _Row(entry, record)
        return id_

    def _concerned(
        self,
        scope: Scope | None,
        tenant: str | None,
        tags: Collection[str],
        entry_ids: Collection[str],
    ) -> list[EntryKey]:
        return [
            key
            for key, row in self._rows.items()
            if concerns(scope, tenant, tags, entry_ids, key, row.entry.tags)
        ]

    def _near(self, query: VectorQuery, now: float) -> list[Neighbour]:
        neighbours = [
            Neighbour(
                cosine_distance(row.record.vector, query.vector),
                row.entry,
                widened=bool(query.widen) and not query.scope.covers(key.scope),
            )
            for key, row in self._rows.items()
            if row.record.vector is not None
            and row.entry.semantic_until > now
            and row.entry.created_at >= query.created_after
            and query.scope.covers(key.scope, widen=query.widen)
        ]
        neighbours.sort(key=lambda neighbour: neighbour.distance)
        return neighbours[: query.neighbours]


def entry_id(key: EntryKey) -> str:
    """32 hex digits."""
    return blake2b(repr(key).encode(errors="replace"), digest_size=16).hexdigest()


def concerns(
    scope: Scope | None,
    tenant: str | None,
    tags: Collection[str],
    entry_ids: Collection[str],
    key: EntryKey,
    carried: Collection[str],
) -> bool:
    """Does a removal with these conditions concern what has this key, and carries these tags?"""
    return (
        (scope is None or scope.covers(key.scope))
        and (tenant is None or tenant == key.scope.tenant)
        and (not tags or not set(tags).isdisjoint(carried))
        and (not entry_ids or entry_id(key) in entry_ids)
    )


def _record_fences(record: Record, id_: str) -> Iterator[tuple[object, ...]]:
    """What an invalidation that concerns the record raised one of."""
    scope = record.key.scope
    for tag in (None, *record.tags):
        yield ("scope", _bare(scope), tag)
        yield ("tenant", scope.tenant, tag)
        yield ("tag", tag)
    yield ("entry", id_)


def _removal_fences(
    scope: Scope | None, tenant: str | None, tags: Collection[str], entry_ids: Collection[str]
) -> Iterator[tuple[object, ...]]:
    if entry_ids:
        yield from (("entry", id_) for id_ in entry_ids)
    elif scope is not None:
        if tenant in {None, scope.tenant}:
            yield from (("scope", _bare(scope), tag) for tag in tags or (None,))
    elif tenant is not None:
        yield from (("tenant", tenant, tag) for tag in tags or (None,))
    else:
        yield from (("tag", tag) for tag in tags)


def _bare(scope: Scope) -> Scope:
    return msgspec.structs.replace(scope, attributes={})
