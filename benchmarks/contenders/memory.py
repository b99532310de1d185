"""A cache that finds equal prompts only: the smallest contender, for tests of the machinery."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from benchmarks.contenders import Checked, Contender, NoEmbeddingError, Setup, Vectors

ENVIRONMENT = ""
PACKAGES: tuple[str, ...] = ()


class _Memory(Checked):
    about = "a dict"

    def __init__(self) -> None:
        self._answers: dict[str, str] = {}

    async def fill(self, pairs: Sequence[tuple[str, str]], vectors: Vectors | None = None) -> None:
        self._answers.update(pairs)

    async def lookup(self, prompt: str) -> str | None:
        await asyncio.sleep(0)
        return self._answers.get(prompt)

    async def store(self, prompt: str, answer: str) -> None:
        self._answers[prompt] = answer

    async def embed(self, prompt: str) -> None:
        raise NoEmbeddingError("a dict embeds nothing")


@asynccontextmanager
async def open_contender(setup: Setup) -> AsyncIterator[Contender]:
    yield _Memory()
