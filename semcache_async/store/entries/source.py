"""The entries of one index, gone through from its one end to the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress

from semcache_async.errors import StoreError
from semcache_async.store.entries.walking import Execute, walk
from semcache_async.store.keys import KeySpace

__all__ = ["Source", "listed", "sizes_of"]

_LOOK_S = 0.2


class Source:
    """Whatever lies in a key space and is in its index."""

    def __init__(self, keys: KeySpace, execute: Execute) -> None:
        self.keys = keys
        self.execute = execute

    async def size(self) -> int:
        """How many entries, once the index has been filled."""
        while True:
            (info,) = await self.execute([("FT.INFO", self.keys.index)])
            if not int(info.get(b"indexing", 0)):
                return int(float(info[b"num_docs"]))
            await asyncio.sleep(_LOOK_S)

    async def walk(self, visit: Callable[[list[str]], Awaitable[None]], *, at_once: int) -> bool:
        """Show ``visit`` the ids of all entries; see ``walking.walk``."""
        start = len(self.keys.prefix)

        async def ids(keys: list[bytes]) -> None:
            await visit([key.decode()[start:] for key in keys])

        return await walk(self.execute, self.keys.index, "*", (), ids, at_once=at_once)

    async def drop_index(self) -> None:
        """Drop the index, which is empty, and the one of its claims."""
        await self.execute([("FT.DROPINDEX", self.keys.index)])
        with suppress(StoreError):
            (info,) = await self.execute([("FT.INFO", self.keys.claims)])
            if not int(float(info[b"num_docs"])):
                await self.execute([("FT.DROPINDEX", self.keys.claims)])


async def sizes_of(sources: Iterable[Source]) -> dict[str, int]:
    """How many entries each fingerprint has in all."""
    sizes: dict[str, int] = {}
    for source in sources:
        known = source.keys.fingerprint
        sizes[known] = sizes.get(known, 0) + await source.size()
    return sizes


def listed(sizes: Mapping[str, int]) -> str:
    """The fingerprints with their sizes, for people."""
    there = ", ".join(f"{one} ({size:,} entries)" for one, size in sorted(sizes.items()))
    return there or "there are none"
