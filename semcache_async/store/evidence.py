"""What was learnt, beside the answers: notes in the entries, sums in hashes of their own."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from semcache_async.errors import StoreError
from semcache_async.store.clock import ServerClock
from semcache_async.store.entries.payload import Noted, read_noted, read_payload, seal_payload
from semcache_async.store.entries.schema import ENTRY, NOTES, OWNER, SCOPE, TENANT
from semcache_async.store.keys import KeySpace
from semcache_async.store.sealing import Sealer, context_of
from semcache_async.store.siblings import Siblings
from semcache_async.store.wire import Command, RedisPipelines, Session
from semcache_async.store.wire.replies import checked
from semcache_async.types import Entry, Owner, Scope

__all__ = ["EvidenceKeeper"]

_ATTEMPTS, _PAUSE_S = 20, 0.01
_SUMS_TTL_MS = 90 * 86_400_000
"""Longer than any period is read."""


class EvidenceKeeper:
    """See ``protocols.EvidenceStore`` for what the methods promise. Notes change under WATCH, on a
    connection of their own: answers that are to be written do not wait for them."""

    def __init__(
        self,
        pipelines: RedisPipelines,
        noting: RedisPipelines,
        keys: KeySpace,
        clock: ServerClock,
        sealer: Sealer,
        siblings: Siblings,
    ) -> None:
        self._pipelines = pipelines
        self._noting = noting
        self._keys = keys
        self._clock = clock
        self._sealer = sealer
        self._siblings = siblings

    def owner(self, scope: Scope) -> Owner:
        digest = self._keys.scope(scope.unversioned())
        return Owner(digest.scope, digest.tenant)

    async def noted(
        self, entry_id: str, scope: Scope | None = None
    ) -> tuple[Entry, Owner, bytes | None] | None:
        asked = [_reading(self._keys.key(entry_id))]
        if self._siblings.prefixes:
            asked += map(_reading, self._siblings.keys(entry_id))
        for row in await self._pipelines.execute(asked):
            entry, owner, notes, _ = self._read(row, entry_id)
            if entry is not None:
                return entry, owner, notes
        return None

    async def annotate(
        self, entry_id: str, change: Callable[[Entry, bytes | None], bytes | None]
    ) -> tuple[Entry, Owner] | None:
        async with self._noting.session() as session:
            for _ in range(_ATTEMPTS):
                found, written = await self._attempt(session, entry_id, change)
                if written:
                    return found
                await asyncio.sleep(_PAUSE_S * random.random())  # noqa: S311 - spreads writers
        raise StoreError("An entry kept changing while a verdict on it was to be noted.")

    async def _attempt(
        self,
        session: Session,
        entry_id: str,
        change: Callable[[Entry, bytes | None], bytes | None],
    ) -> tuple[tuple[Entry, Owner] | None, bool]:
        key = self._keys.key(entry_id)
        watched, row = await session.execute([("WATCH", key), _reading(key)])
        checked(watched)
        entry, owner, notes, scope = self._read(row, entry_id)
        changed = notes if entry is None else change(entry, notes)
        if entry is None or changed is None or changed == notes:
            await session.execute([("UNWATCH",)])
            return None if entry is None else (entry, owner), True
        sealed = self._sealer.seal(changed, context=context_of("notes", scope, entry_id))
        *queued, executed = await session.execute(
            [("MULTI",), ("HSET", key, NOTES, sealed), ("EXEC",)]
        )
        for reply in (*queued, executed):
            checked(reply)
        return (entry, owner), executed is not None

    async def amend(
        self,
        entry_id: str,
        change: Callable[[Entry], Entry | None],
        scope: Scope | None = None,
    ) -> bool:
        async with self._noting.session() as session:
            for _ in range(_ATTEMPTS):
                done = await self._amend(session, entry_id, change)
                if done is not None:
                    return done
                await asyncio.sleep(_PAUSE_S * random.random())  # noqa: S311 - spreads writers
        raise StoreError("An entry kept changing while its times were to be changed.")

    async def _amend(
        self, session: Session, entry_id: str, change: Callable[[Entry], Entry | None]
    ) -> bool | None:
        """None where it changed meanwhile."""
        key = self._keys.key(entry_id)
        watched, row = await session.execute([("WATCH", key), _reading(key)])
        checked(watched)
        entry, _, _, scope = self._read(row, entry_id)
        changed = None if entry is None else change(entry)
        payload = read_payload(row[0], scope, entry_id, self._sealer)
        if entry is None or changed is None or payload is None:
            await session.execute([("UNWATCH",)])
            return entry is not None
        sealed = seal_payload(payload.amended(changed), entry_id, self._sealer)
        ends = max(changed.exact_until, changed.semantic_until)
        life_ms = max(1, int((ends - self._clock.now()) * 1_000))
        *queued, executed = await session.execute(
            [("MULTI",), ("HSET", key, ENTRY, sealed), ("PEXPIRE", key, life_ms), ("EXEC",)]
        )
        for reply in (*queued, executed):
            checked(reply)
        return None if executed is None else True

    async def tally(
        self, owner: Owner, period: int, amounts: Mapping[str, float], *, pooled: bool
    ) -> None:
        commands: list[Command] = []
        for key in self._sums(owner, period)[: 1 + pooled]:
            commands += [("HINCRBYFLOAT", key, name, repr(n)) for name, n in amounts.items()]
            commands.append(("PEXPIRE", key, _SUMS_TTL_MS))
        for reply in await self._pipelines.execute(commands, again=False):
            checked(reply)

    async def tallies(
        self, owner: Owner, periods: Sequence[int]
    ) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
        keys = [self._sums(owner, period) for period in periods]
        asked = [("HGETALL", key) for column in zip(*keys, strict=True) for key in column]
        replies = [checked(reply) for reply in await self._pipelines.execute(asked)]
        sums = [dict(_numbers(reply)) for reply in replies]
        return sums[: len(periods)], sums[len(periods) :]

    def _read(self, row: Any, entry_id: str) -> Noted:
        return read_noted(checked(row), entry_id, self._clock.now(), self._sealer)

    def _sums(self, owner: Owner, period: int) -> tuple[str, str]:
        """The keys of a scope's sums and of its tenant's."""
        return (
            self._keys.sums(f"s-{owner.scope}", period),
            self._keys.sums(f"t-{owner.tenant}", period),
        )


def _reading(key: str) -> Command:
    return ("HMGET", key, ENTRY, SCOPE, TENANT, NOTES, OWNER)


def _numbers(reply: Mapping[bytes, bytes]) -> Iterator[tuple[str, float]]:
    """What of a hash is a number; anything else is passed over."""
    for name, value in reply.items():
        try:
            yield name.decode(), float(value)
        except ValueError:
            continue
