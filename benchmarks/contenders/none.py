"""No cache: the LLM answers everything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from benchmarks.contenders import Contender, Generate, NoEmbeddingError, Setup, Vectors

ENVIRONMENT = ""
PACKAGES: tuple[str, ...] = ()


class _None:
    about = "no cache"

    async def fill(self, pairs: Sequence[tuple[str, str]], vectors: Vectors | None = None) -> None:
        """Keeps nothing."""

    async def lookup(self, prompt: str) -> str | None:
        return None

    async def embed(self, prompt: str) -> None:
        raise NoEmbeddingError("no cache embeds nothing")

    async def get_or_generate(self, prompt: str, generate: Generate) -> str:
        return await generate(prompt)


@asynccontextmanager
async def open_contender(setup: Setup) -> AsyncIterator[Contender]:
    yield _None()
