"""Anthropic's messages, by its own SDK and over the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from anthropic import APIStatusError, AsyncAnthropic, NotFoundError
from anthropic.types import Message, RawMessageStreamEvent
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter

from semcache_async.simulator import SimulatorOptions
from semcache_async.simulator.answer import tokens_of
from tests.simulator.helpers import Upstream, asked, told

pytestmark = pytest.mark.anyio

PATH = "/v1/messages"
SCHEMA = {
    "type": "object",
    "properties": {"place": {"type": "string"}, "days": {"type": "integer", "minimum": 2}},
    "required": ["place", "days"],
    "additionalProperties": False,
}
TOOLS = [{"name": "time", "input_schema": {"type": "object"}}]
TOOLS = [*TOOLS, {"name": "weather", "input_schema": SCHEMA}]
WANTED = {"type": "json_schema", "schema": SCHEMA}


@pytest.fixture
async def client(upstream: Upstream) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=upstream.url("/"), api_key="k", max_retries=0) as client:
        yield client


def ask(prompt: str = "hello", **fields: Any) -> dict[str, Any]:
    return asked(prompt, **{"max_tokens": 1_000, **fields})


async def whole(upstream: Upstream, faults: str = "", **fields: Any) -> dict[str, Any]:
    async with upstream.post(ask(**fields), faults, path=PATH) as response:
        assert response.status == 200
        answer: dict[str, Any] = await response.json()
        return answer


async def stream(upstream: Upstream, faults: str = "", **fields: Any) -> list[dict[str, Any]]:
    async with upstream.post(ask(stream=True, **fields), faults, path=PATH) as response:
        return told(await response.read())


async def test_a_message_has_its_form(upstream: Upstream) -> None:
    async with upstream.post(ask("one"), path=PATH) as response:
        assert response.headers["request-id"].startswith("req_")
        message = await response.json()
    Message.model_validate(message)
    assert message.pop("id").startswith("msg_")
    usage = message.pop("usage")
    (block,) = message.pop("content")
    assert block["type"] == "text"
    assert block["text"].startswith("Answer to: one ")
    assert usage["output_tokens"] == len(tokens_of(block["text"]))
    assert message == {
        "type": "message",
        "role": "assistant",
        "model": "m",
        "stop_reason": "end_turn",
        "stop_sequence": None,
    }


@pytest.mark.parametrize(
    ("faults", "fields"),
    [
        ("", {}),
        ("", {"thinking": {"type": "enabled", "budget_tokens": 1_024}}),
        ("", {"tools": TOOLS, "tool_choice": {"type": "any"}}),
        ("", {"stop_sequences": [" is", " hello"]}),
        ("", {"max_tokens": 2}),
        ("reasoning", {}),
        ("refusal", {}),
        ("tool_calls", {}),
        ("empty", {}),
    ],
)
async def test_a_stream_says_the_same(
    upstream: Upstream, client: AsyncAnthropic, faults: str, fields: dict[str, Any]
) -> None:
    expected = Message.model_validate(await whole(upstream, faults, **fields))
    async with client.messages.stream(**ask(**fields), extra_headers={"x-simulate": faults}) as got:
        found = await got.get_final_message()
    keep = {"id", "usage", "content"}
    assert found.model_dump(exclude=keep) == expected.model_dump(exclude=keep)
    assert found.usage.output_tokens == expected.usage.output_tokens
    without = [
        [block.model_dump(exclude={"id", "parsed_output"}) for block in message.content]
        for message in (found, expected)
    ]
    assert without[0] == without[1]


async def test_the_events_in_their_order(upstream: Upstream) -> None:
    thinking = {"type": "adaptive"}
    events = await stream(upstream, thinking=thinking, max_tokens=2)
    for event in events:
        if event["type"] != "ping":
            TypeAdapter[Any](RawMessageStreamEvent).validate_python(event)
    kinds = [
        event["type"] + "." + event.get("delta", event.get("content_block", {})).get("type", "")
        for event in events
    ]
    thoughts = ["content_block_delta.thinking_delta"] * len(tokens_of("The user asks: hello"))
    assert kinds == [
        *("message_start.", "ping."),
        *("content_block_start.thinking", *thoughts, "content_block_delta.signature_delta"),
        *("content_block_stop.", "content_block_start.text"),
        *["content_block_delta.text_delta"] * 2,
        *("content_block_stop.", "message_delta.", "message_stop."),
    ]
    begun = events[0]["message"]
    assert (begun["content"], begun["stop_reason"]) == ([], None)
    assert begun["usage"]["input_tokens"] > 0
    assert [event["index"] for event in events if "index" in event] == [0] * 7 + [1] * 4
    assert events[-2]["delta"] == {"stop_reason": "max_tokens", "stop_sequence": None}


async def test_why_it_ends(upstream: Upstream) -> None:
    stopped = await whole(upstream, prompt="one two", stop_sequences=["", " two"])
    assert (stopped["stop_reason"], stopped["stop_sequence"]) == ("stop_sequence", " two")
    assert stopped["content"][0]["text"] == "Answer to: one"
    for fault, reason in (("length", "max_tokens"), ("pause_turn", "pause_turn")):
        assert (await whole(upstream, f"finish_reason={fault}"))["stop_reason"] == reason
    assert (await whole(upstream, "refusal"))["stop_reason"] == "refusal"
    assert "usage" not in await whole(upstream, "no_usage")


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ({"type": "any"}, "time"),
        ({"type": "tool", "name": "weather"}, "weather"),
        ({"type": "auto"}, None),
        ({"type": "none"}, None),
    ],
)
async def test_tools(upstream: Upstream, choice: dict[str, Any], called: str | None) -> None:
    message = await whole(upstream, tools=TOOLS, tool_choice=choice)
    (block,) = message["content"]
    assert (block["type"] == "tool_use") is (called is not None)
    assert block.get("name") == called
    assert message["stop_reason"] == ("tool_use" if called else "end_turn")
    if called == "weather":
        assert Draft202012Validator(SCHEMA).is_valid(block["input"])


@pytest.mark.parametrize(
    "fields", [{"output_format": WANTED}, {"output_config": {"format": WANTED}}]
)
async def test_json_of_the_form_that_is_asked_for(
    upstream: Upstream, fields: dict[str, Any]
) -> None:
    text = (await whole(upstream, **fields))["content"][0]["text"]
    assert Draft202012Validator(SCHEMA).is_valid(json.loads(text))


async def test_tokens_are_counted(client: AsyncAnthropic) -> None:
    counted = await client.messages.count_tokens(**asked("one"), system="Be brief.")
    message = await client.messages.create(**ask("one"), system="Be brief.")
    assert counted.input_tokens == message.usage.input_tokens
    assert counted.input_tokens > (await client.messages.create(**ask("one"))).usage.input_tokens


@pytest.mark.parametrize("options", [SimulatorOptions(median_ms=0, models=("m",), api_key="k")])
async def test_what_is_refused(upstream: Upstream, client: AsyncAnthropic) -> None:
    async def error(body: Any, path: str = PATH, **headers: str) -> tuple[int, str]:
        headers = {"x-api-key": "k", **headers}
        async with upstream.session.post(
            upstream.url(path), json=body, headers=headers
        ) as response:
            told = await response.json()
            assert told["type"] == "error"
            assert told["request_id"] == response.headers["request-id"]
            assert told["error"]["message"]
            return response.status, told["error"]["type"]

    assert await error(asked("a")) == (400, "invalid_request_error")
    assert await error({"model": "m"}, f"{PATH}/count_tokens") == (400, "invalid_request_error")
    wrong = {"x-api-key": "wrong"}
    assert await error(ask(), **wrong) == (401, "authentication_error")
    assert await error(ask(), f"{PATH}/count_tokens", **wrong) == (401, "authentication_error")
    with pytest.raises(NotFoundError, match="`other` does not exist"):
        await client.messages.create(**ask(model="other"))
    kinds = {429: "rate_limit_error", 500: "api_error", 503: "api_error", 529: "overloaded_error"}
    for status, kind in kinds.items():
        simulate = {"x-simulate": f"status={status}"}
        assert await error(ask(), **simulate) == (status, kind)
        assert await error(asked("a"), f"{PATH}/count_tokens", **simulate) == (status, kind)
    async with AsyncAnthropic(base_url=upstream.url("/"), auth_token="k", api_key=None) as bearer:
        assert (await bearer.messages.create(**ask())).stop_reason == "end_turn"


async def test_a_stream_that_breaks_off(upstream: Upstream, client: AsyncAnthropic) -> None:
    events = await stream(upstream, "error")
    assert events[-1] == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "Overloaded"},
    }
    with pytest.raises(APIStatusError, match="overloaded_error"):
        async for _ in await client.messages.create(
            **ask(stream=True), extra_headers={"x-simulate": "error"}
        ):
            pass
    assert (await stream(upstream, "no_done"))[-1]["type"] == "message_delta"
    with pytest.raises(json.JSONDecodeError):
        await stream(upstream, "garbage")
    assert upstream.simulator.stats.streams == 4


async def test_a_conversation_with_tools_is_the_chats(upstream: Upstream) -> None:
    """Whatever was called and thought before, the same question gets the same words."""
    call = {"name": "weather", "arguments": '{"place":"x"}'}
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Rain?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "no"},
        {"role": "user", "content": "And then?"},
    ]
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Rain?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "tool_use", "id": "c", "name": "weather", "input": {"place": "x"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c", "content": "no"},
                {"type": "text", "text": "And then?"},
            ],
        },
    ]
    system = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    told = await whole(upstream, messages=messages, system=system)
    completion = await upstream.whole(messages=chat)
    assert told["content"][0]["text"] == completion["choices"][0]["message"]["content"]


async def test_a_stream_cut_at_any_byte(upstream: Upstream) -> None:
    async with upstream.post(ask(stream=True), "cut_after_bytes=99", path=PATH) as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
