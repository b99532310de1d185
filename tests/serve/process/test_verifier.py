"""``--verifier``: each process has its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from semcache_async import CacheConfig, embed
from semcache_async.serve.process.server import Part, open_service
from semcache_async.serve.settings import Settings
from semcache_async.testing import AngleEmbedder

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]


class Never:
    def score(self, pairs: Sequence[tuple[str, str]]) -> Any:
        return np.zeros(len(pairs), np.float32)


async def test_the_service_asks_its_verifier(
    redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[object] = []

    def load(model: str, *, threads: int | None) -> Never:
        loaded.append((model, threads))
        return Never()

    monkeypatch.setattr(embed, "load_verifier", load)
    settings = Settings(
        verifier="somebody/tiny",
        cache=CacheConfig(name=name, max_distance=0.01, store_timeout_s=30.0),
    )
    part = Part(redis_url=redis_url, upstream_url=None, port=0, threads=1)
    async with open_service(settings, part, embedder=AngleEmbedder()) as service:
        await service.cache.store("a at 0", "text")
        assert await service.cache.lookup("a at 1") is None
        assert loaded == [("somebody/tiny", 1)]
        assert service.cache.stats().verifier_refused == 1
