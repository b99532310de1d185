"""A service in front of an upstream: the simulated one, or one that sends the bytes a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import msgspec
from aiohttp.test_utils import TestClient, TestServer
from multidict import CIMultiDict

from semcache_async import CacheConfig, SemanticCache
from semcache_async.serve.app import make_app
from semcache_async.serve.journal import Journal
from semcache_async.serve.keys import KeyRing
from semcache_async.serve.metrics import Metrics
from semcache_async.serve.service import Service
from semcache_async.serve.settings import Settings
from semcache_async.serve.simulate import SIMULATOR, Simulator, SimulatorOptions, make_simulator
from semcache_async.serve.upstream import open_upstream
from semcache_async.testing import AngleEmbedder, MemoryStore
from semcache_async.types import Answer, Scope

Client = TestClient[Any, Any]

PATH = "/v1/chat/completions"
TIGHT = 0.01
"""max_distance: 8 degrees apart is near (0.0097), 9 is not (0.0123)."""


class Notes:
    """A journal that keeps what it is told."""

    def __init__(self) -> None:
        self.hits: list[tuple[str, Answer]] = []

    def note_hit(self, *, prompt: str, answer: Answer, scope: Scope) -> None:
        self.hits.append((prompt, answer))


@dataclass
class Setup:
    """A running service."""

    client: Client
    service: Service
    store: MemoryStore | None

    @property
    def notes(self) -> list[tuple[str, Answer]]:
        return cast("Notes", self.service.journal).hits

    @property
    def url(self) -> str:
        return str(self.client.make_url(PATH))


@asynccontextmanager
async def serving(
    upstream_url: str,
    *,
    redis_url: str | None = None,
    keys: KeyRing | None = None,
    cache: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Setup]:
    """With ``redis_url``, entries are in Redis under ``cache["name"]``, else in memory."""
    config = CacheConfig(**{"max_distance": TIGHT, "index": "flat", **(cache or {})})
    settings = Settings(cache=config, **options)
    store = None if redis_url is not None else MemoryStore()
    async with (
        SemanticCache.open(
            redis_url, config=config, embedder=AngleEmbedder(), store=store
        ) as opened,
        open_upstream(upstream_url, settings) as upstream,
    ):
        service = Service(
            cache=opened,
            settings=settings,
            keys=keys or KeyRing(),
            upstream=upstream,
            metrics=Metrics(settings),
            journal=cast("Journal", Notes()),
        )
        server = TestServer(make_app(service))
        await server.start_server(auto_decompress=False)
        async with TestClient(server) as client:
            yield Setup(client, service, store)


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
        self.open = 0
        """Connections."""

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
async def scripted(*pieces: Piece) -> AsyncIterator[tuple[str, Scripted]]:
    """Its base URL, and itself."""
    upstream = Scripted()
    upstream.pieces = pieces
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(upstream._serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}/v1", upstream
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
