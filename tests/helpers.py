"""What several test files need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from benchmarks.calls import counted
from semcache_async import SemanticCache
from semcache_async.stats import Stats
from semcache_async.types import Answer

SLOW_ON_DEBUG = pytest.mark.parametrize(
    "anyio_backend", [pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")]
)
"""For tests of many thousand steps: on one loop, and not on the one that watches each step."""


class GatedLLM:
    """An LLM whose calls wait until they are let go."""

    def __init__(self, *, opened: bool = False) -> None:
        self.prompts: list[str] = []
        self.cancelled = 0
        self.gate = asyncio.Event()
        self.error: BaseException | None = None
        if opened:
            self.gate.set()

    async def __call__(self, prompt: str) -> str:
        self.prompts.append(prompt)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return f"answer to {prompt}"


async def both_asked(cache: SemanticCache, one: str, other: str) -> list[Answer]:
    """The answers to two who ask at once, once the LLM was called for both."""
    llm = GatedLLM()
    tasks = [asyncio.create_task(cache.get_or_generate(prompt, llm)) for prompt in (one, other)]
    await until(lambda: len(llm.prompts) == 2)
    llm.gate.set()
    return await asyncio.gather(*tasks)


async def until(condition: Callable[[], bool]) -> None:
    """Let others run until ``condition`` holds; a test's time limit bounds it."""
    while not condition():  # noqa: ASYNC110 - any state may be waited for
        await asyncio.sleep(0)


def check_sums(cache: SemanticCache) -> Stats:
    """The counters add up, and nothing is under way."""
    stats = cache.stats()
    assert stats.requests == sum(
        (
            *(stats.exact, stats.semantic, stats.shared, stats.generated),
            *(stats.bypassed, stats.shed, stats.failed),
        )
    )
    assert (stats.flights, stats.waiting, stats.queued) == (0, 0, 0)
    return stats


def calls(action: Callable[[], object]) -> int:
    """Calls of Python functions and of built-ins: work, counted instead of timed."""
    with counted() as made:
        action()
    return made.count
