"""The nodes of a Redis Cluster, and who has which slot.

That is known from ``CLUSTER SLOTS``, which is asked for at first and again whenever the master of a
slot cannot be reached, and put right by what ``MOVED`` says.
"""

from __future__ import annotations

import asyncio
import random
from binascii import crc_hqx
from collections.abc import Callable, Sequence

from semcache_async.errors import StoreError, StoreUnavailableError
from semcache_async.store.wire.address import Address, Node
from semcache_async.store.wire.line import Reply
from semcache_async.store.wire.pipelines import ServerPipelines
from semcache_async.store.wire.replies import DownError, MovedError, checked
from semcache_async.store.wire.routes import Direct, Route

__all__ = ["Cluster", "slot_of"]

_SLOTS = 16_384
_ASKED_AT_ONCE = 5


def slot_of(partition: str) -> int:
    """The slot of all keys with this hash tag."""
    return crc_hqx(partition.encode(), 0) % _SLOTS


class Cluster:
    """Connections to the nodes, a pool each, and a map of the slots. Raises ``ConfigError`` for
    options in the URL that mean nothing."""

    def __init__(
        self, address: Address, opened: Callable[[Route], ServerPipelines], timeout_s: float
    ) -> None:
        self._address = address
        self._opened = opened
        self._timeout_s = timeout_s
        self._pools: dict[Node, ServerPipelines] = {}
        self._ranges: list[tuple[int, int, Node]] = []
        self._moved: dict[int, Node] = {}
        self._doubted: set[int] = set()
        """Slots whose master has to be asked for again before it is used."""
        self._asking: asyncio.Task[None] | None = None
        self.pool(address.nodes[0])

    @property
    def connections(self) -> int:
        return sum(pool.connections for pool in self._pools.values())

    def servers(self) -> list[ServerPipelines]:
        """Every master that is known."""
        nodes = dict.fromkeys(node for _, _, node in self._ranges)
        return [self.pool(node) for node in nodes or self._address.nodes]

    def pool(self, node: Node) -> ServerPipelines:
        """The connections to a node."""
        pool = self._pools.get(node)
        if pool is None:
            route = Direct(self._address.server(node), self._timeout_s)
            pool = self._pools[node] = self._opened(route)
        return pool

    def deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout_s

    async def owner(self, slot: int, until: float) -> ServerPipelines:
        """The pool of the node that has a slot. Raises ``StoreUnavailableError``."""
        if slot in self._doubted or not self._ranges:
            await self._ask_again(until)
        node = self._moved.get(slot)
        if node is None:
            node = next((node for first, last, node in self._ranges if first <= slot <= last), None)
        if node is None:
            self._doubted.add(slot)
            raise StoreUnavailableError(
                f"No node of the Redis Cluster serves slot {slot}. Look at CLUSTER INFO: is the "
                "cluster whole, and has it a replica for each master?"
            )
        return self.pool(node)

    def learn(self, slot: int, replies: Sequence[Reply], asked: ServerPipelines) -> None:
        """Take in what a node has said of a slot."""
        for reply in replies:
            if isinstance(reply, MovedError) and reply.slot == slot:
                self._moved[slot] = self.named(reply.node, asked)
            elif isinstance(reply, DownError):
                self._doubted.add(slot)

    def named(self, node: Node, by: ServerPipelines) -> Node:
        """A node as another names it: without a host, it means its own."""
        host = node[0] or next(one[0] for one, pool in self._pools.items() if pool is by)
        return host, node[1]

    def doubt(self, slot: int) -> None:
        """Its master cannot be reached: ask who is now, before the next use."""
        self._doubted.add(slot)

    async def aclose(self) -> None:
        """Drop every connection; what is under way fails."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
        for pool in list(self._pools.values()):
            await pool.aclose()

    async def _ask_again(self, until: float) -> None:
        """One question at a time, whoever waits for the answer."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._learn())
            self._asking.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            async with asyncio.timeout_at(until):
                await asyncio.shield(self._asking)
        except TimeoutError:
            raise StoreUnavailableError(
                "No node of the Redis Cluster said in time who serves what."
            ) from None

    async def _learn(self) -> None:
        """Ask some nodes at once; the first answer counts. Of two that contradict each other, the
        wrong one leads to ``MOVED`` or to nobody, and the next question to others."""
        masters = [node for _, _, node in self._ranges]
        known = list(dict.fromkeys([*masters, *self._address.nodes]))
        chosen = random.sample(known, min(len(known), _ASKED_AT_ONCE))
        tasks = [asyncio.create_task(self._ask(node)) for node in chosen]
        failures: list[StoreError] = []
        try:
            for asked in asyncio.as_completed(tasks):
                try:
                    self._ranges = await asked
                except StoreError as error:
                    failures.append(error)
                else:
                    self._moved.clear()
                    self._doubted.clear()
                    return
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        raise failures[0]

    async def _ask(self, node: Node) -> list[tuple[int, int, Node]]:
        pool = self.pool(node)
        rows = (await pool.execute([("CLUSTER", "SLOTS")]))[0]
        if "cluster support disabled" in str(rows):
            raise StoreError(
                f"Redis at {node[0]}:{node[1]} is in no cluster; give its URL as redis://host:port."
            )
        found = []
        for first, last, master, *_replicas in checked(rows):
            host, port = (master[0] or b"").decode(), int(master[1])
            found.append((first, last, self.named(("" if host == "?" else host, port), pool)))
        if not found:
            raise StoreUnavailableError(
                f"Redis at {node[0]}:{node[1]} serves no slot and knows nobody who does; is it in "
                "a cluster yet?"
            )
        return found
