"""Crowds of streams of which many break off, in each API; what the others get is byte by byte what
the upstream sent.

    python -m tests.serve.crowds [--streams 10000] [--apis chat,messages]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from unittest.mock import patch

import aiohttp
from aiohttp import web

from semcache_async.serve.sse import EventSplitter, data_of
from semcache_async.simulator.pace import send
from tests.helpers import check_sums, until
from tests.serve.upstreams import serving, simulated

__all__ = ["APIS", "run"]

_SAME = 8
"""Streams that ask the same."""
_LONGEST = 3_000
"""Bytes after which one that leaves has left."""


class Told(NamedTuple):
    """How one API is asked for a stream, and where its events say more of the text."""

    path: str
    body: Callable[[str], dict[str, Any]]
    text: Callable[[dict[str, Any]], str]


def _chat(prompt: str) -> dict[str, Any]:
    options = {"stream_options": {"include_usage": True}}
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **options}


def _first(chunk: dict[str, Any]) -> dict[str, Any]:
    return next(iter(chunk["choices"]), {})


APIS = {
    "chat": Told(
        "chat/completions", _chat, lambda one: _first(one).get("delta", {}).get("content") or ""
    ),
    "completions": Told(
        "completions",
        lambda prompt: {"model": "m", "prompt": prompt, "stream_options": {"include_usage": True}},
        lambda one: _first(one).get("text") or "",
    ),
    "messages": Told(
        "messages",
        lambda prompt: {
            "model": "m",
            "max_tokens": 1_000,
            "messages": [{"role": "user", "content": prompt}],
        },
        lambda one: one.get("delta", {}).get("text", "") if "delta" in one["type"] else "",
    ),
    "responses": Told(
        "responses",
        lambda prompt: {"model": "m", "input": prompt},
        lambda one: one["delta"] if one["type"] == "response.output_text.delta" else "",
    ),
}


async def run(api: str, streams: int, *, at_once: int = 100) -> Counter[str]:
    """``streams`` requests, of which a third leaves at a random byte: the sources of the others.
    Raises ``AssertionError`` for a byte that is not the upstream's, or a count that is wrong."""
    told, chance, sources = APIS[api], random.Random(7), Counter[str]()
    seats = asyncio.Semaphore(at_once)
    async with _recorded() as (sent, url, simulator), serving(url) as setup:
        base = setup.url.removesuffix("chat/completions")

        async def ask(session: aiohttp.ClientSession, n: int) -> None:
            leaves = chance.random() < 1 / 3
            prompt = f"question {n // _SAME} at {n // _SAME % 360}"
            body = {**told.body(prompt), "stream": True, "temperature": n // _SAME / 1e5}
            async with seats, session.post(base + told.path, json=body) as response:
                assert response.status == 200, await response.text()
                if leaves:
                    await response.content.read(chance.randrange(1, _LONGEST))
                    response.close()
                    sources["left"] += 1
                    return
                got = await response.read()
            source = response.headers["x-semcache-status"]
            sources[source] += 1
            if source in ("generated", "shared"):
                assert got in sent
            assert prompt in _text_of(got, told)

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            await asyncio.gather(*[ask(session, n) for n in range(streams)])
        await until(lambda: setup.service.cache.stats().flights == 0)
        stats = check_sums(setup.service.cache)
        assert stats.requests == streams
        assert stats.llm_calls == simulator.stats.calls == len(sent)
        assert simulator.stats.left == 0
        await until(lambda: simulator.stats.under_way == 0)
    return sources


@asynccontextmanager
async def _recorded() -> AsyncIterator[tuple[set[bytes], str, Any]]:
    """A simulated upstream, and the streams that it sent."""
    sent: set[bytes] = set()

    async def recording(response: web.StreamResponse, pieces: list[bytes], step_s: float) -> None:
        sent.add(b"".join(pieces))
        await send(response, pieces, step_s)

    with patch("semcache_async.simulator.app.send", recording):
        async with simulated(tokens=30, tokens_per_s=3_000, median_ms=2.0) as (url, simulator):
            yield sent, url, simulator


def _text_of(stream: bytes, told: Told) -> str:
    splitter = EventSplitter()
    found = map(data_of, [*splitter.feed(stream), *splitter.end()])
    return "".join(told.text(json.loads(data)) for data in found if data and data != b"[DONE]")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="tests.serve.crowds", description=__doc__)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--apis", default=",".join(APIS))
    asked = parser.parse_args()
    for api in asked.apis.split(","):
        sources = asyncio.run(run(api, asked.streams))
        sys.stdout.write(f"{api}: {dict(sources)}\n")


if __name__ == "__main__":
    main()
