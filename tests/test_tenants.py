"""What one tenant could learn of another by timing: nothing, as nothing that takes time is shared.
Work is counted here, not timed."""

from __future__ import annotations

import asyncio

import pytest

from semcache_async import CacheConfig, SemanticCache
from semcache_async.embed import TextEmbedder
from semcache_async.flow.vectors import open_vectors
from semcache_async.serve.keys import Caller, KeyRing, hash_key
from semcache_async.testing import AngleEmbedder, MemoryStore
from semcache_async.text.guards import Analysis, analyse
from semcache_async.types import Scope, Source
from tests.helpers import GatedLLM, until
from tests.serve.running import serving

pytestmark = pytest.mark.anyio

A, B = Scope(tenant="a"), Scope(tenant="b")


def embedded(embedder: AngleEmbedder, text: str) -> int:
    return sum(texts.count(text) for texts in embedder.calls)


async def test_a_remembered_vector_serves_its_tenant_alone() -> None:
    embedder, store = AngleEmbedder(), MemoryStore()
    async with SemanticCache.open(embedder=embedder, store=store) as cache:
        for times, scope in enumerate((A, B, Scope(tenant="c")), 1):
            for _ in range(3):
                await cache.lookup("q at 1", scope=scope)
                await cache.nearest("q at 1", scope=scope)
            await cache.lookup("q at 1", scope=Scope(tenant=scope.tenant, model="m"))
            await cache.store("q at 1", "answer", scope=scope)
            await cache.embed(["q at 1"], scope=scope)
            assert embedded(embedder, "q at 1") == times


async def test_equal_texts_under_way_are_not_joined_across_tenants() -> None:
    embedder = AngleEmbedder()
    async with open_vectors(embedder, remembered=0) as vectors:
        embedder.calls.clear()
        tenants = ["a", "a", "b", "b", None]
        await asyncio.gather(*[vectors.vector("at 1", tenant=tenant) for tenant in tenants])
        assert embedded(embedder, "at 1") == 3


async def test_nor_are_they_read_once_for_both(text_embedder: TextEmbedder) -> None:
    """The tokeniser and the model itself."""
    async with open_vectors(text_embedder, remembered=10) as vectors:
        before = vectors.packer.items
        text = "How do I return an item? " * 12  # read by a lane, not at rest
        one, same, other = await asyncio.gather(
            *[vectors.vector(text, tenant=tenant) for tenant in ("a", "a", "b")]
        )
        assert one is not None
        assert same is one
        assert other is not one
        assert [lane.items for lane in vectors._lanes] == [2, 0]
        assert vectors.packer.items - before == 2


async def test_what_the_guards_remember_of_a_prompt_is_its_tenants_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    analysed: list[str] = []

    def counting(text: str) -> Analysis:
        analysed.append(text)
        return analyse(text)

    monkeypatch.setattr("semcache_async.flow.wording.analyse", counting)
    embedder, store = AngleEmbedder(), MemoryStore()
    embedder.guarded = True
    async with SemanticCache.open(embedder=embedder, store=store) as cache:
        for times, scope in enumerate((A, B), 1):
            await cache.store("pay at 2", "answer", scope=scope)
            for _ in range(3):
                await cache.lookup("pay at 1", scope=scope)
            assert [analysed.count(text) for text in ("pay at 1", "pay at 2")] == [times] * 2


async def test_nobody_waits_for_another_tenants_call() -> None:
    llm, store = GatedLLM(), MemoryStore()
    async with SemanticCache.open(embedder=AngleEmbedder(), store=store) as cache:
        tasks = [
            asyncio.create_task(cache.get_or_generate("q at 1", llm, scope=scope))
            for scope in (A, A, B, B)
        ]
        await until(lambda: len(llm.prompts) == 2 and cache.stats().waiting == 4)
        llm.gate.set()
        sources = [answer.source for answer in await asyncio.gather(*tasks)]
        assert sources == [Source.GENERATED, Source.SHARED] * 2
        for scope in (A, B):
            hit = await cache.lookup("q at 2", scope=scope)
            assert hit is not None
        assert await cache.lookup("q at 2", scope=Scope(tenant="c")) is None


async def test_answers_in_memory_are_a_scopes_own(redis_url: str, name: str) -> None:
    config = CacheConfig(name=name, local_answers=10)
    async with SemanticCache.open(redis_url, config=config, embedder=AngleEmbedder()) as cache:
        await cache.store("q at 1", "answer", scope=A)
        before = cache.stats().exact_batches
        await until(lambda: cache.stats().connections > 0)
        assert await cache.lookup("q at 1", scope=B) is None
        assert cache.stats().exact_batches == before + 1


async def test_embeddings_over_http() -> None:
    keys = KeyRing({hash_key(f"sk-{t}"): Caller(tenant=t) for t in ("a", "b")})
    embedder = AngleEmbedder()
    async with serving(None, "tenants", keys=keys, embedder=embedder) as (client, _):
        for times, tenant in ((1, "a"), (1, "a"), (2, "b"), (2, "b")):
            response = await client.post(
                "/v1/embeddings",
                json={"model": "all-MiniLM-L6-v2", "input": "q at 1"},
                headers={"Authorization": f"Bearer sk-{tenant}"},
            )
            assert response.status == 200
            assert embedded(embedder, "q at 1") == times
