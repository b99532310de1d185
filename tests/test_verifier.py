"""The verifier: asked about what would be served by meaning, and about nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest
from numpy.typing import NDArray

from semcache_async import Answer, CacheConfig, SemanticCache, Source
from semcache_async.testing import AngleEmbedder, MemoryStore
from semcache_async.testing.sharing import SharingMemoryStore
from semcache_async.types import Case
from tests.helpers import GatedLLM, both_asked, check_sums, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

CONFIG = CacheConfig(max_distance=0.004)
"""5 degrees are near, 10 are not."""


class Fake:
    """Two prompts of the same first word belong together. ``gate`` holds its answers back."""

    def __init__(self) -> None:
        self.pairs: list[tuple[str, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.says: Callable[[str, str], float] = lambda one, other: float(one[0] == other[0])

    async def score(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        self.pairs += pairs
        await self.gate.wait()
        return np.array([self.says(*pair) for pair in pairs], np.float32)


class OnThread:
    """The same as a plain method."""

    def score(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        return np.array([one[0] == other[0] for one, other in pairs], np.float32)


@asynccontextmanager
async def opened(verifier: Fake | OnThread, **options: object) -> AsyncIterator[SemanticCache]:
    async with SemanticCache.open(
        store=MemoryStore(),
        embedder=AngleEmbedder(),
        config=CacheConfig(**{"max_distance": 0.004, **options}),  # type: ignore[arg-type]
        verifier=verifier,
    ) as cache:
        yield cache
        check_sums(cache)


async def test_it_is_asked_about_what_would_be_served_and_nothing_else() -> None:
    fake = Fake()
    async with opened(fake) as cache:
        await cache.store("a at 0", "of a")
        await cache.store("b at 2", "of b")
        assert await cache.lookup("a at 0") is not None  # exact
        assert await cache.lookup("a at 20") is None  # too far
        assert fake.pairs == []
        hit = await cache.lookup("a at 3")
        assert hit is not None
        assert (hit.text, hit.source) == ("of a", Source.SEMANTIC)
        assert [(near.prompt, near.refused_by) for near in hit.refused] == [("b at 2", "verifier")]
        assert fake.pairs == [("a at 3", "b at 2"), ("a at 3", "a at 0")]
        again = await cache.lookup("a at 3")
        assert again is not None
        assert again.text == "of a"
        assert len(fake.pairs) == 2  # remembered
        answer = await cache.get_or_generate("c at 1", GatedLLM(opened=True))
        assert answer.source is Source.GENERATED
        assert {near.refused_by for near in answer.refused} == {"verifier"}
        stats = cache.stats()
        assert (stats.verifier_asked, stats.verifier_failed) == (4, 0)
        seen = [(near.prompt, near.refused_by) for near in await cache.nearest("b at 5", limit=2)]
        assert seen == [("b at 2", None), ("c at 1", "verifier")]
        assert stats.verifier_refused >= 3


async def test_a_plain_method_runs_on_a_thread() -> None:
    async with opened(OnThread()) as cache:
        await cache.store("a at 0", "of a")
        hit = await cache.lookup("a at 1")
        assert hit is not None
        assert hit.refused == ()
        assert await cache.lookup("b at 1") is None


async def test_pairs_share_a_batch_and_one_bad_pair_fails_alone() -> None:
    fake = Fake()

    def says(one: str, _other: str) -> float:
        if one == "a at 1":
            raise ValueError(one)
        return float("nan") if one == "a at 2" else 1.0

    fake.says = says
    async with opened(fake) as cache:
        await cache.store("a at 0", "of a")
        prompts = [f"a at {n}" for n in (1, 2, 3, -1)]
        hits = await asyncio.gather(*(cache.lookup(prompt) for prompt in prompts))
        assert [hit is not None for hit in hits] == [False, False, True, True]
        stats = cache.stats()
        assert (stats.verifier_failed, stats.verifier_refused) == (2, 0)
        (near, *_) = await cache.nearest("a at 1")
        assert near.refused_by == "unscored"
        fake.says = lambda one, other: 1.0
        assert await cache.lookup("a at 1") is not None  # a failure is not remembered


async def test_out_of_time_is_a_miss_and_said() -> None:
    fake = Fake()
    fake.gate.clear()
    async with opened(fake, lookup_budget_s=0.05) as cache:
        await cache.store("a at 0", "of a")
        answer = await cache.get_or_generate("a at 1", GatedLLM(opened=True))
        assert answer.source is Source.GENERATED
        assert [near.refused_by for near in answer.refused] == ["unscored"]
        stats = cache.stats()
        assert (stats.verifier_failed, stats.lookup_timeouts) == (1, 0)


async def test_who_looks_at_the_nearest_does_not_wait_for_it_for_all_his_time() -> None:
    """As LangCache's search does, which has an answer all the same."""
    fake = Fake()
    async with opened(fake, lookup_budget_s=0.2) as cache:
        await cache.store("a at 0", "of a")
        fake.gate.clear()
        async with asyncio.timeout(0.2):
            (near,) = await cache.nearest("a at 1", limit=1)
        assert near.refused_by == "unscored"


async def test_nobody_shares_a_call_without_its_word() -> None:
    async with opened(Fake()) as cache:
        answers = await both_asked(cache, "a at 0", "b at 1")
        assert [answer.source for answer in answers] == [Source.GENERATED] * 2
        llm = GatedLLM()
        tasks = [asyncio.create_task(cache.get_or_generate(f"c at {n}", llm)) for n in (40, 41, 42)]
        await until(lambda: cache.stats().waiting == 3)
        llm.gate.set()
        answers = await asyncio.gather(*tasks)
        assert [answer.source for answer in answers].count(Source.SHARED) == 2
        assert len(llm.prompts) == 1


async def test_nobody_follows_another_process_without_its_word() -> None:
    store, embedder, llm = SharingMemoryStore(), AngleEmbedder(), GatedLLM()

    def ask(cache: SemanticCache, prompt: str) -> asyncio.Task[Answer]:
        return asyncio.create_task(cache.get_or_generate(prompt, llm))

    async with (
        SemanticCache.open(store=store, embedder=embedder, config=CONFIG, verifier=Fake()) as one,
        SemanticCache.open(store=store, embedder=embedder, config=CONFIG, verifier=Fake()) as other,
    ):
        tasks = [ask(one, "a at 0")]
        await until(lambda: len(store.claims) == 1)
        tasks.append(ask(other, "b at 1"))
        await until(lambda: len(llm.prompts) == 2)
        tasks.append(ask(other, "a at 2"))
        await until(lambda: one.stats().waiting == 2)
        llm.gate.set()
        answers = await asyncio.gather(*tasks)
        assert [answer.text for answer in answers] == [
            "answer to a at 0",
            "answer to b at 1",
            "answer to a at 0",
        ]
        assert other.stats().followed == 1


async def test_a_claim_stands_while_the_verifier_is_asked() -> None:
    now, renewed = [1e9], set[str]()

    class Store(SharingMemoryStore):
        async def renew(self, inbox: str, claims: Sequence[str]) -> list[bool]:
            renewed.update(claims)
            return await super().renew(inbox, claims)

    store, embedder, llm, fake = Store(clock=lambda: now[0]), AngleEmbedder(), GatedLLM(), Fake()
    config = CacheConfig(max_distance=0.004, lease_s=0.1, lookup_budget_s=600.0)
    async with (
        SemanticCache.open(store=store, embedder=embedder, config=config) as one,
        SemanticCache.open(store=store, embedder=embedder, config=config, verifier=fake) as other,
    ):
        first = asyncio.create_task(one.get_or_generate("a at 0", llm))
        await until(lambda: len(llm.prompts) == 1)
        fake.gate.clear()
        second = asyncio.create_task(other.get_or_generate("b at 1", llm))
        await until(lambda: len(fake.pairs) == 1)
        for _ in range(2):
            renewed.clear()
            async with asyncio.timeout(20.0):
                await until(lambda: len(renewed) == 2)
            now[0] += 5.0  # a lease is 6 s
        fake.gate.set()
        llm.gate.set()
        await asyncio.gather(first, second)
        assert other.stats().not_stored == 0


async def test_a_pointer_holds_as_long_as_the_score(
    redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = Fake()
    config = CacheConfig(name=name, max_distance=0.004, store_timeout_s=30.0)
    async with SemanticCache.open(
        redis_url, embedder=AngleEmbedder(), config=config, verifier=fake
    ) as cache:
        await cache.store("a at 0", "of a")
        for _ in range(2):
            assert await cache.lookup("a at 1") is not None
        assert cache.stats().pointed == 1
        assert cache._tiers._verifying is not None
        cache._tiers._verifying._scores.clear()
        fake.says = lambda one, other: 0.2
        assert await cache.lookup("a at 1") is None
        assert cache.stats().pointed == 1


async def test_guards_are_heard_first() -> None:
    embedder, fake = AngleEmbedder(), Fake()
    embedder.guarded = True
    async with SemanticCache.open(
        store=MemoryStore(), embedder=embedder, config=CONFIG, verifier=fake
    ) as cache:
        await cache.store("are cats allowed at 5?", "yes")
        assert await cache.lookup("are cats not allowed at 5?") is None
        assert fake.pairs == []


async def test_what_it_refuses_is_no_evidence_about_the_distance() -> None:
    judged: list[Case] = []

    async def judge(case: Case) -> float:
        judged.append(case)
        return 0.0

    config = CacheConfig(target_precision=0.9, max_distance=0.004, judge_rate=None)
    async with SemanticCache.open(
        store=MemoryStore(), embedder=AngleEmbedder(), config=config, verifier=Fake(), judge=judge
    ) as cache:
        await cache.store("a at 0", "of a")
        for asked, seen in (("b at 8", 0), ("a at 8", 1)):  # too far; the judge says wrong to both
            assert await cache.lookup(asked) is None
            await until(lambda: not cache.stats().judging)
            choice = await cache.reach()
            assert choice is not None
            assert choice.promise.samples == seen
        assert len(judged) == 2
