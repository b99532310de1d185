"""A whole answer in one piece says what an ordinary one would have said."""

from __future__ import annotations

import asyncio
import json
from unittest.mock import AsyncMock, Mock

import pytest
from aiohttp.abc import AbstractStreamWriter
from aiohttp.test_utils import make_mocked_request

from semcache_async.serve.http.responses import REQUEST_ID, AtOnce
from tests.serve.running import Live, live

pytestmark = pytest.mark.anyio


def asking(stream: bool, *more: str, version: str = "1.1") -> bytes:
    message = {"role": "user", "content": "refund at 10"}
    body = json.dumps({"model": "m", "messages": [message], "stream": stream}).encode()
    lines = (
        f"POST /v1/chat/completions HTTP/{version}",
        *("Host: 127.0.0.1", "Content-Type: application/json", f"Content-Length: {len(body)}"),
        *(*more, "", ""),
    )
    return "\r\n".join(lines).encode() + body


async def exchanged(service: Live, *requests: bytes) -> bytes:
    """All that comes back; the last of ``requests`` has to close the connection."""
    _, _, address = service.url.partition("://")
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"".join(requests))
    async with asyncio.timeout(30):
        said = await reader.read()
    writer.close()
    return said


def parted(said: bytes) -> list[tuple[str, dict[str, str], bytes]]:
    """Each answer's first line, headers and body."""
    found = []
    while said:
        head, _, said = said.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines)}
        length = int(headers["content-length"])
        found.append((first, headers, said[:length]))
        said = said[length:]
    return found


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_written_at_once_is_an_ordinary_answer(
    redis_url: str, name: str, stream: bool
) -> None:
    close = "Connection: close"
    async with live(redis_url, name) as service:
        await exchanged(service, asking(False, close))
        said = await exchanged(
            service,
            asking(stream, "X-Request-Id: mine"),
            asking(stream),
            asking(stream, close),  # an ordinary response, as it has to say so
        )
        first, second, ordinary = parted(said)
        assert first[0] == second[0] == ordinary[0] == "HTTP/1.1 200 OK"
        assert first[1]["x-request-id"] == "mine"
        assert second[1]["x-semcache-status"] == "exact"
        assert second[1].keys() | {"connection"} == ordinary[1].keys()
        own = ("date", "x-request-id", "age")
        shared = [name for name in second[1] if name not in own]
        assert [second[1][name] for name in shared] == [ordinary[1][name] for name in shared]
        assert len(first[2]) == len(second[2]) == len(ordinary[2])
        (old,) = parted(await exchanged(service, asking(stream, version="1.0")))
        assert old[2]
        assert old[0] == "HTTP/1.0 200 OK"


async def test_who_asks_on_and_reads_nothing_has_to_wait() -> None:
    gate = asyncio.Event()
    writer = Mock(spec=AbstractStreamWriter, drain=AsyncMock(side_effect=gate.wait))
    request = make_mocked_request("GET", "/", writer=writer, transport=Mock())
    request[REQUEST_ID] = "mine"
    task = asyncio.create_task(AtOnce(b"{}", {"Content-Type": "text/plain"}).prepare(request))
    await asyncio.sleep(0)
    assert not task.done()
    gate.set()
    await task
