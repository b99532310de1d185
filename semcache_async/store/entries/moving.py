"""Bringing in entries that were made before, with their age and the rest of their lives.

What an invalidation or their own end took away meanwhile must not come back. So fences, the place
where an entry is going to lie and the place that it comes from are read under ``WATCH``, and it is
written only if none of them moved and no fence was raised since its answer was made. One that came
before the fence is raised is there for the removal to find.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from semcache_async.store.clock import ServerClock
from semcache_async.store.entries.fences import Fences
from semcache_async.store.entries.payload import Payload, read_payload
from semcache_async.store.entries.schema import ATTRIBUTES, ENTRY, SCOPE, TAGS, TENANT, VECTOR
from semcache_async.store.keys import KeySpace, ScopeDigest
from semcache_async.store.sealing import Sealer
from semcache_async.store.siblings import Siblings
from semcache_async.store.wire import Command, RedisPipelines, Session
from semcache_async.store.wire.replies import checked
from semcache_async.types import Vector

__all__ = ["Fields", "Mover", "Outcome", "Parcel", "Waiting"]

_TOGETHER, _PAUSE_S = 4, 0.01
"""Entries of one transaction (Redis takes .5 to 1 ms for a vector, and serves nobody meanwhile),
and how long at most others have for themselves before the next."""
_ATTEMPTS = 3
"""Of a transaction whose keys keep changing; then of each entry by itself."""

Fields = Mapping[bytes, bytes]
"""An entry's hash without its vector."""


class Outcome(StrEnum):
    """What became of an entry that was to be brought in."""

    MOVED = "moved"
    THERE = "there"
    """There is an answer already."""
    GONE = "gone"
    """Where it came from, it is no more."""
    FENCED = "fenced"
    """It was made before an invalidation that may concern it."""
    CHANGED = "changed"
    """It is another one by now, or kept changing."""


class Waiting(NamedTuple):
    """An entry that its new place lacks."""

    entry_id: str
    fields: Fields
    payload: Payload


class Parcel(NamedTuple):
    """An entry to bring in."""

    entry_id: str
    fields: Fields
    payload: Payload
    until_ms: int
    """When it ends, in Unix milliseconds; 0: when it does where it comes from."""
    vector: Vector | None
    source: str = ""
    """The key that it comes from; "" where it is none of Redis."""


class Mover:
    """Brings entries into the key space ``keys``, on a connection of its own."""

    def __init__(
        self,
        pipelines: RedisPipelines,
        keys: KeySpace,
        fences: Fences,
        clock: ServerClock,
        dtype: np.dtype[Any],
        sealer: Sealer,
        siblings: Siblings,
    ) -> None:
        self._pipelines = pipelines
        self._keys = keys
        self._fences = fences
        self._clock = clock
        self._dtype = dtype
        self._sealer = sealer
        self._siblings = siblings

    async def lacking(
        self, source: KeySpace, ids: Sequence[str]
    ) -> tuple[list[Waiting], list[str]]:
        """Those of ``source`` that are not here yet, and the others that cannot be read."""
        there = await self._pipelines.execute([("HGET", self._keys.key(one), SCOPE) for one in ids])
        missing = [one for one, scope in zip(ids, there, strict=True) if checked(scope) is None]
        asked = [("HGETALL", source.key(one)) for one in missing]
        waiting, unread = list[Waiting](), list[str]()
        replies = await self._pipelines.execute(asked) if asked else []
        for entry_id, fields in zip(missing, replies, strict=True):
            if not checked(fields):
                continue
            payload = self._payload(entry_id, fields)
            if payload is None:
                unread.append(entry_id)
            else:
                waiting.append(Waiting(entry_id, _without_vector(fields), payload))
        return waiting, unread

    async def bring(self, parcels: Sequence[Parcel]) -> list[Outcome]:
        """What became of each. One of Redis gives way to whatever is here; another one replaces
        what is older. Raises a ``StoreError`` where one cannot be kept, those before it
        being."""
        outcomes: list[Outcome] = []
        for start in range(0, len(parcels), _TOGETHER):
            some = parcels[start : start + _TOGETHER]
            began = time.perf_counter()
            async with self._pipelines.session() as session:
                outcomes += await self._bring(session, some)
            await asyncio.sleep(min(_PAUSE_S, time.perf_counter() - began))
        return outcomes

    async def _bring(self, session: Session, parcels: Sequence[Parcel]) -> list[Outcome]:
        for _ in range(_ATTEMPTS):
            outcomes = await self._attempt(session, parcels)
            if outcomes is not None:
                return outcomes
        if len(parcels) == 1:
            return [Outcome.CHANGED]
        return [one for parcel in parcels for one in await self._bring(session, [parcel])]

    async def _attempt(self, session: Session, parcels: Sequence[Parcel]) -> list[Outcome] | None:
        """None where something moved, and nothing was written."""
        keys = [self._keys.key(parcel.entry_id) for parcel in parcels]
        fences = [self._fences_of(parcel) for parcel in parcels]
        names = list(dict.fromkeys(name for some in fences for name in some))
        sources = [parcel.source for parcel in parcels if parcel.source]
        elsewhere = [
            [] if parcel.source else self._siblings.keys(parcel.entry_id) for parcel in parcels
        ]
        places = [[key, *others] for key, others in zip(keys, elsewhere, strict=True)]
        replies = await session.execute(
            [
                ("WATCH", *names, *(place for some in places for place in some), *sources),
                *self._fences.reading(names, self._clock.now()),
                *(("HGET", place, ENTRY) for some in places for place in some),
                *(("HGETALL", source) for source in sources),
                *(("PEXPIRETIME", source) for source in sources),
            ]
        )
        said = iter([checked(reply) for reply in replies][1:])
        moments = {name: list(islice(said, self._fences.reads)) for name in names}
        here = [[next(said) for _ in some] for some in places]
        rows = {source: next(said) for source in sources}
        ends = {source: next(said) for source in sources}
        outcomes: list[Outcome] = []
        commands: list[Command] = [("MULTI",)]
        for parcel, some, fenced, there in zip(parcels, places, fences, here, strict=True):
            now = parcel
            if parcel.source:
                row, until_ms = rows[parcel.source], ends[parcel.source]
                now = parcel._replace(fields=_without_vector(row), until_ms=until_ms)
            read = [moment for name in fenced for moment in moments[name]]
            outcome = self._judged(parcel, now, there, read)
            outcomes.append(outcome)
            if outcome is Outcome.MOVED:
                commands += self._writing(now, some)
        if len(commands) == 1:
            await session.execute([("UNWATCH",)])
            return outcomes
        *queued, executed = await session.execute([*commands, ("EXEC",)])
        for reply in queued:
            checked(reply)
        if checked(executed) is None:
            return None
        for reply in executed:
            checked(reply)
        return outcomes

    def _judged(
        self,
        parcel: Parcel,
        now: Parcel,
        there: Sequence[bytes | None],
        moments: Sequence[float | None],
    ) -> Outcome:
        if parcel.source:
            if not now.fields:
                return Outcome.GONE
            if now.fields.get(ENTRY) != parcel.fields[ENTRY]:
                return Outcome.CHANGED
            if there != [None]:
                return Outcome.THERE
        for known in [self._read(parcel.entry_id, parcel.fields, raw) for raw in there if raw]:
            if known is not None and known.created_at >= parcel.payload.created_at:
                return Outcome.THERE
        if self._fences.keep_out(parcel.payload.created_at, moments):
            return Outcome.FENCED
        return Outcome.MOVED

    def _writing(self, parcel: Parcel, places: Sequence[str]) -> list[Command]:
        key = places[0]
        fields = [part for pair in parcel.fields.items() for part in pair]
        if parcel.vector is not None:
            fields += (VECTOR, parcel.vector.astype(self._dtype, copy=False).tobytes())
        commands: list[Command] = []
        if not parcel.source:
            commands.append(("UNLINK", *places))
        until_ms = parcel.until_ms
        if until_ms <= 0:  # somebody took its end away
            last = max(parcel.payload.exact_until, parcel.payload.semantic_until)
            until_ms = int(last * 1_000)
        return [*commands, ("HSET", key, *fields), ("PEXPIREAT", key, until_ms)]

    def _fences_of(self, parcel: Parcel) -> tuple[str, ...]:
        scope, tenant, attributes, tags = (
            parcel.fields.get(name, b"").decode(errors="replace")
            for name in (SCOPE, TENANT, ATTRIBUTES, TAGS)
        )
        digest = ScopeDigest(scope, tuple(filter(None, attributes.split(","))), b"", tenant)
        return self._keys.record_fences(
            digest, tuple(filter(None, tags.split(","))), parcel.entry_id
        )

    def _payload(self, entry_id: str, fields: Fields) -> Payload | None:
        return self._read(entry_id, fields, fields.get(ENTRY))

    def _read(self, entry_id: str, fields: Fields, raw: object) -> Payload | None:
        scope = fields.get(SCOPE, b"").decode(errors="replace")
        return read_payload(raw, scope, entry_id, self._sealer)


def _without_vector(fields: Fields) -> Fields:
    return {name: value for name, value in fields.items() if name != VECTOR}
