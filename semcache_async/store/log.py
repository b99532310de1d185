"""Small records beside the entries, the newest kept: a Redis stream, or this process's memory."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from semcache_async.errors import StoreError
from semcache_async.store.keys import log_key
from semcache_async.store.sealing import CLEAR, Sealer
from semcache_async.store.wire import Command, RedisPipelines
from semcache_async.store.wire.replies import checked

__all__ = ["Log", "Logged", "MemoryLog", "RedisLog"]

Logged = tuple[str, bytes]
"""A record's id and the record."""

_FIELD = "record"
_STREAM_ID = re.compile(r"\d{1,20}-\d{1,20}")


class Log(Protocol):
    """Append-only and capped. Ids are ``MILLISECONDS-NUMBER`` and grow. Methods raise
    ``StoreError``."""

    async def append(self, records: Sequence[bytes]) -> None:
        """Keep ``records``, the oldest first, dropping what is over the cap."""

    async def newest(self, limit: int) -> list[Logged]:
        """The last records, the newest first."""

    async def get(self, record_id: str) -> bytes | None:
        """One record; None for one that is gone or never was."""


class RedisLog:
    """Shared by every process with the same Redis and cache name. What does not open is passed
    over."""

    def __init__(
        self,
        pipelines: RedisPipelines,
        name: str,
        kind: str,
        *,
        keep: int,
        ttl_s: float,
        sealer: Sealer = CLEAR,
    ) -> None:
        self._pipelines = pipelines
        self._key = log_key(name, kind)
        self._keep = keep
        self._ttl_ms = int(ttl_s * 1_000)
        self._sealer = sealer
        self._context = f"log {self._key}".encode()

    async def append(self, records: Sequence[bytes]) -> None:
        if not records:
            return
        add = ("XADD", self._key, "MAXLEN", "~", self._keep, "*", _FIELD)
        await self._execute(
            [
                *[(*add, self._sealer.seal(record, context=self._context)) for record in records],
                ("PEXPIRE", self._key, self._ttl_ms),
            ],
            again=False,
        )

    async def newest(self, limit: int) -> list[Logged]:
        return await self._range("XREVRANGE", "+", "-", limit)

    async def get(self, record_id: str) -> bytes | None:
        if not _STREAM_ID.fullmatch(record_id):
            return None
        try:
            found = await self._range("XRANGE", record_id, record_id, 1)
        except StoreError as error:
            if "invalid stream id" in str(error).lower():  # well formed, but over 64 bits
                return None
            raise
        return found[0][1] if found else None

    async def _range(self, command: str, first: str, last: str, limit: int) -> list[Logged]:
        (rows,) = await self._execute([(command, self._key, first, last, "COUNT", limit)])
        opened = [
            (id_.decode(), self._sealer.open(fields[1], context=self._context))
            for id_, fields in rows
        ]
        return [(id_, record) for id_, record in opened if record is not None]

    async def _execute(
        self, commands: Sequence[Command], *, again: bool = True
    ) -> list[list[tuple[bytes, list[bytes]]]]:
        return [checked(reply) for reply in await self._pipelines.execute(commands, again=again)]


class MemoryLog:
    """For a cache whose store is not Redis."""

    def __init__(self, *, keep: int) -> None:
        self._rows: deque[Logged] = deque(maxlen=keep)
        self._appended = 0

    async def append(self, records: Sequence[bytes]) -> None:
        for record in records:
            self._appended += 1
            self._rows.append((f"{time.time_ns() // 1_000_000}-{self._appended}", record))

    async def newest(self, limit: int) -> list[Logged]:
        return list(self._rows)[: -limit - 1 : -1]

    async def get(self, record_id: str) -> bytes | None:
        return dict(self._rows).get(record_id)
