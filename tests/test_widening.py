"""A call may leave fields of its scope open where the operator lets it, and is told what it got."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis.asyncio

from semcache_async import Answer, CacheConfig, SemanticCache
from semcache_async.errors import ConfigError
from semcache_async.store.keys import KeySpace
from semcache_async.testing import AngleEmbedder, MemoryStore
from semcache_async.types import Case, Produced, Scope, Source, VectorQuery
from tests.helpers import GatedLLM, check_sums
from tests.store.helpers import open_store, record, unit

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

DE, FR = Scope(tenant="a", locale="de"), Scope(tenant="a", locale="fr")
OPEN = ("locale",)


def told(answer: Answer | None) -> tuple[str, Source, bool] | None:
    return None if answer is None else (answer.text, answer.source, answer.widened)


@pytest.mark.parametrize("kind", ["redis", "partitions", "memory"])
async def test_any_locale_but_ones_own_first(redis_url: str, name: str, kind: str) -> None:
    config = CacheConfig(
        name=name, store_timeout_s=30.0, widenable=OPEN, partitions=5 if kind == "partitions" else 1
    )
    store = MemoryStore() if kind == "memory" else None
    url = redis_url if store is None else None
    llm = GatedLLM(opened=True)
    async with SemanticCache.open(
        url, config=config, embedder=AngleEmbedder(), store=store
    ) as cache:
        for n in range(6):
            other = Scope(tenant="b" if n % 2 else "a", locale=str(n), model="m" if n > 3 else "")
            await cache.store(f"far at {40 + n}", "of another", scope=other)
        french = await cache.store("q at 10", "french", scope=FR)
        assert await cache.lookup("q at 10", scope=DE) is None
        found = await cache.lookup("q at 10", scope=DE, widen=OPEN)
        assert told(found) == ("french", Source.SEMANTIC, True)
        assert found is not None
        assert found.entry_id == french
        (near, *_) = await cache.nearest("q at 12", scope=DE, widen=OPEN)
        assert (near.entry.id, near.widened, near.refused_by) == (french, True, None)
        assert await cache.nearest("q at 12", scope=DE) == []

        for _ in range(2):  # nothing of the caller's own points there
            assert await cache.lookup("q at 12", scope=DE) is None
            assert told(await cache.lookup("q at 12", scope=DE, widen=OPEN)) is not None

        await cache.store("q at 14", "german", scope=DE)
        (near_own,) = await cache.lookup_many(["q at 11"], scope=DE, widen=OPEN)
        assert told(near_own) == ("german", Source.SEMANTIC, False)
        own = await cache.get_or_generate("q at 14", llm, scope=DE, widen=OPEN)
        assert told(own) == ("german", Source.EXACT, False)
        async with cache.reply("q at 9", never, scope=FR, widen=OPEN) as reply:
            assert told(await reply.answer()) == ("french", Source.SEMANTIC, False)
        streamed = cache.stream("q at 14", never_streams, scope=Scope(tenant="a"), widen=OPEN)
        assert [piece async for piece in streamed] == ["german"]

        missed = await cache.get_or_generate("q at 80", llm, scope=DE, widen=OPEN)
        assert told(missed) == ("answer to q at 80", Source.GENERATED, False)
        assert told(await cache.lookup("q at 80", scope=DE)) is not None
        assert await cache.lookup("q at 80", scope=FR) is None
        for foreign in (Scope(tenant="b", locale="de"), Scope(tenant="a", temperature=0.0)):
            assert await cache.lookup("q at 10", scope=foreign, widen=OPEN) is None
        assert await cache.invalidate(scope=FR) == 1
        assert told(await cache.lookup("q at 10", scope=DE, widen=OPEN)) == (
            ("german", Source.SEMANTIC, False)
        )
        check_sums(cache)


async def never(prompt: str, _emit: Callable[[str], None]) -> Produced:
    raise AssertionError(prompt)


def never_streams(prompt: str) -> AsyncIterator[str]:
    raise AssertionError(prompt)


@pytest.mark.parametrize(
    ("widen", "why"),
    [
        (("model",), r"widenable=.*locale"),
        (("tenant",), "these can: locale"),
        (("namespace",), "these can: locale"),
        ("locale", "wrap a single one"),
        (7, "wrap a single one"),
    ],
)
async def test_what_the_operator_does_not_let_be(widen: Any, why: str) -> None:
    config = CacheConfig(widenable=OPEN)
    store, llm = MemoryStore(), GatedLLM(opened=True)
    async with SemanticCache.open(config=config, embedder=AngleEmbedder(), store=store) as cache:
        with pytest.raises(ConfigError, match=why):
            await cache.get_or_generate("q at 1", llm, widen=widen)
        assert not llm.prompts
    async with SemanticCache.open(embedder=AngleEmbedder(), store=store) as cache:
        with pytest.raises(ConfigError, match="names nothing"):
            await cache.lookup("q at 1", widen=OPEN)


@pytest.mark.parametrize(
    "fields", [("tenant",), ("attributes",), "locale", ("locale", "model", "system_prompt", "x")]
)
async def test_what_cannot_be_left_open(fields: Any) -> None:
    with pytest.raises(ConfigError, match="widenable"):
        CacheConfig(widenable=fields)


async def test_three_at_most_in_one_order() -> None:
    with pytest.raises(ConfigError, match="three"):
        CacheConfig(widenable=("locale", "model", "system_prompt", "temperature"))
    assert CacheConfig(widenable=["model", "locale", "model"]).widenable == ("locale", "model")  # type: ignore[arg-type]


async def test_what_was_stored_before_it_was_let_be_is_not_found(redis_url: str, name: str) -> None:
    before = CacheConfig(name=name)
    async with SemanticCache.open(redis_url, config=before, embedder=AngleEmbedder()) as cache:
        await cache.store("q at 10", "french", scope=FR)
    now = CacheConfig(name=name, widenable=OPEN)
    async with SemanticCache.open(redis_url, config=now, embedder=AngleEmbedder()) as cache:
        assert await cache.lookup("q at 10", scope=DE, widen=OPEN) is None
        assert told(await cache.lookup("q at 11", scope=FR)) == ("french", Source.SEMANTIC, False)
        await cache.store("q at 10", "french anew", scope=FR)
        assert told(await cache.lookup("q at 11", scope=DE, widen=OPEN)) == (
            ("french anew", Source.SEMANTIC, True)
        )


@pytest.mark.parametrize("sealed", [False, True])
async def test_what_redis_says_is_checked(redis_url: str, name: str, sealed: bool) -> None:
    """Whoever can write to Redis cannot let an entry in that was stored for nobody else: the field
    that is searched does not count, but what is in the payload."""
    options: dict[str, Any] = {"encryption_keys": ("ab" * 32,)} if sealed else {}
    foreign, german = Scope(tenant="b", locale="fr"), Scope(tenant="a", locale="de")
    async with (
        open_store(redis_url, name, widenable=OPEN, **options) as store,
        redis.asyncio.Redis.from_url(redis_url, protocol=3) as client,
    ):
        keys: KeySpace = store._keys
        ids = await store.put(
            [record(store, "foreign", 0, foreign), record(store, "french", 1, FR)]
        )
        wide = keys.widened(german, OPEN).wide
        await client.hset(keys.key(str(ids[0])), "attr", wide)
        query = VectorQuery(german, unit(0), 5, 0.0, OPEN)
        (found,) = await store.search([query])
        assert not isinstance(found, Exception)
        assert [near.prompt for near in found] == ["french"]
        await client.hset(keys.key(str(ids[1])), "scope", keys.scope(german).scope)
        assert await store.search([query]) == [[]]
        assert store.unopened == (1 if sealed else 0)


async def test_another_scopes_answers_are_no_evidence() -> None:
    cases: list[Case] = []

    async def judge(case: Case) -> float:
        cases.append(case)
        return 1.0

    config = CacheConfig(widenable=OPEN, audit_share=1.0, max_distance=0.02)
    llm = GatedLLM(opened=True)
    async with SemanticCache.open(
        config=config, embedder=AngleEmbedder(), store=MemoryStore(), judge=judge
    ) as cache:
        await cache.store("q at 10", "french", scope=FR)
        assert told(await cache.lookup("q at 12", scope=DE, widen=OPEN)) is not None
        answer = await cache.get_or_generate("q at 25", llm, scope=DE, widen=OPEN)
        assert answer.source is Source.GENERATED
        assert cache.stats().judging == 0
        assert not cases


async def test_in_shadow_it_is_held_back() -> None:
    config = CacheConfig(widenable=OPEN, shadow=True)
    llm = GatedLLM(opened=True)
    async with SemanticCache.open(
        config=config, embedder=AngleEmbedder(), store=MemoryStore()
    ) as cache:
        await cache.store("q at 10", "french", scope=FR)
        answer = await cache.get_or_generate("q at 11", llm, scope=DE, widen=OPEN)
        assert answer.source is Source.GENERATED
        assert answer.shadow is not None
        assert answer.shadow.widened
        assert cache.stats().shadow_semantic == 1


async def test_another_scopes_are_served_while_they_are_fresh() -> None:
    passed, llm = 0.0, GatedLLM(opened=True)
    lives: dict[str, Any] = {
        "exact_ttl_s": 100.0,
        "semantic_ttl_s": 100.0,
        "ttl_jitter": 0.0,
        "stale_ttl_s": 50.0,
    }
    config = CacheConfig(widenable=OPEN, **lives)
    store = MemoryStore(clock=lambda: 1_000.0 + passed)
    async with SemanticCache.open(config=config, embedder=AngleEmbedder(), store=store) as cache:
        await cache.get_or_generate("q at 10", llm, scope=FR)
        passed = 90.0
        assert told(await cache.lookup("q at 11", scope=DE, widen=OPEN)) is not None
        passed = 120.0
        stale = await cache.lookup("q at 11", scope=FR)
        assert stale is not None
        assert stale.stale
        assert await cache.lookup("q at 11", scope=DE, widen=OPEN) is None
        made = await cache.get_or_generate("q at 11", llm, scope=DE, widen=OPEN)
        assert told(made) == ("answer to q at 11", Source.GENERATED, False)
        assert llm.prompts == ["q at 10", "q at 11"]
