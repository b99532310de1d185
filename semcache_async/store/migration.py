"""Moving the entries of another model into the index of this one.

What is there already is passed by, so a migration needs no memory of its own: whoever begins it
again goes on. The index is gone through until nothing new turns up; what is deleted in the end was
looked at once more just before.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from semcache_async.errors import ConfigError, StoreError
from semcache_async.store.entries.moving import Mover, Outcome, Parcel, Waiting
from semcache_async.store.entries.removal import Pages
from semcache_async.store.entries.source import Source, listed, sizes_of
from semcache_async.store.redis_store import RedisStore
from semcache_async.types import Vector

__all__ = ["MIGRATING_COMMANDS", "Migration", "Part", "Tally", "parts_of"]

MIGRATING_COMMANDS = ("PEXPIRETIME", "PEXPIREAT", "FT.DROPINDEX")
"""What a user that migrates has to be allowed beyond ``NEEDED_COMMANDS``: docs/redis has one."""

_PAGE = 256
"""Ids that one reading of the cursor brings."""
_LOT = 64
"""Entries read and prompts embedded together: some packs, and in memory at once."""
_PASSES = 20
_PATIENCE_S = 60.0
"""For as long at most, a page waits for its turn, so that its cursor is not forgotten."""

Embed = Callable[[Sequence[str]], Awaitable[Sequence[Vector | None]]]


class Part(NamedTuple):
    """A partition of both indexes."""

    source: Source
    mover: Mover


async def parts_of(stores: Sequence[RedisStore], fingerprint: str | None) -> tuple[list[Part], int]:
    """The partitions of another fingerprint and of the stores' own, and how many entries they have;
    None: of the only other one that has any, of which there may be none. Raises ``ConfigError``."""
    parts: dict[str, list[Part]] = {}
    for store in stores:
        for source in await store.sources():
            mover = await store.mover_to(source.keys.only)
            parts.setdefault(source.keys.fingerprint, []).append(Part(source, mover))
    sizes = await sizes_of(part.source for some in parts.values() for part in some)
    if fingerprint is None:
        found = [one for one, size in sizes.items() if size] or list(sizes)
        if not found:
            return [], 0
        if len(found) == 1:
            fingerprint = found[0]
    if fingerprint not in parts:
        raise ConfigError(f"Name one of the other indexes with --from: {listed(sizes)}.")
    return parts[fingerprint], sizes[fingerprint]


@dataclass(slots=True)
class Tally:
    """What became of the entries so far."""

    moved: int = 0
    exact_only: int = 0
    """Of those, the ones whose prompt the model cannot read: they have no vector."""
    seen: int = 0
    """The following are of the present pass."""
    lacking: int = 0
    """Not there yet."""
    changed: int = 0
    fenced: int = 0
    """Made before an invalidation of the last hour that may concern them."""
    unread: int = 0
    """Not opened by the keys there are, or no entries at all."""


class Migration:
    """``told`` is called whenever the tally has changed."""

    def __init__(
        self,
        parts: Sequence[Part],
        embed: Embed,
        *,
        rate: float | None,
        told: Callable[[Tally], None],
    ) -> None:
        """``rate``: texts that are embedded a second at most; None: as fast as it goes."""
        self._parts = parts
        self._embed = embed
        self._rate = rate
        self._told = told
        self._next = 0.0
        self._page = _PAGE if rate is None else max(1, min(_PAGE, int(rate * _PATIENCE_S)))
        self._lot = _LOT if rate is None else max(1, min(_LOT, int(rate)))
        self.tally = Tally()

    async def look(self) -> Tally:
        """Count what there is to be moved."""
        await self._pass(None, moves=False)
        return self.tally

    async def run(self) -> Tally:
        """Move everything. Raises a ``StoreError`` or an ``EmbeddingError``."""
        for _ in range(_PASSES):
            before = self.tally.moved
            whole = await self._pass(None)
            if whole and self.tally.moved == before and not self.tally.changed:
                return self.tally
        raise StoreError(
            f"{self.tally.moved:,} entries were moved, and there are still more: is another model "
            "writing, or Redis's search-timeout too short? Run it again."
        )

    async def drop(self) -> None:
        """Delete what was moved, a few keys at a time, and then the index that is empty. Raises
        ``StoreError`` where anything has to stay."""
        for part in self._parts:
            pages = Pages(part.source.execute)
            for _ in range(_PASSES):
                await self._pass(pages, of=[part])
                left = self.tally.fenced + self.tally.unread
                if left or not await part.source.size():
                    break
            if left or await part.source.size():
                raise StoreError(
                    f"The index {part.source.keys.index} was not dropped: "
                    f"{self.tally.fenced:,} entries wait for an invalidation of the last hour to "
                    f"be forgotten, {self.tally.unread:,} cannot be read with the keys there are, "
                    "or another model goes on writing. Run it again later."
                )
            await part.source.drop_index()

    async def _pass(
        self, pages: Pages | None, *, moves: bool = True, of: Sequence[Part] | None = None
    ) -> bool:
        """Go through all once; ``pages`` delete what is no longer needed. False where Redis did not
        show all."""
        tally = self.tally
        tally.seen = tally.lacking = tally.changed = tally.fenced = tally.unread = 0
        whole = True
        for source, mover in self._parts if of is None else of:

            async def visit(ids: list[str], source: Source = source, mover: Mover = mover) -> None:
                for start in range(0, len(ids), self._lot):
                    lot = ids[start : start + self._lot]
                    waiting, unread = await mover.lacking(source.keys, lot)
                    tally.lacking += len(waiting)
                    tally.unread += len(unread)
                    stay = set(unread)
                    if waiting and moves:
                        stay |= await self._move(source, mover, waiting)
                    if pages is not None:
                        gone = [source.keys.key(one).encode() for one in lot if one not in stay]
                        await pages.unlink(gone)
                    tally.seen += len(lot)
                    self._told(tally)

            whole &= await source.walk(visit, at_once=self._page)
        return whole

    async def _move(self, source: Source, mover: Mover, lot: Sequence[Waiting]) -> set[str]:
        """Those that have to stay where they are."""
        await self._turn(len(lot))
        vectors = await self._embed([one.payload.prompt for one in lot])
        parcels = [
            Parcel(one.entry_id, one.fields, one.payload, 0, vector, source.keys.key(one.entry_id))
            for one, vector in zip(lot, vectors, strict=True)
        ]
        stay = set()
        for parcel, outcome in zip(parcels, await mover.bring(parcels), strict=True):
            if outcome is Outcome.MOVED:
                self.tally.moved += 1
                self.tally.exact_only += parcel.vector is None
            elif outcome is Outcome.FENCED:
                self.tally.fenced += 1
                stay.add(parcel.entry_id)
            elif outcome is Outcome.CHANGED:
                self.tally.changed += 1
                stay.add(parcel.entry_id)
        return stay

    async def _turn(self, texts: int) -> None:
        """Wait until so many may be embedded."""
        if self._rate is None:
            return
        now = time.monotonic()
        await asyncio.sleep(max(0.0, self._next - now))
        self._next = max(now, self._next) + texts / self._rate
