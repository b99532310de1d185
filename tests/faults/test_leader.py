"""A leader whose caller leaves, at every point where it may."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from semcache_async import CacheConfig, Scope, SemanticCache
from semcache_async.testing import AngleEmbedder, MemoryStore
from tests.helpers import GatedLLM, check_sums, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]


class OnTheLoop(AngleEmbedder):
    """Needs no thread, so that turns of the loop are all that passes."""

    async def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:  # type: ignore[override]
        return super().embed(texts)


@pytest.mark.parametrize("finish", [True, False])
async def test_the_leaders_caller_leaves_at_every_await_point(finish: bool) -> None:
    """However many turns of the loop it was given: its follower is answered, by one call."""
    config = CacheConfig(finish_abandoned=finish)
    async with SemanticCache.open(
        store=MemoryStore(), embedder=OnTheLoop(), config=config
    ) as cache:
        led = 0
        for turns in range(40):
            llm, scope = GatedLLM(), Scope(tenant=str(turns))
            leader = asyncio.create_task(cache.get_or_generate("at 0", llm, scope=scope))
            follower = asyncio.create_task(cache.get_or_generate("x at 1", llm, scope=scope))
            for _ in range(turns):
                await asyncio.sleep(0)
            led += llm.prompts == ["at 0"]
            leader.cancel()
            await asyncio.wait([leader])
            await until(lambda: len(llm.prompts) == 1)  # noqa: B023 - waited for at once
            llm.gate.set()
            answer = await follower
            assert answer.text in ("answer to at 0", "answer to x at 1")
            await until(lambda: cache.stats().flights == 0)
            assert len(llm.prompts) == 1
        assert 0 < led < 40
        check_sums(cache)
