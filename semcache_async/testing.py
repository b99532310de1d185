"""Stand-ins for tests, ours and yours: a store in memory, an embedder one can reason about, and a
simulated LLM."""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections.abc import Callable, Collection, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from semcache_async.errors import StaleWriteError
from semcache_async.types import Entry, EntryKey, Neighbour, Record, Scope, VectorQuery

__all__ = ["AngleEmbedder", "MemoryStore", "SimulatedLLM"]


class AngleEmbedder:
    """Puts a text at the angle it names, in degrees, on a circle: ``"refund at 15"`` and
    ``"money back at 20"`` are 5 degrees apart, a distance of ``1 - cos(5 degrees)``.

    Texts that name no angle get one from their hash.
    """

    dim = 8
    fingerprint = "angle-1"

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        """The texts of every ``embed`` call."""

    def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        self.calls.append(list(texts))
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            angle = math.radians(self.angle(text))
            row[0], row[1] = math.cos(angle), math.sin(angle)
        return vectors

    @staticmethod
    def angle(text: str) -> float:
        """Degrees."""
        named = re.search(r"at (-?\d+(?:\.\d+)?)", text)
        if named:
            return float(named.group(1))
        return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big") % 360


class MemoryStore:
    """A ``Store`` that keeps everything in this process and finds neighbours exactly."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._fences: list = []
        self._rows: dict[EntryKey, tuple[Entry, Record]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def now(self) -> float:
        return self._clock()

    async def fetch(self, keys: Sequence[EntryKey]) -> list[Entry | Exception | None]:
        now = self._clock()
        found: list[Entry | Exception | None] = []
        for key in keys:
            entry, record = self._rows.get(key, (None, None))
            alive = entry and record and entry.created_at + record.exact_ttl_s > now
            found.append(entry if alive else None)
        return found

    async def search(self, queries: Sequence[VectorQuery]) -> list[list[Neighbour] | Exception]:
        return [self._near(query, self._clock()) for query in queries]

    async def put(self, records: Sequence[Record]) -> list[str | Exception]:
        ids: list[str | Exception] = []
        for record in records:
            if any(
                record.started_at <= at
                and (scope is None or scope.covers(record.key.scope))
                and (tenant is None or tenant == record.key.scope.tenant)
                and (not tags or not set(tags).isdisjoint(record.tags))
                for scope, tenant, tags, at in self._fences
            ):
                ids.append(StaleWriteError("stale"))
                continue
            id_ = blake2b(repr(record.key).encode(), digest_size=16).hexdigest()
            attributes = dict(record.key.scope.attributes)
            now = self._clock()
            entry = Entry(
                id_,
                record.prompt,
                record.text,
                record.started_at,
                now + record.exact_ttl_s,
                record.tags,
                attributes,
            )
            self._rows[record.key] = (entry, record)
            ids.append(id_)
        return ids

    async def remove(
        self,
        *,
        scope: Scope | None = None,
        tenant: str | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
    ) -> int:
        if scope or tenant or tags:
            self._fences.append((scope, tenant, tags, self._clock()))
        doomed = [
            key
            for key, (entry, _) in self._rows.items()
            if (scope is None or scope.covers(key.scope))
            and (tenant is None or tenant == key.scope.tenant)
            and (not tags or not set(tags).isdisjoint(entry.tags))
            and (not entry_ids or entry.id in entry_ids)
        ]
        for key in doomed:
            del self._rows[key]
        return len(doomed)

    async def browse(self, tags: Collection[str], limit: int) -> list[Entry]:
        now = self._clock()
        found = [
            entry
            for entry, record in self._rows.values()
            if entry.created_at + max(record.exact_ttl_s, record.semantic_ttl_s) > now
            and (not tags or not set(tags).isdisjoint(entry.tags))
        ]
        found.sort(key=lambda entry: entry.created_at, reverse=True)
        return found[:limit]

    async def check(self) -> None:
        pass

    def _near(self, query: VectorQuery, now: float) -> list[Neighbour]:
        neighbours = [
            Neighbour(max(0.0, 1.0 - float(record.vector @ query.vector)), entry)
            for key, (entry, record) in self._rows.items()
            if record.vector is not None
            and entry.created_at + record.semantic_ttl_s > now
            and query.scope.covers(key.scope)
        ]
        neighbours.sort(key=lambda neighbour: neighbour.distance)
        return neighbours[: query.neighbours]


class SimulatedLLM:
    """An LLM that thinks for a lognormal time and answers with the prompt it was given."""

    def __init__(self, *, median_s: float = 0.8, sigma: float = 0.35, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a simulation
        self._median_s = median_s
        self._sigma = sigma
        self.calls = 0
        self.seconds = 0.0
        """Thinking time of all calls together."""

    async def __call__(self, prompt: str) -> str:
        self.calls += 1
        seconds = self._median_s * math.exp(self._random.gauss(0.0, self._sigma))
        self.seconds += seconds
        await asyncio.sleep(seconds)
        return f"Answer to: {prompt}"
