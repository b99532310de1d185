"""A TCP proxy whose faults are switched while it runs, in front of a real Redis or HTTP service."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Literal
from urllib.parse import unquote, urlsplit

__all__ = ["Proxy", "proxied"]

Way = Literal["requests", "replies"]
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
_AT_ONCE = struct.pack("ii", 1, 0)


class _Link:
    """One client's connection and the one that it leads to."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.forgotten = False
        """Nothing passes any more, and nobody was told."""

    def reset(self) -> None:
        """End both, as if a host had lost them: neither side reads what is under way."""
        for writer in (self.client, self.server):
            sock = writer.transport.get_extra_info("socket")
            if sock is not None and sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            writer.transport.abort()


class Proxy:
    """Passes on what comes, but for its faults. They concern connections that are open already,
    too, from the next piece that comes there."""

    def __init__(self, connect: Connect) -> None:
        self.latency_s = 0.0
        """What every piece waits, either way."""
        self.trickle: tuple[int, float] | None = None
        """Replies come in pieces of so many bytes, so many seconds apart."""
        self.black_hole = False
        """What comes is taken and lost, either way; new connections are taken, too."""
        self.refuses = False
        """New connections are ended at once."""
        self.opened = 0
        """Connections passed on so far."""
        self.passed: dict[Way, int] = {"requests": 0, "replies": 0}
        """Bytes."""
        self.resets = 0
        self._left: dict[Way, int] = {}
        self._connect = connect
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def open(self) -> int:
        """Connections that are passed on now."""
        return len(self._links)

    def reset_after(self, way: Way, count: int) -> None:
        """Pass on ``count`` bytes more that way, over all connections, and reset the connection
        that brings the next one; this happens once."""
        self._left[way] = count

    def forget(self) -> None:
        """Drop the open connections and tell nobody: what clients send there is lost, as by a
        middlebox that was restarted."""
        for link in self._links:
            link.forgotten = True
            link.server.close()

    def reset(self) -> None:
        """Reset the open connections."""
        for link in self._links:
            link.reset()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if self.refuses:
                return
            if self.black_hole:
                while await reader.read(1 << 16):
                    pass
                return
            back, there = await self._connect()
            link = _Link(writer, there)
            self._links.add(link)
            self.opened += 1
            try:
                replies = asyncio.create_task(self._carry(link, "replies", back, writer))
                try:
                    await self._carry(link, "requests", reader, there)
                finally:
                    replies.cancel()
                    await asyncio.gather(replies, return_exceptions=True)
            finally:
                self._links.discard(link)
                there.close()
        except (OSError, RuntimeError, asyncio.CancelledError):
            pass  # uvloop's word for a peer that has left is RuntimeError
        finally:
            writer.close()
            self._tasks.discard(task)

    async def _carry(
        self, link: _Link, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError, RuntimeError):
            while data := await reader.read(1 << 16):
                for piece, pause_s in self._pieces(way, data):
                    if pause_s is not None:
                        await asyncio.sleep(pause_s)
                    if link.forgotten or self.black_hole:
                        continue
                    left = self._left.get(way)
                    if left is not None:
                        self._left[way] = left - len(piece)
                    if left is not None and left < len(piece):
                        del self._left[way]
                        self.passed[way] += left
                        writer.write(piece[:left])
                        await asyncio.sleep(0)  # or nothing of it would be sent
                        self.resets += 1
                        link.reset()
                        return
                    self.passed[way] += len(piece)
                    writer.write(piece)
                    await writer.drain()
            if way == "replies" and not link.forgotten:
                writer.close()

    def _pieces(self, way: Way, data: bytes) -> Iterator[tuple[bytes, float | None]]:
        """What to pass on, and what to wait before each."""
        if self.trickle is None or way == "requests":
            yield data, self.latency_s or None
            return
        size, pause_s = self.trickle
        for start in range(0, len(data), size):
            yield data[start : start + size], pause_s

    async def aclose(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy in front of what ``url`` names (``unix://``, ``redis://``, ``http://``), and the URL
    that leads through it."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        connect: Connect = partial(asyncio.open_unix_connection, unquote(parts.path))
        scheme, path = "redis", "/0"
    else:
        connect = partial(asyncio.open_connection, parts.hostname, parts.port)
        scheme, path = parts.scheme, parts.path
    proxy = Proxy(connect)
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
    try:
        yield proxy, f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}"
    finally:
        server.close()
        for _ in range(5):  # the turns from a connection's acceptance to its handler
            await asyncio.sleep(0)
        await proxy.aclose()
        await asyncio.sleep(0)  # the sockets go a turn after their writers
