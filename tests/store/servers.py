"""Redis servers of a test's own on loopback: one, a master with replicas and sentinels, or a
cluster."""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import redis.asyncio

from semcache_async.store.embedded._place import _find_binaries

_SLOTS = 16_384
NODE_TIMEOUT_MS = 1_000
LIMIT_S = 60.0
"""How long anything that servers do among themselves may take."""


def free_port() -> int:
    """Below those of outgoing connections, which would take it before the server does."""
    while True:
        with socket.socket() as sock, suppress(OSError):
            sock.bind(("127.0.0.1", random.randrange(20_000, 32_000)))
            return int(sock.getsockname()[1])


class Server:
    """One process, asked over a client of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port
        self.client = redis.asyncio.Redis(port=port, protocol=3, socket_timeout=5)

    async def ask(self, *command: str | int) -> Any:
        return await self.client.execute_command(*command)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """From now on it answers nothing, as if no packet arrived."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    async def role(self) -> str:
        return str((await self.client.info("replication"))["role"])


@asynccontextmanager
async def server(directory: Path, *options: str, sentinel: bool = False) -> AsyncIterator[Server]:
    """A server with Search, or a sentinel, that answers."""
    one = _start(directory, options, sentinel=sentinel)
    try:
        await _answers(one)
        yield one
    finally:
        one.kill()
        await one.client.aclose()


def _start(directory: Path, options: Sequence[str], *, sentinel: bool) -> Server:
    port = free_port()
    home = directory / str(port)
    home.mkdir(parents=True)
    binary, module = _find_binaries()
    words = ["port", str(port), "bind", "127.0.0.1", "dir", str(home), "save", "", *options]
    if not sentinel:
        words += ["loadmodule", module, "locale-collate", "C", "repl-diskless-sync-delay", "0"]
    config = home / "redis.conf"
    config.write_text("")
    command = [binary, str(config), *(["--sentinel"] if sentinel else [])]
    for name, value in zip(words[::2], words[1::2], strict=True):
        command += [f"--{name}", *value.split(" ")]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    return Server(process, port)


@asynccontextmanager
async def servers(
    directory: Path, count: int, *options: str, sentinel: bool = False
) -> AsyncIterator[list[Server]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(server(directory, *options, sentinel=sentinel))
            for _ in range(count)
        ]


@asynccontextmanager
async def watched(
    directory: Path, *, replicas: int = 2, sentinels: int = 3, service: str = "main"
) -> AsyncIterator[tuple[list[Server], list[Server]]]:
    """A master, the first, with replicas that are in step; and sentinels that know them all."""
    async with (
        servers(directory, 1 + replicas) as data,
        servers(directory, sentinels, sentinel=True) as watchers,
    ):
        for replica in data[1:]:
            await replica.ask("REPLICAOF", "127.0.0.1", data[0].port)
        for one in watchers:
            monitor = (
                "SENTINEL",
                "MONITOR",
                service,
                "127.0.0.1",
                data[0].port,
                sentinels // 2 + 1,
            )
            await one.ask(*monitor)
            for name, value in (("down-after-milliseconds", 500), ("failover-timeout", 5_000)):
                await one.ask("SENTINEL", "SET", service, name, value)
        for one in watchers:
            await until_equal(_known(one, service), (str(replicas), str(sentinels - 1)))
        for replica in data[1:]:
            await until_equal(_link(replica), "up")
        yield data, watchers


@asynccontextmanager
async def cluster(directory: Path, *, replicas: int = 0) -> AsyncIterator[list[Server]]:
    """Three masters that share the slots in order, and then replicas, the first of the last."""
    options = ["cluster-enabled", "yes", "cluster-node-timeout", str(NODE_TIMEOUT_MS)]
    options += ["cluster-replica-validity-factor", "0"]
    async with AsyncExitStack() as stack:
        bus_ports = [free_port() for _ in range(3 + replicas)]
        nodes = [
            await stack.enter_async_context(server(directory, *options, "cluster-port", str(port)))
            for port in bus_ports
        ]
        for number, node in enumerate(nodes[:3]):
            first, last = number * _SLOTS // 3, (number + 1) * _SLOTS // 3 - 1
            await node.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
            await node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in nodes[1:]:
            await node.ask("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, bus_ports[0])
        for node in nodes:
            await until_equal(_size(node), (3 + replicas, "ok"))
        masters = [await id_of(node) for node in nodes[:3]]
        for number, replica in enumerate(nodes[3:]):
            await replica.ask("CLUSTER", "REPLICATE", masters[2 - number % 3])
        for number, replica in enumerate(nodes[3:]):
            await until_equal(_link(replica), "up")
            for node in nodes:
                await until_equal(_knows(node, masters[2 - number % 3]), True)
        yield nodes


async def until_equal(ask: Callable[[], Awaitable[Any]], wanted: object) -> None:
    """Wait until what ``ask`` gives is as wanted, or raise ``TimeoutError``."""
    async with asyncio.timeout(LIMIT_S):
        while await ask() != wanted:  # noqa: ASYNC110 - servers tell nobody
            await asyncio.sleep(0.02)


def _known(sentinel: Server, service: str) -> Callable[[], Awaitable[tuple[str, str]]]:
    async def ask() -> tuple[str, str]:
        state: Any = await sentinel.client.sentinel_master(service)
        return str(state["num-slaves"]), str(state["num-other-sentinels"])

    return ask


def _link(replica: Server) -> Callable[[], Awaitable[object]]:
    async def ask() -> object:
        return (await replica.client.info("replication")).get("master_link_status")

    return ask


def _size(node: Server) -> Callable[[], Awaitable[tuple[int, str]]]:
    async def ask() -> tuple[int, str]:
        said: Any = await node.ask("CLUSTER INFO")
        info = said if isinstance(said, dict) else _lines(said)
        return int(info["cluster_known_nodes"]), str(info["cluster_state"])

    return ask


def _knows(node: Server, master: str) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return len(await node.ask("CLUSTER REPLICAS", master)) > 0

    return ask


def _lines(said: bytes) -> dict[str, str]:
    return dict(line.split(":", 1) for line in said.decode().splitlines() if ":" in line)


async def id_of(node: Server) -> str:
    """What the cluster calls a node."""
    said: bytes = await node.ask("CLUSTER", "MYID")
    return said.decode()


async def _answers(one: Server) -> None:
    while True:
        try:
            await one.client.ping()
            return
        except redis.exceptions.RedisError:
            assert one.process.poll() is None, "it has ended; its log says why"
            await asyncio.sleep(0.02)


def endpoints(nodes: Sequence[Server]) -> str:
    """As they stand in a URL."""
    return ",".join(f"127.0.0.1:{node.port}" for node in nodes)
