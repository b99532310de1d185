"""``semcache serve`` as processes: started, killed, told to end."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import redis.asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer

from semcache_async import CacheConfig
from semcache_async.errors import ConfigError
from semcache_async.serve.process.server import Part, bind, listening, open_service
from semcache_async.serve.process.worker import Assignment, encode_assignment
from semcache_async.serve.settings import Settings, UpstreamTable
from semcache_async.testing import AngleEmbedder

pytestmark = pytest.mark.anyio
once = pytest.mark.parametrize("anyio_backend", ["asyncio"], ids=["asyncio"])
"""The loop under test is the other process's."""

COMMAND = (
    *(sys.executable, "-c", "from semcache_async.cli import main; main()"),
    *("serve", "--port", "0"),
)
CHAT = {"model": "m", "messages": [{"role": "user", "content": "How do I reset my password?"}]}


def chunk(delta: str, finish_reason: str = "null") -> bytes:
    choice = f'{{"index":0,"delta":{delta},"finish_reason":{finish_reason}}}'
    head = '{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":'
    return f"data: {head}[{choice}]}}\n\n".encode()


PARTS = [
    chunk('{"role":"assistant","content":"One"}'),
    chunk('{"content":" two"}', '"stop"'),
    b"data: [DONE]\n\n",
]


class Served:
    """A running ``semcache serve``."""

    def __init__(self, process: Process, line: str) -> None:
        self.process = process
        self.line = line
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        assert found, line
        self.port = int(found[1])
        self.url = found[0]

    async def refuses(self) -> bool:
        """Nobody listens any more."""
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return True
        writer.close()
        return False


@asynccontextmanager
async def served(*arguments: str) -> AsyncIterator[Served]:
    environment = {key: value for key, value in os.environ.items() if "SEMCACHE_" not in key}
    environment |= {key: os.environ[key] for key in ("SEMCACHE_CACHE_DIR",) if key in os.environ}
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, *arguments),
        stderr=PIPE,
        env=environment,
    )
    assert process.stderr is not None
    try:
        line = (await process.stderr.readline()).decode()
        yield Served(process, line)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


class GatedUpstream:
    """Streams its first chunk at once and the others when it is let go."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(PARTS[0])
        await self.gate.wait()
        await response.write(b"".join(PARTS[1:]))
        return response


@asynccontextmanager
async def gated() -> AsyncIterator[tuple[GatedUpstream, str]]:
    """An upstream and its base URL."""
    upstream = GatedUpstream()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", upstream.answer)
    async with TestServer(app) as server:
        yield upstream, str(server.make_url("/v1"))


@asynccontextmanager
async def streaming(
    *arguments: str,
) -> AsyncIterator[tuple[Served, GatedUpstream, aiohttp.ClientResponse]]:
    """A service that is in the middle of a stream, of which one chunk was read."""
    async with (
        gated() as (upstream, url),
        aiohttp.ClientSession() as session,
        served("--upstream-url", url, *arguments) as service,
    ):
        asked = f"{service.url}/v1/chat/completions"
        async with session.post(asked, json={**CHAT, "stream": True}) as response:
            assert response.status == 200
            assert b"One" in await response.content.readuntil(b"\n\n")
            yield service, upstream, response
        upstream.gate.set()


async def wait_for(condition: Callable[[], Awaitable[bool]]) -> None:
    """Until it holds, whatever other processes take; the test's time limit bounds it."""
    while not await condition():  # noqa: ASYNC110 - another process's state has no event
        await asyncio.sleep(0.02)


@contextmanager
def heard(number: signal.Signals) -> Iterator[None]:
    """Children do not ignore it, though this process may have been started so (``nohup``)."""
    before = signal.signal(number, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(number, before)


@once
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_lets_a_stream_finish_and_keeps_its_answer(
    redis_url: str, name: str, number: signal.Signals
) -> None:
    arguments = ("--redis-url", redis_url, "--name", name)
    async with AsyncExitStack() as stack:
        stack.enter_context(heard(number))
        service, upstream, response = await stack.enter_async_context(streaming(*arguments))
        assert name not in service.line
        service.process.send_signal(number)
        await wait_for(service.refuses)
        upstream.gate.set()
        rest = await response.content.read()
        assert b" two" in rest
        assert rest.endswith(b"data: [DONE]\n\n")
        assert await service.process.wait() == 0
    async with redis.asyncio.from_url(redis_url) as admin:
        entries = [key async for key in admin.scan_iter(f"{name}:*", _type="hash")]
        assert len(entries) == 1


@pytest.mark.usefixtures("no_leftovers")
async def test_a_stream_that_takes_too_long_is_told_that_it_breaks_off(
    redis_url: str, name: str
) -> None:
    settings = Settings(drain_timeout_s=0.05, cache=CacheConfig(name=name))
    async with gated() as (upstream, url), aiohttp.ClientSession() as session:
        part = Part(redis_url=redis_url, upstream_url=url, port=0)
        async with open_service(settings, part, embedder=AngleEmbedder()) as service:
            with bind("127.0.0.1", 0) as sock:
                async with listening(service, sock):
                    asked = f"http://127.0.0.1:{sock.getsockname()[1]}/v1/chat/completions"
                    response = await session.post(asked, json={**CHAT, "stream": True})
                    assert b"One" in await response.content.readuntil(b"\n\n")
            rest = await response.content.read()
            upstream.gate.set()
        assert b'"error"' in rest
        assert b"[DONE]" not in rest


@once
async def test_a_second_signal_ends_at_once(redis_url: str, name: str) -> None:
    async with streaming("--redis-url", redis_url, "--name", name) as (service, _, _response):
        service.process.send_signal(signal.SIGTERM)
        await wait_for(service.refuses)
        service.process.send_signal(signal.SIGTERM)
        assert await service.process.wait() == 128 + signal.SIGTERM


@once
async def test_a_signal_before_anybody_is_served_ends_at_once() -> None:
    connected, ended = asyncio.Event(), asyncio.Event()

    async def never_answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await ended.wait()
        writer.close()

    async with await asyncio.start_server(never_answer, "127.0.0.1", 0) as silent:
        port = silent.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            *(*COMMAND, "--simulate-llm", "--redis-url", f"redis://127.0.0.1:{port}/0"),
            env={**os.environ, "SEMCACHE_STORE_TIMEOUT_S": "600"},
        )
        await connected.wait()
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 128 + signal.SIGTERM
        ended.set()


# -- several workers


def children(pid: int) -> set[int]:
    """Worker processes of a parent."""
    found = set()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and b"process.worker" in (path / "cmdline").read_bytes():
                found.add(int(path.name))
    return found


def alive(pids: set[int]) -> set[int]:
    """Those that still run; a zombie that nobody has waited for does not."""
    found = set()
    for pid in pids:
        with suppress(OSError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            found |= {pid} if state != "Z" else set()
    return found


async def ask(url: str) -> None:
    """One chat request over a connection of its own."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/v1/chat/completions", json=CHAT) as response,
    ):
        assert response.status == 200, await response.text()


async def counted(url: str) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/semantic-cache/metrics") as response,
    ):
        return dict(await response.json())


@once
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_workers_share_a_port_and_their_numbers_and_are_replaced() -> None:
    async with served("--simulate-llm", "--workers", "2") as service:
        assert "2 workers" in service.line
        before = children(service.process.pid)
        assert len(before) == 2
        await ask(service.url)
        await asyncio.gather(*(ask(service.url) for _ in range(31)))

        async def all_are_told() -> bool:
            return int((await counted(service.url))["requests"]) == 32

        await wait_for(all_are_told)
        told = await asyncio.gather(*(counted(service.url) for _ in range(8)))
        assert {(one["requests"], one["llm_calls"], one["workers"]) for one in told} == {(32, 1, 2)}

        victim = min(before)
        os.kill(victim, signal.SIGKILL)

        async def is_replaced() -> bool:
            return len(children(service.process.pid) - {victim}) == 2

        await wait_for(is_replaced)
        await asyncio.gather(*(ask(service.url) for _ in range(8)))
        assert (await counted(service.url))["requests"] >= 32

        workers = children(service.process.pid)
        service.process.send_signal(signal.SIGTERM)
        assert await service.process.wait() == 0
        assert not alive(workers)


@once
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_workers_end_with_a_parent_that_is_killed() -> None:
    async with served("--simulate-llm", "--workers", "2") as service:
        workers = children(service.process.pid)
        assert len(workers) == 2
        service.process.kill()
        await service.process.wait()

        async def are_gone() -> bool:
            return not alive(workers)

        await wait_for(are_gone)


@once
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_a_worker_that_hangs_is_replaced() -> None:
    hurry = ("--worker-timeout-s", "5")
    async with served("--simulate-llm", "--workers", "2", *hurry) as service:
        victim = min(children(service.process.pid))
        os.kill(victim, signal.SIGSTOP)

        async def is_replaced() -> bool:
            found = children(service.process.pid)
            return victim not in alive(found) and len(alive(found)) == 2

        await wait_for(is_replaced)
        await ask(service.url)


# -- mistakes


def test_an_assignment_survives_its_way(tmp_path: Path) -> None:
    settings = Settings(
        api_keys_file=tmp_path / "keys.toml",
        bypass_personal=("x",),
        upstream_key="sk",
        upstreams=(UpstreamTable(name="a", url="http://a", models=("a-*",), apis=("chat",)),),
        upstream_keys={"A_KEY": "sk-a"},
    )
    assignment = Assignment(settings, Part(redis_url=None, upstream_url="http://a", port=1))
    line = encode_assignment(assignment)
    assert line.count(b"\n") == 1
    read = msgspec.json.decode(line, type=Assignment, dec_hook=lambda kind, value: kind(value))
    assert read == assignment
    assert not read.settings.cache.has_distance
    for cache in (CacheConfig(max_distance=0.12), CacheConfig(target_precision=0.9)):
        told = replace(settings, cache=cache)
        line = encode_assignment(Assignment(told, assignment.part))
        read = msgspec.json.decode(line, type=Assignment, dec_hook=lambda kind, value: kind(value))
        assert (read.settings, read.settings.cache.has_distance) == (told, cache.has_distance)


def test_a_port_in_use_is_one_sentence() -> None:
    with bind("127.0.0.1", 0) as sock:
        sock.listen()
        port = sock.getsockname()[1]
        for shared in (False, True):
            with pytest.raises(ConfigError, match=rf"Cannot listen on 127\.0\.0\.1:{port}"):
                bind("127.0.0.1", port, shared=shared)
    with pytest.raises(ConfigError, match="Cannot listen on nowhere"):
        bind("nowhere.invalid", 0)
