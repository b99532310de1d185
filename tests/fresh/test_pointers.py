"""A wording that was answered by meaning costs no embedding and no search the second time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from semcache_async import CacheConfig, Reply, Scope, SemanticCache, Source
from semcache_async.testing import AngleEmbedder
from semcache_async.types import Answer
from tests.fresh.test_stale import Clock
from tests.helpers import GatedLLM, check_sums
from tests.store.helpers import open_partitions

pytestmark = pytest.mark.anyio
SCOPE = Scope(tenant="a", namespace="n")
LONG: dict[str, Any] = {"exact_ttl_s": 50.0, "semantic_ttl_s": 100.0, "ttl_jitter": 0.0}


class Traced:
    """A cache that says what an answer cost."""

    def __init__(self, cache: SemanticCache, embedder: AngleEmbedder) -> None:
        self.cache = cache
        self.embedder = embedder

    def spent(self) -> tuple[int, int]:
        return sum(map(len, self.embedder.calls)), self.cache.stats().searches

    async def free(self, prompt: str, **more: Any) -> Answer | None:
        """The answer, if it cost nothing but reads by key."""
        before = self.spent()
        found = await self.cache.lookup(prompt, **({"scope": SCOPE} | more))
        return found if self.spent() == before else None


@pytest.fixture(params=[1, 3], ids=["one", "partitions"])
async def traced(
    redis_url: str, name: str, clock: Clock, request: pytest.FixtureRequest
) -> AsyncIterator[Traced]:
    async with opened(redis_url, name, clock, request.param) as one:
        yield one


@pytest.fixture
def clock() -> Clock:
    return Clock()


@asynccontextmanager
async def opened(
    url: str, name: str, clock: Clock, partitions: int = 1, **options: Any
) -> AsyncIterator[Traced]:
    embedder = AngleEmbedder()
    chosen = {"store_timeout_s": 30.0} | LONG | options
    config = CacheConfig(name=name, partitions=partitions, **chosen)
    async with (
        open_partitions(url, name, partitions, ahead=clock) as store,
        SemanticCache.open(store=store, config=config, embedder=embedder) as cache,
    ):
        yield Traced(cache, embedder)


async def pointed(traced: Traced, prompt: str = "at 2") -> str:
    """The entry that answers the prompt, for nothing from now on."""
    llm = GatedLLM(opened=True)
    await traced.cache.get_or_generate("at 0", llm, scope=SCOPE, tags=("t",))
    first = await traced.cache.get_or_generate(prompt, llm, scope=SCOPE)
    assert first.source is Source.SEMANTIC
    again = await traced.free(prompt)
    assert again is not None
    assert (again.text, again.source, again.distance) == (
        first.text,
        Source.SEMANTIC,
        first.distance,
    )
    assert again.entry_id is not None
    return again.entry_id


async def test_it_is_the_same_answer_for_nothing(traced: Traced) -> None:
    await pointed(traced)
    answer = await traced.cache.get_or_generate("at 2", GatedLLM(), scope=SCOPE)
    assert answer.source is Source.SEMANTIC
    assert answer.matched_prompt == "at 0"
    stats = check_sums(traced.cache)
    assert (stats.semantic, stats.pointed) == (2, 2)


async def test_it_dies_with_the_entry(traced: Traced) -> None:
    await pointed(traced)
    await traced.cache.invalidate(tags=("t",))
    assert await traced.cache.lookup("at 2", scope=SCOPE) is None


async def test_it_dies_with_the_answer(traced: Traced) -> None:
    """One that was replaced is looked for anew."""
    await pointed(traced)
    await traced.cache.store("at 0", "new", scope=SCOPE)
    assert await traced.free("at 2") is None
    found = await traced.free("at 2")
    assert found is not None
    assert found.text == "new"


async def test_it_dies_with_the_version(traced: Traced) -> None:
    await pointed(traced)
    await traced.cache.bump_version("n")
    assert await traced.cache.lookup("at 2", scope=SCOPE) is None


async def test_it_dies_with_the_verdict(traced: Traced) -> None:
    entry_id = await pointed(traced)
    assert await traced.cache.feedback("at 2", entry_id, right=False)
    assert await traced.cache.lookup("at 2", scope=SCOPE) is None


async def test_it_dies_with_the_time(traced: Traced, clock: Clock) -> None:
    await pointed(traced)
    clock.passed = 99.0
    assert await traced.free("at 2") is not None
    clock.passed = 101.0
    assert await traced.cache.lookup("at 2", scope=SCOPE) is None


async def test_an_own_answer_goes_before_it(traced: Traced) -> None:
    await pointed(traced)
    await traced.cache.store("at 2", "own", scope=SCOPE)
    found = await traced.cache.lookup("at 2", scope=SCOPE)
    assert found is not None
    assert (found.text, found.source) == ("own", Source.EXACT)


async def test_callers_may_ask_for_more(traced: Traced, clock: Clock) -> None:
    await pointed(traced)
    assert await traced.cache.lookup("at 2", scope=SCOPE, max_distance=0.0001) is None
    other = Scope(tenant="b", namespace="n")
    assert await traced.cache.lookup("at 2", scope=other) is None
    clock.passed = 20.0
    llm = GatedLLM(opened=True)

    async def emit_nothing(prompt: str, _emit: object) -> Any:
        from semcache_async import Produced

        return Produced(await llm(prompt))

    young: Reply[Any] = traced.cache.reply("at 2", emit_nothing, scope=SCOPE, max_age_s=10.0)
    async with young as reply:
        assert reply.hit is None


async def test_what_is_stale_is_looked_for_anew(redis_url: str, name: str, clock: Clock) -> None:
    async with opened(redis_url, name, clock, stale_ttl_s=50.0) as traced:
        await pointed(traced)
        clock.passed = 120.0
        await traced.cache.store("at 1", "fresh", scope=SCOPE)
        found = await traced.cache.lookup("at 2", scope=SCOPE)
        assert found is not None
        assert found.text == "fresh"
