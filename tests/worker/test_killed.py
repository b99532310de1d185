"""Workers that are killed lose nothing. ``python -m tests.worker.killed 100`` is the long run."""

from __future__ import annotations

import pytest

from tests.worker.killed import kill_and_count

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Of this process; the workers have their own."""
    return "asyncio"


async def test_every_event_is_applied(redis_url: str, name: str) -> None:
    report = await kill_and_count(redis_url, name, kills=5)
    assert (report.kills, report.is_whole) == (5, True), report
    assert report.events > 0
    assert report.unreadable > 0
