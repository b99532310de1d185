"""Guards in the cache: between a neighbour and a hit, and between a leader and a follower."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from semcache_async import CacheConfig, SemanticCache, Source
from semcache_async.embed import TextEmbedder
from semcache_async.testing import MemoryStore
from tests.helpers import GatedLLM, both_asked, check_sums

pytestmark = pytest.mark.anyio

TRAPS = [
    (
        "Is it safe to take ibuprofen with aspirin?",
        "Is it not safe to take ibuprofen with aspirin?",
    ),
    ("Show me flights from Paris to London", "Show me flights from London to Paris"),
    ("Where is my order 48213?", "Where is my order 48231?"),
    ("What should I do before the renewal?", "What should I do after the renewal?"),
    ("Does the price include the tax?", "Does the price exclude the tax?"),
    ("How do I install PostgreSQL 14?", "How do I install PostgreSQL 16?"),
    ("Wie schalte ich den Flugmodus ein?", "Wie schalte ich den Flugmodus aus?"),
]


@pytest.fixture
async def cache(text_embedder: TextEmbedder) -> AsyncIterator[SemanticCache]:
    async with SemanticCache.open(
        store=MemoryStore(), embedder=text_embedder, config=CacheConfig(max_distance=0.2)
    ) as cache:
        yield cache
        check_sums(cache)


@pytest.mark.parametrize(("stored", "asked"), TRAPS)
async def test_a_near_miss_is_not_served_and_it_is_said_why(
    cache: SemanticCache, stored: str, asked: str
) -> None:
    await cache.store(stored, "answer")
    assert await cache.lookup(asked) is None
    answer = await cache.get_or_generate(asked, GatedLLM(opened=True))
    assert answer.source is Source.GENERATED
    (refused,) = answer.refused
    assert refused.prompt == stored
    assert refused.refused_by
    (near, _) = await cache.nearest(asked, limit=2)
    assert near.prompt in (stored, asked)
    stats = cache.stats()
    assert stats.guarded + stats.doubted + stats.erased >= 1


@pytest.mark.parametrize(("one", "other"), TRAPS)
async def test_a_near_miss_shares_no_flight(cache: SemanticCache, one: str, other: str) -> None:
    answers = await both_asked(cache, one, other)
    assert [answer.source for answer in answers] == [Source.GENERATED] * 2


async def test_a_refused_neighbour_hides_no_farther_one(cache: SemanticCache) -> None:
    await cache.store("Where is my order 48231?", "another's")
    await cache.store("Where can I find my order 48213?", "right")
    hit = await cache.lookup("Where is my order 48213?")
    assert hit is not None
    assert hit.text == "right"
    assert [near.refused_by for near in hit.refused] == ["numbers"]


async def test_guards_can_be_left_out(text_embedder: TextEmbedder) -> None:
    config = CacheConfig(max_distance=0.2, guards=())
    async with SemanticCache.open(
        store=MemoryStore(), embedder=text_embedder, config=config
    ) as cache:
        for stored, asked in TRAPS:
            await cache.store(stored, "answer")
            assert await cache.lookup(asked) is not None


@pytest.mark.parametrize(
    ("stored", "asked"),
    [
        ("How do I reset my password?", "How can I reset my password?"),
        ("How do I cancel my order?", "What is the way to cancel my order?"),
        ("Wie kann ich mein Passwort ändern?", "Wie ändere ich mein Passwort?"),
    ],
)
async def test_a_plain_rewording_is_served(cache: SemanticCache, stored: str, asked: str) -> None:
    await cache.store(stored, "answer")
    hit = await cache.lookup(asked)
    assert hit is not None
    assert hit.source is Source.SEMANTIC
