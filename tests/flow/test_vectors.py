"""Texts to vectors for many callers: packed, remembered, and honest about what cannot be read."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from semcache_async import CacheConfig, SemanticCache, Source
from semcache_async.embed import TextEmbedder
from semcache_async.flow.vectors import Vectors, open_vectors
from semcache_async.testing import AngleEmbedder, MemoryStore

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]


async def echo(prompt: str) -> str:
    return f"answer to {prompt}"


async def test_equal_texts_are_embedded_once_and_remembered() -> None:
    embedder = AngleEmbedder()
    async with open_vectors(embedder, remembered=2) as vectors:
        embedder.calls.clear()
        await asyncio.gather(*[vectors.vector("at 1") for _ in range(50)])
        first = await vectors.vector("at 1")
        await vectors.vector("at 2")
        assert await vectors.vector("at 1") is first
        await vectors.vector("at 3")  # forgets the least recently used: 2
        await vectors.vector("at 1")
        await vectors.vector("at 2")
        assert embedder.calls == [["at 1"], ["at 2"], ["at 3"], ["at 2"]]
        assert vectors.hits == 3


async def test_nothing_is_remembered_when_told_so() -> None:
    embedder = AngleEmbedder()
    async with open_vectors(embedder, remembered=0) as vectors:
        embedder.calls.clear()
        for _ in range(2):
            await vectors.vector("at 1")
        assert len(embedder.calls) == 2


async def test_real_texts_are_packed_by_token(text_embedder: TextEmbedder) -> None:
    texts = [f"Why was my transfer number {n} declined today?" for n in range(200)]
    async with open_vectors(text_embedder, remembered=1_000) as vectors:
        found = await asyncio.gather(*[vectors.vector(text) for text in texts])
        packs = vectors.packer.batches
        assert vectors.packer.items == 200
        assert vectors.packer.fill > 0.7
    expected = text_embedder.embed(texts)
    matrix = np.array([vector for vector in found if vector is not None])
    assert np.min((matrix * expected).sum(axis=1)) > 0.9999
    tokens = sum(len(ids) for ids in text_embedder.tokenise(texts))
    assert packs <= 1.5 * tokens / text_embedder.token_budget + 2 * text_embedder.streams


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("word " * 300 + "a", "word " * 300 + "b"),  # alike for longer than the model reads
        ("What does 🙂 mean?", "What does 🙃 mean?"),  # alike in the model's vocabulary
    ],
    ids=["too long", "unknown characters"],
)
async def test_what_the_model_cannot_read_whole_has_the_exact_tier_only(
    text_embedder: TextEmbedder, one: str, other: str
) -> None:
    config = CacheConfig(max_distance=2.0)
    async with SemanticCache.open(
        store=MemoryStore(), embedder=text_embedder, config=config
    ) as cache:
        assert await vectors_of(cache).vector(one) is None
        for prompt, source in [
            (one, Source.GENERATED),
            (one, Source.EXACT),
            (other, Source.GENERATED),
            (other, Source.EXACT),
        ]:
            answer = await cache.get_or_generate(prompt, echo)
            assert (answer.source, answer.text) == (source, f"answer to {prompt}")


def vectors_of(cache: SemanticCache) -> Vectors:
    return cache._tiers._vectors
