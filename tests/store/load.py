"""Lookups and stores without a pause, while servers change their parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from semcache_async.errors import StoreError
from semcache_async.protocols import Store
from semcache_async.types import EntryKey, Scope, VectorQuery
from tests.store.helpers import record, unit
from tests.store.servers import LIMIT_S

SCOPES = [Scope(tenant=f"t{n}") for n in range(12)]


class Load:
    """Writers and readers of their own scopes. No answer is another's; each operation ends."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.done = self.failed = 0
        self.tasks: list[asyncio.Task[None]] = []
        self.written: set[Scope] = set()
        """Scopes written to since ``fresh``."""

    async def fresh(self, scopes: Sequence[Scope] = SCOPES) -> None:
        """Wait until each scope has been written to and read from again. Raises what is wrong with
        an answer, or that an operation did not end."""
        self.written.clear()
        async with asyncio.timeout(LIMIT_S):
            while not self.written >= set(scopes):
                await asyncio.sleep(0.01)
                for task in self.tasks:
                    if task.done():
                        task.result()

    async def one(self, scope: Scope, number: int) -> None:
        text = f"{scope.tenant} {number % 10}"
        put = record(self._store, text, number % 10, scope, text=text)
        (stored,) = await self._store.put([put])
        (entry,) = await self._store.fetch([EntryKey(scope, text)])
        (near,) = await self._store.search([VectorQuery(scope, unit(number % 10), 3)])
        for outcome in (stored, entry, near):
            if isinstance(outcome, Exception):
                raise outcome
        assert entry is None or (not isinstance(entry, Exception) and entry.text == text)
        assert not isinstance(near, Exception)
        assert all(one.entry.text.startswith(f"{scope.tenant} ") for one in near)
        if entry is not None and near:
            self.written.add(scope)

    async def run(self, scope: Scope) -> None:
        number = 0
        while True:
            number += 1
            try:
                async with asyncio.timeout(LIMIT_S / 2):
                    await self.one(scope, number)
            except StoreError:
                self.failed += 1
                await asyncio.sleep(0.01)
            self.done += 1


@asynccontextmanager
async def under_load(store: Store) -> AsyncIterator[Load]:
    """Raises what is wrong with an answer, or ``TimeoutError`` for an operation that did not
    end."""
    load = Load(store)
    tasks = load.tasks = [asyncio.create_task(load.run(scope)) for scope in SCOPES]
    try:
        await load.fresh()
        yield load
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for one in ended:
        if not isinstance(one, asyncio.CancelledError):
            raise one  # type: ignore[misc]
