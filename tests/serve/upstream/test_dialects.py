"""What works straight with an upstream of any kind works through the service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from openai import APIStatusError, AsyncOpenAI

from tests.serve.running import settled
from tests.serve.upstreams import Setup, serving

pytestmark = pytest.mark.anyio

HERE = Path(__file__).parent / "dialects"
DIALECTS = sorted(path.stem for path in HERE.glob("*.txt"))
RESPONSES = sorted(f"responses/{path.stem}" for path in HERE.glob("responses/*.txt"))


@dataclass
class Dialect:
    """An upstream that says what is in a file."""

    sections: dict[str, tuple[list[str], bytes]] = field(default_factory=dict)
    asked: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, name: str, folder: Path = HERE) -> Dialect:
        made = cls()
        for section in (folder / f"{name}.txt").read_text().removeprefix("== ").split("\n== "):
            head, _, body = section.partition("\n")
            kind, *words = head.split()
            made.sections[kind] = words, body.rstrip().encode() + b"\n\n"
        return made

    async def complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        kind = "stream" if body.get("stream") else "whole"
        if body["model"] == "wrong":
            kind = "error"
        elif "stream_options" in body and "refused" in self.sections:
            kind = "refused"
        words, said = self.sections[kind]
        status, form = words or (
            200,
            "application/json" if kind == "whole" else "text/event-stream",
        )
        return web.Response(body=said, status=int(status), headers={"Content-Type": str(form)})


@asynccontextmanager
async def spoken(name: str) -> AsyncIterator[tuple[Dialect, AsyncOpenAI, AsyncOpenAI, Setup]]:
    """The upstream, a client of it, a client of the service before it, and that."""
    dialect = Dialect.read(name)
    app = web.Application()
    for path in ("/v1/chat/completions", "/v1/responses"):
        app.router.add_post(path, dialect.complete)
    async with TestServer(app) as server, serving(url := str(server.make_url("/v1"))) as setup:
        ours = str(setup.client.make_url("/v1"))
        async with (
            AsyncOpenAI(base_url=url, api_key="x", max_retries=0) as straight,
            AsyncOpenAI(base_url=ours, api_key="x", max_retries=0) as through,
        ):
            yield dialect, straight, through, setup


def asks(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "pay at 10"}], **fields}


async def streamed(sdk: AsyncOpenAI, **fields: Any) -> tuple[str, str | None, Any]:
    """Text, finish reason and usage, as the SDK reads them."""
    text, reason, usage = "", None, None
    async for chunk in await sdk.chat.completions.create(**asks(stream=True, **fields)):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            reason = choice.finish_reason or reason
    return text, reason, usage


@pytest.mark.parametrize("name", DIALECTS)
async def test_a_stream_then_hits(name: str) -> None:
    async with spoken(name) as (dialect, straight, through, setup):
        text, reason, _ = direct = await streamed(straight)
        assert (text, bool(reason)) == ("Like this.", True)
        assert (await streamed(through))[:2] == direct[:2]
        await settled(setup.service)
        calls = len(dialect.asked)
        assert (await streamed(through))[:2] == direct[:2]
        whole = await through.chat.completions.create(**asks())
        assert whole.choices[0].message.content == text
        assert len(dialect.asked) == calls


@pytest.mark.parametrize("name", DIALECTS)
async def test_the_usage_is_told_where_it_is_asked_for(name: str) -> None:
    options = {"stream_options": {"include_usage": True}}
    async with spoken(name) as (dialect, straight, through, setup):
        if "refused" in dialect.sections:
            with pytest.raises(APIStatusError):
                await streamed(straight, **options)
            with pytest.raises(APIStatusError, match="Extra inputs are not permitted"):
                await streamed(through, **options)
            return
        direct = await streamed(straight, **options)
        for _ in range(2):
            assert await streamed(through, **options) == direct
            await settled(setup.service)
        assert len(dialect.asked) == 2


@pytest.mark.parametrize("name", DIALECTS)
async def test_a_whole_answer_then_hits(name: str) -> None:
    async with spoken(name) as (dialect, straight, through, _):
        direct = await straight.chat.completions.create(**asks())
        for _ in range(2):
            found = await through.chat.completions.create(**asks())
            assert found.model_dump(exclude={"id", "created"}) == direct.model_dump(
                exclude={"id", "created"}
            )
        assert (await streamed(through))[0] == "Like this."
        assert len(dialect.asked) == 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", DIALECTS)
async def test_an_error_keeps_its_status_and_its_words(name: str, stream: bool) -> None:
    async with spoken(name) as (dialect, straight, through, _):
        told = []
        for sdk in (straight, through):
            with pytest.raises(APIStatusError) as caught:
                await sdk.chat.completions.create(**asks(model="wrong", stream=stream))
            told.append(caught.value)
        assert told[1].status_code == told[0].status_code
        body: Any = told[1].body
        said = str(body["message"]).rpartition(": ")[2]
        assert said.encode() in dialect.sections["error"][1]


# -- responses


async def followed(sdk: AsyncOpenAI) -> tuple[str, list[str], Any]:
    """Text by its pieces and by its end, and what else the end says, as the SDK reads it."""
    pieces, last = "", None
    kinds: list[str] = []
    async for event in await sdk.responses.create(model="m", input="pay at 10", stream=True):
        kinds.append(event.type)
        if event.type == "response.output_text.delta":
            pieces += event.delta
        if event.type == "response.completed":
            last = event.response
    return pieces, kinds, last


@pytest.mark.parametrize("name", RESPONSES)
async def test_a_stream_of_a_response_then_hits(name: str) -> None:
    async with spoken(name) as (dialect, straight, through, setup):
        text, kinds, end = await followed(straight)
        assert (text, kinds[-1]) == ("Like this.", "response.completed")
        assert await followed(through) == (text, kinds, end)
        await settled(setup.service)
        calls = len(dialect.asked)
        said, again, last = await followed(through)
        assert (said, last.usage) == (text, end.usage)
        assert set(kinds) <= set(again)
        whole = await through.responses.create(model="m", input="pay at 10")
        assert whole.output_text == last.output_text == text
        assert len(dialect.asked) == calls


@pytest.mark.parametrize("name", RESPONSES)
async def test_a_whole_response_then_hits(name: str) -> None:
    own = {"id", "created_at", "completed_at"}
    async with spoken(name) as (dialect, straight, through, _):
        direct = await straight.responses.create(model="m", input="pay at 10")
        for _ in range(2):
            found = await through.responses.create(model="m", input="pay at 10")
            assert found.output_text == "Like this."
            for one in (*found.output, *direct.output):
                one.id = ""
            assert found.model_dump(exclude=own) == direct.model_dump(exclude=own)
        async with through.responses.stream(model="m", input="pay at 10") as stream:
            assert (await stream.get_final_response()).output_text == "Like this."
        assert len(dialect.asked) == 2


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", RESPONSES)
async def test_an_error_of_responses_keeps_its_status_and_its_words(
    name: str, stream: bool
) -> None:
    async with spoken(name) as (dialect, straight, through, _):
        told = []
        for sdk in (straight, through):
            with pytest.raises(APIStatusError) as caught:
                await sdk.responses.create(model="wrong", input="pay at 10", stream=stream)
            told.append(caught.value)
        assert told[1].status_code == told[0].status_code
        body: Any = told[1].body
        assert str(body["message"]).encode() in dialect.sections["error"][1]
