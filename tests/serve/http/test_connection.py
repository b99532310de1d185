"""What is not HTTP, and what only claims to be."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from semcache_async.serve.process.server import bind, listening
from semcache_async.serve.settings import Settings
from tests.serve.running import service_for

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

CHAT = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
def settings() -> Settings:
    return Settings(max_body_bytes=1_024)


@pytest.fixture
async def port(settings: Settings) -> AsyncIterator[int]:
    async with service_for(settings) as service:
        with bind("127.0.0.1", 0) as sock:
            async with listening(service, sock):
                yield sock.getsockname()[1]


async def answer(port: int, raw: bytes) -> bytes:
    """All that comes back until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw)
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"canary\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        f"{CHAT}Content-Length: canary\r\n\r\n".encode(),
        f"{CHAT}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n".encode(),
        f"{CHAT}Transfer-Encoding: chunked\r\n\r\ncanary\r\n".encode(),
        CHAT.encode() + b"A: b\r\n" * 1_000 + b"\r\n",
        f"{CHAT}A: {'b' * 20_000}\r\n\r\n".encode(),
    ],
    ids=range(9),
)
async def test_nonsense_is_refused_without_repeating_it(
    port: int, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    head, _, body = (await answer(port, raw)).partition(b"\r\n\r\n")
    assert b" 400 " in head.splitlines()[0]
    assert b"Python" not in head
    assert json.loads(body)["error"]["code"] == "malformed_request"
    assert b"canary" not in body
    assert "canary" not in caplog.text


async def test_a_body_that_is_too_long_is_refused_before_it_is_sent(port: int) -> None:
    head = f"{CHAT}Expect: 100-continue\r\nContent-Length: 2000\r\n\r\n".encode()
    said = await answer(port, head)
    assert said.startswith(b"HTTP/1.1 413 ")
    assert b"body_too_large" in said


async def test_other_bodies_are_waited_for(port: int) -> None:
    end = b"Connection: close\r\nContent-Length: 2\r\n\r\n{}"
    for expected in (b"100-continue", b"canary"):
        said = await answer(port, CHAT.encode() + b"Expect: " + expected + b"\r\n" + end)
        assert said.startswith(b"HTTP/1.1 100 Continue") is (expected == b"100-continue")
        assert b"HTTP/1.1 502 " in said  # it was read, and is the upstream's to judge
        assert b"upstream_unreachable" in said


@pytest.mark.parametrize("settings", [Settings(keepalive_timeout_s=0.05)], ids=["impatient"])
@pytest.mark.parametrize("raw", [b"", b"GET / HTTP/1.1\r\nHo"], ids=["silent", "headers"])
async def test_a_connection_that_sends_no_request_is_closed(port: int, raw: bytes) -> None:
    assert await answer(port, raw) == b""
