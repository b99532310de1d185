"""Two services on one Redis: one call of the upstream, and its very bytes to clients of both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from tests.helpers import until
from tests.serve.openai.test_stream import ALL, reading
from tests.serve.running import TIGHT
from tests.serve.upstreams import (
    EVENTS,
    LAST,
    STREAM_HEAD,
    WITHOUT_USAGE,
    Piece,
    Scripted,
    Setup,
    answer,
    asks,
    chunk,
    scripted,
    serving,
    told,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

FIRST = EVENTS[0]
REST = b"".join(EVENTS[1:])


class Both(NamedTuple):
    one: Setup
    other: Setup
    script: Scripted


@asynccontextmanager
async def both(redis_url: str, name: str, *pieces: Piece) -> AsyncIterator[Both]:
    config = {**TIGHT, "name": name, "store_timeout_s": 10.0}
    async with (
        scripted(*pieces) as (url, script),
        serving(url, redis_url=redis_url, cache=config) as one,
        serving(url, redis_url=redis_url, cache=config) as other,
    ):
        yield Both(one, other, script)
        for setup in (one, other):
            await until(lambda setup=setup: setup.service.cache.stats().flights == 0)  # type: ignore[misc]


async def test_a_stream_reaches_the_clients_of_both(redis_url: str, name: str) -> None:
    gate = asyncio.Event()
    pieces = (STREAM_HEAD, chunk(FIRST), gate, chunk(REST), LAST)
    async with (
        both(redis_url, name, *pieces) as (one, other, script),
        reading(one, asks(stream=True, usage=True)) as leader,
    ):
        await leader.have(len(FIRST))
        async with (
            reading(other, asks(stream=True, usage=True)) as same,
            reading(other, asks("money at 15", stream=True)) as near,
        ):
            assert await same.have(len(FIRST)) == FIRST
            assert await near.have(len(FIRST)) == FIRST
            assert same.response.headers["Cache-Status"] == "semcache; fwd=miss; collapsed"
            assert same.response.headers["x-semcache-status"] == "shared"
            whole = asyncio.create_task(told(other, asks()))
            await until(lambda: other.service.cache.stats().waiting == 3)
            gate.set()
            assert await same.rest() == ALL
            assert await near.rest() == WITHOUT_USAGE
        assert await leader.rest() == ALL
        status, headers, _ = await whole
        assert (status, headers["x-semcache-status"]) == (200, "shared")
        assert len(script.requests) == 1
        assert other.service.cache.stats().llm_calls == 0


async def test_the_upstreams_refusal_is_told_by_both(redis_url: str, name: str) -> None:
    gate = asyncio.Event()
    refusal = answer('{"error": {"message": "Slow down."}}', status="429 Slow", Retry_After="30")
    async with both(redis_url, name, gate, refusal) as (one, other, script):
        first = asyncio.create_task(told(one, asks()))
        await until(lambda: len(script.requests) == 1)
        second = asyncio.create_task(told(other, asks()))
        streamed = asyncio.create_task(told(other, asks("money at 15", stream=True)))
        await until(lambda: one.service.cache.stats().waiting == 2)
        gate.set()
        for status, headers, body in await asyncio.gather(first, second, streamed):
            assert (status, headers["Retry-After"]) == (429, "30")
            assert b"Slow down." in body
        assert len(script.requests) == 1


async def test_a_stream_that_breaks_off_breaks_off_for_both(redis_url: str, name: str) -> None:
    gate = asyncio.Event()
    async with (
        both(redis_url, name, STREAM_HEAD, chunk(FIRST), gate, None) as (one, other, script),
        reading(one, asks(stream=True)) as leader,
    ):
        await leader.have(len(FIRST))
        async with reading(other, asks(stream=True)) as follower:
            await follower.have(len(FIRST))
            gate.set()
            assert await follower.rest() == await leader.rest()
        assert b"upstream_broke_off" in leader.got + await leader.rest()
        assert len(script.requests) == 1
