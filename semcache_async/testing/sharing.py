"""A store in memory by which several caches of one process share their flights."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence

from semcache_async.errors import LeaseLostError
from semcache_async.testing.memory import MemoryStore, concerns
from semcache_async.types import Claim, Letter, Record, Rival, Scope, Vector, cosine_distance

__all__ = ["SharingMemoryStore"]


class SharingMemoryStore(MemoryStore):
    """A ``SharingStore``: every cache that is given it takes the others for other processes."""

    def __init__(self, *, clock: Callable[[], float] = time.time, lease_s: float = 6.0) -> None:
        super().__init__(clock=clock)
        self._lease_s = lease_s
        self._claims: dict[str, tuple[Claim, float]] = {}
        self._inboxes: dict[str, asyncio.Queue[Letter]] = {}

    @property
    def claims(self) -> Sequence[Claim]:
        """Those that stand."""
        now = self.now()
        return [claim for claim, until in self._claims.values() if until > now]

    async def claim(self, claims: Sequence[Claim]) -> list[Sequence[Rival] | Exception]:
        return [self._claim(claim) for claim in claims]

    async def renew(self, inbox: str, claims: Sequence[str]) -> list[bool]:
        stood = [self._stands(id_) for id_ in claims]
        until = self.now() + self._lease_s
        for id_, stands in zip(claims, stood, strict=True):
            if stands:
                self._claims[id_] = (self._claims[id_][0], until)
        return stood

    async def stand(self, claims: Sequence[str]) -> list[bool | Exception]:
        return [self._stands(id_) for id_ in claims]

    async def vectors(self, claims: Sequence[str]) -> list[Vector | Exception | None]:
        return [self._claims[id_][0].vector if self._stands(id_) else None for id_ in claims]

    async def withdraw(self, claims: Sequence[str]) -> list[Exception | None]:
        for id_ in claims:
            self._claims.pop(id_, None)
        return [None] * len(claims)

    async def write(self, letters: Sequence[tuple[str, Letter]]) -> list[bool | Exception]:
        return [self._write(inbox, letter) for inbox, letter in letters]

    async def leave(self, inbox: str) -> None:
        self._inboxes.pop(inbox, None)

    async def hear(self, inbox: str, heard: Callable[[Letter | None], None]) -> None:
        letters = self._inboxes.setdefault(inbox, asyncio.Queue())
        heard(None)
        while True:
            heard(await letters.get())

    async def put(self, records: Sequence[Record]) -> list[str | Exception]:
        now = self.now()
        return [
            self._put(record, now)
            if record.claim is None or self._stands(record.claim)
            else LeaseLostError("The lease under which this answer was made has ended.")
            for record in records
        ]

    async def remove(
        self,
        *,
        scope: Scope | None = None,
        tenant: str | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
    ) -> int:
        for claim in self.claims:
            if concerns(scope, tenant, tags, entry_ids, claim.key, claim.tags):
                del self._claims[claim.id]
                self._write(claim.inbox, Letter(claim.id, b""))
        return await super().remove(scope=scope, tenant=tenant, tags=tags, entry_ids=entry_ids)

    def _claim(self, claim: Claim) -> list[Rival]:
        rivals = []
        for other in self.claims:
            if other.key.scope != claim.key.scope:
                continue
            distance = float("nan")
            if claim.vector is not None and other.vector is not None:
                distance = cosine_distance(claim.vector, other.vector)
            same_key = other.key == claim.key
            if same_key or distance <= claim.reach:
                rivals.append(Rival(distance, other.prompt, other.id, other.inbox, same_key))
        self._claims[claim.id] = (claim, self.now() + self._lease_s)
        return rivals

    def _stands(self, claim: str) -> bool:
        known = self._claims.get(claim)
        return known is not None and known[1] > self.now()

    def _write(self, inbox: str, letter: Letter) -> bool:
        letters = self._inboxes.get(inbox)
        if letters is not None:
            letters.put_nowait(letter)
        return letters is not None
