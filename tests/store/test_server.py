"""A Redis that is known to lack security fixes is said, unless nobody else can reach it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from semcache_async.store.wire.server import advice, is_private
from tests.faults.proxy import proxied
from tests.store.helpers import open_store


def hello(version: str, server: bytes = b"redis") -> dict[bytes, Any]:
    return {b"server": server, b"version": version.encode(), b"proto": 3}


@pytest.mark.parametrize(
    ("version", "newer"),
    [
        ("6.2.22", "6.2.23"),
        ("7.0.15", "8.8.1"),
        ("7.2.4", "7.2.15"),
        ("7.4.9", "7.4.10"),
        ("8.0.6", "8.8.1"),
        ("8.2.7", "8.2.8"),
        ("8.6.2", "8.6.5"),
        ("8.8.0", "8.8.1"),
        ("8.8.0-rc1", "8.8.1"),
    ],
)
def test_an_old_one_is_told_what_to_become(version: str, newer: str) -> None:
    told = advice(hello(version))
    assert told is not None
    assert f"This Redis is {version}," in told
    assert f"Update it to {newer} or later" in told


@pytest.mark.parametrize(
    "answer",
    [
        *[hello(version) for version in ("6.2.23", "7.2.15", "7.4.10", "8.2.9", "8.8.1")],
        *[hello(version) for version in ("8.10.0", "9.0.0", "", "unstable", "255.255")],
        hello("7.2.4", b"valkey"),
        {},
        None,
        [b"server", b"redis"],
    ],
)
def test_nothing_is_said_of_others(answer: Any) -> None:
    assert advice(answer) is None


@pytest.mark.parametrize(("mode", "private"), [(0o700, True), (0o750, False), (0o755, False)])
def test_who_can_reach_a_socket(tmp_path: Path, mode: int, private: bool) -> None:
    tmp_path.chmod(mode)
    assert is_private(f"unix://{tmp_path}/redis.sock") is private


@pytest.mark.parametrize("url", ["redis://localhost:6379/0", "rediss://h", "unix:///no/such/s"])
def test_everybody_may_reach_a_port(url: str) -> None:
    assert not is_private(url)


@pytest.mark.anyio
@pytest.mark.usefixtures("no_leftovers")
async def test_it_is_said_once_at_the_start(
    redis_url: str, name: str, client: redis.asyncio.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    version = (await client.info("server"))["redis_version"]
    told = advice(hello(version))
    async with open_store(redis_url, name):
        pass
    assert not caplog.records
    async with proxied(redis_url) as (_, url), open_store(url, name):
        pass
    assert [record.getMessage() for record in caplog.records] == ([] if told is None else [told])
