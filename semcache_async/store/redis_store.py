"""The Redis store: one hash per entry, found by key (exact) or by KNN within a scope (semantic)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any

import msgspec
import numpy as np

from semcache_async.config import CacheConfig
from semcache_async.errors import StoreError
from semcache_async.store.keys import KeySpace, ScopeDigest
from semcache_async.store.knn import KnnPlanner
from semcache_async.store.payload import Payload, read_entries, read_entry, read_neighbours
from semcache_async.store.removal import entries_filter, remove
from semcache_async.store.schema import (
    ATTRIBUTES,
    ENTRY,
    SCOPE,
    TAGS,
    VECTOR,
    IndexShape,
    ensure_index,
    is_missing_index,
)
from semcache_async.store.wire import Command, RedisPipelines, redis_pipelines
from semcache_async.types import Entry, EntryKey, Neighbour, Record, Scope, Vector, VectorQuery

__all__ = ["RedisStore", "redis_store"]

_ENTRY_COMMANDS = 4
_encode = msgspec.json.encode


@asynccontextmanager
async def redis_store(
    url: str, *, dim: int, fingerprint: str, config: CacheConfig
) -> AsyncIterator[RedisStore]:
    """A store that has proved it can write an entry and find it again.

    Raises ``StoreUnavailableError``, ``StoreAuthError``, ``SearchModuleMissingError`` or
    ``IndexMismatchError``, each within a few ``config.store_timeout_s``.
    """
    shape = IndexShape(dim, config.vector_dtype, config.index)
    keys = KeySpace(config.name, shape.fingerprint(fingerprint), config.secret)
    async with redis_pipelines(
        url, connections=config.connections, timeout_s=config.store_timeout_s
    ) as pipelines:
        store = RedisStore(pipelines, keys, shape)
        await store.prepare()
        yield store


class RedisStore:
    """Every batch is one pipeline. See ``protocols.Store`` for what the methods promise."""

    def __init__(self, pipelines: RedisPipelines, keys: KeySpace, shape: IndexShape) -> None:
        self._pipelines = pipelines
        self._keys = keys
        self._shape = shape
        self._dtype = np.dtype(shape.dtype)
        self._planner = KnnPlanner(keys.index, graph=shape.algorithm == "hnsw")
        self._prefix = keys.prefix.encode()

    @property
    def connections(self) -> int:
        """Connections to Redis open now."""
        return self._pipelines.connections

    async def prepare(self) -> None:
        """Create the index or check the one that is there, then write, find and delete a canary."""
        await ensure_index(self._one, self._keys.index, self._keys.prefix, self._shape)
        await self._send_canary()

    async def fetch(self, keys: Sequence[EntryKey]) -> list[Entry | Exception | None]:
        """Exact tier: one ``HGET`` an item."""
        entry_id, prefix = self._keys.entry_id, self._keys.prefix
        ids = [entry_id(key) for key in keys]
        replies = await self._pipelines.execute([("HGET", prefix + id_, ENTRY) for id_ in ids])
        now = time.time()
        scope = self._keys.scope
        return [
            reply if isinstance(reply, Exception) else read_entry(reply, id_, scope(key.scope), now)
            for key, id_, reply in zip(keys, ids, replies, strict=True)
        ]

    async def search(self, queries: Sequence[VectorQuery]) -> list[list[Neighbour] | Exception]:
        """Semantic tier: one ``FT.SEARCH`` an item. An index that is gone (a flushed or replaced
        server) is an error for these queries, and made anew for the next."""
        digests = [self._keys.scope(query.scope) for query in queries]
        commands = [
            self._planner.search(digest, query, self._bytes(query.vector))
            for digest, query in zip(digests, queries, strict=True)
        ]
        questions = self._planner.questions(dict.fromkeys(digests))
        replies = await self._pipelines.execute([*commands, *questions.values()])
        for subject, reply in zip(questions, replies[len(commands) :], strict=True):
            self._planner.learn(subject, reply)
        if any(is_missing_index(reply) for reply in replies):
            await ensure_index(self._one, self._keys.index, self._keys.prefix, self._shape)
        now = time.time()
        return [
            self._neighbours(reply, digest, query, now)
            for reply, digest, query in zip(replies, digests, queries, strict=False)
        ]

    async def put(self, records: Sequence[Record]) -> list[str | Exception]:
        """One ``MULTI HSET PEXPIRE EXEC`` an item: an entry is whole and mortal, or absent."""
        ids = [self._keys.entry_id(record.key) for record in records]
        commands: list[Command] = []
        for id_, record in zip(ids, records, strict=True):
            commands += self._put_commands(id_, record)
        replies = await self._pipelines.execute(commands)
        return [
            _first_error(replies[n * _ENTRY_COMMANDS : (n + 1) * _ENTRY_COMMANDS]) or id_
            for n, id_ in enumerate(ids)
        ]

    async def watch(self, changed: Callable[[str | None], None]) -> None:
        """Report the id of every entry that any client writes, deletes or lets expire, a moment
        after it happened, and None once this begins to work. Returns never; raises a
        ``StoreError`` when reports can no longer be relied on."""
        begun = False

        def heard(push: list[Any]) -> None:
            nonlocal begun
            if not push:
                if not begun:
                    begun = True
                    changed(None)
            elif push[0] == b"invalidate":
                for key in push[1] or (None,):
                    changed(None if key is None else key[len(self._prefix) :].decode())

        tracking = ("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", self._prefix)
        await self._pipelines.listen(tracking, heard)

    async def remove(
        self,
        *,
        scope: Scope | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
    ) -> int:
        """Delete the entries that meet every condition named; of ``tags``, any one will do."""
        return await remove(self._execute, self._keys, scope=scope, tags=tags, entry_ids=entry_ids)

    async def browse(self, tags: Collection[str], limit: int) -> list[Entry]:
        """Some live entries of any scope; of ``tags``, any one will do."""
        query, params = entries_filter(self._keys, None, tags)
        shown = ("RETURN", 1, ENTRY, "LIMIT", 0, limit, "DIALECT", 2)
        reply = await self._one("FT.SEARCH", self._keys.index, query, *params, *shown)
        return read_entries(reply, self._prefix, time.time())

    async def check(self) -> None:
        """Raise a ``StoreError`` unless Redis answers and has the index in its right shape."""
        info = await self._one("FT.INFO", self._keys.index)
        self._shape.check(self._keys.index, self._keys.prefix, info)

    def _neighbours(
        self, reply: Any, digest: ScopeDigest, query: VectorQuery, now: float
    ) -> list[Neighbour] | Exception:
        if isinstance(reply, Exception):
            return reply
        try:
            return read_neighbours(reply, self._prefix, digest, query.scope.attributes, now)
        except StoreError as error:
            return error

    def _put_commands(self, entry_id: str, record: Record) -> tuple[Command, ...]:
        now = time.time()
        digest = self._keys.scope(record.key.scope)
        payload = Payload(
            scope=digest.scope,
            prompt=record.prompt,
            text=record.text,
            created_at=now,
            exact_until=now + record.exact_ttl_s,
            semantic_until=now + record.semantic_ttl_s,
            tags=record.tags,
            attributes=dict(record.key.scope.attributes),
        )
        key = self._keys.key(entry_id)
        vector: tuple[bytes, ...] = ()
        longest = record.exact_ttl_s
        if record.vector is not None:
            vector = (VECTOR, self._bytes(record.vector))
            longest = max(longest, record.semantic_ttl_s)
        return (
            ("MULTI",),
            (
                *("HSET", key, ENTRY, _encode(payload), SCOPE, digest.scope),
                *(ATTRIBUTES, ",".join(digest.attributes)),
                *(TAGS, ",".join([self._keys.tag(tag) for tag in record.tags])),
                *vector,
            ),
            ("PEXPIRE", key, max(1, int(longest * 1_000))),
            ("EXEC",),
        )

    def _bytes(self, vector: Vector) -> bytes:
        return vector.astype(self._dtype, copy=False).tobytes()

    async def _execute(self, commands: Sequence[Command]) -> list[Any]:
        return [_checked(reply) for reply in await self._pipelines.execute(commands)]

    async def _one(self, *command: str | bytes | float) -> Any:
        return (await self._execute([command]))[0]

    async def _send_canary(self) -> None:
        scope = Scope(tenant=f"canary {token_hex(16)}")
        vector = np.zeros(self._shape.dim, np.float32)
        vector[0] = 1.0
        record = Record(
            key=EntryKey(scope, "canary"),
            prompt="canary",
            text="canary",
            vector=vector,
            tags=(),
            exact_ttl_s=60.0,
            semantic_ttl_s=60.0,
            started_at=time.time(),
        )
        entry_id = _checked((await self.put([record]))[0])
        fetched = _checked((await self.fetch([record.key]))[0])
        found = _checked((await self.search([VectorQuery(scope, vector, 1)]))[0])
        await self.remove(entry_ids=[entry_id])
        if fetched is None or not found or found[0].distance > 0.001:
            raise StoreError(
                f"An entry written to Redis was not found again by index {self._keys.index!r}. "
                "Look at FT.INFO (hash_indexing_failures, percent_indexed) and the server's log."
            )


def _checked(outcome: Any) -> Any:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def _first_error(replies: list[Any]) -> Exception | None:
    """The first error among the replies of one ``MULTI ... EXEC``, those within it included."""
    for reply in replies:
        for part in reply if isinstance(reply, list) else (reply,):
            if isinstance(part, Exception):
                return part
    return None
