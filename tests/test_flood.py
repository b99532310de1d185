"""A thousand callers at once: one LLM call per intent, nobody lost, nothing left behind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from semcache_async import CacheConfig, Scope, SemanticCache, Source
from semcache_async.embed import TextEmbedder
from semcache_async.testing import AngleEmbedder, MemoryStore
from tests.helpers import GatedLLM, check_sums, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]


def patient(name: str, *, max_distance: float = 0.05) -> CacheConfig:
    """Calls are counted here, so none may be due to a machine that is busy for a second."""
    return CacheConfig(
        name=name, max_distance=max_distance, store_timeout_s=60.0, lookup_budget_s=60.0
    )


INTENTS, WORDINGS = 10, 100


class FewFlightsLLM:
    """Answers with the intent it understood, after a random number of loop ticks."""

    def __init__(self, rng: random.Random) -> None:
        self.prompts: list[str] = []
        self._rng = rng

    async def __call__(self, prompt: str) -> str:
        self.prompts.append(prompt)
        for _ in range(self._rng.randint(0, 200)):
            await asyncio.sleep(0)
        return prompt.split(":")[0]


def flood(rng: random.Random) -> list[str]:
    """Ten intents 36 degrees apart, a hundred wordings each within 2 degrees of its middle."""
    prompts = [
        f"intent {intent}: wording {n} at {intent * 36 + rng.uniform(-2, 2):.4f}"
        for intent in range(INTENTS)
        for n in range(WORDINGS)
    ]
    rng.shuffle(prompts)
    return prompts


async def ask_all(cache: SemanticCache, prompts: Sequence[str], llm: Any) -> None:
    answers = await asyncio.gather(*[cache.get_or_generate(p, llm) for p in prompts])
    for prompt, answer in zip(prompts, answers, strict=True):
        assert answer.text == prompt.split(":")[0]


async def test_a_thousand_at_once_make_ten_calls(redis_url: str, name: str) -> None:
    rng = random.Random(1)
    llm = FewFlightsLLM(rng)
    async with SemanticCache.open(
        redis_url, embedder=AngleEmbedder(), config=patient(name)
    ) as cache:
        await ask_all(cache, flood(rng), llm)
        stats = check_sums(cache)
        assert (len(llm.prompts), stats.llm_calls, stats.generated) == (INTENTS, INTENTS, INTENTS)
        assert stats.requests == INTENTS * WORDINGS
        assert stats.exact_batches < 40, "exact lookups were not pipelined"
        assert stats.search_batches < 100, "searches were not pipelined"
        assert stats.connections <= cache.config.connections


@pytest.mark.parametrize("seed", range(5))
async def test_the_same_with_every_tenth_cancelled(redis_url: str, name: str, seed: int) -> None:
    async with SemanticCache.open(
        redis_url, embedder=AngleEmbedder(), config=patient(name)
    ) as cache:
        await flood_with_cancels(cache, seed)


@pytest.mark.parametrize("seed", range(12))
async def test_the_same_in_memory_over_many_seeds(seed: int) -> None:
    async with SemanticCache.open(
        store=MemoryStore(), embedder=AngleEmbedder(), config=patient("memory")
    ) as cache:
        await flood_with_cancels(cache, seed)


async def flood_with_cancels(cache: SemanticCache, seed: int) -> None:
    rng = random.Random(seed)
    llm = FewFlightsLLM(rng)
    prompts = flood(rng)
    tasks = [asyncio.create_task(cache.get_or_generate(p, llm)) for p in prompts]
    victims = tasks[::10]
    for victim in victims:
        for _ in range(rng.randint(0, 6)):
            await asyncio.sleep(0)
        victim.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    cancelled = 0
    for prompt, outcome in zip(prompts, outcomes, strict=True):
        if isinstance(outcome, asyncio.CancelledError):
            cancelled += 1
        else:
            assert not isinstance(outcome, BaseException), outcome
            assert outcome.text == prompt.split(":")[0]
    await until(lambda: cache.stats().flights == 0)
    stats = check_sums(cache)
    assert cancelled <= len(victims)
    # a caller cancelled before its first step was never a request
    never_began = len(prompts) - stats.requests
    assert stats.failed == stats.cancelled == cancelled - never_began
    assert len(llm.prompts) == stats.llm_calls == INTENTS


async def test_ten_real_intents_in_real_wordings(
    redis_url: str, name: str, text_embedder: TextEmbedder
) -> None:
    questions = [
        "How do I locate my card?",
        "What is the exchange rate for euros?",
        "Can I top up by cheque?",
        "Why was my transfer declined?",
        "How long does an international transfer take?",
        "I forgot my passcode",
        "Which countries do you support?",
        "How do I close my account?",
        "Is there a fee for cash withdrawals?",
        "How can I verify my identity?",
    ]
    greetings = ["", "Hi, ", "Hello, ", "hey ", "Please: "]
    endings = ["", "?", "??", " please", " please?", " thanks", ", thanks", "!", " ?!", "..."]
    spaces = ["", " "]
    prompts = [
        f"{greeting}{question.rstrip('?')}{ending}{space}"
        for question in questions
        for greeting in greetings
        for ending in endings
        for space in spaces
    ]
    config = patient(name, max_distance=0.3)
    vectors = text_embedder.embed(prompts)
    distances = 1 - vectors @ vectors.T
    same = [[i // WORDINGS == j // WORDINGS for j in range(1000)] for i in range(1000)]
    assert np.max(distances[same]) < config.max_distance, "the wordings lie within the threshold"
    intent = {prompt: i // WORDINGS for i, prompt in enumerate(prompts)}
    order = list(prompts)
    random.Random(3).shuffle(order)
    llm = GatedLLM(opened=True)
    async with SemanticCache.open(redis_url, embedder=text_embedder, config=config) as cache:
        answers = await asyncio.gather(*[cache.get_or_generate(p, llm) for p in order])
        stats = check_sums(cache)
    assert len(llm.prompts) == INTENTS
    for prompt, answer in zip(order, answers, strict=True):
        assert intent[answer.text.removeprefix("answer to ")] == intent[prompt]
    assert stats.embed_batches < stats.embedded_texts / 3, "texts were not packed"


async def test_many_tenants_at_once_never_cross(redis_url: str, name: str) -> None:
    rng = random.Random(5)
    scopes = [Scope(tenant=f"tenant {n}") for n in range(25)]

    async def ask(cache: SemanticCache, scope: Scope, n: int) -> None:
        async def generate(prompt: str) -> str:
            await asyncio.sleep(0)
            return scope.tenant

        answer = await cache.get_or_generate(f"wording {n} at 10", generate, scope=scope)
        assert answer.text == scope.tenant

    async with SemanticCache.open(
        redis_url, embedder=AngleEmbedder(), config=patient(name)
    ) as cache:
        jobs = [(scope, n) for scope in scopes for n in range(40)]
        rng.shuffle(jobs)
        await asyncio.gather(*[ask(cache, scope, n) for scope, n in jobs])
        stats = check_sums(cache)
        assert stats.llm_calls == len(scopes)
        assert stats.requests == 1000
        assert {Source.EXACT, Source.SEMANTIC, Source.SHARED} >= {
            source for source in Source if getattr(stats, source.value)
        } - {Source.GENERATED}
