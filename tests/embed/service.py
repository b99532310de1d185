"""A service of embeddings: its vectors are the ``AngleEmbedder``'s, and its faults are switched."""

from __future__ import annotations

import asyncio
import base64
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from aiohttp import web
from aiohttp.test_utils import TestServer

from semcache_async.testing import AngleEmbedder

__all__ = ["Fake", "fake"]

Answer = Callable[[dict[str, Any]], web.StreamResponse | dict[str, Any]]


class Fake:
    """Answers in reverse order, with lengths that are not 1."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.paths: list[str] = []
        self.answers: deque[Answer] = deque()
        """What the next requests get instead."""
        self.always: Answer | None = None
        """What every one gets instead."""
        self.turned = False
        """Does it serve another model?"""
        self.model = "m"
        self.longest = 1_000_000
        """Characters of a text, beyond which a request is refused."""
        self.gate = asyncio.Event()
        self.gate.set()
        self.under_way = self.most_under_way = 0
        self.url = ""

    @property
    def sizes(self) -> list[int]:
        """Texts of each request."""
        return [len(body["input"]) for body in self.bodies]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(request.headers)
        self.paths.append(request.path_qs)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.gate.wait()
        finally:
            self.under_way -= 1
        answer = self.answers.popleft() if self.answers else self.always
        told = self.told(body) if answer is None else answer(body)
        return web.json_response(told) if isinstance(told, dict) else told

    def told(self, body: dict[str, Any], **changed: Any) -> dict[str, Any] | web.Response:
        """The right answer, but for what is ``changed``."""
        if any(len(text) > self.longest for text in body["input"]):
            return refused(400, "This model's maximum context length is 9 tokens.")
        rows = 3 * AngleEmbedder().embed(body["input"])
        rows = np.roll(rows, 3 if self.turned else 0, axis=1)
        as_text = body.get("encoding_format") == "base64"
        data = [
            {"index": n, "embedding": encoded(row) if as_text else row.tolist()}
            for n, row in enumerate(rows)
        ]
        usage = {"prompt_tokens": 7 * len(rows), "total_tokens": 7 * len(rows)}
        return {"data": data[::-1], "model": self.model, "usage": usage, **changed}


def encoded(row: Any) -> str:
    return base64.b64encode(np.asarray(row, "<f4").tobytes()).decode()


def refused(status: int, message: str = "no", **headers: str) -> web.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"error": {"message": message, "type": "BadRequestError", "code": status}}
    return web.json_response(body, status=status, headers=named)


@asynccontextmanager
async def fake() -> AsyncIterator[Fake]:
    service = Fake()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", service.handle)
    server = TestServer(app)
    await server.start_server()
    service.url = str(server.make_url("/v1"))
    try:
        yield service
    finally:
        service.gate.set()
        await server.close()
