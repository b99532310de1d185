"""What of a caller's own headers and query reaches the upstream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from semcache_async.errors import ConfigError
from semcache_async.serve.settings import Settings
from semcache_async.serve.upstream.client import identity_of, open_upstream
from tests.serve.upstreams import PATH, answer, asks, completion, scripted, serving

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

ANSWER = answer(json.dumps(completion()))
SENT = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "User-Agent": "MyApp/1",
    "X-Title": "Shop",
    "OpenAI-Organization": "org",
    "Cookie": "a=b",
    "Authorization": "Bearer caller",
}


async def test_who_asks_is_passed_on_and_nothing_else() -> None:
    async with scripted(ANSWER) as (url, script), serving(url, upstream_key="sk-1") as setup:
        for stream in (False, True):
            async with setup.client.post(
                f"{PATH}?api-version=2&foo=bar", json=asks(n=2, stream=stream), headers=SENT
            ) as response:
                assert response.status == 200
    for headers, _ in script.requests:
        assert {name: headers.get(name) for name in SENT} == {
            **SENT,
            "OpenAI-Organization": None,
            "Cookie": None,
            "Authorization": "Bearer sk-1",
        }
    assert script.targets == ["/v1/chat/completions?api-version=2"] * 2


async def test_what_may_change_the_answer_is_scope() -> None:
    named = {"upstream_headers": ("openai-organization", "x-title")}
    async with scripted(ANSWER) as (url, script), serving(url, **named) as setup:

        async def status(query: str = "", **headers: str) -> str:
            given = {name.replace("_", "-"): value for name, value in headers.items()}
            async with setup.client.post(PATH + query, json=asks(), headers=given) as response:
                return response.headers["x-semcache-status"]

        assert await status() == "generated"
        assert await status(X_Title="a") == "exact"
        assert await status(OpenAI_Organization="a") == "generated"
        assert await status(OpenAI_Organization="a", X_Title="b") == "exact"
        assert await status("?api-version=1") == "generated"
        assert await status("?api-version=1&x=1") == "exact"
        assert await status("?api-version=2") == "generated"
        assert len(script.requests) == 4


async def test_what_no_header_can_carry_is_left_out() -> None:
    async with scripted(ANSWER) as (url, script), serving(url) as setup:
        for title in ("\xe4", "x" * 5_000):
            async with setup.client.post(PATH, json=asks(n=2), headers={"X-Title": title}) as got:
                assert got.status == 200
    assert not any("X-Title" in headers for headers, _ in script.requests)


@pytest.mark.parametrize(
    "name", ["Authorization", "cookie", "host", "content-type", "api-key", "a b", "Proxy-Auth"]
)
async def test_what_is_the_services_own_affair_cannot_be_named(name: str) -> None:
    with pytest.raises(ConfigError, match="upstream_headers"):
        Settings(upstream_headers=(name,))


async def test_a_query_of_the_upstreams_own() -> None:
    async with scripted(ANSWER) as (url, script):
        settings: Any = Settings(upstream_url=f"{url}?api-version=2024-06-01")
        async with open_upstream(settings.upstream_url, settings) as upstream:
            await upstream.complete({})
            await upstream.models()
    assert script.targets == [
        "/v1/chat/completions?api-version=2024-06-01",
        "/v1/models?api-version=2024-06-01",
    ]
    assert identity_of("https://a.example/v1?api-version=1") == "https://a.example/v1"
