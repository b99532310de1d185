"""What the store sends through, whatever there is at the other end: one server, the master that
sentinels name, or the nodes of a cluster."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Protocol

from semcache_async.store.keys import FIRST_PARTITION
from semcache_async.store.wire.address import read_url
from semcache_async.store.wire.cluster import Cluster
from semcache_async.store.wire.line import PATIENCE_S, SILENT_S, Command, Reply
from semcache_async.store.wire.pipelines import PING, ServerPipelines
from semcache_async.store.wire.redirects import ClusterPipelines
from semcache_async.store.wire.routes import route_to

__all__ = ["Command", "RedisPipelines", "Session", "redis_pipelines"]


class Session(Protocol):
    """One after the other, pipelines on one connection."""

    async def execute(self, commands: Sequence[Command], *, again: bool = True) -> list[Reply]:
        """A reply, or a ``StoreError``, for each command, in order. The first call finds the
        connection; what later ones send is never sent again."""


class RedisPipelines(Protocol):
    """Connections that carry any number of pipelines at once, to the server that has the keys of
    one partition."""

    @property
    def connections(self) -> int:
        """Connections open now, those for other partitions included."""

    def at(self, partition: str) -> RedisPipelines:
        """The same connections, for the keys of another partition."""

    def servers(self) -> Sequence[RedisPipelines]:
        """Each server that is known to have any keys: for commands that are about a server."""

    def deadline(self) -> float:
        """When something that begins now has to have ended, by the loop's clock."""

    async def execute(
        self, commands: Sequence[Command], *, again: bool = True, until: float | None = None
    ) -> list[Reply]:
        """A reply, or a ``StoreError``, for each command, in order.

        Without ``again``, nothing is sent twice. ``until``, by the loop's clock, is an earlier end
        than this call's own time limit. Raises ``StoreUnavailableError`` when the whole,
        connecting included, does not finish within the time limit, and ``StoreAuthError`` when
        connecting is refused.
        """

    def session(self) -> AbstractAsyncContextManager[Session]:
        """A connection and the time limit for all that is sent in the block, one block at a time.
        With one connection at most and no other use, nobody else's commands come between. The
        connection is dropped where the block raises."""

    async def listen(
        self, command: Command, heard: Callable[[list[Any]], None], *, pulse: Command = PING
    ) -> None:
        """Send ``command`` on a connection of its own and pass what is pushed there to ``heard``;
        ``pulse`` now and then, to see that it is still the right one. Returns never; raises a
        ``StoreError`` when either is refused or the connection is lost."""

    def ask(
        self, commands: Callable[[], Sequence[Command]], *, wait_s: float
    ) -> AsyncGenerator[list[Reply], None]:
        """The replies to ``commands()``, again and again, on a connection of its own; the server
        may hold each back for ``wait_s``. Ends never; raises a ``StoreError`` when the connection
        is lost."""


@asynccontextmanager
async def redis_pipelines(
    url: str,
    *,
    connections: int,
    timeout_s: float,
    silent_s: float = SILENT_S,
    patience_s: float = PATIENCE_S,
) -> AsyncIterator[RedisPipelines]:
    """Pipelines to what ``url`` names, for the first partition, that are closed at the end: up to
    ``connections`` connections to a server. Raises ``ConfigError`` for a URL that cannot be
    read."""
    address = read_url(url)
    opened = partial(
        ServerPipelines,
        connections=connections,
        timeout_s=timeout_s,
        silent_s=silent_s,
        patience_s=patience_s,
    )
    pipelines: RedisPipelines
    if address.kind == "cluster":
        cluster = Cluster(address, opened, timeout_s)
        pipelines, close = ClusterPipelines(cluster, FIRST_PARTITION), cluster.aclose
    else:
        pipelines = server = opened(route_to(address, timeout_s))
        close = server.aclose
    try:
        yield pipelines
    finally:
        await close()
