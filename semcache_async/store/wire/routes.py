"""How a new connection finds its server: there is one, or sentinels know which."""

from __future__ import annotations

import asyncio
from typing import Protocol

import redis.asyncio

from semcache_async.errors import StoreAuthError, StoreError, StoreUnavailableError
from semcache_async.store.wire.address import Address, Node
from semcache_async.store.wire.connecting import connect, connected, connection_pool
from semcache_async.store.wire.line import Line, Lines

__all__ = ["Direct", "Route", "route_to"]


class Route(Protocol):
    """The way to one server."""

    @property
    def moves(self) -> bool:
        """May it lead to another server next time?"""

    async def connect(self, owner: Lines | None, timeout_s: float) -> Line:
        """A new connection, which belongs to ``owner``. Raises ``StoreUnavailableError`` or
        ``StoreAuthError``."""


def route_to(address: Address, timeout_s: float) -> Route:
    """Raises ``ConfigError`` for options that mean nothing."""
    if address.kind == "sentinel":
        return Sentinels(address, timeout_s)
    return Direct(address.server(), timeout_s)


class Direct:
    """To the server of a URL."""

    moves = False

    def __init__(self, url: str, timeout_s: float) -> None:
        self._factory = connection_pool(url, timeout_s)

    async def connect(self, owner: Lines | None, timeout_s: float) -> Line:
        return await connect(self._factory, owner, timeout_s)


class Sentinels:
    """To whom the sentinels call the master, if it says so itself. They are asked for every new
    connection, the one that knew last first; each has its share of the time."""

    moves = True

    def __init__(self, address: Address, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._sentinels = [
            (node, connection_pool(address.sentinel(node), timeout_s)) for node in address.nodes
        ]
        self._master(address.nodes[0])  # its options are wrong now, or never

    async def connect(self, owner: Lines | None, timeout_s: float) -> Line:
        share_s = timeout_s / len(self._sentinels)
        failures: list[str] = []
        for place, (node, sentinel) in enumerate(self._sentinels):
            try:
                async with asyncio.timeout(share_s):
                    master = await self._ask(sentinel)
                    line = await connect(self._master(master), owner, share_s, master=True)
            except StoreAuthError:
                raise
            except (StoreError, TimeoutError) as error:
                failures.append(f"{node[0]}:{node[1]}: {str(error) or 'no answer in time'}")
                continue
            self._sentinels.insert(0, self._sentinels.pop(place))
            return line
        raise StoreUnavailableError(
            f"No sentinel leads to a master of {self._address.service!r} now "
            f"({'; '.join(failures)}). During a failover that passes by itself; else look at "
            f"SENTINEL MASTERS, and at the hosts and the service in the URL."
        )

    async def _ask(self, sentinel: redis.asyncio.ConnectionPool) -> Node:
        service = self._address.service
        question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", service)
        connection, named = await connected(sentinel, self._timeout_s, *question)
        await connection.disconnect(nowait=True)
        if not isinstance(named, list):
            raise StoreUnavailableError(f"it knows no service {service!r}")
        host, port = named
        return host.decode(), int(port)

    def _master(self, node: Node) -> redis.asyncio.ConnectionPool:
        return connection_pool(self._address.server(node), self._timeout_s)
