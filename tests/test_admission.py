"""What is delivered and not kept: what is one person's own, and what was cheap to make."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from semcache_async import CacheConfig, SemanticCache
from semcache_async.errors import ConfigError
from semcache_async.testing import AngleEmbedder, MemoryStore
from semcache_async.types import Case, Produced, Source
from tests.helpers import GatedLLM, check_sums, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

ANN = "My name is Ann, why was I charged at 10"


def opened(**options: Any) -> AbstractAsyncContextManager[SemanticCache]:
    config = CacheConfig(**options)
    return SemanticCache.open(config=config, embedder=AngleEmbedder(), store=MemoryStore())


async def test_an_answer_to_one_person_is_neither_kept_nor_shared() -> None:
    llm = GatedLLM()
    async with opened(max_distance=0.3, guards=()) as cache:
        asked = [ANN, ANN, "why was I charged at 11"]
        tasks = [asyncio.create_task(cache.get_or_generate(prompt, llm)) for prompt in asked]
        await until(lambda: len(llm.prompts) == 3)
        llm.gate.set()
        first, second, plain = await asyncio.gather(*tasks)
        assert (first.source, first.entry_id) == (Source.GENERATED, None)
        assert (second.source, second.entry_id) == (Source.GENERATED, None)
        assert plain.entry_id is not None
        stats = cache.stats()
        assert (stats.not_stored_personal, stats.not_stored, stats.llm_calls) == (2, 2, 3)
        assert await cache.lookup_exact(ANN) is None
        check_sums(cache)

        streamed = cache.stream("My name is Ann at 80", pieces)
        assert [piece async for piece in streamed] == ["a", "b"]
        assert await cache.lookup("My name is Ann at 80") is None
        read = await cache.get_or_generate("My name is Bob, why was I charged at 10", llm)
        assert read.source is Source.SEMANTIC  # what everybody may read
        check_sums(cache)


async def test_nobodys_stale_answer_is_renewed_by_one() -> None:
    passed, llm = 0.0, GatedLLM(opened=True)
    lives: dict[str, Any] = {
        "exact_ttl_s": 100.0,
        "semantic_ttl_s": 100.0,
        "ttl_jitter": 0.0,
        "stale_ttl_s": 50.0,
    }
    store = MemoryStore(clock=lambda: 1_000.0 + passed)
    config = CacheConfig(**lives)
    async with SemanticCache.open(config=config, embedder=AngleEmbedder(), store=store) as cache:
        everybodys = await cache.get_or_generate("why was I charged at 10", llm)
        passed = 120.0
        stale = await cache.get_or_generate(ANN, llm)
        assert (stale.text, stale.stale) == (everybodys.text, True)
        assert len(cache._answering._renewing) == 0
        plain = await cache.get_or_generate("why was I charged at 11", llm)
        assert plain.stale
        await until(lambda: not (len(cache._answering) or cache._answering._renewing))
        assert llm.prompts == ["why was I charged at 10", "why was I charged at 11"]


async def test_what_was_said_to_one_person_is_not_judged() -> None:
    judged: list[str] = []

    async def judge(case: Case) -> float:
        judged.append(case.prompt)
        return 0.0

    llm = GatedLLM(opened=True)
    config = CacheConfig(max_distance=0.01, review_distance=0.3)
    async with SemanticCache.open(
        config=config, embedder=AngleEmbedder(), store=MemoryStore(), judge=judge
    ) as cache:
        for prompt in ("why was I charged at 10", "My name is Ann at 30", "and why so at 31"):
            await cache.get_or_generate(prompt, llm)
        await until(lambda: bool(judged) and not cache.stats().judging)
        assert judged == ["and why so at 31"]


async def pieces(_prompt: str) -> AsyncIterator[str]:
    for piece in "ab":
        yield piece


@pytest.mark.parametrize("options", [{"refuse_personal": False}, {}])
async def test_whose_own_rule_it_is(options: dict[str, Any]) -> None:
    llm = GatedLLM(opened=True)
    async with opened(**options) as cache:
        if options:
            assert (await cache.get_or_generate(ANN, llm)).entry_id is not None
        async with cache.reply("I'm called Bob at 50", produced, vetted=True) as reply:
            assert (await reply.answer()).entry_id is not None
        assert await cache.store("I'm called Cem at 70", "Hello Cem") is not None
        assert cache.stats().not_stored == 0


@pytest.mark.parametrize("prompt", ["Where is my order 48213?", "What is my balance?"])
async def test_a_question_that_says_nothing_of_its_asker_is_everybodys(prompt: str) -> None:
    async with opened() as cache:
        answer = await cache.get_or_generate(prompt, GatedLLM(opened=True))
        assert answer.entry_id is not None


async def produced(prompt: str, _emit: Callable[[str], None]) -> Produced:
    return Produced(f"{prompt}: your card is 4111 1111 1111 1111")


@pytest.mark.parametrize(
    "text",
    [
        "It went to 4111 1111 1111 1111 12/26.",
        "Card 5500-0000-0000-0004 was used",
        "amex 378282246310005",
        "Your SSN is 078-05-1120.",
        "Refunded to DE89 3704 0044 0532 0130 00 today",
        "to gb82west12345698765432, as asked",
        'curl -H "Authorization: Bearer sk-abcdefghijklmnopqrstuv"',
        "-----BEGIN EC PRIVATE KEY-----",
    ],
)
async def test_somebodys_numbers_in_an_answer(text: str) -> None:
    async def generate(_prompt: str) -> str:
        return text

    async with opened() as cache:
        answer = await cache.get_or_generate("Where is my refund?", generate)
        assert (answer.text, answer.entry_id) == (text, None)
        stats = cache.stats()
        assert (stats.not_stored_personal, stats.not_stored) == (1, 1)
        check_sums(cache)


@pytest.mark.parametrize(
    "text",
    [
        "Write to help@shop.example or call +1 (800) 555-0199, Mo-Fr 9-17.",
        "Unser Kundendienst: 030 1234567, service@bank.example",
        "Your parcel 1Z999AA10123456784, USPS 9400 1118 9922 3857 2684 99, is on its way.",
        "ISBN 978-3-16-148410-0, EAN 4006381333931, IMEI 356938035643809",
        "Order 1234567890123456 of 2026-11-26T06:14:42Z, request 1732601641123",
        "Dial 1-800-273-8255; the fee is 1,000,000.00 to 4,000,000,000,000,000.",
        "An IBAN has up to 34 characters, such as DE00 3704 0044 0532 0130 00.",
        "A social security number looks like 000-00-0000 or XXX-XX-XXXX.",  # which is nobody's
        "Set OPENAI_API_KEY=sk-... and see sk-learn or the task-switching-of-threads-guide.",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "f47ac10b-58cc-4372-a567-0e02b2c3d479 at 192.168.100.200, pi is 3.141592653589793",
        "python311 is installed by covid19 sentiment140 packages used to extract sentiments",
    ],
)
async def test_what_a_service_tells_everybody_is_kept(text: str) -> None:
    async def generate(_prompt: str) -> str:
        return text

    async with opened() as cache:
        assert (await cache.get_or_generate("Where is my refund?", generate)).entry_id is not None


async def test_what_was_cheap_is_made_anew() -> None:
    llm = GatedLLM(opened=True)
    async with opened(min_llm_s=3_600.0) as cache:
        for _ in range(2):
            answer = await cache.get_or_generate("q at 10", llm)
            assert (answer.source, answer.entry_id) == (Source.GENERATED, None)
        stats = cache.stats()
        assert (stats.not_stored_cheap, stats.not_stored, stats.llm_calls) == (2, 2, 2)
        await cache.store("q at 10", "kept")
        assert (await cache.get_or_generate("q at 10", llm)).source is Source.EXACT
        check_sums(cache)
    async with opened(min_llm_s=1e-6) as cache:
        assert (await cache.get_or_generate("q at 10", llm)).entry_id is not None
        assert cache.stats().not_stored == 0


@pytest.mark.parametrize(
    ("option", "value"),
    [("min_llm_s", -1), ("min_llm_s", float("nan")), ("refuse_personal", 1)],
)
async def test_nonsense(option: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=option):
        CacheConfig(**{option: value})
