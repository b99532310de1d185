"""What the conformance checks are written with."""

from __future__ import annotations

import math
from secrets import token_hex
from typing import Any

import numpy as np

from semcache_async.protocols import Store
from semcache_async.types import Entry, EntryKey, Neighbour, Record, Scope, Vector, VectorQuery

__all__ = ["CaseData", "expect", "standing", "unit_vector"]


class CaseData:
    """Names of one check's own, and shorthands."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.mark = token_hex(8)

    def scope(self, tenant: str = "a", **fields: Any) -> Scope:
        return Scope(tenant=f"{tenant} {self.mark}", **fields)

    def tag(self, name: str) -> str:
        return f"{name} {self.mark}"

    def record(
        self, prompt: str, degrees: float | None, scope: Scope | None = None, **changes: Any
    ) -> Record:
        fields: dict[str, Any] = {
            "key": EntryKey(scope or self.scope(), prompt),
            "prompt": prompt,
            "text": f"answer to {prompt}",
            "vector": None if degrees is None else unit_vector(degrees),
            "tags": (),
            "exact_ttl_s": 600.0,
            "semantic_ttl_s": 600.0,
            "started_at": self.store.now(),
        }
        return Record(**(fields | changes))

    async def put(self, *records: Record) -> list[str]:
        ids = []
        for outcome in await self.store.put(records):
            assert isinstance(outcome, str), f"put answered {outcome!r}, not with an id"
            ids.append(outcome)
        return ids

    async def entry(self, prompt: str, scope: Scope | None = None) -> Entry | None:
        (found,) = await self.store.fetch([EntryKey(scope or self.scope(), prompt)])
        assert not isinstance(found, Exception), f"fetch answered {found!r}"
        return found

    async def near(
        self, degrees: float, scope: Scope | None = None, neighbours: int = 3, since: float = 0.0
    ) -> list[Neighbour]:
        query = VectorQuery(scope or self.scope(), unit_vector(degrees), neighbours, since)
        (found,) = await self.store.search([query])
        assert not isinstance(found, Exception), f"search answered {found!r}"
        return list(found)

    async def prompts(self, degrees: float, *rest: Any, **options: Any) -> list[str]:
        return [one.entry.prompt for one in await self.near(degrees, *rest, **options)]


def unit_vector(degrees: float) -> Vector:
    vector = np.zeros(8, np.float32)
    vector[0], vector[1] = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return vector


def expect(what: str, found: object, expected: object) -> None:
    assert found == expected, f"{what}: {found!r}, expected {expected!r}"


def standing() -> float:
    return 0.0
