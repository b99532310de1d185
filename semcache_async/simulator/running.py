"""A simulated LLM within this process."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from semcache_async.simulator.app import make_simulator
from semcache_async.simulator.options import SimulatorOptions

__all__ = ["simulated"]


@asynccontextmanager
async def simulated(options: SimulatorOptions | None = None) -> AsyncIterator[str]:
    """Its base URL, on a loopback port."""
    runner = web.AppRunner(
        make_simulator(options or SimulatorOptions()),
        access_log=None,
        handler_cancellation=True,
        shutdown_timeout=0.0,
    )
    await runner.setup()
    try:
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        await web.SockSite(runner, sock).start()
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/v1"
    finally:
        await runner.cleanup()
