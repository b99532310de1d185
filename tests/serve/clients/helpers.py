"""What the tests of clients share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio.to_thread
import pytest
from aiohttp import web

from semcache_async.simulator.pace import send
from tests.serve.clients.asking import Asking
from tests.serve.running import Live

__all__ = ["Gate", "asked", "failure", "in_thread", "statuses", "whole"]


class Gate:
    """Where the upstream waits in the middle of each stream."""

    def __init__(self) -> None:
        self.reached = 0
        self._open = asyncio.Event()

    async def send(self, response: web.StreamResponse, pieces: list[bytes], step_s: float) -> None:
        half = len(pieces) // 2
        await send(response, pieces[:half], step_s)
        self.reached += 1
        await self._open.wait()
        await send(response, pieces[half:], step_s)

    def open(self) -> None:
        self._open.set()


def asked(prompt: str, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **fields}


async def in_thread(work: Callable[[], None]) -> None:
    await anyio.to_thread.run_sync(work)


async def whole(asking: Asking, prompt: str) -> str:
    """The text of a stream."""
    return "".join([piece async for piece in asking.stream(prompt)])


async def failure(work: Awaitable[object]) -> Exception:
    try:
        got = await work
    except Exception as error:
        return error
    pytest.fail(f"it got {got!r}")


def statuses(service: Live) -> dict[str, int]:
    stats = service.service.cache.stats()
    counted = {
        name: getattr(stats, name)
        for name in ("generated", "exact", "semantic", "shared", "bypassed", "failed")
    }
    return {name: count for name, count in counted.items() if count}
