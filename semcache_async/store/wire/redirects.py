"""Sending to the master of a partition, wherever in a Redis Cluster it is.

A partition's keys carry one hash tag, so they lie in one slot, and their index, which Search keeps
for a node's own keys, beside them. What a node refuses, as it no longer has the slot, is sent again
to who has, within the same time limit. While a slot moves, reads follow ``ASK``; transactions
cannot, and are refused until it has moved.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from semcache_async.errors import StoreError, StoreUnavailableError
from semcache_async.store.wire.cluster import Cluster, slot_of
from semcache_async.store.wire.line import Command, Reply
from semcache_async.store.wire.pipelines import PING, ServerPipelines, ServerSession
from semcache_async.store.wire.replies import (
    AbortedError,
    AskError,
    DownError,
    MovedError,
    TryAgainError,
)

__all__ = ["ClusterPipelines"]

_HOPS = 5
"""How often a command may be sent elsewhere."""
_TRY_AGAIN_S = 0.02
_REFUSALS = {MovedError, AskError, TryAgainError}
_TELLING = {*_REFUSALS, DownError}
"""Replies that say something of the slot."""


class ClusterPipelines:
    """``wire.RedisPipelines`` to the master of a partition."""

    def __init__(self, cluster: Cluster, partition: str) -> None:
        self._cluster = cluster
        self._slot = slot_of(partition)
        self.servers = cluster.servers
        self.deadline = cluster.deadline

    @property
    def connections(self) -> int:
        return self._cluster.connections

    def at(self, partition: str) -> ClusterPipelines:
        return ClusterPipelines(self._cluster, partition)

    async def execute(
        self, commands: Sequence[Command], *, again: bool = True, until: float | None = None
    ) -> list[Reply]:
        until = self.deadline() if until is None else until
        replies: list[Reply] = [None] * len(commands)
        left: Sequence[int] = range(len(commands))
        failed = False
        for _ in range(_HOPS):
            pool = await self._cluster.owner(self._slot, until)
            try:
                part = commands if len(left) == len(commands) else [commands[n] for n in left]
                said = await pool.execute(part, again=again, until=until)
            except StoreUnavailableError:
                self._cluster.doubt(self._slot)
                if not again or failed:
                    raise
                failed = True  # once more, wherever the slot is by now
                continue
            tells = not _TELLING.isdisjoint(map(type, said))
            if not tells and len(said) == len(commands):
                return said
            for n, reply in zip(left, said, strict=True):
                replies[n] = reply
            if not tells:
                break
            self._cluster.learn(self._slot, said, pool)
            left = _refused(left, said)
            if not any(type(reply) is AbortedError for reply in said):
                left = await self._follow(pool, commands, left, replies, until)
            if not left:
                break
            if any(type(replies[n]) is TryAgainError for n in left):
                await asyncio.sleep(_TRY_AGAIN_S)
        return replies

    @asynccontextmanager
    async def session(self) -> AsyncIterator[ClusterSession]:
        try:
            async with asyncio.timeout_at(self.deadline()), AsyncExitStack() as stack:
                yield ClusterSession(self._cluster, self._slot, stack)
        except TimeoutError:
            raise StoreUnavailableError("The Redis Cluster did not answer in time.") from None

    async def listen(
        self, command: Command, heard: Callable[[list[Any]], None], *, pulse: Command = PING
    ) -> None:
        pool = await self._cluster.owner(self._slot, self.deadline())
        try:
            await pool.listen(command, heard, pulse=pulse)
        except StoreError as error:
            self._cluster.learn(self._slot, [error], pool)
            if isinstance(error, StoreUnavailableError):
                self._cluster.doubt(self._slot)
            raise

    async def ask(
        self, commands: Callable[[], Sequence[Command]], *, wait_s: float
    ) -> AsyncGenerator[list[Reply], None]:
        pool = await self._cluster.owner(self._slot, self.deadline())
        try:
            async for replies in pool.ask(commands, wait_s=wait_s):
                self._cluster.learn(self._slot, replies, pool)
                yield replies
        except StoreUnavailableError:
            self._cluster.doubt(self._slot)
            raise

    async def _follow(
        self,
        pool: ServerPipelines,
        commands: Sequence[Command],
        left: Sequence[int],
        replies: list[Reply],
        until: float,
    ) -> Sequence[int]:
        """Ask where the slot is moving to; what is left then."""
        asks = [n for n in left if type(replies[n]) is AskError]
        if not asks:
            return left
        node = self._cluster.named(replies[asks[0]].node, pool)
        pairs = [command for n in asks for command in (_ASKING, commands[n])]
        said = await self._cluster.pool(node).execute(pairs, until=until)
        for n, reply in zip(asks, said[1::2], strict=True):
            replies[n] = reply
        return [n for n in left if n not in asks]


class ClusterSession:
    """``wire.Session`` with the master of one slot."""

    def __init__(self, cluster: Cluster, slot: int, stack: AsyncExitStack) -> None:
        self._cluster = cluster
        self._slot = slot
        self._stack = stack
        self._pool: ServerPipelines | None = None
        self._session: ServerSession | None = None

    async def execute(self, commands: Sequence[Command], *, again: bool = True) -> list[Reply]:
        if self._session is not None and self._pool is not None:
            said = await self._session.execute(commands, again=again)
            self._cluster.learn(self._slot, said, self._pool)
            return said
        failed = False
        for _ in range(_HOPS):
            pool = await self._cluster.owner(self._slot, self._cluster.deadline())
            session = await self._stack.enter_async_context(pool.session())
            try:
                said = await session.execute(commands, again=again)
            except StoreUnavailableError:
                self._cluster.doubt(self._slot)
                if not again or failed:
                    raise
                failed = True
            else:
                self._cluster.learn(self._slot, said, pool)
                if not any(type(reply) is MovedError for reply in said):
                    break
            await self._stack.aclose()
        self._pool, self._session = pool, session
        return said


_ASKING: Command = ("ASKING",)


def _refused(left: Sequence[int], said: Sequence[Reply]) -> Sequence[int]:
    """What is to be sent again: what was refused, or, where that was a part of a transaction, all
    of it, unless that cannot be done while the slot moves."""
    kinds = {type(reply) for reply in said}
    if AbortedError in kinds:
        return left if kinds & _REFUSALS and AskError not in kinds else []
    return [n for n, reply in zip(left, said, strict=True) if type(reply) in _REFUSALS]
