"""Ours without flights: find, else call the LLM and store, embedding once."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.contenders import Contender, Generate, Setup, ours

ENVIRONMENT = ours.ENVIRONMENT
PACKAGES = ours.PACKAGES


class _Flightless(ours.Ours):
    async def get_or_generate(self, prompt: str, generate: Generate) -> str:
        from semcache_async.request import Request
        from semcache_async.types import Scope

        tiers = self.cache._tiers
        request = Request.make(prompt, Scope(), (), None, None, self.cache.config)
        found = await tiers.find(request)
        if found is not None:
            return found.text
        began = time.time()
        text = await generate(prompt)
        await tiers.keep(request, text, began)
        return text


@asynccontextmanager
async def open_contender(setup: Setup) -> AsyncIterator[Contender]:
    async with ours.open_ours(setup, _Flightless) as opened:
        opened.about += ", no flights"
        yield opened
