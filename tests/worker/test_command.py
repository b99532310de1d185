"""``semcache worker`` as a process: what it says, what it shows, how it ends."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
import redis.asyncio
from typer.testing import CliRunner, Result

from semcache_async.cli import app
from tests.store.helpers import open_store, record
from tests.worker.helpers import settled

ROOT = Path(__file__).parents[2]


@pytest.fixture
def anyio_backend() -> str:
    """Of this process; the worker has its own."""
    return "asyncio"


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["worker", *arguments])


async def told(*arguments: str) -> Any:
    """What ``--status --json`` says."""
    result = await anyio.to_thread.run_sync(lambda: invoke(*arguments, "--status", "--json"))
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)["streams"]


@pytest.mark.anyio
async def test_from_the_start_to_the_end(
    client: redis.asyncio.Redis, redis_url: str, name: str
) -> None:
    stream, other = f"{name}:events", f"{name}:{{x}}:more"
    asked = ("--redis-url", redis_url, "--name", name, "--stream", stream, "--stream", other)
    started = (sys.executable, "-m", "semcache_async.cli", "worker", *asked, "--metrics-port", "0")
    process = await asyncio.create_subprocess_exec(*started, cwd=ROOT, stderr=PIPE)
    try:
        assert process.stderr is not None
        said = json.loads(await process.stderr.readline())["message"]
        port = int(re.fullmatch(r"Metrics are at http://127\.0\.0\.1:(\d+)/metrics", said)[1])  # type: ignore[index]
        assert stream in json.loads(await process.stderr.readline())["message"]
        async with open_store(redis_url, name, index="flat") as store:
            await store.put([record(store, "q", 0, tags=("t",)), record(store, "r", 9)])
            await client.xadd(stream, {"tags": "t"})
            await client.xadd(other, {"oh": "no"})
            for one in (stream, other):
                await settled(client, one, name)
            assert await store.count("a") == 1
        first, second = await told(*asked)
        assert (first["stream"], first["group"], first["lag"]) == (stream, name, 0)
        assert (first["dead"], second["dead"], second["pending"]) == (0, 1, 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        metrics = (await reader.read()).decode()
        writer.close()
        for line in (
            f'semcache_worker_events_total{{outcome="applied",stream="{stream}"}} 1.0',
            f'semcache_worker_events_total{{outcome="dead",stream="{other}"}} 1.0',
            f'semcache_worker_removed_entries_total{{stream="{stream}"}} 1.0',
            f'semcache_worker_lag{{stream="{stream}"}} 0.0',
        ):
            assert line in metrics, metrics
        process.send_signal(signal.SIGTERM)
        _, rest = await process.communicate()
        assert process.returncode == 0
        last = [json.loads(line)["message"] for line in rest.splitlines()]
        assert any(f"Events of {stream} since the start: 1 applied" in line for line in last), last
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.anyio
async def test_status_in_words_and_of_nothing(
    client: redis.asyncio.Redis, redis_url: str, name: str
) -> None:
    asked = ("--redis-url", redis_url, "--name", name, "--status")
    result = await anyio.to_thread.run_sync(invoke, *asked)
    assert result.exit_code == 1
    assert "no such key" in result.output
    await client.xadd(f"{name}:events", {"tags": "a"})
    await client.xgroup_create(f"{name}:events", "readers", 0)
    result = await anyio.to_thread.run_sync(invoke, *asked)
    assert result.exit_code == 1
    await client.xgroup_create(f"{name}:events", name, 0)
    result = await anyio.to_thread.run_sync(invoke, *asked)
    assert result.exit_code == 0
    assert re.search(r"^lag +1$", result.stdout, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--rules", "none.toml"), "none.toml cannot be read"),
        (("--redis-url", "http://x"), "The Redis URL cannot be read"),
        (("--stream-url", "redis://127.0.0.1:9"), "Cannot connect to Redis at 127.0.0.1:9"),
        (("--metrics-port", "1", "--metrics-host", "192.0.2.1"), "Cannot listen on 192.0.2.1:1"),
    ],
)
def test_what_is_wrong_from_the_start(
    redis_url: str,
    name: str,
    arguments: tuple[str, ...],
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("semcache_async.serve.process.logs.log_to_stderr", lambda: None)
    result = invoke("--name", name, "--redis-url", redis_url, *arguments)
    assert (result.exit_code, why in result.output) == (1, True), result.output
