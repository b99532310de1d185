"""What the store's tests share: records, stores, and a relay that stands between them and Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import redis.asyncio

from semcache_async.config import CacheConfig
from semcache_async.protocols import Store
from semcache_async.store.clock import ServerClock
from semcache_async.store.opening import redis_store
from semcache_async.store.partitioned.partitions import PartitionedStore
from semcache_async.store.partitioned.partitions import open_store as partitioned
from semcache_async.store.redis_store import RedisStore
from semcache_async.store.tenants import TenantStores
from semcache_async.types import EntryKey, Record, Scope, Vector, VectorQuery

DIM = 8
SCOPE = Scope(tenant="a")


def unit(degrees: float) -> Vector:
    vector = np.zeros(DIM, np.float32)
    vector[:2] = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return vector


def record(
    store: Store, prompt: str, degrees: float | None, scope: Scope = SCOPE, **changes: Any
) -> Record:
    """A record whose answer begins to be made now."""
    fields: dict[str, Any] = {
        "key": EntryKey(scope, prompt),
        "prompt": prompt,
        "text": f"answer to {prompt}",
        "vector": None if degrees is None else unit(degrees),
        "tags": (),
        "exact_ttl_s": 100.0,
        "semantic_ttl_s": 100.0,
        "started_at": store.now(),
    }
    return Record(**(fields | changes))


def open_store(
    url: str, name: str, *, ahead: Callable[[], float] | None = None, **options: Any
) -> AbstractAsyncContextManager[RedisStore]:
    """A store of 8 dimensions; for it, Redis's clock is ``ahead()`` seconds ahead."""
    clock = None if ahead is None else ServerClock(ahead=ahead)
    config = CacheConfig(name=name, **({"store_timeout_s": 10.0} | options))
    return redis_store(url, dim=DIM, fingerprint="angle", config=config, clock=clock)


def open_partitions(
    url: str,
    name: str,
    partitions: int,
    *,
    ahead: Callable[[], float] | None = None,
    **options: Any,
) -> AbstractAsyncContextManager[RedisStore | PartitionedStore | TenantStores]:
    """As ``open_store`` does, for so many partitions."""
    clock = None if ahead is None else ServerClock(ahead=ahead)
    chosen = {"store_timeout_s": 10.0} | options
    config = CacheConfig(name=name, partitions=partitions, **chosen)
    return partitioned(url, dim=DIM, fingerprint="angle", config=config, clock=clock)


async def found(store: Store, degrees: float, scope: Scope = SCOPE, k: int = 3) -> list[str]:
    """The prompts near an angle, nearest first."""
    (outcome,) = await store.search([VectorQuery(scope, unit(degrees), k)])
    assert not isinstance(outcome, Exception), outcome
    return [neighbour.entry.prompt for neighbour in outcome]


async def text_of(store: Store, prompt: str, scope: Scope = SCOPE) -> str | None:
    """What the exact tier has."""
    (entry,) = await store.fetch([EntryKey(scope, prompt)])
    assert not isinstance(entry, Exception), entry
    return None if entry is None else entry.text


class Relay:
    """Stands between clients and a Redis on a unix socket, and can keep back what is said."""

    def __init__(self, redis_url: str) -> None:
        self._path = unquote(redis_url.removeprefix("unix://"))
        self._word: bytes | None = None
        self._whole = True
        self._gate = asyncio.Event()
        self.held = asyncio.Event()
        """Something is being kept back."""
        self.delivered = asyncio.Event()
        """What was kept back has been answered."""
        self.silenced: set[int] = set()
        """Connections whose replies get lost, by number."""
        self.opened = 0
        self.refuses = False
        """Are new connections closed at once?"""
        self.refused = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def hold(self, word: bytes, *, whole: bool = True) -> None:
        """Keep back what contains ``word``, until ``release``: the whole of what is sent at once,
        or from the last command with the word on."""
        self._word = word
        self._whole = whole
        for event in (self._gate, self.held, self.delivered):
            event.clear()

    def release(self) -> None:
        self._word = None
        self._gate.set()

    def silence(self) -> None:
        """Let all replies on connections that are open now get lost, as if no packet arrived."""
        self.silenced |= set(range(self.opened))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        number = self.opened
        try:
            if self.refuses:
                self.refused += 1
                return
            self.opened += 1
            back, there = await asyncio.open_unix_connection(self._path)
            spoke = asyncio.Event()
            answers = asyncio.create_task(self._answer(back, writer, number, spoke))
            try:
                while data := await reader.read(1 << 20):
                    waits = self._word is not None and self._word in data
                    if waits:
                        assert self._word is not None
                        if not self._whole:
                            start = data.rfind(b"\r\n*", 0, data.rindex(self._word)) + 2
                            there.write(data[:start])
                            await there.drain()
                            data = data[start:]
                        self.held.set()
                        await self._gate.wait()
                        spoke.clear()
                    there.write(data)
                    await there.drain()
                    if waits:
                        await spoke.wait()
                        self.delivered.set()
            finally:
                there.close()
                answers.cancel()
                await asyncio.gather(answers, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _answer(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        number: int,
        spoke: asyncio.Event,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(1 << 20):
                spoke.set()
                if number not in self.silenced:
                    writer.write(data)
                    await writer.drain()

    async def aclose(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def relay(redis_url: str, directory: Path) -> AsyncIterator[tuple[Relay, str]]:
    """A relay and its URL."""
    one = Relay(redis_url)
    path = directory / "relay"
    async with await asyncio.start_unix_server(one._serve, path) as listening:
        try:
            yield one, f"unix://{path}"
        finally:
            listening.close()
            one.release()
            await one.aclose()


async def everything(client: redis.asyncio.Redis, name: str) -> bytes:
    """All that lies under a name, as Redis gives it back."""
    found = []
    async for key in client.scan_iter(f"{name}:*", count=1_000):
        kind = await client.type(key)
        if kind == b"hash":
            for field, value in (await client.hgetall(key)).items():
                found += [key, field, value]
        elif kind == b"stream":
            found += [key, repr(await client.xrange(key)).encode()]
        else:
            found.append(key)
    return b"\n".join(found)
