"""POST /v1/completions: the older form, through the cache as chats are."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from openai import AsyncOpenAI

from semcache_async.serve.apis import content_of
from semcache_async.serve.apis.chat import TEXT
from semcache_async.serve.apis.chat.completion import Assembler
from semcache_async.serve.apis.chat.replay import DONE, replay
from semcache_async.serve.completions.keeping import Keeping
from semcache_async.serve.settings import Settings
from semcache_async.serve.sse import EventSplitter, data_of, event_of
from tests.helpers import check_sums
from tests.serve.running import live, settled
from tests.serve.upstreams import (
    LAST,
    STREAM_HEAD,
    Setup,
    answer,
    chunk,
    scripted,
    serving,
    told,
)

pytestmark = pytest.mark.anyio

PATH = "/v1/completions"


def made(text: str = " Like this.", **choice: Any) -> dict[str, Any]:
    told = {"index": 0, "text": text, "logprobs": None, "finish_reason": "stop", **choice}
    return {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "m-2026",
        "choices": [told],
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
    }


ANSWER = answer(msgspec.json.encode(made()))


def said(text: str, reason: str | None = None) -> bytes:
    one = made(text, finish_reason=reason) | {"usage": None}
    return event_of(msgspec.json.encode(one))


STREAM = b"".join(
    [
        *(said(" Like"), said(" this."), said("", "stop")),
        event_of(msgspec.json.encode(made() | {"choices": []})),
        DONE,
    ]
)


def asks(prompt: Any = "pay at 10", **fields: Any) -> dict[str, Any]:
    return {"model": "m", "prompt": prompt, **fields}


async def post(setup: Setup, body: dict[str, Any]) -> tuple[Any, bytes]:
    async with setup.client.post(PATH, json=body) as response:
        assert response.status == 200, await response.read()
        return response.headers, await response.read()


def assembled(stream: bytes) -> dict[str, Any]:
    splitter, assembler = EventSplitter(), Assembler()
    for event in splitter.feed(stream):
        assembler.read(event)
    assert assembler.complete
    return assembler.answer()


async def test_whole_then_hits_of_every_kind() -> None:
    whole = msgspec.json.encode(made())
    async with scripted(answer(whole)) as (url, script), serving(url) as setup:
        headers, body = await post(setup, asks())
        assert (headers["x-semcache-status"], body) == ("generated", whole)
        assert script.targets == ["/v1/completions"]
        assert script.bodies == [asks()]
        for again in (asks(), asks(["pay at 10"]), asks(echo=False, best_of=1, n=1, suffix=None)):
            headers, body = await post(setup, again)
            assert headers["x-semcache-status"] == "exact"
            found = msgspec.json.decode(body)
            assert found["id"].startswith("cmpl-")
            assert found["choices"] == made()["choices"]
        headers, body = await post(setup, asks("money at 15"))
        assert headers["x-semcache-status"] == "semantic"
        headers, body = await post(setup, asks(stream=True, stream_options={"include_usage": True}))
        assert headers["x-semcache-status"] == "exact"
        found = assembled(body)
        assert found["object"] == "text_completion"
        assert (found["choices"], found["usage"]) == (made()["choices"], made()["usage"])
        assert len(script.requests) == 1
        check_sums(setup.service.cache)


async def test_a_stream_is_the_upstreams_own_and_then_a_hit() -> None:
    pieces = (STREAM_HEAD, chunk(STREAM), LAST)
    async with scripted(*pieces) as (url, script), serving(url) as setup:
        usage = {"include_usage": True}
        _, body = await post(setup, asks(stream=True, stream_options=usage))
        assert body == STREAM
        await settled(setup.service)
        _, body = await post(setup, asks(stream=True))
        events = [msgspec.json.decode(data_of(e) or b"") for e in EventSplitter().feed(body)[:-1]]
        assert [one["choices"][0]["text"] for one in events] == [" Like", " this.", ""]
        _, body = await post(setup, asks())
        assert msgspec.json.decode(body)["choices"] == made()["choices"]
        assert len(script.requests) == 1


async def test_a_text_and_a_chat_share_nothing() -> None:
    async with (
        scripted(ANSWER) as (url, script),
        serving(url) as setup,
    ):
        await post(setup, asks())
        chat = {"model": "m", "messages": [{"role": "user", "content": "pay at 10"}]}
        await told(setup, chat)
        assert script.targets == ["/v1/completions", "/v1/chat/completions"]
        both = {**chat, "prompt": "pay at 10"}  # the same bytes, to either path
        await told(setup, both)
        headers, _ = await post(setup, both)
        assert headers["x-semcache-status"] == "exact"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"prompt": ["a", "b"]}, "shape"),
        ({"prompt": [15339, 1917]}, "shape"),
        ({"prompt": None}, "shape"),
        ({"n": 2}, "n"),
        ({"temperature": 1.5}, "temperature"),
        ({"prompt": "My name is Ann at 10"}, "personal"),
    ],
)
async def test_what_bypasses_the_cache(fields: dict[str, Any], reason: str) -> None:
    async with (
        scripted(ANSWER) as (url, script),
        serving(url) as setup,
    ):
        headers, _ = await post(setup, asks() | fields)
        assert headers["x-semcache-reason"] == reason
        assert script.bodies == [asks() | fields]


async def test_what_changes_the_answer_is_scope() -> None:
    async with scripted(ANSWER) as (url, _), serving(url) as setup:
        for fields in ({}, {"suffix": "x"}, {"logprobs": 0}, {"logprobs": 1}, {"echo": True}):
            assert (await post(setup, asks(**fields)))[0]["x-semcache-status"] == "generated"
            assert (await post(setup, asks(**fields)))[0]["x-semcache-status"] == "exact"
        headers, _ = await post(setup, asks("money at 10", echo=True))
        assert headers["x-semcache-status"] == "generated"


async def test_what_is_not_kept() -> None:
    keeping, request = Keeping(Settings().finish_reasons), TEXT.read(asks())
    assert await keeping.why_not(made(), request) is None
    assert await keeping.why_not(made(finish_reason="length"), request) == "finish_reason"
    assert await keeping.why_not(made(" "), request) == "empty"
    assert await keeping.why_not({"choices": [{"finish_reason": "stop"}]}, request) == "shape"


def test_long_texts_come_in_short_lines_with_their_log_probabilities() -> None:
    told = {"tokens": ["\u20ac"] * 4_000, "token_logprobs": [-0.5] * 4_000, "text_offset": [1]}
    whole = made("\0\u20ac" * 20_000, logprobs=told)
    events = replay(whole, id="cmpl-1", created=1, include_usage=True)
    assert max(map(len, events)) < 2**14
    assert assembled(b"".join(events)) == whole
    assert content_of(msgspec.json.encode(whole)) == whole["choices"][0]["text"]


async def test_with_the_sdk_and_the_simulated_llm() -> None:
    async with (
        live() as service,
        AsyncOpenAI(base_url=f"{service.url}/v1", api_key="x", max_retries=0) as sdk,
    ):
        whole = await sdk.completions.create(**asks("pay at 10"))
        text = whole.choices[0].text
        assert text.startswith("Answer to: pay at 10")
        streamed = ""
        async for one in await sdk.completions.create(**asks("pay at 10", stream=True)):
            streamed += one.choices[0].text
        assert streamed == text
        fresh = ""
        async for one in await sdk.completions.create(**asks("cat at 70", stream=True)):
            fresh += one.choices[0].text
        assert fresh.startswith("Answer to: cat at 70")
        await settled(service.service)
        assert service.simulator.stats.calls == 2
