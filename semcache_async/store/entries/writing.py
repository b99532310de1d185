"""Writing entries past the fences: read under WATCH, then all or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from semcache_async.errors import LeaseLostError, StaleWriteError, StoreError, StoreFullError
from semcache_async.store.claims import standing
from semcache_async.store.clock import ServerClock
from semcache_async.store.entries.fences import Fences
from semcache_async.store.entries.payload import Payload, seal_payload
from semcache_async.store.entries.schema import (
    ATTRIBUTES,
    ENTRY,
    OWNER,
    SCOPE,
    TAGS,
    TENANT,
    VECTOR,
)
from semcache_async.store.keys import KeySpace, plain
from semcache_async.store.sealing import Sealer
from semcache_async.store.siblings import Siblings
from semcache_async.store.wire import Command, RedisPipelines, Session
from semcache_async.store.wire.replies import MovedError, ReadOnlyError, checked
from semcache_async.types import Record

__all__ = ["Writer"]

_TOGETHER, _ALONE = 3, 5
"""Attempts of a whole batch, then of each record by itself, while fences keep moving."""
_PLACES = 2
"""Masters that are tried: one may have been demoted, or its slot moved, just now."""


class _Write(NamedTuple):
    place: int
    entry_id: str
    record: Record
    fences: tuple[str, ...]
    claim: str
    """The key of the claim under which it was made; "" where there is none."""
    commands: tuple[Command, ...]


class Writer:
    """Puts records, on a connection of its own: what others send must not come between."""

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

    async def put(self, records: Sequence[Record]) -> list[str | Exception]:
        """The entry id of each record, or why it was not written."""
        outcomes: list[str | Exception | None] = [None] * len(records)
        writes = []
        for place, record in enumerate(records):
            try:
                writes.append(self._write(place, record))
            except Exception as error:
                outcomes[place] = StoreError(
                    f"This cannot be kept in Redis ({type(error).__name__})."
                )
        try:
            for _ in range(_PLACES):
                async with self._pipelines.session() as session:
                    await self._put(session, writes, outcomes)
                writes = [write for write in writes if _is_elsewhere(outcomes[write.place])]
                if not writes:
                    break
        except StoreError as error:
            outcomes = [error if outcome is None else outcome for outcome in outcomes]
        return [outcome or StoreError("Redis did not say.") for outcome in outcomes]

    async def _put(
        self, session: Session, writes: list[_Write], outcomes: list[str | Exception | None]
    ) -> None:
        if not writes:
            return
        for _ in range(_TOGETHER):
            if await self._attempt(session, writes, outcomes):
                return
        for write in writes:
            for _ in range(_ALONE):
                if await self._attempt(session, [write], outcomes):
                    break
            else:
                outcomes[write.place] = StaleWriteError(
                    "Invalidations that concern this answer came without end while it was written."
                )

    async def _attempt(
        self, session: Session, writes: list[_Write], outcomes: list[str | Exception | None]
    ) -> bool:
        """Write those that their fences admit; False where a fence moved and none was written."""
        names = list(dict.fromkeys(name for write in writes for name in write.fences))
        claims = [write.claim for write in writes if write.claim]
        sent = self._clock.monotonic()
        watch, *read, time = await session.execute(
            [
                ("WATCH", *names, *claims),
                *self._fences.reading(names, self._clock.now()),
                *(standing(claim) for claim in claims),
                ("TIME",),
            ]
        )
        for reply in (watch, *read):
            checked(reply)
        self._clock.learn(sent, time)
        reads = self._fences.reads
        ends = range(reads, reads * len(names) + 1, reads)
        moments = {name: read[end - reads : end] for name, end in zip(names, ends, strict=True)}
        stands = dict(zip(claims, read[reads * len(names) :], strict=True))
        admitted: list[_Write] = []
        commands: list[Command] = [("MULTI",)]
        for write in writes:
            found = [moment for name in write.fences for moment in moments[name]]
            refusal: StaleWriteError | None = self._fences.refusal(
                write.record, found, self._clock.now()
            )
            if write.claim and not stands[write.claim]:
                refusal = refusal or LeaseLostError(
                    "The lease under which this answer was made has ended, so it is not kept."
                )
            outcomes[write.place] = refusal
            if refusal is None:
                admitted.append(write)
                commands += write.commands
        if not admitted:
            await session.execute([("UNWATCH",)])
            return True
        *queued, executed = await session.execute([*commands, ("EXEC",)])
        if executed is None:
            return False
        start = 0
        for write in admitted:
            end = start + len(write.commands)
            parts = [queued[0], *queued[start + 1 : end + 1]]
            parts += [executed] if isinstance(executed, Exception) else executed[start:end]
            errors = [part for part in parts if isinstance(part, Exception)]
            outcomes[write.place] = errors[0] if errors else write.entry_id
            start = end
        # what could not be replaced for want of room goes: it is no longer the answer
        full = [w for w in admitted if isinstance(outcomes[w.place], StoreFullError)]
        if full:
            await session.execute([("UNLINK", *(self._keys.key(w.entry_id) for w in full))])
        return True

    def _write(self, place: int, record: Record) -> _Write:
        now = self._clock.now()
        scope = record.key.scope
        digest = self._keys.scope(scope)
        entry_id = self._keys.entry_id(record.key)
        wide = self._keys.carried(scope)
        tags = tuple([self._keys.tag(tag) for tag in record.tags])
        payload = Payload(
            scope=bytes.fromhex(digest.scope),
            prompt=plain(record.prompt),
            text=plain(record.text),
            created_at=record.started_at,
            exact_until=now + record.exact_ttl_s,
            semantic_until=now + record.semantic_ttl_s,
            tags=tuple([plain(tag) for tag in record.tags]),
            attributes={plain(name): plain(value) for name, value in scope.attributes.items()},
            stale_s=record.stale_s,
            made_s=record.made_s,
            slid_at=now if record.slides else 0.0,
            wide=wide,
        )
        key = self._keys.key(entry_id)
        fields: dict[bytes, str | bytes] = {
            ENTRY: seal_payload(payload, entry_id, self._sealer),
            SCOPE: digest.scope,
            TENANT: digest.tenant,
            ATTRIBUTES: ",".join(digest.attributes + wide),
            TAGS: ",".join(tags),
            OWNER: self._keys.scope(scope.unversioned()).scope if scope.epoch else "",
            VECTOR: b"",
        }
        longest = record.exact_ttl_s
        if record.vector is not None:
            fields[VECTOR] = record.vector.astype(self._dtype, copy=False).tobytes()
            longest = max(longest, record.semantic_ttl_s)
        commands: list[Command] = []
        if absent := [name for name, value in fields.items() if not value]:
            commands.append(("HDEL", key, *absent))
        present = [part for pair in fields.items() if pair[1] for part in pair]
        commands.append(("HSET", key, *present))
        commands.append(("PEXPIRE", key, max(1, int(longest * 1_000))))
        if others := self._siblings.keys(entry_id):
            commands.append(("UNLINK", *others))
        fences = self._keys.record_fences(digest, tags, entry_id)
        claim = "" if record.claim is None else self._keys.claim(record.claim)
        return _Write(place, entry_id, record, fences, claim, tuple(commands))


def _is_elsewhere(outcome: object) -> bool:
    return isinstance(outcome, ReadOnlyError | MovedError)
