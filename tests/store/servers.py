"""Redis servers of a test's own on loopback: one, a master with replicas and sentinels, a cluster."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import redis.asyncio

from semcache_async.store._place import _find_binaries

_SLOTS = 16_384
NODE_TIMEOUT_MS = 1_000


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
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

    async def role(self) -> str:
        return str((await self.client.info("replication"))["role"])


@asynccontextmanager
async def server(directory: Path, *options: str, sentinel: bool = False) -> AsyncIterator[Server]:
    """A server with Search, or a sentinel, that answers."""
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
    one = Server(process, port)
    try:
        await _answers(one, home / "log")
        yield one
    finally:
        one.kill()
        await one.client.aclose()


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
            monitor = ("SENTINEL", "MONITOR", service, "127.0.0.1", data[0].port, sentinels // 2 + 1)
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
    """Three masters that share the slots in order, and then replicas of the first ones."""
    options = ["cluster-enabled", "yes", "cluster-node-timeout", str(NODE_TIMEOUT_MS)]
    options += ["cluster-replica-validity-factor", "0"]
    async with AsyncExitStack() as stack:
        nodes = []
        for _ in range(3 + replicas):
            bus = ("cluster-port", str(free_port()))
            nodes.append(await stack.enter_async_context(server(directory, *options, *bus)))
        for number, node in enumerate(nodes[:3]):
            first, last = number * _SLOTS // 3, (number + 1) * _SLOTS // 3 - 1
            await node.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
            await node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in nodes[1:]:
            bus_port = int((await nodes[0].client.config_get("cluster-port"))["cluster-port"])
            await node.ask("CLUSTER", "MEET", "127.0.0.1", nodes[0].port, bus_port)
        for node in nodes:
            await until_equal(_size(node), (3 + replicas, "ok"))
        for number, node in enumerate(nodes[3:]):
            await node.ask("CLUSTER", "REPLICATE", await _id(nodes[number % 3]))
        for node in nodes[3:]:
            await until_equal(_link(node), "up")
        yield nodes


async def until_equal(ask: Any, wanted: object) -> None:
    """Wait until what ``ask`` gives is as wanted; the test's time limit bounds it."""
    while await ask() != wanted:
        await asyncio.sleep(0.02)


def _known(sentinel: Server, service: str) -> Any:
    async def ask() -> tuple[str, str]:
        state = await sentinel.client.sentinel_master(service)
        return str(state["num-slaves"]), str(state["num-other-sentinels"])

    return ask


def _link(replica: Server) -> Any:
    async def ask() -> object:
        return (await replica.client.info("replication")).get("master_link_status")

    return ask


def _size(node: Server) -> Any:
    async def ask() -> tuple[int, str]:
        info = await node.client.execute_command("CLUSTER INFO")
        if not isinstance(info, dict):
            text = info.decode() if isinstance(info, bytes) else str(info)
            info = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        return int(info["cluster_known_nodes"]), str(info["cluster_state"])

    return ask


async def _id(node: Server) -> str:
    said = await node.ask("CLUSTER", "MYID")
    return said.decode() if isinstance(said, bytes) else str(said)


async def _answers(one: Server, log: Path) -> None:
    while True:
        try:
            await one.client.ping()
            return
        except redis.exceptions.RedisError:
            assert one.process.poll() is None, log.read_text(errors="replace")
            await asyncio.sleep(0.02)


def endpoints(nodes: Sequence[Server]) -> str:
    """As they stand in a URL."""
    return ",".join(f"127.0.0.1:{node.port}" for node in nodes)
