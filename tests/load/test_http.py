"""The HTTP target against a small service of its own."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from semcache_async.load.asking import http
from semcache_async.load.asking.http import completions_url, open_http, source_of
from semcache_async.load.asking.targets import RequestError
from semcache_async.load.extra import LoadError
from semcache_async.load.runs import LoadOptions, run_load
from tests.load.helpers import MACHINE

pytestmark = pytest.mark.anyio

ANSWER = {"choices": [{"message": {"role": "assistant", "content": "Yes."}}]}


class Service:
    """Does what the prompt says."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, object]] = []
        self.keys: list[str | None] = []
        self.now = 0.0
        """What the target's clock shows: a second more before each chunk that matters."""

    def perf_counter(self) -> float:
        return self.now

    async def complete(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.keys.append(request.headers.get("Authorization"))
        prompt = body["messages"][-1]["content"]
        if prompt.startswith("status "):
            return web.json_response({"error": {}}, status=int(prompt.split()[1]))
        if prompt == "hang up":
            assert request.transport is not None
            request.transport.close()
        if prompt == "no json":
            return web.Response(text="<html>")
        if body["stream"]:
            return await self._stream(request, prompt)
        headers = {"x-semcache-status": "shared"} if prompt == "share" else {}
        return web.json_response(ANSWER if prompt != "empty" else {}, headers=headers)

    async def _stream(self, request: web.Request, prompt: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Cache-Status": "semcache; hit"})
        await response.prepare(request)

        async def say(data: object) -> None:
            text = data if isinstance(data, str) else json.dumps(data)
            await response.write(f"data: {text}\n\n".encode())

        self.now += 1.0
        await say({"choices": [{"delta": {"role": "assistant"}}]})
        self.now += 1.0
        if prompt != "say nothing":
            await say({"choices": [{"delta": {"content": "Yes."}}]})
        if prompt == "fail late":
            await say({"error": {"message": "upstream went away"}})
        if prompt != "cut short":
            await say("[DONE]")
        return response


@pytest.fixture
async def service() -> AsyncIterator[tuple[Service, str]]:
    made = Service()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", made.complete)
    async with TestServer(app) as server:
        yield made, str(server.make_url("/"))


async def test_an_answer_and_where_it_came_from(service: tuple[Service, str]) -> None:
    made, url = service
    async with open_http(url, model="m", api_key="k") as target:
        await target.begin()
        assert (await target.ask("hello")).source == "unknown"
        assert (await target.ask("share")).source == "shared"
        assert target.llm_calls() is None
    assert made.bodies[0] == {
        "model": "m",
        "stream": False,
        "messages": [{"role": "user", "content": "hello"}],
    }
    assert made.keys[0] == "Bearer k"


@pytest.mark.parametrize(
    ("prompt", "stream", "kind"),
    [
        ("status 503", False, "HTTP 503"),
        ("hang up", False, "ServerDisconnectedError"),
        ("no json", False, "not JSON"),
        ("empty", False, "no choices in the answer"),
        ("status 429", True, "HTTP 429"),
        ("fail late", True, "error in the stream"),
        ("cut short", True, "stream cut short"),
        ("say nothing", True, "stream without content"),
    ],
)
async def test_errors_by_kind(
    service: tuple[Service, str], prompt: str, stream: bool, kind: str
) -> None:
    async with open_http(service[1], model="m", stream=stream) as target:
        with pytest.raises(RequestError) as caught:
            await target.ask(prompt)
        assert str(caught.value) == kind


async def test_the_first_token_of_a_stream(
    service: tuple[Service, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "time", service[0])
    async with open_http(service[1], model="m", stream=True) as target:
        reply = await target.ask("hello")
    assert reply.source == "hit"
    assert reply.first_token_s == 2.0


async def test_cold_runs_have_system_messages_of_their_own(service: tuple[Service, str]) -> None:
    made, url = service
    async with open_http(url, model="m", cold=True) as target:
        for _ in range(2):
            await target.begin()
            await target.ask("hello")
            await target.ask("hello")
    said = [body["messages"][0]["content"] for body in made.bodies]  # type: ignore[index]
    assert said[0] == said[1] != said[2] == said[3]


async def test_a_run_over_http(service: tuple[Service, str]) -> None:
    options = LoadOptions(rates=(40.0,), duration_s=0.5, warm_up_s=0.1)
    async with open_http(service[1], model="m", stream=True) as target:
        (result,) = await run_load(target, options, machine=MACHINE)
    assert result.requests == 24
    assert not result.errors
    assert set(result.latency) == {"hit"}
    assert result.llm_calls is None
    assert result.name.endswith("/v1/chat/completions")


async def test_nobody_there() -> None:
    async with open_http("http://127.0.0.1:1", model="m") as target:
        with pytest.raises(RequestError, match="ClientConnectorError"):
            await target.ask("hello")


@pytest.mark.parametrize(
    ("headers", "source"),
    [
        ({}, "unknown"),
        ({"x-semcache-status": "Semantic"}, "semantic"),
        ({"x-semcache-status": "hit"}, "hit"),
        ({"Cache-Status": "semcache; hit"}, "hit"),
        ({"Cache-Status": "semcache; hit; detail=exact"}, "exact"),
        ({"Cache-Status": "semcache; fwd=miss; stored"}, "generated"),
        ({"Cache-Status": "semcache; fwd=miss; collapsed"}, "shared"),
        ({"Cache-Status": "semcache; fwd=bypass"}, "bypassed"),
        ({"Cache-Status": "origin; hit, semcache; fwd=uri-miss"}, "generated"),
        ({"Cache-Status": "nonsense"}, "unknown"),
        ({"X-Cache": "HIT"}, "hit"),
        ({"X-Cache": "Miss from there"}, "generated"),
        ({"X-Cache": "BYPASS"}, "bypassed"),
        ({"X-Cache": "HIT", "Cache-Status": "semcache; fwd=miss"}, "generated"),
    ],
)
def test_sources_from_headers(headers: dict[str, str], source: str) -> None:
    assert source_of(headers) == source


def test_urls_are_completed() -> None:
    full = "http://host:8000/v1/chat/completions"
    for url in ("http://host:8000", "http://host:8000/", "http://host:8000/v1", full):
        assert str(completions_url(url)) == full
    assert str(completions_url("https://host/openai/chat")) == "https://host/openai/chat"
    for wrong in ("host:8000", "ftp://host", "http://"):
        with pytest.raises(LoadError, match="--url"):
            completions_url(wrong)
