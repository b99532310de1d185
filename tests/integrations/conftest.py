"""A cache for them all; and the pages of docs/integrations, as they stand."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from semcache_async import CacheConfig, SemanticCache
from semcache_async.embed import TextEmbedder
from semcache_async.testing import AngleEmbedder, GatedStore
from tests.pages import DOCS, SERVICE, blocks_of, stand_in
from tests.serve.running import live

Printed = Callable[[str], Awaitable[list[str]]]


@pytest.fixture
async def store() -> GatedStore:
    return GatedStore()


@pytest.fixture
async def cache(store: GatedStore) -> AsyncIterator[SemanticCache]:
    async with SemanticCache.open(store=store, embedder=AngleEmbedder()) as cache:
        yield cache


@pytest.fixture
async def printed(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, name: str, text_embedder: TextEmbedder
) -> Printed:
    """What the programs of a page print, each run as one, and as a block below it says: any Redis
    is this one, the service one with a simulated LLM."""
    stand_in(monkeypatch, redis_url, text_embedder)
    monkeypatch.setitem(CacheConfig.__init__.__kwdefaults__, "name", name)  # type: ignore[arg-type]

    async def run(of: str) -> list[str]:
        page = DOCS / "integrations" / of
        if SERVICE not in page.read_text(encoding="utf-8"):
            return await all_of(page, SERVICE)
        near: dict[str, Any] = {"max_distance": 0.12}
        serving = live(redis_url, f"{name}-service", embedder=text_embedder, cache=near)
        async with serving as service:
            return await all_of(page, service.url)

    return run


async def all_of(page: Path, service: str) -> list[str]:
    printed = said = ""
    for block in blocks_of(page):
        if block.language == "text":
            assert printed == block.text
        elif block.language == "python":
            output = io.StringIO()
            code = compile(block.text.replace(SERVICE, service), block.where, "exec")
            with contextlib.redirect_stdout(output):
                await asyncio.to_thread(exec, code, {"__name__": "__main__"})
            printed = output.getvalue()
            said += printed
    return said.splitlines()
