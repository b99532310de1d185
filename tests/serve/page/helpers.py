"""The service that the page is shown by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from semcache_async.protocols import Embedder
from semcache_async.serve.service import Service
from semcache_async.simulator import SimulatorOptions
from tests.serve.running import live

__all__ = ["serving"]


@asynccontextmanager
async def serving(
    redis_url: str | None,
    name: str,
    embedder: Embedder,
    *,
    max_distance: float = 0.1,
    keys: Path | None = None,
    judge_model: str | None = None,
    **cache: Any,
) -> AsyncIterator[tuple[str, Service]]:
    """The service's URL and what its handlers share."""
    async with live(
        redis_url,
        name,
        embedder=embedder,
        simulator=SimulatorOptions(median_ms=0.0, tokens_per_s=0.0, tokens=24),
        cache={"max_distance": max_distance, "index": "hnsw", **cache},
        simulate_llm=True,
        judge_model=judge_model,
        api_keys_file=keys,
    ) as running:
        yield running.url, running.service
