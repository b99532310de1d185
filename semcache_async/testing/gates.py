"""Gates and faults for any store: what tests hold, let go and break, instead of sleeping."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

from semcache_async.errors import StoreUnavailableError
from semcache_async.protocols import Store
from semcache_async.testing.memory import MemoryStore
from semcache_async.types import Affected, Entry, EntryKey, Neighbour, Record, Scope, VectorQuery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["GatedStore", "Operation"]

Operation: TypeAlias = Literal[
    "fetch", "search", "put", "remove", "browse", "would_remove", "check"
]


class GatedStore:
    """A store whose operations wait while a test holds them, and fail when it says so::

    store = GatedStore()
    store.hold("put")
    flight = asyncio.create_task(cache.get_or_generate(...))
    await store.waiting("put")
    ...
    store.release("put")
    """

    def __init__(self, inner: Store | None = None) -> None:
        self.inner: Store = MemoryStore() if inner is None else inner
        self.calls: Counter[str] = Counter()
        """How often each operation was begun."""
        self._gates: dict[tuple[str, bool], asyncio.Event] = {}
        self._errors: dict[tuple[str, bool], list[Exception]] = {}
        self._waiting: Counter[str] = Counter()
        self._changed = asyncio.Event()

    @property
    def connections(self) -> int:
        return getattr(self.inner, "connections", 0)

    def hold(self, operation: Operation, *, done: bool = False) -> None:
        """Keep calls of ``operation`` back: before they begin, or done but not yet returned."""
        self._gates[operation, done] = asyncio.Event()

    def release(self, operation: Operation) -> None:
        """Let calls of ``operation`` through, those that wait and those to come."""
        for done in (False, True):
            gate = self._gates.pop((operation, done), None)
            if gate is not None:
                gate.set()

    async def waiting(self, operation: Operation, calls: int = 1) -> None:
        """Return once ``calls`` calls of ``operation`` are kept back."""
        while self._waiting[operation] < calls:
            self._changed.clear()
            await self._changed.wait()

    def fail(
        self,
        operation: Operation,
        *,
        times: int = 1,
        error: Exception | None = None,
        done: bool = False,
    ) -> None:
        """Raise ``error`` at the next ``times`` calls of ``operation``: without doing anything, or
        ``done``, so that nobody learns that it worked."""
        raised = StoreUnavailableError("A test said so.") if error is None else error
        self._errors.setdefault((operation, done), []).extend([raised] * times)

    def now(self) -> float:
        return self.inner.now()

    async def fetch(self, keys: Sequence[EntryKey]) -> Sequence[Entry | Exception | None]:
        async with self._passing("fetch"):
            return await self.inner.fetch(keys)

    async def search(
        self, queries: Sequence[VectorQuery]
    ) -> Sequence[Sequence[Neighbour] | Exception]:
        async with self._passing("search"):
            return await self.inner.search(queries)

    async def put(self, records: Sequence[Record]) -> Sequence[str | Exception]:
        async with self._passing("put"):
            return await self.inner.put(records)

    async def remove(
        self,
        *,
        scope: Scope | None = None,
        tenant: str | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
    ) -> int:
        async with self._passing("remove"):
            return await self.inner.remove(
                scope=scope, tenant=tenant, tags=tags, entry_ids=entry_ids
            )

    async def browse(self, tags: Collection[str], limit: int) -> Sequence[Entry]:
        async with self._passing("browse"):
            found: Sequence[Entry] = await self.inner.browse(tags, limit)  # type: ignore[attr-defined]
            return found

    async def would_remove(
        self,
        *,
        scope: Scope | None = None,
        tenant: str | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
        examples: int,
    ) -> Affected:
        async with self._passing("would_remove"):
            affected: Affected = await self.inner.would_remove(  # type: ignore[attr-defined]
                scope=scope, tenant=tenant, tags=tags, entry_ids=entry_ids, examples=examples
            )
            return affected

    async def check(self) -> None:
        async with self._passing("check"):
            await self.inner.check()  # type: ignore[attr-defined]

    @asynccontextmanager
    async def _passing(self, operation: Operation) -> AsyncIterator[None]:
        self.calls[operation] += 1
        await self._gate(operation, done=False)
        yield
        await self._gate(operation, done=True)

    async def _gate(self, operation: Operation, *, done: bool) -> None:
        gate = self._gates.get((operation, done))
        if gate is not None:
            self._waiting[operation] += 1
            self._changed.set()
            try:
                await gate.wait()
            finally:
                self._waiting[operation] -= 1
        errors = self._errors.get((operation, done))
        if errors:
            raise errors.pop(0)
