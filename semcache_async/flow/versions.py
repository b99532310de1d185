"""The versions of namespaces, as this process knows them.

A request reads and writes under the version that its namespace had when it was asked: answers that
began under an older one are out of its reach, and what it makes itself is kept under that one. A
version is known from a reading of the store for one lease, counted from the moment that was sent:
so nothing is served that was made before a bump which had been acknowledged a lease before it was
asked for. Namespaces in use are read again before their leases end, so no request waits; and the
store reports changes, so that most bumps are known within a millisecond or two.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence

import msgspec

from semcache_async.complaints import Complaints
from semcache_async.errors import ConfigError, StoreError
from semcache_async.flow.batcher import MicroBatcher
from semcache_async.flow.recent import Recent
from semcache_async.protocols import Store, VersionedStore
from semcache_async.types import Scope

__all__ = ["Versions"]

_BATCH = 256
_NAMESPACES, _SCOPES = 1_024, 4_096
"""Remembered at once: those of a namespace that is not are read from the store."""
_READINGS = 3
"""Readings of a namespace in use for each lease."""
_IN_USE_S = 60.0
_AGAIN_S = 1.0


class _Known:
    __slots__ = ("asked_at", "bumped_at", "epoch", "read_at")

    def __init__(self, epoch: int, read_at: float) -> None:
        self.epoch = epoch
        self.read_at = read_at
        """When the reading was sent that said so."""
        self.asked_at = read_at
        self.bumped_at = -math.inf
        """When this process learnt that its own bump was done."""


class Versions:
    """Pins scopes to their namespaces' versions. Costs nothing where no namespace is named."""

    def __init__(
        self,
        store: Store,
        *,
        lease_s: float,
        timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store if isinstance(store, VersionedStore) else None
        self._lease_s = lease_s
        self._clock = clock
        self._complaints = Complaints()
        self._known: Recent[str, _Known] = Recent(_NAMESPACES)
        self._pinned: Recent[Scope, Scope] = Recent(_SCOPES)
        self._reads: MicroBatcher[str, int] = MicroBatcher(
            self._read, budget=_BATCH, timeout_s=timeout_s
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    def known(self, scope: Scope) -> Scope | None:
        """The scope under its namespace's version; None where that is not known now."""
        known, now = self._known.get(scope.namespace), self._clock()
        if known is None or now - known.read_at > self._lease_s:
            return None
        known.asked_at = now
        pinned = self._pinned.get(scope)
        if pinned is None or pinned.epoch != known.epoch:
            pinned = msgspec.structs.replace(scope, epoch=known.epoch)
            self._pinned.put(scope, pinned)
        return pinned

    async def pin(self, scope: Scope) -> Scope:
        """The scope under its namespace's version. Raises a ``StoreError`` or ``TimeoutError``
        where that cannot be learnt, ``ConfigError`` where the store keeps no versions."""
        if not scope.namespace:
            return scope
        pinned = self.known(scope)
        return await self.learn(scope) if pinned is None else pinned

    async def learn(self, scope: Scope) -> Scope:
        """The same, by a reading that is sent now: what was bumped before is known."""
        if not scope.namespace:
            return scope
        self._begin()
        epoch = await self._reads.submit(scope.namespace)  # sent after it was asked for
        return msgspec.structs.replace(scope, epoch=epoch)

    async def bump(self, namespace: str) -> int:
        """Begin a new version; the requests of this process go by it on return."""
        store, sent = self._begin(), self._clock()
        epoch = await store.bump(namespace)
        known = self._known.get(namespace)
        if known is None:
            known = _Known(epoch, sent)
            self._known.put(namespace, known)
        elif max(known.read_at, known.bumped_at) < sent:
            known.epoch, known.read_at = epoch, sent
        else:  # what was learnt meanwhile may be older or newer
            known.epoch = max(known.epoch, epoch)
        known.bumped_at = self._clock()
        return epoch

    def is_current(self, scope: Scope) -> bool:
        """Has, as far as is known, no newer version begun?"""
        known = self._known.get(scope.namespace) if scope.namespace else None
        return known is None or known.epoch == scope.epoch

    def fail(self, error: Exception) -> None:
        """The store is out of reach: let go of whoever waits for it."""
        self._reads.fail(error)

    async def aclose(self) -> None:
        """Stop reading."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._reads.aclose()

    def _begin(self) -> VersionedStore:
        if self._store is None:
            raise ConfigError("Scope.namespace needs a store with versions, as Redis's has.")
        if not (self._tasks or self._closed):
            self._tasks = [
                asyncio.create_task(self._keep_reading()),
                asyncio.create_task(self._watch(self._store)),
            ]
        return self._store

    async def _read(self, namespaces: Sequence[str]) -> Sequence[int | Exception]:
        assert self._store is not None
        sent = self._clock()
        said = list(await self._store.versions(namespaces))
        for n, namespace in enumerate(namespaces):
            epoch = said[n]
            if not isinstance(epoch, Exception) and self._is_forgotten(namespace, epoch, sent):
                try:
                    epoch = said[n] = await self._store.bump(namespace)
                except StoreError as error:
                    epoch = said[n] = error
            if not isinstance(epoch, Exception):
                self._accept(namespace, epoch, sent)
        return said

    def _is_forgotten(self, namespace: str, epoch: int, read_at: float) -> bool:
        """Has the store lost a bump, as in a failover? Then it is made again."""
        known = self._known.get(namespace)
        asked_later = known is not None and read_at >= max(known.read_at, known.bumped_at)
        return known is not None and asked_later and epoch < known.epoch

    def _accept(self, namespace: str, epoch: int, read_at: float) -> None:
        """A later reading knows better, whatever it says: a store may have been emptied. One that
        was sent before a bump was done may have missed it."""
        known = self._known.get(namespace)
        if known is None:
            self._known.put(namespace, _Known(epoch, read_at))
        elif read_at >= known.read_at and (read_at >= known.bumped_at or epoch >= known.epoch):
            known.epoch, known.read_at = epoch, read_at

    async def _keep_reading(self) -> None:
        while True:
            await asyncio.sleep(self._lease_s / _READINGS)
            since = self._clock() - _IN_USE_S
            used = [name for name, known in self._known.items() if known.asked_at >= since]
            readings = [self._reads.submit(name) for name in used]
            for said in await asyncio.gather(*readings, return_exceptions=True):
                if isinstance(said, Exception):
                    self._complaints.warn("versions", said)

    async def _watch(self, store: VersionedStore) -> None:
        def changed() -> None:
            for known in self._known.values():
                known.read_at = min(known.read_at, self._clock() - 2 * self._lease_s)

        while True:
            try:
                await store.watch_versions(changed)
            except (StoreError, OSError) as error:
                self._complaints.warn("reports of new versions", error)
            await asyncio.sleep(_AGAIN_S)
