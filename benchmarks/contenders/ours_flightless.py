"""Ours without flights: find, else call the LLM and store. Its memory of embeddings is on, so that
a prompt is embedded once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.contenders import Contender, Generate, Setup, ours

ENVIRONMENT = ours.ENVIRONMENT
PACKAGES = ours.PACKAGES


class _Flightless(ours.Ours):
    async def get_or_generate(self, prompt: str, generate: Generate) -> str:
        found = await self.cache.lookup(prompt)
        if found is not None:
            return found.text
        text = await generate(prompt)
        await self.cache.store(prompt, text)
        return text


@asynccontextmanager
async def open_contender(setup: Setup) -> AsyncIterator[Contender]:
    async with ours.open_ours(setup, _Flightless, embedding_cache_size=10_000) as opened:
        opened.about += ", no flights"
        yield opened
