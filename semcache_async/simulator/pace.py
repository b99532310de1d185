"""Sending a simulated upstream's answer at its pace, whole or in part."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable

from aiohttp import web

__all__ = ["first_bytes", "hang_up", "reset", "send"]

_TICK_S = 0.002
"""The shortest wait; pieces due within it go out together."""


async def send(
    response: web.StreamResponse,
    pieces: list[bytes],
    step_s: float,
    *,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Write the pieces, ``step_s`` apart."""
    if not step_s:
        await response.write(b"".join(pieces))
        return
    size = max(1, round(_TICK_S / step_s))
    for at in range(0, len(pieces), size):
        if at:
            await sleep(max(step_s, _TICK_S))
        await response.write(b"".join(pieces[at : at + size]))


def first_bytes(pieces: list[bytes], count: int) -> list[bytes]:
    """The pieces as far as the first ``count`` bytes."""
    kept = []
    for piece in pieces:
        kept.append(piece[:count])
        count -= len(kept[-1])
    return [piece for piece in kept if piece]


def hang_up(request: web.BaseRequest) -> None:
    """Close the connection once what was written is sent."""
    if request.transport is not None:
        request.transport.close()


def reset(request: web.BaseRequest) -> None:
    """End the connection as if this side had lost it, whatever is not sent yet."""
    if request.transport is not None:
        at_once = struct.pack("ii", 1, 0)
        request.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, at_once
        )
        request.transport.abort()
