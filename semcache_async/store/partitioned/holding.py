"""One entry of a store that consists of several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

from semcache_async.store.redis_store import RedisStore
from semcache_async.types import Entry, Owner, Scope

__all__ = ["Held", "Holding"]

R = TypeVar("R")

Held: TypeAlias = tuple[Entry, Owner, bytes | None]
"""A live entry, whose it is, and its notes."""


class Holding(ABC):
    """See ``protocols.EvidenceStore`` and ``AmendingStore`` for what the methods promise."""

    async def noted(self, entry_id: str, scope: Scope | None = None) -> Held | None:
        if scope is not None:
            return await self._at_home(scope, lambda store: store.noted(entry_id))
        return (await self._holding(entry_id))[1]

    async def annotate(
        self, entry_id: str, change: Callable[[Entry, bytes | None], bytes | None]
    ) -> tuple[Entry, Owner] | None:
        store, found = await self._holding(entry_id)
        return None if found is None else await store.annotate(entry_id, change)

    async def amend(
        self,
        entry_id: str,
        change: Callable[[Entry], Entry | None],
        scope: Scope | None = None,
    ) -> bool:
        if scope is not None:
            return await self._at_home(scope, lambda store: store.amend(entry_id, change))
        store, found = await self._holding(entry_id)
        return found is not None and await store.amend(entry_id, change)

    @abstractmethod
    async def _at_home(self, scope: Scope, ask: Callable[[RedisStore], Awaitable[R]]) -> R:
        """What the store that has a scope says."""

    @abstractmethod
    async def _holding(self, entry_id: str) -> tuple[RedisStore, Held | None]:
        """The store that has an entry, and the entry."""
