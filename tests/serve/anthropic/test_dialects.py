"""What works straight with an upstream of messages works through the service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from anthropic import APIStatusError, AsyncAnthropic

from tests.serve.anthropic.helpers import asks, error_of, sdk, streamed
from tests.serve.running import settled
from tests.serve.upstream.test_dialects import Dialect
from tests.serve.upstreams import Setup, serving

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent / "dialects"
DIALECTS = sorted(path.stem for path in HERE.glob("*.txt"))


@asynccontextmanager
async def spoken(name: str) -> AsyncIterator[tuple[Dialect, AsyncAnthropic, AsyncAnthropic, Setup]]:
    """The upstream, a client of it, a client of the service before it, and that."""
    dialect = Dialect.read(name, HERE)
    app = web.Application()
    app.router.add_post("/v1/messages", dialect.complete)
    async with (
        TestServer(app) as server,
        serving(str(server.make_url("/v1"))) as setup,
        sdk(str(server.make_url("/"))) as straight,
        sdk(str(setup.client.make_url("/"))) as through,
    ):
        yield dialect, straight, through, setup


@pytest.mark.parametrize("name", DIALECTS)
async def test_a_stream_then_hits(name: str) -> None:
    async with spoken(name) as (dialect, straight, through, setup):
        direct = await streamed(straight)
        assert (direct["content"][0]["text"], direct["stop_reason"]) == ("Like this.", "end_turn")
        assert direct["usage"]["input_tokens"] == 7
        assert await streamed(through) == direct
        await settled(setup.service)
        calls = len(dialect.asked)
        hit = await streamed(through)
        assert {**hit, "id": direct["id"]} == direct
        whole = (await through.messages.create(**asks())).to_dict()
        assert (whole["content"], whole["usage"]) == (direct["content"], direct["usage"])
        assert len(dialect.asked) == calls
        assert setup.service.metrics.saved()[:2] == (14, 6)


@pytest.mark.parametrize("name", DIALECTS)
async def test_a_whole_answer_then_hits(name: str) -> None:
    async with spoken(name) as (dialect, straight, through, _):
        direct = (await straight.messages.create(**asks())).to_dict()
        for _ in range(2):
            found = (await through.messages.create(**asks())).to_dict()
            assert {**found, "id": direct["id"]} == direct
        assert (await streamed(through))["content"] == direct["content"]
        assert len(dialect.asked) == 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", DIALECTS)
async def test_an_error_keeps_its_status_and_its_words(name: str, stream: bool) -> None:
    async with spoken(name) as (dialect, straight, through, _):
        told = []
        for client in (straight, through):
            with pytest.raises(APIStatusError) as caught:
                await client.messages.create(**asks(model="wrong", stream=stream))
            told.append(caught.value)
        assert told[1].status_code == told[0].status_code
        error = error_of(await told[1].response.aread())
        assert error["message"].encode() in dialect.sections["error"][1]
        assert len(dialect.asked) == 2
