"""Shared by all tests: both event loops, one real Redis, and a watch for leftovers."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import settings

from semcache_async.config import CacheConfig
from semcache_async.embed import TextEmbedder, default_embedder
from semcache_async.store.embedded import embedded_redis

settings.register_profile("steady", derandomize=True)  # one commit, one verdict
settings.load_profile("steady")

PATIENT = {"store_timeout_s": 30.0, "lookup_budget_s": 30.0}
"""Defaults of all tests but those of outages, which give their own: a busy machine is no outage."""
CacheConfig.__init__.__kwdefaults__.update(PATIENT)  # type: ignore[union-attr]

DEBUGGED = ("flow", "fresh", "sharing")
"""Where asyncio watches every step; elsewhere that would only double the time."""


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    name, options = request.param
    debugs = not options and request.path.parent.name in DEBUGGED
    return name, {"debug": True} if debugs else options


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis with Search, one for the whole session: SEMCACHE_TEST_REDIS_URL's, or embedded."""
    if url := os.environ.get("SEMCACHE_TEST_REDIS_URL"):
        yield url
        return
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(embedded_redis()) as url,
    ):
        yield url


@pytest.fixture
def name() -> str:
    """A cache name of this test's own."""
    return f"test-{secrets.token_hex(8)}"


@pytest.fixture
async def no_leftovers() -> AsyncIterator[None]:
    """Fails a test that leaves tasks behind."""
    yield
    await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() if "TestRunner" not in repr(task)]
    assert not left, f"left behind: {left}"


@pytest.fixture(scope="session")
def text_embedder() -> TextEmbedder:
    """The real model, as ``open()`` would use it."""
    return default_embedder()
