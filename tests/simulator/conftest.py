"""What the simulator's tests share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from semcache_async.simulator import SimulatorOptions, make_simulator
from tests.simulator.helpers import AT_ONCE, Upstream


@pytest.fixture
def options() -> SimulatorOptions:
    return AT_ONCE


@pytest.fixture
async def upstream(options: SimulatorOptions) -> AsyncIterator[Upstream]:
    async with TestServer(make_simulator(options)) as server, aiohttp.ClientSession() as session:
        yield Upstream(server, session)
    await asyncio.sleep(0)
