"""An upstream that knows chat completions only, asked for messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from semcache_async.serve.apis import MESSAGES
from semcache_async.serve.sse import EventSplitter, data_of
from tests.helpers import check_sums, until
from tests.serve.anthropic.helpers import FORCED, PATH, TOOL, asks, error_of, sdk, streamed, told
from tests.serve.running import settled
from tests.serve.upstreams import EVENTS, Setup, completion, event, serving, simulated

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

CHAT = "/v1/chat/completions"
STATUS, API = "x-semcache-status", "x-semcache-api"
NOT_FOUND = b'{"error": {"message": "Invalid URL (POST /v1/messages)", "type": "x"}}'


class Chatting:
    """An upstream of chats, which says what it is told to."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.whole: Any = completion()
        self.events = EVENTS
        self.refusal: tuple[int, bytes] = (404, NOT_FOUND)
        self.status = 200
        self.gate: asyncio.Event | None = None

    async def answer(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        if request.path != CHAT:
            status, said = self.refusal
            return web.Response(status=status, body=said, content_type="application/json")
        self.bodies.append(await request.json())
        if self.gate is not None:
            await self.gate.wait()
        if self.bodies[-1].get("stream") and self.status == 200:
            return web.Response(body=b"".join(self.events), content_type="text/event-stream")
        return web.json_response(self.whole, status=self.status)


@asynccontextmanager
async def scene(**options: Any) -> AsyncIterator[tuple[Setup, Chatting]]:
    upstream = Chatting()
    app = web.Application()
    app.router.add_post("/{path:.*}", upstream.answer)
    async with TestServer(app) as server, serving(str(server.make_url("/v1")), **options) as setup:
        yield setup, upstream
        await until(lambda: setup.service.cache.stats().flights == 0)
        check_sums(setup.service.cache)


def assembled(stream: bytes) -> dict[str, Any]:
    reader = MESSAGES.reader()
    for one in EventSplitter().feed(stream):
        reader.read(one)
    assert reader.complete
    return reader.answer()


async def test_it_is_found_out_once() -> None:
    async with scene() as (setup, upstream):
        status, headers, body = await told(setup, asks(system="Be brief."))
        assert (status, headers[STATUS], headers[API]) == (200, "generated", "chat")
        made = msgspec.json.decode(body)
        assert made["content"] == [{"type": "text", "text": "Like this."}]
        assert (made["type"], made["stop_reason"], made["model"]) == (
            *("message", "end_turn", "m-2026"),
        )
        assert made["usage"] == {"input_tokens": 7, "output_tokens": 3}
        await told(setup, asks("cat at 50", system="Be brief."))
        assert upstream.paths == [PATH, CHAT, CHAT]
        assert upstream.bodies[0] == {
            "model": "m",
            "max_tokens": 64,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "pay at 10"},
            ],
        }
        for stream in (False, True):
            _, headers, body = await told(setup, asks(system="Be brief.", stream=stream))
            assert (headers[STATUS], headers[API]) == ("exact", "chat")
            again = assembled(body) if stream else msgspec.json.decode(body)
            assert (again["content"], again["usage"]) == (made["content"], made["usage"])
        assert len(upstream.paths) == 3


async def test_a_stream_is_one_of_messages() -> None:
    async with scene() as (setup, upstream):
        status, headers, body = await told(setup, asks(stream=True))
        assert (status, headers[STATUS], headers[API]) == (200, "generated", "chat")
        assert assembled(body)["content"] == [{"type": "text", "text": "Like this."}]
        assert assembled(body)["usage"] == {"input_tokens": 7, "output_tokens": 3}
        await settled(setup.service)
        assert upstream.bodies[0]["stream_options"] == {"include_usage": True}
        _, headers, body = await told(setup, asks(stream=True))
        assert (headers[STATUS], headers[API]) == ("exact", "chat")
        assert assembled(body)["content"] == [{"type": "text", "text": "Like this."}]


async def test_comments_keep_the_connection_alive() -> None:
    async with scene() as (setup, upstream):
        upstream.events = [b": at work\n\n", EVENTS[0], b": still\n\n", *EVENTS[1:]]
        _, _, body = await told(setup, asks(stream=True))
        assert body.startswith(b": at work\n\nevent: message_start")
        assert b"\n\n: still\n\n" in body
        assert assembled(body)["content"] == [{"type": "text", "text": "Like this."}]


@pytest.mark.parametrize("first", [False, True])
async def test_those_who_wait_for_the_same_call(first: bool) -> None:
    async with scene() as (setup, upstream):
        await told(setup, asks("cat at 90"))
        upstream.gate = asyncio.Event()
        leader = asyncio.create_task(told(setup, asks(stream=first)))
        await until(lambda: setup.service.cache.stats().waiting == 1)
        follower = asyncio.create_task(told(setup, asks(stream=not first)))
        await until(lambda: setup.service.cache.stats().waiting == 2)
        upstream.gate.set()
        for stream, asked in ((first, leader), (not first, follower)):
            _, headers, body = await asked
            assert headers[API] == "chat"
            made = assembled(body) if stream else msgspec.json.decode(body)
            assert made["content"] == [{"type": "text", "text": "Like this."}]
        assert len(upstream.bodies) == 2


async def test_tools_go_there_and_back() -> None:
    call = {"name": "weather", "arguments": '{"city": "Rome"}'}
    calls = [{"id": "call_1", "type": "function", "function": call}]
    said = {"role": "assistant", "content": None, "tool_calls": calls}
    async with scene() as (setup, upstream):
        upstream.whole = completion(
            choices=[{"index": 0, "message": said, "finish_reason": "tool_calls"}]
        )
        _, _, body = await told(setup, asks(tools=[TOOL]))
        made = msgspec.json.decode(body)
        use = {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Rome"}}
        assert (made["content"], made["stop_reason"]) == ([use], "tool_use")
        turns = [
            *asks()["messages"],
            {"role": "assistant", "content": made["content"]},
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "Sun."}],
            },
        ]
        await told(setup, asks(tools=[TOOL], messages=turns))
        _, asked, result = upstream.bodies[1]["messages"]
        given = {"name": "weather", "arguments": '{"city":"Rome"}'}
        assert asked["tool_calls"] == [{"id": "call_1", "type": "function", "function": given}]
        assert result == {"role": "tool", "tool_call_id": "call_1", "content": "Sun."}


async def test_a_forced_tool_is_kept() -> None:
    begun = {"index": 0, "id": "call_1", "type": "function"}
    async with scene() as (setup, upstream):
        upstream.events = [
            EVENTS[0],
            event({"tool_calls": [{**begun, "function": {"name": "weather", "arguments": ""}}]}),
            event({"tool_calls": [{"index": 0, "function": {"arguments": '{"city":"Rome"}'}}]}),
            event({}, "stop"),
            *EVENTS[4:],
        ]
        async with sdk(str(setup.client.make_url("/"))) as client:
            first = await streamed(client, **FORCED)
            await settled(setup.service)
            again = await streamed(client, **FORCED)
        assert first["stop_reason"] == again["stop_reason"] == "tool_use"
        assert first["content"] == again["content"]
        assert first["content"][0]["input"] == {"city": "Rome"}
        assert len(upstream.bodies) == 1


async def test_a_stream_that_breaks_off() -> None:
    async with scene() as (setup, upstream):
        upstream.events = EVENTS[:3]
        _, _, body = await told(setup, asks(stream=True))
        events = EventSplitter().feed(body)
        assert events[0].startswith(b"event: message_start")
        assert events[-1].startswith(b"event: error")
        assert error_of(data_of(events[-1]) or b"")["type"] == "api_error"
        assert b"message_stop" not in body
        assert setup.store is not None
        assert len(setup.store) == 0


async def test_what_a_chat_cannot_say_is_told() -> None:
    async with scene() as (setup, upstream):
        for _ in range(2):
            status, _, body = await told(setup, asks(container="c"))
            assert (status, error_of(body)["type"]) == (400, "invalid_request_error")
            assert "'container'" in error_of(body)["message"]
        assert CHAT not in upstream.paths


async def test_its_errors_are_in_our_form() -> None:
    async with scene() as (setup, upstream):
        upstream.status, upstream.whole = 400, {"error": {"message": "too long", "type": "x"}}
        for stream in (False, True):
            status, _, body = await told(setup, asks(stream=stream))
            assert (status, error_of(body)["message"]) == (400, "too long")


@pytest.mark.parametrize("answered", [404, 200])
async def test_an_upstream_that_lacks_the_model_is_not_one_that_lacks_the_path(
    answered: int,
) -> None:
    said = b'{"type":"error","error":{"type":"not_found_error","message":"model: m"}}'
    async with scene() as (setup, upstream):
        upstream.refusal, upstream.status = (404, said), answered
        for _ in range(2):
            assert (await told(setup, asks()))[::2] == (404, said)
        assert upstream.paths == [PATH] * 2


@pytest.mark.parametrize(
    "said",
    [
        {"detail": "The model `m` does not exist"},
        {"error": {"message": "The model `m` does not exist", "code": "model_not_found"}},
    ],
)
async def test_an_upstream_that_refuses_the_chat_too_says_why(said: dict[str, Any]) -> None:
    async with scene() as (setup, upstream):
        upstream.status, upstream.whole = 404, said
        status, _, body = await told(setup, asks())
        assert (status, error_of(body)["message"]) == (404, "The model `m` does not exist")
        upstream.status, upstream.whole = 200, completion()
        assert (await told(setup, asks()))[0] == 200
        assert upstream.paths == [PATH, CHAT] * 2


async def test_the_simulated_one(redis_url: str, name: str) -> None:
    cache = {"name": name, "local_answers": 100}
    async with (
        simulated(apis=("chat",)) as (url, simulator),
        serving(url, redis_url=redis_url, cache=cache) as setup,
        sdk(str(setup.client.make_url("/"))) as client,
    ):
        first = await streamed(client, system="Be brief.")
        await settled(setup.service)
        again = await streamed(client, system="Be brief.")
        assert (again["content"], again["usage"]) == (first["content"], first["usage"])
        assert simulator.stats.calls == 1
