"""A service in front of an upstream: the simulated one, or one that sends the bytes a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from aiohttp.test_utils import TestServer
from multidict import CIMultiDict

from semcache_async.serve.service import Service
from semcache_async.simulator import SIMULATOR, Simulator, SimulatorOptions, make_simulator
from semcache_async.testing import MemoryStore
from semcache_async.types import Answer
from tests.serve.running import Client, client_of, notes, service_for

PATH = "/v1/chat/completions"


@dataclass
class Setup:
    """A running service."""

    client: Client
    service: Service
    store: MemoryStore | None

    @property
    def notes(self) -> list[tuple[str, Answer]]:
        return notes(self.service)

    @property
    def url(self) -> str:
        return str(self.client.make_url(PATH))


@asynccontextmanager
async def serving(upstream_url: str | None, **options: Any) -> AsyncIterator[Setup]:
    """In front of that upstream; ``options`` as of ``service_for``."""
    if "redis_url" not in options and "store" not in options:
        options["store"] = MemoryStore()
    async with (
        service_for(upstream_url=upstream_url, **options) as service,
        client_of(service) as client,
    ):
        yield Setup(client, service, options.get("store"))


@asynccontextmanager
async def simulated(**options: Any) -> AsyncIterator[tuple[str, Simulator]]:
    """A simulated upstream's base URL, and itself. It thinks for no time unless told to."""
    app = make_simulator(SimulatorOptions(**{"median_ms": 0.0, "tokens_per_s": 0.0, **options}))
    server = TestServer(app)
    await server.start_server(auto_decompress=False)
    try:
        yield str(server.make_url("/v1")), app[SIMULATOR]
    finally:
        await server.close()


Piece = bytes | asyncio.Event | Literal["hang"] | None


class Scripted:
    """An upstream that answers every request with the same bytes: events among them are waited
    for, "hang" is for ever, and None closes the connection."""

    def __init__(self) -> None:
        self.pieces: Sequence[Piece] = ()
        self.requests: list[tuple[CIMultiDict[str], bytes]] = []
        self.targets: list[str] = []
        """Paths with their queries."""
        self.open = 0
        """Connections."""
        self.closing = 0
        """So many of the next requests get no answer but the connection's end."""

    @property
    def bodies(self) -> list[Any]:
        return [msgspec.json.decode(body) for _, body in self.requests if body]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")[1:-2]
                headers = CIMultiDict(
                    (name, value.strip()) for name, _, value in (x.partition(":") for x in lines)
                )
                body = await reader.readexactly(int(headers.get("Content-Length", 0)))
                self.requests.append((headers, body))
                self.targets.append(head.split(b" ", 2)[1].decode())
                if self.closing:
                    self.closing -= 1
                    return
                for piece in self.pieces:
                    if piece is None:
                        return
                    if piece == "hang":
                        await reader.read()  # as long as the caller stays
                    elif isinstance(piece, asyncio.Event):
                        await piece.wait()
                    else:
                        writer.write(piece)
                        await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def scripted(*pieces: Piece, port: int = 0) -> AsyncIterator[tuple[str, Scripted]]:
    """Its base URL, and itself."""
    upstream = Scripted()
    upstream.pieces = pieces
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(upstream._serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", port)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/v1", upstream
    finally:
        server.close()
        for _ in range(5):  # the turns from a connection's acceptance to its handler
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the sockets go a turn after their writers


def answer(
    body: bytes | str, *, status: str = "200 OK", kind: str = "application/json", **headers: str
) -> bytes:
    """A whole HTTP response."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", f"Content-Length: {len(data)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
LAST = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Of HTTP's chunked encoding."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def completion(content: str | None = "Like this.", **fields: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, "refusal": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m-2026",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        **fields,
    }


def event(delta: dict[str, Any] | None, finish_reason: str | None = None) -> bytes:
    """One chunk; with neither delta nor reason, the usage."""
    body: dict[str, Any] = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1}
    body |= {"model": "m-2026", "choices": [], "usage": None}
    if delta is None:
        body["usage"] = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    else:
        body["choices"] = [{"index": 0, "delta": delta, "finish_reason": finish_reason}]
    return b"data: %b\n\n" % msgspec.json.encode(body)


EVENTS = [
    event({"role": "assistant", "content": ""}),
    event({"content": "Like "}),
    event({"content": "this."}),
    event({}, "stop"),
    event(None),
    b"data: [DONE]\n\n",
]
WITHOUT_USAGE = b"".join(EVENTS[:4] + EVENTS[5:])


def asks(
    prompt: str = "pay at 10", *, stream: bool = False, usage: bool = False, **fields: Any
) -> dict[str, Any]:
    """A request's body."""
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}], **fields}
    if stream:
        body["stream"] = True
    if usage:
        body["stream_options"] = {"include_usage": True}
    return body


async def told(
    setup: Setup, body: dict[str, Any], **headers: str
) -> tuple[int, CIMultiDict[str], bytes]:
    """Status, headers and body of one answer."""
    async with setup.client.post(
        PATH, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    ) as response:
        return response.status, CIMultiDict(response.headers), await response.read()
