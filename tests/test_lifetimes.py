"""Where a cache may be used: its loop, its process; how it is opened and closed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import semcache_async
from semcache_async import SemanticCache, Source
from semcache_async.errors import CacheClosedError, WrongLoopError
from semcache_async.testing import AngleEmbedder, MemoryStore
from tests.helpers import GatedLLM, until

pytestmark = pytest.mark.anyio

CALLS: list[Callable[[SemanticCache], Awaitable[Any]]] = [
    lambda cache: cache.get_or_generate("at 0", GatedLLM(opened=True)),
    lambda cache: cache.lookup("at 0"),
    lambda cache: cache.lookup_many(["at 0"]),
    lambda cache: cache.lookup_exact("at 0"),
    lambda cache: cache.nearest("at 0"),
    lambda cache: cache.store("at 0", "text"),
    lambda cache: cache.invalidate(tags=("t",)),
    lambda cache: cache.would_invalidate(tags=("t",)),
    lambda cache: cache.embed(["at 0"]),
    lambda cache: cache.browse(),
    lambda cache: cache.check(),
    lambda cache: anext(cache.stream("at 0", lambda _: None)),  # type: ignore[arg-type,return-value]
]


async def test_another_loop_is_told_at_once() -> None:
    async with SemanticCache.open(store=MemoryStore(), embedder=AngleEmbedder()) as cache:
        await cache.store("at 0", "text")
        told: list[BaseException | None] = []

        def elsewhere() -> None:
            for call in CALLS:

                async def ask(call: Callable[[SemanticCache], Awaitable[Any]] = call) -> None:
                    try:
                        await call(cache)
                    except WrongLoopError as error:
                        told.append(error)

                asyncio.run(ask())

        thread = threading.Thread(target=elsewhere)
        thread.start()
        await until(lambda: not thread.is_alive())
        assert len(told) == len(CALLS)
        assert "run_coroutine_threadsafe" in str(told[0])
        assert await cache.lookup("at 0") is not None


async def test_the_call_can_be_handed_over_from_a_thread() -> None:
    async with SemanticCache.open(store=MemoryStore(), embedder=AngleEmbedder()) as cache:
        await cache.store("at 0", "text")
        loop = asyncio.get_running_loop()

        def elsewhere() -> str:
            hit = asyncio.run_coroutine_threadsafe(cache.lookup("at 0"), loop).result()
            assert hit is not None
            return hit.text

        assert await asyncio.to_thread(elsewhere) == "text"


FORKED = """
import asyncio, os, sys
from semcache_async import SemanticCache, WrongLoopError
from semcache_async.testing import AngleEmbedder, MemoryStore

async def child(cache):
    try:
        await cache.lookup("at 0")
    except WrongLoopError as error:
        assert "forked" in str(error), error
    else:
        raise AssertionError("answered")
    async with SemanticCache.open(store=MemoryStore(), embedder=AngleEmbedder()) as own:
        await own.store("at 0", "own")
        assert (await own.lookup("near at 1")).text == "own"

async def parent():
    cache = await SemanticCache.open(store=MemoryStore(), embedder=AngleEmbedder())
    await cache.store("at 0", "text")
    return cache

loop = asyncio.new_event_loop()
cache = loop.run_until_complete(parent())
pid = os.fork()
if pid == 0:
    asyncio.run(child(cache))
    sys.stdout.write("child is fine")
    sys.stdout.flush()
    os._exit(0)
_, status = os.waitpid(pid, 0)
loop.run_until_complete(cache.aclose())
sys.exit(os.waitstatus_to_exitcode(status))
"""


def test_after_a_fork_the_child_is_told_and_may_open_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "child is fine"), done.stderr


async def test_opened_by_await_and_closed_by_hand() -> None:
    cache = await SemanticCache.open(store=MemoryStore(), embedder=AngleEmbedder())
    await cache.store("at 0", "text")
    assert await cache.lookup("near at 1") is not None
    await cache.aclose()
    await cache.aclose()
    with pytest.raises(CacheClosedError):
        await cache.get_or_generate("at 90", GatedLLM(opened=True))


async def test_opened_by_await_on_redis_in_one_task_and_closed_in_another() -> None:
    cache = await asyncio.create_task(_open())
    await cache.store("at 0", "text")
    assert await cache.lookup("near at 1") is not None
    await asyncio.create_task(cache.aclose())


async def _open() -> SemanticCache:
    return await SemanticCache.open(embedder=AngleEmbedder())


async def test_closing_waits_for_an_answer_that_is_there_and_keeps_it() -> None:
    class Slow(MemoryStore):
        gate = asyncio.Event()
        reached = asyncio.Event()

        async def put(self, records: Any) -> Any:
            self.reached.set()
            await self.gate.wait()
            return await super().put(records)

    store = Slow()
    cache = await SemanticCache.open(store=store, embedder=AngleEmbedder())

    async def pieces(_prompt: str) -> Any:
        yield "paid "
        yield "for"

    assert [piece async for piece in cache.stream("at 0", pieces)] == ["paid ", "for"]
    await store.reached.wait()
    closing = asyncio.create_task(cache.aclose())
    for _ in range(100):  # it may run, and waits
        await asyncio.sleep(0)
    assert not closing.done()
    assert cache.stats().flights == 1
    store.gate.set()
    await closing
    assert len(store) == 1
    assert cache.stats().not_stored == 0


async def test_every_error_is_exported_and_each_is_a_semcache_error() -> None:
    for name in semcache_async.errors.__all__:
        assert issubclass(getattr(semcache_async, name), semcache_async.SemcacheError)
    assert Source.EXACT
