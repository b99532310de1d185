"""The store of ``testing``, with its neighbours found by one matrix product."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from semcache_async.testing import MemoryStore
from semcache_async.types import Entry, EntryKey, Neighbour, Record, Scope, VectorQuery

__all__ = ["MatrixStore"]

_LOOKED_AT = 8


class _Shelf:
    """The vectors of one scope, in a matrix that doubles when it is full."""

    def __init__(self, dim: int) -> None:
        self.keys: list[EntryKey] = []
        self._rows = np.zeros((64, dim), np.float32)

    def add(self, key: EntryKey, vector: NDArray[np.float32]) -> None:
        if len(self.keys) == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[len(self.keys)] = vector
        self.keys.append(key)

    def nearest(self, vector: NDArray[np.float32], count: int) -> list[tuple[float, EntryKey]]:
        near = self._rows[: len(self.keys)] @ vector
        count = min(count, len(near))
        places = (
            np.argpartition(-near, count - 1)[:count] if count < len(near) else range(len(near))
        )
        found = [(max(0.0, 1.0 - float(near[place])), self.keys[place]) for place in places]
        return sorted(found, key=lambda one: one[0])


class MatrixStore(MemoryStore):
    """Never forgets. Scopes without attributes only."""

    def __init__(self) -> None:
        super().__init__()
        self._shelves: dict[Scope, _Shelf] = {}

    async def put(self, records: Sequence[Record]) -> list[str | Exception]:
        known = await self.fetch([record.key for record in records])
        for record, entry in zip(records, known, strict=True):
            if entry is None and record.vector is not None:
                shelf = self._shelves.setdefault(record.key.scope, _Shelf(len(record.vector)))
                shelf.add(record.key, record.vector)
        return await super().put(records)

    async def search(self, queries: Sequence[VectorQuery]) -> list[list[Neighbour] | Exception]:
        found: list[list[Neighbour] | Exception] = []
        for query in queries:
            shelf = self._shelves.get(query.scope)
            near = [] if shelf is None else shelf.nearest(query.vector, _LOOKED_AT)
            entries = await self.fetch([key for _, key in near])
            alive = [
                Neighbour(distance, entry)
                for (distance, _), entry in zip(near, entries, strict=True)
                if isinstance(entry, Entry)
            ]
            found.append(alive[: query.neighbours])
        return found
