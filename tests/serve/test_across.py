"""One question in several APIs: whose answers are shared, and in what form."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from semcache_async.simulator.pace import send
from tests.helpers import until
from tests.serve.crowds import APIS, _text_of
from tests.serve.running import Live, live

pytestmark = pytest.mark.anyio

PROMPT = "refund at 10"
GREETED = [{"role": "system", "content": "Hi"}, {"role": "user", "content": PROMPT}]
LIMITS = {"chat": "max_tokens", "responses": "max_output_tokens"}
NAMES = ("chat", "messages", "responses")


def body(api: str, prompt: str = PROMPT, **fields: Any) -> dict[str, Any]:
    made = APIS[api].body(prompt)
    made.pop("stream_options", None)
    return {**made, **fields}


async def told(service: Live, api: str, asked: dict[str, Any]) -> tuple[str, str | None, Any]:
    """Status of the cache, the API of the upstream's answer where another, and the answer."""
    url = f"{service.url}/v1/{APIS[api].path}"
    async with aiohttp.ClientSession() as session, session.post(url, json=asked) as response:
        assert response.status == 200, await response.text()
        headers = response.headers
        streams = asked.get("stream")
        said = await (response.read() if streams else response.json())
        return headers["x-semcache-status"], headers.get("x-semcache-api"), said


async def status_of(service: Live, api: str, asked: dict[str, Any]) -> int:
    """An answer's status: the simulated LLM itself refuses to say nothing."""
    url = f"{service.url}/v1/{APIS[api].path}"
    async with aiohttp.ClientSession() as session, session.post(url, json=asked) as response:
        return response.status


def text_in(api: str, said: Any) -> str:
    """The text of a whole answer or of a stream."""
    if isinstance(said, bytes):
        return _text_of(said, APIS[api])
    if api == "chat":
        return str(said["choices"][0]["message"]["content"])
    if api == "messages":
        return "".join(block["text"] for block in said["content"])
    return "".join(part["text"] for item in said["output"] for part in item["content"])


@pytest.mark.parametrize("asker", NAMES)
@pytest.mark.parametrize("first", NAMES)
@pytest.mark.parametrize("stream", [False, True])
async def test_plain_text_is_shared_where_the_operator_says_so(
    redis_url: str, name: str, first: str, asker: str, stream: bool
) -> None:
    async with live(redis_url, name, across_apis=True) as service:
        _, _, made = await told(service, first, body(first))
        for prompt, status in ((PROMPT, "exact"), ("money back at 15", "semantic")):
            asked = body(asker, prompt, stream=stream)
            found, api, said = await told(service, asker, asked)
            assert (found, api) == (status, None if first == asker else first)
            assert text_in(asker, said) == text_in(first, made)


@pytest.mark.parametrize("asker", [name for name in NAMES if name != "chat"])
async def test_not_by_default(redis_url: str, name: str, asker: str) -> None:
    async with live(redis_url, name) as service:
        await told(service, "chat", body("chat"))
        assert (await told(service, asker, body(asker)))[0] == "generated"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({}, {}, True),
        ({"temperature": 0.5}, {"temperature": 0.5}, True),
        ({"temperature": 0.5}, {}, False),
        ({"top_p": 0.5}, {"top_p": 0.5}, True),
        ({"stop": ["x"]}, {"stop_sequences": ["x"]}, True),
        ({"stop": "x"}, {"stop_sequences": ["y"]}, False),
        ({"model": "n"}, {}, False),
        ({"seed": 1}, {}, False),
        ({"max_tokens": 9_000}, {"max_tokens": 8_000}, True),  # of what is stored
        ({}, {"top_k": 5}, False),
        ({}, {"system": "Be brief."}, False),
        (
            {
                "messages": [
                    {"role": "system", "content": "Hi"},
                    {"role": "user", "content": PROMPT},
                ]
            },
            {"system": "Hi"},
            True,
        ),
        (
            {
                "messages": [
                    {"role": "system", "content": "Hi"},
                    {"role": "user", "content": PROMPT},
                ]
            },
            {"system": [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]},
            True,
        ),
        ({"response_format": {"type": "json_object"}}, {}, False),
    ],
)
async def test_what_tells_a_chat_and_a_message_apart(
    redis_url: str, name: str, one: dict[str, Any], other: dict[str, Any], same: bool
) -> None:
    async with live(redis_url, name, across_apis=True) as service:
        await told(service, "chat", body("chat", **one))
        found, _, _ = await told(service, "messages", body("messages", **other))
        assert found == ("exact" if same else "generated")


async def test_an_answer_over_the_callers_limit_is_none_for_it(redis_url: str, name: str) -> None:
    async with live(redis_url, name, across_apis=True) as service:
        _, _, made = await told(service, "chat", body("chat"))
        length = made["usage"]["completion_tokens"]
        for limit, status in ((length, "exact"), (length - 1, "generated")):
            found, _, _ = await told(service, "messages", body("messages", max_tokens=limit))
            assert found == status
        assert await status_of(service, "messages", body("messages", max_tokens=0)) == 400


@pytest.mark.parametrize(("leader", "follower"), [("chat", "responses"), ("responses", "chat")])
async def test_a_stream_is_shared_live_by_those_with_one_limit(
    redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch, leader: str, follower: str
) -> None:
    gate = asyncio.Event()

    async def gated(response: web.StreamResponse, pieces: list[bytes], step_s: float) -> None:
        await gate.wait()
        await send(response, pieces, step_s)

    monkeypatch.setattr("semcache_async.simulator.app.send", gated)
    async with live(redis_url, name, across_apis=True) as running:
        stats = running.service.cache.stats
        led = asyncio.create_task(told(running, leader, body(leader, stream=True)))
        await until(lambda: stats().waiting == 1)
        followed = asyncio.create_task(told(running, follower, body(follower, stream=True)))
        await until(lambda: stats().waiting == 2)
        limited = {**body(follower, stream=True), LIMITS[follower]: 999}
        less = asyncio.create_task(told(running, follower, limited))
        await until(lambda: stats().flights == 2)
        limited[LIMITS[follower]] = 0
        assert await status_of(running, follower, limited) == 400  # and waits for nobody
        gate.set()
        one, other = await led, await followed
        assert (await less)[0] != "shared"
        assert (one[0], other[0]) == ("generated", "shared")
        assert other[1] == leader
        assert text_in(leader, one[2]) == text_in(follower, other[2]) != ""
