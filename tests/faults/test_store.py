"""A Redis that is slow, silent, cut off or changed behind the cache's back: every operation ends,
no reply is another's, a failure is said, and what comes back is used again."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import redis.asyncio

from semcache_async import SemanticCache, Source
from semcache_async.errors import IndexMismatchError, StoreError, StoreUnavailableError
from semcache_async.store.embedded import embedded_redis
from semcache_async.store.redis_store import RedisStore
from semcache_async.store.wire import redis_pipelines
from semcache_async.store.wire.pipelines import ServerPipelines
from semcache_async.types import VectorQuery
from tests.faults.proxy import Proxy, Way, proxied
from tests.faults.test_outages import echo, opened
from tests.helpers import SLOW_ON_DEBUG, check_sums, until
from tests.store.helpers import SCOPE, found, open_store, record, text_of, unit

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

WAYS = pytest.mark.parametrize("way", ["requests", "replies"])


@asynccontextmanager
async def between(
    redis_url: str, name: str, **options: object
) -> AsyncIterator[tuple[SemanticCache, Proxy]]:
    """A cache whose Redis is behind a proxy, with one answer in it."""
    async with (
        proxied(redis_url) as (proxy, url),
        opened(url, name=name, **options) as cache,
    ):
        await cache.store("at 0", "stored")
        yield cache, proxy
        check_sums(cache)


async def is_back(cache: SemanticCache) -> None:
    """Wait until what was stored is served again."""
    await until(lambda: cache.stats().store_up)
    hit = await cache.lookup("near at 1")
    assert hit is not None
    assert hit.text == "stored"


# -- slow and silent


async def test_a_redis_that_is_late_at_the_start_is_asked_again(redis_url: str, name: str) -> None:
    async with proxied(redis_url) as (proxy, url):
        proxy.black_hole = True

        async def use() -> None:
            async with opened(url, name=name, store_timeout_s=1.0) as cache:
                await cache.store("at 0", "stored")

        using = asyncio.create_task(use())
        await until(lambda: bool(proxy._tasks))
        proxy.black_hole = False
        await using


async def test_a_black_hole_is_found_once_and_then_nobody_waits(redis_url: str, name: str) -> None:
    async with between(redis_url, name, store_timeout_s=1.0) as (cache, proxy):
        proxy.black_hole = True
        answers = await asyncio.gather(
            *[cache.get_or_generate(f"x at {n * 30 + 15}", echo) for n in range(10)]
        )
        assert {answer.source for answer in answers} == {Source.GENERATED}
        stats = cache.stats()
        assert not stats.store_up
        for n in range(50):
            assert await cache.lookup(f"at {n}") is None
            assert (await cache.get_or_generate(f"y{n}", echo)).source is Source.GENERATED
        assert cache.stats().store_skips >= stats.store_skips + 100
        proxy.black_hole = False
        await is_back(cache)


async def test_a_trickle_is_held_to_the_time_for_the_whole(redis_url: str, name: str) -> None:
    """Every byte comes in time, and the reply as a whole would take seconds."""
    async with between(redis_url, name, store_timeout_s=1.0) as (cache, proxy):
        proxy.trickle = (1, 0.1)
        assert await cache.lookup("at 0") is None
        assert (await cache.get_or_generate("at 90", echo)).source is Source.GENERATED
        with pytest.raises(StoreUnavailableError):
            await cache.store("at 180", "lost")
        assert cache.stats().store_errors >= 1
        proxy.trickle = None
        await is_back(cache)


async def test_a_slow_redis_that_answers_in_time_is_no_outage(redis_url: str, name: str) -> None:
    async with between(redis_url, name, store_timeout_s=20.0, lookup_budget_s=20.0) as (
        cache,
        proxy,
    ):
        proxy.latency_s = 0.01
        hits = await asyncio.gather(*[cache.lookup(f"near at {n / 100}") for n in range(20)])
        assert all(hit is not None and hit.text == "stored" for hit in hits)
        stats = cache.stats()
        assert (stats.store_errors, stats.store_skips, stats.store_up) == (0, 0, True)


async def test_connections_that_were_forgotten_cost_no_answer(redis_url: str, name: str) -> None:
    """What was sent into the void is sent again on a new connection, within the same time."""
    async with between(redis_url, name, store_timeout_s=2.0, lookup_budget_s=20.0) as (
        cache,
        proxy,
    ):
        for n in range(2):
            opened_before = proxy.opened
            proxy.forget()
            assert (await cache.get_or_generate("at 0", echo)).text == "stored"
            assert proxy.opened > opened_before
            await cache.store(f"at {90 + 30 * n}", "kept")
            assert await cache.lookup(f"near at {91 + 30 * n}") is not None
        assert (cache.stats().store_errors, cache.stats().store_up) == (0, True)


# -- cut off


async def test_reset_and_refused_it_is_missed_and_found_again(redis_url: str, name: str) -> None:
    async with between(redis_url, name) as (cache, proxy):
        proxy.refuses = True
        proxy.reset()
        assert (await cache.get_or_generate("at 90", echo)).source is Source.GENERATED
        assert await cache.lookup("at 0") is None
        assert not cache.stats().store_up
        assert cache.stats().store_errors >= 1
        assert cache.stats().connections == 0
        proxy.refuses = False
        await is_back(cache)


async def fetched(store: RedisStore) -> str | None:
    return await text_of(store, "q")


async def searched(store: RedisStore) -> str | None:
    (outcome,) = await store.search([VectorQuery(SCOPE, unit(0), 1)])
    assert not isinstance(outcome, Exception), outcome
    return outcome[0].entry.text if outcome else None


async def size_of(proxy: Proxy, way: Way, ask: Callable[[], Awaitable[object]]) -> int:
    """Bytes that go that way for it, at least."""
    sizes = []
    for _ in range(3):
        before = proxy.passed[way]
        await ask()
        sizes.append(proxy.passed[way] - before)
    return min(sizes)


@SLOW_ON_DEBUG
@WAYS
@pytest.mark.parametrize("look", [fetched, searched])
async def test_a_lookup_reset_at_every_byte(
    redis_url: str, name: str, look: Callable[[RedisStore], Awaitable[str | None]], way: Way
) -> None:
    async with proxied(redis_url) as (proxy, url), open_store(url, name) as store:
        await store.put([record(store, "q", 0)])
        size = await size_of(proxy, way, lambda: look(store))
        for count in range(size):
            proxy.reset_after(way, count)
            with pytest.raises(StoreUnavailableError):
                await look(store)
            assert await look(store) == "answer to q"
        assert proxy.resets == size


@SLOW_ON_DEBUG
@WAYS
async def test_a_write_reset_at_every_byte_is_whole_or_not_there(
    redis_url: str, name: str, way: Way
) -> None:
    async with proxied(redis_url) as (proxy, url), open_store(url, name) as store:
        size = await size_of(proxy, way, lambda: store.put([record(store, "q", 180)]))
        there = 0
        for count in range(size):
            prompt = f"q{count:04}"
            proxy.reset_after(way, count)
            (outcome,) = await store.put([record(store, prompt, count % 90)])
            if proxy.resets == count:  # replies say the time: the last ones vary by some digits
                assert isinstance(outcome, str)
                assert size - count <= 8
                break
            assert isinstance(outcome, StoreUnavailableError)
            text = await text_of(store, prompt)
            assert text in (None, f"answer to {prompt}")
            listed = await found(store, count % 90, k=100)
            assert text is not None or prompt not in listed
            there += text is not None
            assert isinstance((await store.put([record(store, prompt, count % 90)]))[0], str)
        assert there == 0 if way == "requests" else there > 0


@SLOW_ON_DEBUG
async def test_ten_thousand_random_cancels_never_cross_replies(redis_url: str) -> None:
    """Replies come in pieces, so that cancels fall into their midst; each has a nonce."""
    rng = random.Random(7)
    async with (
        proxied(redis_url) as (proxy, url),
        redis_pipelines(url, connections=3, timeout_s=60) as pipelines,
    ):
        proxy.trickle = (97, 0.0)

        async def ask(n: int) -> None:
            nonce = f"{n}-{secrets.token_hex(8)}"
            size = rng.randint(1, 5)
            reply = await pipelines.execute([("ECHO", f"{nonce}.{i}") for i in range(size)])
            assert reply == [f"{nonce}.{i}".encode() for i in range(size)]

        async def pace() -> None:
            for _ in range(rng.randint(0, 8)):
                await asyncio.sleep(0)

        cancelled = 0
        while cancelled < 10_000:
            tasks = [asyncio.create_task(ask(n)) for n in range(300)]
            for task in rng.sample(tasks, 200):
                await pace()
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                assert outcome is None or isinstance(outcome, asyncio.CancelledError)
                cancelled += outcome is not None
        assert await pipelines.execute([("ECHO", "last")]) == [b"last"]
        assert 1 <= pipelines.connections <= 3
        assert isinstance(pipelines, ServerPipelines)
        assert sum(line.load() for line in pipelines.lines.open) == 0


# -- changed behind its back


@asynccontextmanager
async def own() -> AsyncIterator[tuple[SemanticCache, redis.asyncio.Redis]]:
    """A cache with a Redis of its own, and an administrator there."""
    async with (
        embedded_redis() as url,
        opened(url) as cache,
        redis.asyncio.Redis.from_url(url, protocol=3) as admin,
    ):
        await cache.store("at 0", "stored")
        yield cache, admin
        check_sums(cache)


async def index_of(admin: redis.asyncio.Redis) -> str:
    (index,) = [one for one in await admin.execute_command("FT._LIST") if b":claims:" not in one]
    return str(index.decode())


@pytest.mark.parametrize("loss", ["FLUSHALL", "FT.DROPINDEX"])
async def test_an_index_that_goes_is_said_and_made_anew(loss: str) -> None:
    async with own() as (cache, admin):
        index = [await index_of(admin)] if loss == "FT.DROPINDEX" else []
        await admin.execute_command(loss, *index)
        with pytest.raises(StoreError):
            await cache.check()
        assert await cache.lookup("near at 1") is None
        assert cache.stats().store_errors == 1  # no silent miss
        await cache.check()
        await cache.store("at 90", "new")
        async with asyncio.timeout(60):  # the index is filled in the background
            while await cache.lookup("near at 91") is None:
                pass
            if loss == "FT.DROPINDEX":
                while await cache.lookup("near at 1") is None:
                    pass
        assert cache.stats().store_errors == 1


async def test_an_index_of_another_dimension_is_not_ready() -> None:
    """Redis itself searches an index that took in nothing without a word."""
    async with own() as (cache, admin):
        index = await index_of(admin)
        await admin.execute_command("FT.DROPINDEX", index)
        await admin.execute_command(
            *("FT.CREATE", index, "ON", "HASH", "PREFIX", 1, f"{index}:", "SCHEMA"),
            *("scope", "TAG", "tenant", "TAG", "attr", "TAG", "tags", "TAG"),
            *("vec", "VECTOR", "HNSW", 6, "TYPE", "FLOAT32", "DIM", 4),
            *("DISTANCE_METRIC", "COSINE"),
        )
        with pytest.raises(IndexMismatchError, match=r"dimension is 4.*FT\.DROPINDEX"):
            await cache.check()
        assert await cache.lookup("near at 1") is None
        assert (await cache.get_or_generate("at 0", echo)).text == "stored"


async def test_a_vector_of_another_length_among_ours_is_counted_and_hides_nobody() -> None:
    """Redis takes the hash without a word, and leaves it out of the index."""
    async with own() as (cache, admin):
        index = await index_of(admin)
        (key,) = [key async for key in admin.scan_iter(f"{index}:*")]
        await admin.execute_command("COPY", key, strange := f"{index}:{'0' * 32}")
        await admin.hset(strange, "vec", "four")
        info = await admin.execute_command("FT.INFO", index)
        assert int(info[b"hash_indexing_failures"]) == 1
        hit = await cache.lookup("near at 1")
        assert hit is not None
        assert hit.text == "stored"


async def test_a_demoted_master_is_read_from_and_written_to_again(free_tcp_port: int) -> None:
    async with own() as (cache, admin):
        await admin.execute_command("REPLICAOF", "127.0.0.1", free_tcp_port)
        try:
            assert (await cache.get_or_generate("at 90", echo)).source is Source.GENERATED
            with pytest.raises(StoreUnavailableError):
                await cache.store("at 180", "lost")
            assert cache.stats().not_stored == 1
        finally:
            await admin.execute_command("REPLICAOF", "NO", "ONE")
        await is_back(cache)
        await cache.store("at 90", "kept")
        assert (await cache.get_or_generate("at 90", echo)).text == "kept"
