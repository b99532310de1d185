"""Scopes spread over partitions of one Redis: each where it belongs, an outage where it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NoReturn

import numpy as np
import pytest

from semcache_async import SemanticCache
from semcache_async.config import CacheConfig
from semcache_async.errors import ConfigError, StoreError, StoreUnavailableError
from semcache_async.protocols import (
    BrowsableStore,
    CountingStore,
    EvidenceStore,
    SharingStore,
    WatchableStore,
)
from semcache_async.store.keys import partitions
from semcache_async.store.partitioned.partitions import PartitionedStore
from semcache_async.store.redis_store import RedisStore
from semcache_async.store.wire.cluster import slot_of
from semcache_async.testing import AngleEmbedder
from semcache_async.types import Claim, EntryKey, Scope
from tests.helpers import until
from tests.store.helpers import open_partitions, record, text_of, unit
from tests.store.servers import until_equal

pytestmark = pytest.mark.anyio

SCOPES = [Scope(tenant="a", locale=str(n)) for n in range(12)]


async def test_partitions_are_in_slots_of_their_own() -> None:
    slots = [slot_of(partition) for partition in partitions(64)]
    assert slot_of("p0") == 15_882  # as CLUSTER KEYSLOT has it
    assert len(set(slots)) == 64
    assert [slot * 3 // 16_384 for slot in slots[:4]] == [2, 2, 1, 0]


@pytest.mark.parametrize("count", [0, 65, True, 1.0])
async def test_too_few_and_too_many(count: int) -> None:
    with pytest.raises(ConfigError, match="partitions"):
        CacheConfig(partitions=count)


async def test_one_is_no_partition(redis_url: str, name: str) -> None:
    async with open_partitions(redis_url, name, 1) as store:
        assert isinstance(store, RedisStore)


async def test_what_many_partitions_know_together(redis_url: str, name: str) -> None:
    async with (
        open_partitions(redis_url, name, 3) as store,
        open_partitions(redis_url, name, 3) as other,
    ):
        assert isinstance(store, PartitionedStore)
        assert isinstance(store, WatchableStore)
        assert isinstance(store, BrowsableStore)
        assert isinstance(store, EvidenceStore)
        assert isinstance(store, SharingStore)
        assert isinstance(store, CountingStore)
        assert len({id(store.of(scope)) for scope in SCOPES}) == 3
        reports: list[str | None] = []
        watching = asyncio.create_task(store.watch(reports.append))
        await until(lambda: bool(reports))
        ids = await other.put([record(other, "q", 0, scope) for scope in SCOPES])
        await until(lambda: len(set(reports)) >= 13)
        assert reports[0] is None
        assert set(reports[1:]) == set(ids)
        watching.cancel()

        owners = [store.owner(scope) for scope in SCOPES]
        for n, owner in enumerate(owners):
            await store.tally(owner, 7, {"r": n + 1.0}, pooled=True)
        assert await other.tallies(owners[4], [6, 7]) == ([{}, {"r": 5.0}], [{}, {"r": 78.0}])
        assert await store.count("a") == len(SCOPES)
        assert await store.count("b") == 0
        assert await store.noted("0" * 32) is None
        assert await store.annotate("0" * 32, lambda _entry, _notes: b"{}") is None
        assert len({entry.id for entry in await store.browse((), 2)} & set(ids)) == 2
        assert await store.remove(tenant="a", tags=["nobody's"]) == 0
        assert await store.remove(tenant="a") == 12


async def test_an_odd_item_fails_alone(redis_url: str, name: str) -> None:
    async with open_partitions(redis_url, name, 3) as store:
        keys = [EntryKey(scope, text) for scope in SCOPES for text in ("q", "\ud800")]
        outcomes = await store.fetch(keys)
        assert outcomes[::2] == [None] * len(SCOPES)
        assert all(isinstance(outcome, StoreError) for outcome in outcomes[1::2])
        assert await store.fetch([]) == []


@asynccontextmanager
async def with_one_to_die(
    redis_url: str, name: str
) -> AsyncIterator[tuple[PartitionedStore, RedisStore, Scope]]:
    """A store, its partition that has the first scope, and a scope that lies elsewhere; an entry in
    both."""
    async with open_partitions(redis_url, name, 3) as store:
        assert isinstance(store, PartitionedStore)
        dead = store.of(SCOPES[0])
        alive = next(scope for scope in SCOPES if store.of(scope) is not dead)
        await store.put([record(store, "q", 0, scope) for scope in (SCOPES[0], alive)])
        yield store, dead, alive


async def test_an_outage_of_one_is_none_of_all(
    redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with with_one_to_die(redis_url, name) as (store, dead, alive):
        fetch, asked, back = RedisStore.fetch, 0, False

        async def failing(self: RedisStore, keys: list[EntryKey]) -> object:
            nonlocal asked
            if (self is dead or asked < 0) and not back:
                asked += 1
                raise StoreUnavailableError("gone")
            return await fetch(self, keys)

        monkeypatch.setattr(RedisStore, "fetch", failing)
        keys = [EntryKey(scope, "q") for scope in (SCOPES[0], alive)]
        for _ in range(5):
            first, second = await store.fetch(keys)
            assert isinstance(first, StoreError)
            assert not isinstance(first, StoreUnavailableError)
            assert second is not None
            assert not isinstance(second, Exception)
        await store.check()
        asked = -1_000
        with pytest.raises(StoreUnavailableError, match="No partition"):
            await store.fetch([EntryKey(scope, "q") for scope in SCOPES])
        back = True
        await until_equal(lambda: _failures(store, keys), 0)
        assert await text_of(store, "q", SCOPES[0]) == "answer to q"


async def test_nor_is_it_where_all_are_asked(
    redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is asked of every partition must not tell that the store is out of reach."""
    async with with_one_to_die(redis_url, name) as (store, dead, alive):
        claims = [
            Claim(
                id=f"{n:032x}",
                inbox="0" * 32,
                key=EntryKey(scope, "q"),
                prompt="q",
                vector=unit(0),
                tags=(),
                reach=-1.0,
            )
            for n, scope in enumerate((SCOPES[0], alive))
        ]
        assert await store.claim(claims) == [[], []]
        ids = [claim.id for claim in claims]

        async def gone(*_: object, **__: object) -> NoReturn:
            raise StoreUnavailableError("gone")

        for asked in ("count", "renew", "stand", "vectors", "withdraw"):
            monkeypatch.setattr(dead, asked, gone)
        assert await store.count("a") == 1
        assert await store.renew("0" * 32, [*ids, "f" * 32]) == [True] * 3
        unknown, stands = await store.stand(ids)
        assert stands is True
        lost, vector = await store.vectors(ids)
        assert isinstance(vector, np.ndarray)
        for error in (unknown, lost, *await store.withdraw(ids)):
            assert isinstance(error, StoreError)
            assert not isinstance(error, StoreUnavailableError)
        monkeypatch.undo()
        assert await store.stand(ids) == [True, False]
        monkeypatch.setattr(RedisStore, "count", gone)
        with pytest.raises(StoreUnavailableError):
            await store.count("a")


async def test_nor_is_that_of_the_one_with_the_versions(
    redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_partitions(redis_url, name, 3) as store:
        assert isinstance(store, PartitionedStore)
        (before,) = await store.versions(["n"])
        assert isinstance(before, int)
        assert await store.bump("n") > before

        async def gone(*_: object, **__: object) -> NoReturn:
            raise StoreUnavailableError("gone")

        for asked in ("versions", "bump", "noted", "amend", "fetch"):
            monkeypatch.setattr(store._stores[0], asked, gone)
        elsewhere = next(one for one in SCOPES if store.of(one) is not store._stores[0])
        there = next(one for one in SCOPES if store.of(one) is store._stores[0])
        for ask in (
            lambda: store.versions(["n"]),
            lambda: store.bump("n"),
            lambda: store.noted("0" * 32, there),
            lambda: store.amend("0" * 32, lambda entry: entry, there),
        ):
            breaker = store._parts[0].breaker
            with pytest.raises(StoreError) as raised:
                await ask()
            assert not isinstance(raised.value, StoreUnavailableError)
            assert breaker.is_open
            await breaker.aclose()
            breaker.is_open = False
        assert await store.noted("0" * 32, elsewhere) is None


async def _failures(store: PartitionedStore, keys: list[EntryKey]) -> int:
    try:
        return [isinstance(one, Exception) for one in await store.fetch(keys)].count(True)
    except StoreUnavailableError:
        return len(keys)


async def test_a_whole_cache(redis_url: str, name: str) -> None:
    async def generate(prompt: str) -> str:
        return f"answer to {prompt}"

    config = CacheConfig(name=name, partitions=4, local_answers=10, store_timeout_s=30.0)
    async with SemanticCache.open(redis_url, config=config, embedder=AngleEmbedder()) as cache:
        for scope in SCOPES:
            await cache.get_or_generate("at 10", generate, scope=scope)
            near = await cache.lookup("at 11", scope=scope)
            assert near is not None
            assert near.text == "answer to at 10"
        would = await cache.would_invalidate(tenant="a", examples=1)
        assert (would.count, len(would.examples)) == (len(SCOPES), 1)
        assert await cache.invalidate(tenant="a") == len(SCOPES)
