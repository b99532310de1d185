"""Claims and inboxes of a store in partitions.

A claim lies in its scope's partition, where the write that it stands for is. Letters to an inbox go
to one partition, so that they arrive in order; it is open in all of them, as a purge writes to it
from where the claim was. Whoever knows no more of a claim than its id asks all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol, TypeVar

from semcache_async.errors import StoreError
from semcache_async.protocols import SharingStore
from semcache_async.store.partitioned.together import all_at_once, all_in_reach, for_ever
from semcache_async.types import Claim, Letter, Rival, Scope, Vector

__all__ = ["PartitionedClaims"]

T = TypeVar("T")
R = TypeVar("R")


class Spread(Protocol):
    """Each item's outcome from the partition that it belongs to."""

    async def __call__(
        self,
        items: Sequence[Any],
        place_of: Callable[[Any], int],
        call: Callable[[SharingStore, Sequence[Any]], Any],
        /,
    ) -> list[Any]: ...


class PartitionedClaims:
    """See ``protocols.SharingStore`` for what the methods promise."""

    def __init__(
        self, stores: Sequence[SharingStore], spread: Spread, place_of: Callable[[Scope], int]
    ) -> None:
        self._stores = stores
        self._spread = spread
        self._place_of = place_of

    async def claim(self, claims: Sequence[Claim]) -> list[Sequence[Rival] | Exception]:
        return await self._spread(
            claims,
            lambda claim: self._place_of(claim.key.scope),
            lambda store, mine: store.claim(mine),
        )

    async def renew(self, inbox: str, claims: Sequence[str]) -> list[bool]:
        """One that may stand where nobody can look stands: the write that it is for will tell."""
        said = await all_in_reach(store.renew(inbox, claims) for store in self._stores)
        lost = len(said) > len(given := _given(said))
        return [lost or any(parts) for parts in zip(*given, strict=True)]

    async def stand(self, claims: Sequence[str]) -> list[bool | Exception]:
        said = await self._each(lambda store: store.stand(claims), claims)
        return [_first(parts) for parts in said]

    async def vectors(self, claims: Sequence[str]) -> list[Vector | Exception | None]:
        said = await self._each(lambda store: store.vectors(claims), claims)
        return [min(parts, key=_doubt) for parts in said]

    async def withdraw(self, claims: Sequence[str]) -> list[Exception | None]:
        said = await self._each(lambda store: store.withdraw(claims), claims)
        return [next(filter(None, parts), None) for parts in said]

    async def write(self, letters: Sequence[tuple[str, Letter]]) -> list[bool | Exception]:
        return await self._spread(
            letters,
            lambda letter: sum(letter[0].encode()) % len(self._stores),
            lambda store, mine: store.write(mine),
        )

    async def leave(self, inbox: str) -> None:
        await all_at_once(store.leave(inbox) for store in self._stores)

    async def hear(self, inbox: str, heard: Callable[[Letter | None], None]) -> None:
        await for_ever([partial(store.hear, inbox) for store in self._stores], heard)

    async def _each(
        self, ask: Callable[[SharingStore], Awaitable[Sequence[T]]], claims: Sequence[str]
    ) -> list[list[T | StoreError]]:
        """What all partitions say of each claim."""
        said = await all_in_reach(ask(store) for store in self._stores)
        rows = [[one] * len(claims) if isinstance(one, StoreError) else one for one in said]
        return [list(parts) for parts in zip(*rows, strict=True)]


def _given(said: Sequence[R | StoreError]) -> list[R]:
    return [one for one in said if not isinstance(one, StoreError)]


def _doubt(said: object) -> int:
    """A vector comes before an error, which comes before nothing."""
    return 2 if said is None else isinstance(said, Exception)


def _first(parts: Sequence[bool | Exception]) -> bool | Exception:
    """True where it stands in any; else what went wrong, if something did."""
    if True in parts:
        return True
    return next((part for part in parts if isinstance(part, Exception)), False)
