"""The service that the clients ask, and a gate in the upstream."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.serve.clients.helpers import Gate
from tests.serve.running import Live, live


@pytest.fixture
async def service(redis_url: str, name: str) -> AsyncIterator[Live]:
    """Its own retries off, so that the clients' are seen."""
    async with live(redis_url, name, upstream_retry_share=0.0) as running:
        yield running


@pytest.fixture
async def gate(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gate]:
    gate = Gate()
    monkeypatch.setattr("semcache_async.simulator.app.send", gate.send)
    yield gate
    gate.open()
