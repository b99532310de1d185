"""Namespaces: a new version puts every older answer out of reach, for every process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import redis.asyncio

from semcache_async import CacheConfig, Scope, SemanticCache, Source
from semcache_async.errors import ConfigError, PromptError, StoreError
from semcache_async.flow.versions import Versions
from semcache_async.store.keys import KeySpace
from semcache_async.testing import AngleEmbedder, MemoryStore
from tests.helpers import GatedLLM, until
from tests.store.helpers import open_partitions, open_store

pytestmark = pytest.mark.anyio
PRODUCTS = Scope(tenant="a", namespace="products")


def opened(url: str, name: str, **options: object) -> object:
    config = CacheConfig(name=name, store_timeout_s=10.0, **options)  # type: ignore[arg-type]
    return SemanticCache.open(url, config=config, embedder=AngleEmbedder())


@asynccontextmanager
async def two(url: str, name: str, **options: object) -> AsyncIterator[Sequence[SemanticCache]]:
    """Caches that share nothing but their Redis, as two processes would."""
    async with opened(url, name, **options) as one, opened(url, name, **options) as other:  # type: ignore[attr-defined]
        yield one, other


async def known_to(cache: SemanticCache, scope: Scope = PRODUCTS) -> None:
    """Return when the cache finds nothing in the scope any more."""
    while await cache.lookup("at 0", scope=scope) is not None:  # noqa: ASYNC110
        await asyncio.sleep(0)


async def test_a_bump_puts_older_answers_out_of_reach(redis_url: str, name: str) -> None:
    async with two(redis_url, name) as (one, other):
        plain = Scope(tenant="a")
        for scope in (PRODUCTS, plain, Scope(tenant="b", namespace="products")):
            await one.store("at 0", "old", scope=scope)
            assert await other.lookup("at 0", scope=scope) is not None
            assert await other.lookup("at 1", scope=scope) is not None
        first = await one.bump_version("products")
        for prompt in ("at 0", "at 1"):
            assert await one.lookup(prompt, scope=PRODUCTS) is None
            assert await one.nearest(prompt, scope=PRODUCTS) == []
        await known_to(other)
        await known_to(other, Scope(tenant="b", namespace="products"))
        assert await one.lookup("at 0", scope=plain) is not None
        await one.store("at 0", "new", scope=PRODUCTS)
        while await other.lookup("at 0", scope=PRODUCTS) is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
        for prompt in ("at 0", "at 1"):
            found = await other.lookup(prompt, scope=PRODUCTS)
            assert found is not None
            assert found.text == "new"
        assert await one.bump_version("products") > first


@pytest.mark.parametrize("local_answers", [0, 100])
async def test_local_answers_go_by_the_version(
    redis_url: str, name: str, local_answers: int
) -> None:
    async with two(redis_url, name, local_answers=local_answers) as (one, other):
        await one.store("at 0", "old", scope=PRODUCTS)
        for _ in range(3):
            assert await other.lookup("at 0", scope=PRODUCTS) is not None
        await one.bump_version("products")
        await known_to(other)
        await other.bump_version("products")
        assert await other.lookup("at 0", scope=PRODUCTS) is None


async def test_what_began_before_is_delivered_and_not_kept(redis_url: str, name: str) -> None:
    async with two(redis_url, name) as (one, other):
        llm = GatedLLM()
        asked = asyncio.create_task(one.get_or_generate("at 0", llm, scope=PRODUCTS))
        await until(lambda: len(llm.prompts) == 1)
        await other.bump_version("products")
        await one.bump_version("products")
        later = GatedLLM(opened=True)
        fresh = await one.get_or_generate("at 1", later, scope=PRODUCTS)
        assert fresh.source is Source.GENERATED, "it must not join what began under the old version"
        llm.gate.set()
        assert (await asked).text == "answer to at 0"
        assert (await asked).entry_id is None
        assert one.stats().not_stored_invalidated == 1
        while (found := await other.lookup("at 0", scope=PRODUCTS)) is None:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert found.text == "answer to at 1"


async def test_a_process_that_knows_nothing_of_it_writes_into_the_old_one(
    redis_url: str, name: str
) -> None:
    """Even where its lease is long and its reports are lost."""
    async with opened(redis_url, name, version_lease_s=60.0) as one:  # type: ignore[attr-defined]
        versions = one._tiers._versions
        versions._watch = lambda store: asyncio.Event().wait()
        llm = GatedLLM()
        asked = asyncio.create_task(one.get_or_generate("at 0", llm, scope=PRODUCTS))
        await until(lambda: len(llm.prompts) == 1)
        async with opened(redis_url, name) as other:  # type: ignore[attr-defined]
            await other.bump_version("products")
            llm.gate.set()
            assert (await asked).entry_id is not None
            assert await other.lookup("at 0", scope=PRODUCTS) is None


async def test_an_evicted_version_brings_no_answer_back(redis_url: str, name: str) -> None:
    async with (
        opened(redis_url, name) as one,  # type: ignore[attr-defined]
        redis.asyncio.Redis.from_url(redis_url, protocol=3) as client,
    ):
        await one.store("at 0", "old", scope=PRODUCTS)
        await one.bump_version("products")
        await one.store("at 0", "newer", scope=PRODUCTS)
        await client.delete(KeySpace(name, "f", "").version("products"))
        async with opened(redis_url, name) as other:  # type: ignore[attr-defined]
            assert await other.lookup("at 0", scope=PRODUCTS) is None


async def test_partitions_share_versions(redis_url: str, name: str) -> None:
    async with open_partitions(redis_url, name, 3) as store:
        embedder = AngleEmbedder()
        config = CacheConfig(name=name, store_timeout_s=10.0)
        async with SemanticCache.open(store=store, config=config, embedder=embedder) as cache:
            scopes = [Scope(tenant=str(n), namespace="products") for n in range(9)]
            for scope in scopes:
                await cache.store("at 0", "old", scope=scope)
            await cache.bump_version("products")
            for scope in scopes:
                assert await cache.lookup("at 0", scope=scope) is None
                await cache.store("at 0", "new", scope=scope)
                assert await cache.lookup("at 1", scope=scope) is not None


async def test_feedback_counts_for_all_versions(redis_url: str, name: str) -> None:
    async with open_store(redis_url, name) as store:
        options = {"target_precision": 0.9, "store_timeout_s": 10.0}
        config = CacheConfig(name=name, **options)  # type: ignore[arg-type]
        async with SemanticCache.open(
            store=store, config=config, embedder=AngleEmbedder()
        ) as cache:
            id_ = await cache.store("at 0", "text", scope=PRODUCTS)
            assert await cache.feedback("at 2", id_, right=True)
            await cache.bump_version("products")
            choice = await cache.reach(PRODUCTS)
            assert choice is not None
            assert choice.promise.samples > 0


async def test_without_the_store_nothing_waits_and_nothing_is_kept() -> None:
    class Down(MemoryStore):
        async def versions(self, namespaces: Sequence[str]) -> list[int | Exception]:
            raise StoreError("no versions here")

    async with SemanticCache.open(store=Down(), embedder=AngleEmbedder()) as cache:
        llm = GatedLLM()
        asked = [
            asyncio.create_task(cache.get_or_generate("at 0", llm, scope=PRODUCTS))
            for _ in range(3)
        ]
        await until(lambda: cache.stats().waiting == 3)
        llm.gate.set()
        assert [(await one).entry_id for one in asked] == [None] * 3
        assert len(llm.prompts) == 1
        stats = cache.stats()
        assert stats.store_errors == 3
        assert stats.not_stored_store == 1
        with pytest.raises(StoreError):
            await cache.store("at 0", "text", scope=PRODUCTS)


async def test_arguments(redis_url: str, name: str) -> None:
    class Plain:
        """A store of the seam's first page."""

        connections = 0

        def __init__(self) -> None:
            inner = MemoryStore()
            self.now, self.fetch, self.search = inner.now, inner.fetch, inner.search
            self.put, self.remove = inner.put, inner.remove

    async with SemanticCache.open(store=Plain(), embedder=AngleEmbedder()) as cache:
        with pytest.raises(ConfigError, match="namespace"):
            await cache.bump_version("products")
        with pytest.raises(ConfigError, match="namespace"):
            await cache.lookup("at 0", scope=PRODUCTS)
        with pytest.raises(PromptError):
            await cache.bump_version("")


# -- the lease, in time of the test's own


class Slow(MemoryStore):
    """A store whose readings end when they are let go."""

    def __init__(self, *, gated: bool = False) -> None:
        super().__init__()
        self.epoch = 1
        self.readings: list[asyncio.Event] = []
        self.gated = gated

    async def versions(self, namespaces: Sequence[str]) -> list[int | Exception]:
        epoch, gate = self.epoch, asyncio.Event()
        self.readings.append(gate)
        if self.gated:
            await gate.wait()
        return [epoch] * len(namespaces)

    async def bump(self, namespace: str) -> int:
        self.epoch += 1
        return self.epoch

    async def watch_versions(self, changed: Callable[[], None]) -> None:
        await asyncio.Event().wait()


@asynccontextmanager
async def versions_of(store: Slow, now: Callable[[], float]) -> AsyncIterator[Versions]:
    versions = Versions(store, lease_s=1.0, timeout_s=60.0, clock=now)
    versions._keep_reading = lambda: asyncio.Event().wait()  # type: ignore[assignment,method-assign,return-value]
    try:
        yield versions
    finally:
        await versions.aclose()


async def test_a_version_is_relied_on_for_a_lease_from_when_it_was_asked_for() -> None:
    now, store = 100.0, Slow()
    async with versions_of(store, lambda: now) as versions:
        assert (await versions.pin(PRODUCTS)).epoch == 1
        store.epoch = 2
        now = 101.0
        assert (await versions.pin(PRODUCTS)).epoch == 1
        now = 101.001
        assert (await versions.pin(PRODUCTS)).epoch == 2
        assert len(store.readings) == 2

        store.gated, now = True, 110.0
        reading = asyncio.create_task(versions.pin(PRODUCTS))
        await until(lambda: len(store.readings) == 3)
        store.epoch, now = 3, 110.9
        store.readings[2].set()
        assert (await reading).epoch == 2, "asked for before"
        now = 111.001
        store.gated = False
        assert (await versions.pin(PRODUCTS)).epoch == 3, "the lease is counted from the sending"


async def test_a_late_reading_does_not_undo_a_bump() -> None:
    now, store = 100.0, Slow(gated=True)
    async with versions_of(store, lambda: now) as versions:
        reading = asyncio.create_task(versions.pin(PRODUCTS))
        await until(lambda: len(store.readings) == 1)
        now = 100.1
        assert await versions.bump("products") == 2
        store.readings[0].set()
        await reading
        assert (await versions.pin(PRODUCTS)).epoch == 2


async def test_a_report_ends_every_lease() -> None:
    now, store = 100.0, Slow()
    reports: list[Callable[[], None]] = []

    async def watch(changed: Callable[[], None]) -> None:
        reports.append(changed)
        await asyncio.Event().wait()

    store.watch_versions = watch  # type: ignore[method-assign]
    async with versions_of(store, lambda: now) as versions:
        assert (await versions.pin(PRODUCTS)).epoch == 1
        await until(lambda: bool(reports))
        store.epoch = 2
        assert (await versions.pin(PRODUCTS)).epoch == 1
        reports[0]()
        assert (await versions.pin(PRODUCTS)).epoch == 2


async def test_namespaces_in_use_are_read_again_before_their_leases_end(
    redis_url: str, name: str
) -> None:
    """So that no request of theirs waits for it."""
    async with opened(redis_url, name, version_lease_s=0.05) as cache:  # type: ignore[attr-defined]
        await cache.store("at 0", "text", scope=PRODUCTS)
        versions = cache._tiers._versions
        read_at = versions._known.get("products").read_at
        await until(lambda: versions._known.get("products").read_at > read_at + 0.2)
