"""Pages of docs/integrations, as they stand."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import semcache_async
from semcache_async import CacheConfig
from semcache_async.embed import TextEmbedder
from tests.serve.running import live

PAGES = Path(semcache_async.__file__).parents[1] / "docs" / "integrations"
Printed = Callable[[str], Awaitable[list[str]]]
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SERVICE = "http://localhost:8080"


@pytest.fixture
async def printed(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, name: str, text_embedder: TextEmbedder
) -> Printed:
    """What the programs of a page print, each run as one, and as a block below it says: any Redis
    is this one, the service one with a simulated LLM."""
    from semcache_async import store

    opened = store.open_redis
    monkeypatch.setattr(store, "open_redis", lambda _url, *rest: opened(redis_url, *rest))
    monkeypatch.setattr("semcache_async.embed.load_embedder", lambda *_, **__: text_embedder)
    monkeypatch.setitem(CacheConfig.__init__.__kwdefaults__, "name", name)  # type: ignore[arg-type]

    async def run(page: str) -> list[str]:
        text = (PAGES / page).read_text(encoding="utf-8")
        if SERVICE not in text:
            return await all_of(page, text)
        near: dict[str, Any] = {"max_distance": 0.12}
        serving = live(redis_url, f"{name}-service", embedder=text_embedder, cache=near)
        async with serving as service:
            return await all_of(page, text.replace(SERVICE, service.url))

    return run


async def all_of(page: str, text: str) -> list[str]:
    printed = said = ""
    for language, block in BLOCK.findall(text):
        if language == "text":
            assert printed == block
            continue
        output, code = io.StringIO(), compile(block, page, "exec")
        with contextlib.redirect_stdout(output):
            await asyncio.to_thread(exec, code, {"__name__": "__main__"})
        printed = output.getvalue()
        said += printed
    return said.splitlines()
