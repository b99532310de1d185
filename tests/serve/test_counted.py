"""What requests and calls are counted as, by protocol and by upstream."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from semcache_async.serve.app import PROTOCOLS
from semcache_async.serve.metrics.counters import PROTOCOLS as COUNTED
from tests.helpers import until
from tests.serve.upstreams import (
    EVENTS,
    LAST,
    PATH,
    STREAM_HEAD,
    Piece,
    answer,
    asks,
    chunk,
    completion,
    scripted,
    serving,
    told,
)

pytestmark = pytest.mark.anyio

ANSWER = answer(json.dumps(completion()))


def test_routes_are_counted_as_what_there_is() -> None:
    named = {route.counted_as for protocol in PROTOCOLS for route in protocol.routes}
    assert named - {""} <= set(COUNTED.rows)
    others = {"embeddings", "langcache", "plain"}
    assert {"chat", "completions", "messages", *others} <= named


async def test_every_request_is_counted_once() -> None:
    async with scripted(ANSWER) as (url, script), serving(url, bypass_n=True) as setup:

        async def post(path: str, body: Any) -> None:
            async with setup.client.post(path, json=body) as response:
                await response.read()

        await post(PATH, asks())
        await post(PATH, asks())
        await post(PATH, asks("payment at 12", stream=True))
        await post(PATH, asks(n=2))
        await post(PATH, [])
        await post("/semantic-cache/answer", {"model": "m", "prompt": "pay at 10"})
        await post("/v1/caches/c/entries", {"prompt": "tea at 90", "response": "Yes."})
        await post("/v1/caches/c/entries/search", {"prompt": "tea at 90"})
        await post("/v1/caches/c/entries/search", {"prompt": "none at 170"})
        await post("/v1/caches/-/entries/search", {})
        await post("/v1/embeddings", {"model": "all-MiniLM-L6-v2", "input": "tea at 90"})
        script.pieces = (STREAM_HEAD, chunk(EVENTS[0]), None)
        await post(PATH, asks("hours at 130", stream=True))
        async with setup.client.get("/v1/models") as response:
            await response.read()
        assert setup.service.metrics.summary()["protocol_requests"] == {
            "chat": {"exact": 1, "semantic": 1, "generated": 1, "bypassed": 1, "failed": 2},
            "plain": {"exact": 1},
            "langcache": {"exact": 1, "missed": 1, "other": 1, "failed": 1},
            "embeddings": {"other": 1},
        }


async def test_callers_who_share_or_leave() -> None:
    gate = asyncio.Event()
    async with scripted(gate, ANSWER) as (url, _), serving(url) as setup:
        tasks = [asyncio.create_task(told(setup, asks())) for _ in range(3)]
        await until(lambda: setup.service.cache.stats().waiting == 3)
        tasks[2].cancel()
        await until(lambda: setup.service.cache.stats().waiting == 2)
        gate.set()
        await asyncio.gather(*tasks[:2])
        await until(lambda: setup.service.metrics.under_way == 0)
        counted = setup.service.metrics.summary()["protocol_requests"]["chat"]
        assert counted == {"generated": 1, "shared": 1, "failed": 1}


@pytest.mark.parametrize(
    ("pieces", "outcome"),
    [
        ((ANSWER,), "ok"),
        ((answer("{}", status="500 No"),), "error"),
        ((answer("{}", status="401 No"),), "error"),
        ((answer("{}", status="302 No"),), "error"),
        (("hang",), "timeout"),
        ((None,), "broken"),
        ((STREAM_HEAD, chunk(EVENTS[0]), None), "broken"),
        ((STREAM_HEAD, chunk(EVENTS[0]), "hang"), "timeout"),
        ((STREAM_HEAD, *map(chunk, EVENTS), LAST), "ok"),
    ],
)
async def test_what_comes_of_a_call(pieces: tuple[Piece, ...], outcome: str) -> None:
    stream = len(pieces) > 1
    limits = {"upstream_first_byte_timeout_s": 0.2, "upstream_idle_timeout_s": 0.2}
    async with scripted(*pieces) as (url, _), serving(url, **limits) as setup:
        await told(setup, asks(stream=stream))
        summary = setup.service.metrics.summary()
        assert summary["upstream_calls"] == {"default": {outcome: 1}}
        began = outcome == "ok" or stream
        assert summary["first_byte_ms"]["default"]["count"] == began


async def test_a_call_of_nobody_and_one_that_nobody_waits_for() -> None:
    async with (
        scripted("hang") as (url, script),
        serving(url, cache={"finish_abandoned": False}) as setup,
    ):
        task = asyncio.create_task(told(setup, asks()))
        await until(lambda: len(script.requests) == 1)
        task.cancel()
        calls = setup.service.metrics.summary
        await until(lambda: calls()["upstream_calls"] == {"default": {"left": 1}})
    async with serving(url, upstream_retry_share=0.0) as setup:
        await told(setup, asks())
        assert setup.service.metrics.summary()["upstream_calls"] == {"default": {"unreached": 1}}
