"""An index for each tenant: made by the first write, seen by whatever concerns more than one."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
import redis.asyncio

from semcache_async import CacheConfig, SemanticCache, Source
from semcache_async.cli.remote import redis_stats
from semcache_async.errors import ConfigError
from semcache_async.protocols import (
    BrowsableStore,
    CountingStore,
    EvidenceStore,
    SharingStore,
    VersionedStore,
    WatchableStore,
)
from semcache_async.store import tenants as module
from semcache_async.store.claims import ClaimKeeper
from semcache_async.store.partitioned.partitions import open_removing_store
from semcache_async.store.tenants import TenantStores
from semcache_async.testing import AngleEmbedder
from semcache_async.types import Scope
from tests.helpers import GatedLLM, until
from tests.store.helpers import found, open_partitions, open_store, record, text_of

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

A, B = Scope(tenant="a"), Scope(tenant="b", locale="de")


def opened(redis_url: str, name: str, **options: Any) -> AbstractAsyncContextManager[Any]:
    return open_partitions(redis_url, name, 1, index_per_tenant=True, **options)


async def indexes(client: redis.asyncio.Redis, name: str) -> list[str]:
    listed = [one.decode() for one in await client.execute_command("FT._LIST")]
    return [one for one in listed if one.startswith(f"{name}:") and "-" in one.rpartition(":")[2]]


async def test_a_lookup_makes_none_and_the_first_write_does(
    redis_url: str, name: str, client: redis.asyncio.Redis
) -> None:
    async with opened(redis_url, name) as store, opened(redis_url, name) as other:
        for one in (store, other):
            assert await found(one, 0, A) == []
            assert await text_of(one, "q", A) is None
            assert await one.count("a") == 0
            assert await one.browse((), 9) == []
        assert await indexes(client, name) == []
        await store.put([record(store, "q", 0, A), record(store, "r", 1, B)])
        assert len(await indexes(client, name)) == 2
        await other.put([record(other, "s", 2, A)])
        assert len(await indexes(client, name)) == 2
        for one in (store, other):
            assert await found(one, 0, A) == ["q", "s"]
            assert await found(one, 0, B) == ["r"]
            assert (await one.count("a"), await one.count("b")) == (2, 1)


async def test_what_concerns_all_goes_through_each(
    redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    scopes = [Scope(tenant=f"t{n}") for n in range(5)]
    async with opened(redis_url, name) as store, opened(redis_url, name) as other:
        assert isinstance(store, TenantStores)
        for seam in (WatchableStore, BrowsableStore, EvidenceStore, SharingStore, CountingStore):
            assert isinstance(store, seam)
        assert isinstance(store, VersionedStore)
        reports: list[str | None] = []
        watching = asyncio.create_task(store.watch(reports.append))
        await until(lambda: bool(reports))
        base = other.now()
        ids = await other.put(
            [
                record(other, "q", n, scope, tags=("t",), started_at=base + n / 1_000)
                for n, scope in enumerate(scopes)
            ]
        )
        await until(lambda: len(set(reports)) >= 6)
        assert set(reports[1:]) == set(ids)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

        assert [entry.id for entry in await store.browse(["t"], 3)] == ids[:1:-1]
        noted = await store.annotate(ids[3], lambda _entry, _notes: b"seen")
        assert noted is not None
        assert noted[1] == store.owner(scopes[3])
        assert (await other.noted(ids[3]))[2] == b"seen"
        assert await store.noted("0" * 32) is None
        assert await store.annotate("0" * 32, lambda _entry, _notes: b"{}") is None
        stale = record(store, "q", 0, Scope(tenant="new"), tags=("t",))
        assert await store.remove(tenant="t1") == 1
        assert await store.remove(scope=scopes[2], tags=["t"]) == 1
        assert await store.remove(entry_ids=[ids[0]]) == 1
        assert (await store.would_remove(tags=["t"], examples=9)).count == 2
        assert await store.remove(tags=["t"]) == 2
        (refused,) = await other.put([stale])  # of a tenant that had no index then
        assert isinstance(refused, Exception)
        assert await store.browse((), 9) == []
        await store.check()


async def test_an_index_that_is_gone_comes_with_the_next_write(
    redis_url: str, name: str, client: redis.asyncio.Redis
) -> None:
    async with opened(redis_url, name) as store:
        await store.put([record(store, "q", 0, scope) for scope in (A, B)])
        foreign = next(one for one in await indexes(client, name) if store.owner(B).tenant in one)
        assert await store.remove(tenant="a") == 1
        assert await found(store, 0, B) == ["q"]
        await client.execute_command("FT.DROPINDEX", foreign, "DD")
        assert await found(store, 0, B) == []
        await store.put([record(store, "q", 0, B)])
        assert await found(store, 0, B) == ["q"]


async def test_who_only_writes_makes_a_lost_index_anew_too(
    redis_url: str, name: str, client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(redis_url, name) as writer, opened(redis_url, name) as reader:
        await writer.put([record(writer, "q", 0, A, tags=("t",))])
        (lost,) = await indexes(client, name)
        await client.execute_command("FT.DROPINDEX", lost)
        assert await found(reader, 0, A) == []
        monkeypatch.setattr(module, "_SEEN_S", 0.0)
        await writer.put([record(writer, "r", 1, A, tags=("t",))])
        assert await writer.remove(tags=["t"]) == 2
        assert [await text_of(reader, prompt, A) for prompt in "qr"] == [None, None]


async def test_a_removal_looks_for_claims_once(
    redis_url: str, name: str, client: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    purge = ClaimKeeper.purge

    async def noted(self: ClaimKeeper, query: str, params: Any) -> None:
        looked.append(query)
        await purge(self, query, params)

    monkeypatch.setattr(ClaimKeeper, "purge", noted)
    async with opened(redis_url, name) as store:
        await store.put([record(store, "q", 0, scope, tags=("t",)) for scope in (A, B)])
        assert await store.remove(tags=["t"]) == 2
    assert len(looked) == 1


async def test_who_has_another_layout_purges_them_too(redis_url: str, name: str) -> None:
    async with opened(redis_url, name) as store, open_store(redis_url, name) as common:
        await store.put([record(store, "q", 0, A, tags=("t",)), record(store, "r", 0, B)])
        await common.put([record(common, "s", 0, A, tags=("t",))])
        assert await found(common, 0, A) == ["s"]
        assert await found(store, 0, A) == ["q"]
        assert await common.remove(tags=["t"]) == 2
        assert await store.remove(tenant="b") == 1
        assert [await found(one, 0, A) for one in (store, common)] == [[], []]


async def test_so_does_who_knows_no_model(redis_url: str, name: str) -> None:
    config = CacheConfig(name=name, store_timeout_s=30.0)
    async with (
        opened(redis_url, name) as store,
        open_removing_store(redis_url, config=config) as remover,
    ):
        await store.put([record(store, "q", 0, scope, tags=("t",)) for scope in (A, B)])
        assert await remover.remove(tenant="b", tags=["t"]) == 1
        assert await remover.remove(tags=["t"]) == 1


async def test_an_odd_item_fails_alone(redis_url: str, name: str) -> None:
    async with opened(redis_url, name) as store:
        odd, good, other = await store.put(
            [record(store, "\ud800", 0, A), record(store, "q", 0, A), record(store, "q", 0, B)]
        )
        assert isinstance(odd, Exception)
        assert isinstance(good, str)
        assert isinstance(other, str)
        assert await store.put([]) == []


async def test_a_whole_cache(redis_url: str, name: str) -> None:
    config = CacheConfig(
        name=name,
        index_per_tenant=True,
        widenable=("locale",),
        local_answers=10,
        tenant_entries=9,
        store_timeout_s=30.0,
    )
    llm = GatedLLM(opened=True)
    async with SemanticCache.open(redis_url, config=config, embedder=AngleEmbedder()) as cache:
        for scope in (A, B):
            first = await cache.get_or_generate("q at 10", llm, scope=scope)
            assert first.entry_id is not None
            near = await cache.lookup("q at 11", scope=scope)
            assert near is not None
            assert near.source is Source.SEMANTIC
            assert await cache.feedback("p at 12", first.entry_id, right=True)
        wide = await cache.lookup("q at 10", scope=Scope(tenant="b"), widen=("locale",))
        assert wide is not None
        assert wide.widened
        assert len(llm.prompts) == 2
        told = await redis_stats(redis_url, name)
        assert told["entries"] == 2
        assert await cache.invalidate(tenant="a") == 1
        assert await cache.lookup("q at 10", scope=A) is None
        assert await cache.lookup("q at 10", scope=B) is not None
        await cache.check()


async def test_not_in_partitions() -> None:
    with pytest.raises(ConfigError, match="partitions=1"):
        CacheConfig(index_per_tenant=True, partitions=2)
