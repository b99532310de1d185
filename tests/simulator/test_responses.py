"""OpenAI's responses, by its own SDK and over the wire."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openai import AsyncOpenAI, BadRequestError, NotFoundError
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from semcache_async.simulator import SimulatorOptions
from semcache_async.simulator.answer import tokens_of
from semcache_async.simulator.apis import responses
from tests.simulator.helpers import Upstream, told

pytestmark = pytest.mark.anyio

PATH = "/v1/responses"
SCHEMA = {
    "type": "object",
    "properties": {"place": {"type": "string"}},
    "required": ["place"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "web_search"},
    {"type": "function", "name": "time", "parameters": {"type": "object"}},
    {"type": "function", "name": "weather", "parameters": SCHEMA},
]
WANTED = {"format": {"type": "json_schema", "name": "a", "schema": SCHEMA}}
THINKING = {"effort": "low", "summary": "auto"}


@pytest.fixture
async def client(upstream: Upstream) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=upstream.url("/v1"), api_key="k", max_retries=0) as client:
        yield client


def ask(prompt: Any = "hello", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "input": prompt, **fields}


async def whole(upstream: Upstream, faults: str = "", **fields: Any) -> dict[str, Any]:
    async with upstream.post(ask(**fields), faults, path=PATH) as response:
        answer: dict[str, Any] = await response.json()
        assert response.status == 200, answer
        Response.model_validate(answer)
        return answer


async def stream(upstream: Upstream, faults: str = "", **fields: Any) -> list[dict[str, Any]]:
    async with upstream.post(ask(stream=True, **fields), faults, path=PATH) as response:
        return told(await response.read())


def text_of(response: dict[str, Any]) -> str:
    text: str = response["output"][-1]["content"][0]["text"]
    return text


async def test_a_response_has_its_form(upstream: Upstream) -> None:
    response = await whole(upstream, prompt="one", temperature=0.5, metadata={"a": "b"})
    assert response.pop("id").startswith("resp_")
    assert response.pop("completed_at") == response.pop("created_at") > 1_700_000_000
    usage = response.pop("usage")
    (message,) = response.pop("output")
    (part,) = message.pop("content")
    assert message.pop("id").startswith("msg_")
    assert message == {"type": "message", "role": "assistant", "status": "completed"}
    assert part.pop("text").startswith("Answer to: one ")
    assert part == {"type": "output_text", "annotations": [], "logprobs": []}
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert response == {
        "object": "response",
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "model": "m",
        "background": False,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "metadata": {"a": "b"},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "safety_identifier": None,
        "store": True,
        "temperature": 0.5,
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
    }


@pytest.mark.parametrize(
    ("faults", "fields"),
    [
        ("", {}),
        ("", {"reasoning": THINKING}),
        ("", {"reasoning": THINKING, "tools": TOOLS, "tool_choice": "required"}),
        ("", {"max_output_tokens": 2}),
        ("refusal", {}),
        ("tool_calls", {}),
        ("empty", {}),
        ("finish_reason=content_filter", {}),
        ("finish_reason=failed", {}),
    ],
)
async def test_a_stream_says_the_same(
    upstream: Upstream, faults: str, fields: dict[str, Any]
) -> None:
    expected = await whole(upstream, faults, **fields)
    events = await stream(upstream, faults, **fields)
    for event in events:
        TypeAdapter[Any](ResponseStreamEvent).validate_python(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == f"response.{expected['status']}"
    found = events[-1]["response"]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert found["output"] == done
    spelled = "".join(event.get("delta", "") for event in events)
    for response in (expected, found):
        for item in response["output"]:
            del item["id"]
        del response["id"], response["created_at"], response["completed_at"]
    assert found == expected
    for item in found["output"]:
        parts = [*item.get("content", ()), *item.get("summary", ()), item]
        texts = [part.get("text", part.get("refusal", part.get("arguments"))) for part in parts]
        spelled = spelled.removeprefix("".join(filter(None, texts)))
    assert spelled == ""


async def test_the_events_in_their_order(upstream: Upstream) -> None:
    events = await stream(upstream, prompt="a", max_output_tokens=2, reasoning=THINKING)
    kinds = [kind for kind, _ in itertools.groupby(event["type"] for event in events)]
    assert kinds == [
        f"response.{kind}"
        for kind in (
            *("created", "in_progress", "output_item.added", "reasoning_summary_part.added"),
            *("reasoning_summary_text.delta", "reasoning_summary_text.done"),
            *("reasoning_summary_part.done", "output_item.done"),
            *("output_item.added", "content_part.added", "output_text.delta", "output_text.done"),
            *("content_part.done", "output_item.done", "incomplete"),
        )
    ]
    called = await stream(
        upstream, tools=TOOLS, tool_choice={"type": "function", "name": "weather"}
    )
    assert [kind for kind, _ in itertools.groupby(event["type"] for event in called)] == [
        f"response.{kind}"
        for kind in (
            *("created", "in_progress", "output_item.added", "function_call_arguments.delta"),
            *("function_call_arguments.done", "output_item.done", "completed"),
        )
    ]
    assert called[0]["response"]["output"] == []
    assert called[0]["response"]["status"] == "in_progress"


async def test_the_sdk_reads_a_stream(client: AsyncOpenAI) -> None:
    async with client.responses.stream(**ask()) as events:
        found = await events.get_final_response()
    assert found.output_text == (await client.responses.create(**ask())).output_text


async def test_reasoning(upstream: Upstream) -> None:
    silent = await whole(upstream, reasoning={"effort": "high"})
    assert [item["type"] for item in silent["output"]] == ["reasoning", "message"]
    assert silent["output"][0]["summary"] == []
    assert silent["usage"]["output_tokens_details"]["reasoning_tokens"] > 0
    (item, _) = (await whole(upstream, reasoning=THINKING))["output"]
    assert item["summary"] == [{"type": "summary_text", "text": "The user asks: hello"}]
    none = await whole(upstream, reasoning={**THINKING, "effort": "none"})
    assert [item["type"] for item in none["output"]] == ["message"]
    sealed = await whole(upstream, reasoning=THINKING, include=["reasoning.encrypted_content"])
    assert sealed["output"][0]["encrypted_content"]


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ("required", "time"),
        ({"type": "function", "name": "weather"}, "weather"),
        ("auto", None),
        ("none", None),
    ],
)
async def test_tools(upstream: Upstream, choice: Any, called: str | None) -> None:
    (item,) = (await whole(upstream, tools=TOOLS, tool_choice=choice))["output"]
    assert (item["type"], item.get("name")) == ("function_call" if called else "message", called)
    if called == "weather":
        assert Draft202012Validator(SCHEMA).is_valid(json.loads(item["arguments"]))


async def test_limits_and_forms(upstream: Upstream) -> None:
    short = await whole(upstream, max_output_tokens=2)
    assert (text_of(short), short["status"]) == ("Answer to:", "incomplete")
    assert short["incomplete_details"] == {"reason": "max_output_tokens"}
    assert (await whole(upstream, max_output_tokens=1_000))["status"] == "completed"
    assert Draft202012Validator(SCHEMA).is_valid(
        json.loads(text_of(await whole(upstream, text=WANTED)))
    )
    formed = await whole(upstream, text={"format": {"type": "json_object"}})
    assert json.loads(text_of(formed))["answer"].startswith("Answer to: hello")


async def test_a_conversation_goes_on(client: AsyncOpenAI) -> None:
    one, other = [await client.responses.create(**ask(prompt)) for prompt in ("one", "other")]
    after = [
        (await client.responses.create(**ask("and?"), previous_response_id=id_)).output_text
        for id_ in (one.id, one.id, other.id)
    ]
    assert after[0] == after[1] != after[2]
    assert after[0].startswith("Answer to: and? (after: one)")
    alone = (await client.responses.create(**ask("and?"))).output_text
    assert alone not in after
    for unknown in (None, await client.responses.create(**ask(), store=False)):
        id_ = "resp_1" if unknown is None else unknown.id
        with pytest.raises(BadRequestError) as refused:
            await client.responses.create(**ask(), previous_response_id=id_)
        assert refused.value.code == "previous_response_not_found"
        assert f"Previous response with id '{id_}' not found." in refused.value.message


async def test_what_is_stored(client: AsyncOpenAI) -> None:
    items: Any = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "a"}]
    made = await client.responses.create(**ask(items))
    assert await client.responses.retrieve(made.id) == made
    listed = [item async for item in client.responses.input_items.list(made.id, limit=1)]
    texts = [item.to_dict()["content"][0]["text"] for item in listed]  # type: ignore[index]
    assert texts == ["a", "Be brief."]
    page = await client.responses.input_items.list(made.id, order="asc")
    assert [item.id for item in page.data] == [item.id for item in reversed(listed)]
    with pytest.raises(BadRequestError, match="synchronous"):
        await client.responses.cancel(made.id)
    await client.responses.delete(made.id)
    for gone in (client.responses.retrieve, client.responses.delete, client.responses.cancel):
        with pytest.raises(NotFoundError, match=f"Response with id '{made.id}' not found."):
            await gone(made.id)
    with pytest.raises(NotFoundError):
        await client.responses.input_items.list(made.id)


async def test_deleted_as_openai_says_it(upstream: Upstream) -> None:
    id_ = (await whole(upstream))["id"]
    async with upstream.session.delete(upstream.url(f"{PATH}/{id_}")) as response:
        assert await response.json() == {"id": id_, "object": "response.deleted", "deleted": True}


async def test_the_latest_are_kept(client: AsyncOpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "_MOST_KEPT", 2)
    made = [await client.responses.create(**ask()) for _ in range(3)]
    with pytest.raises(NotFoundError):
        await client.responses.retrieve(made[0].id)
    for one in made[1:]:
        await client.responses.retrieve(one.id)


@pytest.mark.parametrize("options", [SimulatorOptions(median_ms=3_600_000, sigma=0)])
async def test_in_the_background(client: AsyncOpenAI) -> None:
    queued = await client.responses.create(**ask(), background=True)
    assert (queued.status, queued.output, queued.usage) == ("queued", [], None)
    done = await client.responses.retrieve(queued.id)
    assert (done.status, done.background) == ("completed", True)
    assert done.output_text.startswith("Answer to: hello")
    assert (await client.responses.cancel(done.id)).status == "completed"
    other = await client.responses.create(**ask(), background=True)
    assert (await client.responses.cancel(other.id)).status == "cancelled"
    assert (await client.responses.retrieve(other.id)).status == "cancelled"


@pytest.mark.parametrize("options", [SimulatorOptions(median_ms=0, models=("m",), api_key="k")])
async def test_what_is_refused(upstream: Upstream, client: AsyncOpenAI) -> None:
    for body in (b"[]", b"{", {"model": "m"}, ask(7), ask("a", max_output_tokens=0)):
        async with upstream.post(body, key="k", path=PATH) as response:
            assert response.status == 400
            assert (await response.json())["error"]["type"] == "invalid_request_error"
    for method, path in (("POST", PATH), ("GET", f"{PATH}/resp_1"), ("DELETE", f"{PATH}/resp_1")):
        async with upstream.session.request(method, upstream.url(path), json=ask()) as response:
            assert response.status == 401
            assert (await response.json())["error"]["code"] == "invalid_api_key"
    with pytest.raises(NotFoundError) as refused:
        await client.responses.create(**ask(model="other"))
    assert refused.value.code == "model_not_found"
    simulate = {"x-simulate": "status=503, retry_after=2", "Authorization": "Bearer k"}
    for method, path in (("POST", PATH), ("GET", f"{PATH}/resp_1")):
        url = upstream.url(path)
        async with upstream.session.request(method, url, json=ask(), headers=simulate) as response:
            assert (response.status, response.headers["retry-after"]) == (503, "2")


async def test_a_stream_that_breaks_off(upstream: Upstream) -> None:
    events = await stream(upstream, "error")
    assert events[-1] == {
        "type": "error",
        "sequence_number": len(events) - 1,
        "code": "server_error",
        "message": "The server had an error",
        "param": None,
    }
    assert (await stream(upstream, "no_done"))[-1]["type"] == "response.output_item.done"
    with pytest.raises(json.JSONDecodeError):
        await stream(upstream, "garbage")
    assert upstream.simulator.stats.streams == 3


async def test_tokens_are_told(upstream: Upstream) -> None:
    response = await whole(upstream)
    assert response["usage"]["output_tokens"] == len(tokens_of(text_of(response)))
    assert (await whole(upstream, "no_usage"))["usage"] is None
    stats = upstream.simulator.stats
    assert stats.completion_tokens == 2 * response["usage"]["output_tokens"]
    assert (stats.calls, stats.answered) == (2, 2)


async def test_items_are_the_chats_messages(upstream: Upstream) -> None:
    calls = [
        {"id": id_, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for id_ in ("c", "d")
    ]
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Rain?"},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c", "content": "no"},
        {"role": "tool", "tool_call_id": "d", "content": "yes"},
    ]
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": "Rain?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "d", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "no"},
        {"type": "function_call_output", "call_id": "d", "output": "yes"},
    ]
    response = await whole(upstream, prompt=items, instructions="Be brief.")
    completion = await upstream.whole(messages=chat)
    assert text_of(response) == completion["choices"][0]["message"]["content"]
