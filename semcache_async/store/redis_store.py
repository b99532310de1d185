"""The Redis store: one hash per entry, found by key (exact) or by KNN within a scope (semantic)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from functools import cache
from secrets import token_hex
from typing import Any

import msgspec
import numpy as np

from semcache_async.config import CacheConfig
from semcache_async.errors import StoreError
from semcache_async.store.keys import KeySpace, ScopeDigest
from semcache_async.store.payload import Payload, read_entry, read_ids, read_neighbours
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

_PAGE = 1_000
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
        replies = await self._pipelines.execute(
            [
                self._search_command(digest, query.vector, query.neighbours)
                for digest, query in zip(digests, queries, strict=True)
            ]
        )
        if any(is_missing_index(reply) for reply in replies):
            await ensure_index(self._one, self._keys.index, self._keys.prefix, self._shape)
        now = time.time()
        return [
            self._neighbours(reply, digest, query, now)
            for reply, digest, query in zip(replies, digests, queries, strict=True)
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

    async def remove(
        self,
        *,
        scope: Scope | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
    ) -> int:
        """Delete the entries that meet every condition named; of ``tags``, any one will do."""
        if not entry_ids:
            return await self._remove_found(scope, tags)
        ids = [id_ for id_ in entry_ids if _is_entry_id(id_)]
        if scope is not None or tags:
            ids = await self._meeting(ids, scope, tags)
        return await self._unlink([self._keys.key(id_).encode() for id_ in ids])

    # -- searching

    def _search_command(self, digest: ScopeDigest, vector: Vector, neighbours: int) -> Command:
        count = len(digest.attributes)
        query, params = _filter(count)
        values: Command = ()
        for pair in zip(params, digest.attributes, strict=True):
            values += pair
        return (
            *("FT.SEARCH", self._keys.index, query),
            *("PARAMS", 6 + 2 * count, "s", digest.scope),
            *values,
            *("k", neighbours, "v", vector.astype(self._dtype, copy=False).tobytes()),
            *("RETURN", 2, "d", ENTRY, "LIMIT", 0, neighbours, "DIALECT", 2),
        )

    def _neighbours(
        self, reply: Any, digest: ScopeDigest, query: VectorQuery, now: float
    ) -> list[Neighbour] | Exception:
        if isinstance(reply, Exception):
            return reply
        try:
            return read_neighbours(reply, self._prefix, digest, query.scope.attributes, now)
        except StoreError as error:
            return error

    # -- writing

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
            vector = (VECTOR, record.vector.astype(self._dtype, copy=False).tobytes())
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

    # -- removing

    async def _remove_found(self, scope: Scope | None, tags: Collection[str]) -> int:
        query, params = self._removal_query(scope, tags)
        removed = survivors = 0
        while True:
            reply = await self._one(
                *("FT.SEARCH", self._keys.index, query, *params),
                *("NOCONTENT", "LIMIT", survivors, _PAGE, "DIALECT", 2),
            )
            keys = read_ids(reply)
            if not keys:
                return removed
            gone = await self._unlink(keys)
            removed += gone
            survivors += len(keys) - gone

    def _removal_query(
        self, scope: Scope | None, tags: Collection[str]
    ) -> tuple[str, tuple[str | int, ...]]:
        terms: list[str] = []
        params: list[str] = []
        if scope is not None:
            digest = self._keys.scope(scope)
            terms.append("@scope:{$s}")
            params += ("s", digest.scope)
            for n, attribute in enumerate(digest.attributes):
                terms.append(f"@attr:{{$a{n}}}")
                params += (f"a{n}", attribute)
        if tags:
            terms.append("@tags:{" + "|".join(f"$t{n}" for n in range(len(tags))) + "}")
            for n, tag in enumerate(tags):
                params += (f"t{n}", self._keys.tag(tag))
        if not terms:
            return "*", ()
        return " ".join(terms), ("PARAMS", len(params), *params)

    async def _meeting(
        self, ids: Sequence[str], scope: Scope | None, tags: Collection[str]
    ) -> list[str]:
        digest = None if scope is None else self._keys.scope(scope)
        wanted = {self._keys.tag(tag).encode() for tag in tags}
        rows = await self._pipelines.execute(
            [("HMGET", self._keys.key(id_), SCOPE, ATTRIBUTES, TAGS) for id_ in ids]
        )
        meeting = []
        for id_, row in zip(ids, rows, strict=True):
            held_scope, attributes, held_tags = _checked(row)
            if digest is not None and held_scope != digest.scope.encode():
                continue
            held = set((attributes or b"").split(b","))
            if digest is not None and not all(a.encode() in held for a in digest.attributes):
                continue
            if wanted and wanted.isdisjoint((held_tags or b"").split(b",")):
                continue
            meeting.append(id_)
        return meeting

    async def _unlink(self, keys: Sequence[bytes]) -> int:
        removed = 0
        for start in range(0, len(keys), _PAGE):
            removed += await self._one("UNLINK", *keys[start : start + _PAGE])
        return removed

    # -- plumbing

    async def _one(self, *command: str | bytes | float) -> Any:
        return _checked((await self._pipelines.execute([command]))[0])

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


@cache
def _filter(attributes: int) -> tuple[str, tuple[str, ...]]:
    params = tuple(f"a{n}" for n in range(attributes))
    terms = "".join(f" @attr:{{${name}}}" for name in params)
    return f"(@scope:{{$s}}{terms})=>[KNN $k @vec $v AS d]", params


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


def _is_entry_id(text: object) -> bool:
    return isinstance(text, str) and len(text) == 32 and not set(text) - set("0123456789abcdef")
