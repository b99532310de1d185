"""A simulated upstream that listens."""

from __future__ import annotations

import json
from typing import Any, cast

import aiohttp
from aiohttp.test_utils import BaseTestServer, TestServer

from semcache_async.simulator import SIMULATOR, Simulator, SimulatorOptions

CHAT = "/v1/chat/completions"
AT_ONCE = SimulatorOptions(median_ms=0.0, tokens_per_s=0.0, tokens=5)


class Upstream:
    """A simulator that listens, and a client of it."""

    def __init__(self, server: BaseTestServer, session: aiohttp.ClientSession) -> None:
        self.server, self.session = server, session

    @property
    def simulator(self) -> Simulator:
        return cast(TestServer, self.server).app[SIMULATOR]

    def url(self, path: str) -> str:
        return str(self.server.make_url(path))

    def post(self, body: Any, faults: str = "", key: str = "", path: str = CHAT) -> Any:
        headers = {"x-simulate": faults} if faults else {}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.session.post(self.url(path), data=data, headers=headers)

    async def whole(self, prompt: str = "hello", faults: str = "", **fields: Any) -> dict[str, Any]:
        async with self.post(asked(prompt, **fields), faults) as response:
            assert response.status == 200
            answer: dict[str, Any] = await response.json()
            return answer

    async def stream(self, prompt: str = "hello", faults: str = "", **fields: Any) -> bytes:
        """What arrives, until the end or a cut."""
        got = b""
        async with self.post(asked(prompt, stream=True, **fields), faults) as response:
            assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            try:
                async for piece in response.content.iter_any():
                    got += piece
            except aiohttp.ClientPayloadError:
                return got
        return got


def asked(prompt: str, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **fields}


def told(stream: bytes) -> list[dict[str, Any]]:
    """The data of a stream whose events name their kind, which is what their data say too."""
    found = []
    for event in stream.decode().removesuffix("\n\n").split("\n\n"):
        kind, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert kind == f"event: {found[-1]['type']}"
    return found
