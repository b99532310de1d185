"""Paths and methods as clients write them."""

from __future__ import annotations

import aiohttp
import pytest

from semcache_async.serve.app import make_app
from semcache_async.serve.http.paths import Paths
from tests.serve.running import client_of, live, service_for
from tests.serve.upstreams import asks

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (CHAT, CHAT),
        (f"{CHAT}/", CHAT),
        ("/v1//chat/completions", CHAT),
        ("//v1/chat//completions//", CHAT),
        ("/chat/completions", CHAT),
        ("/v1/v1/chat/completions", CHAT),
        ("/models", "/v1/models"),
        ("/models/openai/gpt-4o", "/v1/models/openai/gpt-4o"),
        ("/embeddings", "/v1/embeddings"),
        ("/caches/shop/flush", "/v1/caches/shop/flush"),
        ("/", "/"),
        ("//", "/"),
        ("/healthz/", "/healthz"),
        ("/semantic-cache/answer", "/semantic-cache/answer"),
        ("/nothing", "/nothing"),
        ("/v1", "/v1"),
        ("*", "*"),
        ("", ""),
    ],
)
async def test_the_path_that_is_meant(written: str, meant: str) -> None:
    async with service_for() as service:
        assert Paths(make_app(service)).canonical(written) == meant


async def test_clients_need_not_know_it_exactly() -> None:
    async with live() as service, aiohttp.ClientSession() as session:
        for path in ("/v1//chat/completions", "/chat/completions/?api-version=1", CHAT):
            async with session.post(f"{service.url}{path}", json=asks()) as response:
                assert response.status == 200
                assert (await response.json())["object"] == "chat.completion"
        async with session.get(f"{service.url}/models/") as response:
            assert (await response.json())["object"] == "list"
        async with session.head(f"{service.url}/v1/models") as response:
            assert response.status == 200
        async with session.get(f"{service.url}/nothing//") as response:
            assert response.status == 404


async def test_options_tells_the_methods() -> None:
    async with service_for() as service, client_of(service) as client:
        for path, methods in ((CHAT, "OPTIONS, POST"), ("/v1/models", "GET, HEAD, OPTIONS")):
            response = await client.options(path)
            assert (response.status, response.headers["Allow"]) == (204, methods)
        assert (await client.options("/v1/nothing")).status == 404


@pytest.mark.parametrize(
    "origin", ["app://obsidian.md", "tauri://localhost", "vscode-webview://1a2b", "null"]
)
async def test_apps_may_be_named_as_pages_are(origin: str) -> None:
    async with service_for(cors_origins=(origin,)) as service, client_of(service) as client:
        asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        response = await client.options(CHAT, headers=asked)
        assert response.status == 204
        assert response.headers["Access-Control-Allow-Origin"] == origin
