"""Streams of messages: byte by byte what the upstream sent, and hits that add up to the same."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import msgspec
import pytest

from semcache_async.serve.apis import CHAT as CHAT_API
from semcache_async.serve.apis import MESSAGES
from semcache_async.serve.apis.api import Usage
from semcache_async.serve.apis.messages.saying import event
from semcache_async.serve.sse import EventSplitter, data_of
from tests.helpers import until
from tests.serve.anthropic.helpers import (
    ALL,
    EVENTS,
    FORCED,
    STOP,
    WHOLE,
    asks,
    closed,
    delta,
    ended,
    error_of,
    message,
    opened,
    scene,
    sdk,
    started,
    streamed,
    streaming,
    told,
)
from tests.serve.running import settled
from tests.serve.upstreams import EVENTS as CHUNKS
from tests.serve.upstreams import LAST, STREAM_HEAD, answer, chunk
from tests.serve.upstreams import asks as asks_chat

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

STATUS = "x-semcache-status"


def assembled(stream: bytes) -> dict[str, Any]:
    reader = MESSAGES.reader()
    for one in EventSplitter().feed(stream):
        reader.read(one)
    assert reader.complete
    return reader.answer()


async def test_a_miss_is_the_upstreams_own_bytes_and_then_hits() -> None:
    async with scene(*streaming()) as (setup, script):
        status, headers, body = await told(setup, asks(stream=True))
        assert (status, body) == (200, ALL)
        assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert headers["Cache-Status"] == "semcache; fwd=miss"
        await settled(setup.service)
        _, headers, body = await told(setup, asks(stream=True))
        assert headers["Cache-Status"] == "semcache; hit"
        again = assembled(body)
        assert again.pop("id") != "msg_1"
        assert {"id": "msg_1", **again} == message()
        texts = [msgspec.json.decode(data_of(one) or b"") for one in EventSplitter().feed(body)]
        said = [one["delta"]["text"] for one in texts if one["type"] == "content_block_delta"]
        assert said == ["Like ", "this."]
        _, headers, body = await told(setup, asks())
        assert msgspec.json.decode(body)["content"] == message()["content"]
        assert len(script.requests) == 1
        assert script.bodies == [asks(stream=True)]
        assert setup.service.metrics.saved()[:2] == (14, 6)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("second", [False, True])
async def test_two_readers_of_one_call(first: bool, second: bool) -> None:
    gate = asyncio.Event()
    pieces = (gate, *streaming()) if first else (gate, answer(WHOLE))
    async with scene(*pieces) as (setup, script):
        leader = asyncio.create_task(told(setup, asks(stream=first)))
        await until(lambda: setup.service.cache.stats().waiting == 1)
        follower = asyncio.create_task(told(setup, asks(stream=second)))
        await until(lambda: setup.service.cache.stats().waiting == 2)
        gate.set()
        assert (await leader)[2] == (ALL if first else WHOLE)
        _, headers, body = await follower
        assert headers[STATUS] == "shared"
        if first is second:
            assert body == (await leader)[2]
        whole = assembled(body) if second else msgspec.json.decode(body)
        assert whole["content"] == message()["content"]
        assert (whole["stop_reason"], whole["usage"]) == ("end_turn", message()["usage"])
        assert len(script.requests) == 1


async def test_who_joins_late_gets_it_from_the_start() -> None:
    gate = asyncio.Event()
    pieces = (STREAM_HEAD, chunk(b"".join(EVENTS[:4])), gate, chunk(b"".join(EVENTS[4:])), LAST)
    async with scene(*pieces) as (setup, script):
        leader = await setup.client.post("/v1/messages", json=asks(stream=True))
        assert await leader.content.readexactly(len(EVENTS[0])) == EVENTS[0]
        follower = asyncio.create_task(told(setup, asks(stream=True)))
        await until(lambda: setup.service.cache.stats().waiting == 2)
        gate.set()
        assert (await follower)[2] == EVENTS[0] + await leader.read() == ALL
        assert len(script.requests) == 1


THOUGHT = {"type": "thinking", "thinking": "Hm, so.", "signature": "sig=="}
STREAM = [
    started(),
    opened(type="thinking", thinking="", signature=""),
    delta("thinking_delta", thinking="Hm, "),
    delta("thinking_delta", thinking="so."),
    delta("signature_delta", signature="sig=="),
    closed(),
    opened(1, type="text", text=""),
    delta("text_delta", 1, text="Rome:"),
    closed(1),
    opened(2, type="tool_use", id="toolu_1", name="weather", input={}),
    delta("input_json_delta", 2, partial_json=""),
    delta("input_json_delta", 2, partial_json='{"city": '),
    delta("input_json_delta", 2, partial_json='"Rome"}'),
    closed(2),
    ended("tool_use", 30),
    STOP,
]


async def test_a_hit_adds_up_to_what_the_sdk_had_of_the_miss() -> None:
    async with scene(*streaming(*STREAM)) as (setup, script):
        async with sdk(str(setup.client.make_url("/"))) as client:
            first = await streamed(client, **FORCED)
            assert first["usage"]["output_tokens"] == 30
            assert [block["type"] for block in first["content"]] == ["thinking", "text", "tool_use"]
            await settled(setup.service)
            for _ in range(2):
                again = await streamed(client, **FORCED)
                assert again.pop("id") != first["id"]
                assert {"id": first["id"], **again} == first
            whole = await client.messages.create(**asks(**FORCED))
            assert whole.to_dict()["content"] == first["content"]
        assert len(script.requests) == 1


@pytest.mark.parametrize(
    "events",
    [
        [*EVENTS[:6], ended("max_tokens"), STOP],
        [*EVENTS[:6], ended("pause_turn"), STOP],
        [*EVENTS[:6], ended("refusal"), STOP],
        STREAM,
        [EVENTS[0], *EVENTS[6:]],
        [EVENTS[0], STOP],
        [*EVENTS[:3], event("content_block_delta", index=0, delta={"type": "new"}), *EVENTS[3:]],
    ],
)
async def test_unfit_streams_are_delivered_but_not_stored(events: list[bytes]) -> None:
    async with scene(*streaming(*events)) as (setup, script):
        for n in range(2):
            assert (await told(setup, asks(stream=True)))[2] == b"".join(events)
            assert len(script.requests) == n + 1
        assert setup.store is not None
        assert len(setup.store) == 0


OVERLOADED = b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (b"event: error\ndata: " + OVERLOADED + b"\n\n", "overloaded_error"),
        (b'data: {"error": {"message": "no", "code": "x"}}\n\n', "api_error"),
        (b"data: {nonsense\n\n", "api_error"),
        (b"", "api_error"),
    ],
)
async def test_a_stream_that_goes_wrong(last: bytes, kind: str) -> None:
    before = b"".join(EVENTS[:5])
    async with scene(*streaming(before + last)) as (setup, _):
        status, _, body = await told(setup, asks(stream=True))
        assert (status, body[: len(before)]) == (200, before)
        (said,) = EventSplitter().feed(body[len(before) :])
        assert said.startswith(b"event: error\ndata: {")
        assert error_of(data_of(said) or b"")["type"] == kind
        assert setup.store is not None
        assert len(setup.store) == 0


async def test_the_end_is_message_stop_not_the_connections_end() -> None:
    """Some say ``[DONE]`` after it, and what comes then is nobody's."""
    done = ALL + b"data: [DONE]\n\n"
    async with scene(STREAM_HEAD, chunk(done + EVENTS[0]), "hang") as (setup, _):
        assert (await told(setup, asks(stream=True)))[2] == done
        await settled(setup.service)
        assert (await told(setup, asks()))[1][STATUS] == "exact"


async def test_a_stream_that_lacks_its_end_after_the_last_word() -> None:
    async with scene(*streaming(*EVENTS[:-1])) as (setup, _):
        assert (await told(setup, asks(stream=True)))[2] == b"".join(EVENTS[:-1])
        await settled(setup.service)
        assert (await told(setup, asks()))[1][STATUS] == "exact"


async def test_an_upstream_that_does_not_stream() -> None:
    async with scene() as (setup, _):
        for status in ("generated", "exact"):
            _, headers, body = await told(setup, asks(stream=True))
            assert headers[STATUS] == status
            assert assembled(body)["content"] == message()["content"]
            await settled(setup.service)


CHAT = "/v1/chat/completions"


@pytest.mark.parametrize("leads", ["messages", "chat"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_flight_of_both_apis_where_that_is_wanted(leads: str, stream: bool) -> None:
    gate = asyncio.Event()
    pieces = streaming() if leads == "messages" else (STREAM_HEAD, chunk(b"".join(CHUNKS)), LAST)
    ours = asks(stream=leads == "messages" or stream)
    theirs = asks_chat(stream=leads == "chat" or stream, usage=True, max_tokens=64)
    async with scene(gate, *pieces, across_apis=True) as (setup, script):
        in_messages, in_chat = partial(told, setup, ours), partial(told, setup, theirs, CHAT)
        first, second = (in_messages, in_chat) if leads == "messages" else (in_chat, in_messages)
        leader = asyncio.create_task(first())
        await until(lambda: setup.service.cache.stats().waiting == 1)
        follower = asyncio.create_task(second())
        await until(lambda: setup.service.cache.stats().waiting == 2)
        gate.set()
        assert (await leader)[2] == (ALL if leads == "messages" else b"".join(CHUNKS))
        _, headers, body = await follower
        assert (headers[STATUS], headers["x-semcache-api"]) == ("shared", leads)
        api = CHAT_API if leads == "messages" else MESSAGES
        if not stream:
            whole = msgspec.json.decode(body)
        else:
            reader = api.reader()
            for one in EventSplitter().feed(body):
                reader.read(one)
            assert reader.complete
            whole = reader.answer()
        said = api.said(whole)
        assert said is not None
        assert said.choices[0].text == "Like this."
        assert said.usage == Usage(7, 3)
        assert len(script.requests) == 1
