"""Pairs that look alike: what is served of them, and what a threshold alone would serve."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import anyio.to_thread
import msgspec

from semcache_async.cache import SemanticCache
from semcache_async.embed import TextEmbedder
from semcache_async.types import Answer, Scope

__all__ = ["PAIRS", "Asked", "Pair", "ask_traps"]


class Pair(NamedTuple):
    """A prompt that was answered, and one that looks like it."""

    stored: str
    asked: str
    same: bool = False
    """Does one answer serve both?"""


class Asked(NamedTuple):
    """What became of a pair."""

    pair: Pair
    distance: float
    within: bool
    """Does it lie within ``max_distance``, so that a threshold alone would serve it?"""
    served: bool
    refused_by: str | None


PAIRS = (
    Pair("How can I increase my card limit?", "How can I decrease my card limit?"),
    Pair(
        "Can I open an account with proof of address?",
        "Can I open an account without proof of address?",
    ),
    Pair(
        "How do I move money from savings to my current account?",
        "How do I move money from my current account to savings?",
    ),
    Pair("Where is my order 784512?", "Where is my order 784521?"),
    Pair(
        "whats the fee if i take $200 out of an atm abroad",
        "whats the fee if i take $2000 out of an atm abroad",
    ),
    Pair("are you open on 24 december", "are you open on 27 december"),
    Pair("How do I log out of all devices?", "How do I log out of one device?"),
    Pair("Show me laptops with at least 16 GB of RAM", "Show me laptops with at most 16 GB of RAM"),
    Pair("Known bugs in PostgreSQL 15.2", "Known bugs in PostgreSQL 15.3"),
    Pair("is 30 °C a warm bath", "is 30 °F a warm bath"),
    Pair("what does chmod +x deploy.sh do", "what does chmod -x deploy.sh do"),
    Pair(
        "What is the time complexity of merge sort?", "What is the space complexity of merge sort?"
    ),
    Pair("Who can approve a purchase request?", "How can I approve a purchase request?"),
    Pair("Is the API down?", "Was the API down?"),
    Pair(
        "Regex that matches strings made only of digits",
        "Regex that matches strings with any digit in them",
    ),
    Pair("How do I log out of all devices?", "How do I log out of every device?", same=True),
    Pair("My card isn't working abroad", "My card is not working abroad", same=True),
    Pair("How much is the passport renewal?", "What does the passport renewal cost?", same=True),
    Pair("Where is my order 784512?", "Where is my order #784512?", same=True),
)
"""A choice out of the 736 that ``benchmarks.quality`` measures, with one that gets through."""


async def ask_traps(cache: SemanticCache, scope: Scope, embedder: TextEmbedder) -> list[Asked]:
    """Store one prompt of each pair, and ask the other, each pair in a scope of its own."""

    async def ask(number: int, pair: Pair) -> Answer:
        own = msgspec.structs.replace(scope, corpus_version=f"look-alikes {number}")
        await cache.store(pair.stored, "what was stored", scope=own)
        return await cache.get_or_generate(pair.asked, _generate, scope=own)

    answers = await asyncio.gather(*(ask(number, pair) for number, pair in enumerate(PAIRS)))
    texts = [text for pair in PAIRS for text in pair[:2]]
    vectors = await anyio.to_thread.run_sync(embedder.embed, texts)
    cosines = (vectors[::2] * vectors[1::2]).sum(axis=1)
    return [
        Asked(
            pair,
            distance,
            within=distance <= cache.config.max_distance,
            served=answer.text == "what was stored",
            refused_by=answer.refused[0].refused_by if answer.refused else None,
        )
        for pair, answer, distance in zip(PAIRS, answers, (1.0 - cosines).tolist(), strict=True)
    ]


async def _generate(_prompt: str) -> str:
    return "what the LLM said"
