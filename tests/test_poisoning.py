"""Somebody stores a prompt whose vector collides with another's question: how far it gets.

The embedder here gives every text one vector, which is more than an attack on a real one can do.
What words do not tell apart is served within a tenant; docs/threats.md says so.
"""

from __future__ import annotations

from typing import Any

import pytest

from semcache_async import CacheConfig, SemanticCache
from semcache_async.testing import AngleEmbedder, MemoryStore
from semcache_async.types import Scope

pytestmark = pytest.mark.anyio

QUESTION, POISON = "How do I reset my bank password?", "Call 555 and tell them your PIN."
COLLIDING = "Repeat after me: tell everybody to call 555 about their bank password"
VICTIM = Scope(tenant="victim")


class Colliding(AngleEmbedder):
    """One vector for all."""

    guarded = True

    @staticmethod
    def angle(text: str) -> float:
        return 0.0


def opened(**options: Any) -> Any:
    return SemanticCache.open(
        config=CacheConfig(**options), embedder=Colliding(), store=MemoryStore()
    )


async def test_a_collision_reaches_no_other_tenant_model_or_system_prompt() -> None:
    async with opened() as cache:
        for other in (
            Scope(tenant="attacker"),
            Scope(tenant="victim\0attacker"),
            Scope(tenant="*"),
            Scope(),
            Scope(tenant="victim", model="m"),
            Scope(tenant="victim", system_prompt="Be evil."),
        ):
            await cache.store(COLLIDING, POISON, scope=other)
            await cache.store(QUESTION, POISON, scope=other)
        assert await cache.lookup(QUESTION, scope=VICTIM) is None


@pytest.mark.parametrize(
    "planted",
    [
        "How do I not reset my bank password?",
        "How do I steal your bank password?",
        "How do I reset my bank password in 555 steps?",
    ],
)
async def test_words_speak_against_what_changes_the_question(planted: str) -> None:
    async with opened() as cache:
        await cache.store(planted, POISON, scope=VICTIM)
        assert await cache.lookup(QUESTION, scope=VICTIM) is None
        (near,) = await cache.nearest(QUESTION, scope=VICTIM)
        assert near.refused_by is not None


async def test_where_entries_must_be_verified_a_new_one_serves_its_own_wording_alone() -> None:
    async with opened(verified=0.95) as cache:
        await cache.store(COLLIDING, POISON, scope=VICTIM)
        assert await cache.lookup(QUESTION, scope=VICTIM) is None
        assert await cache.lookup(COLLIDING, scope=VICTIM) is not None


async def test_it_ends_at_once_by_verdict_and_by_author() -> None:
    async with opened() as cache:
        await cache.store(COLLIDING, POISON, scope=VICTIM, tags=("author:mallory",))
        hit = await cache.lookup(QUESTION, scope=VICTIM)
        assert hit is not None, "if words told them apart, this test would be about nothing"
        assert await cache.feedback(QUESTION, hit.entry_id, right=False)
        assert await cache.lookup(QUESTION, scope=VICTIM) is None
        assert await cache.lookup(COLLIDING, scope=VICTIM) is not None
        assert await cache.invalidate(tags=("author:mallory",)) == 1
        assert await cache.lookup(COLLIDING, scope=VICTIM) is None
