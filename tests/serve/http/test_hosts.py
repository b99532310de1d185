"""Under which names the service may be asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semcache_async.errors import ConfigError
from semcache_async.serve.keys import KeyRing
from semcache_async.serve.settings import Settings
from tests.serve.running import ACME_KEY, Client, serving, write_keys

pytestmark = pytest.mark.anyio

LOCAL = [
    *("localhost", "localhost:8080", "LocalHost.", "semcache:8080", "127.0.0.1", "127.0.0.1:80"),
    *("10.1.2.3:8080", "[::1]", "[::1]:8080", "semcache.default.svc.cluster.local", "a.internal"),
    *("api.localhost:3000", "::1", "semcache.default.svc:8080", "box.lan"),
]
STRANGE = [
    *("evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example"),
    *("127.0.0.1.evil.example:80", "local.evil", "evil.example.", "[evil.example]", "a.b:80:80"),
    *("semcache.default", "a.svc.evil.example", "evilsvc.example"),
]


async def status(client: Client, host: str, path: str = "/v1/models", **headers: str) -> int:
    async with client.get(path, headers={"Host": host, **headers}) as response:
        if response.status == 403:
            assert "allowed_hosts" in await response.text()
        return response.status


@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0"])
async def test_without_keys_only_local_names(bound: str) -> None:
    async with serving(None, "hosts", options={"host": bound}) as (client, _):
        for host in LOCAL:
            assert await status(client, host, "/healthz") == 200, host
        for host in STRANGE:
            assert await status(client, host, "/healthz") == 403, host


async def test_every_protocol_says_so_in_its_form() -> None:
    host = {"Host": "evil.example"}
    async with serving(None, "hosts") as (client, _):
        chat = await client.post("/v1/chat/completions", json={}, headers=host)
        assert chat.status == 403
        error = (await chat.json())["error"]
        assert (error["type"], error["code"]) == ("permission_error", "strange_host")
        search = await client.post("/v1/caches/c/entries/search", json={}, headers=host)
        assert search.status == 403
        assert (await search.json())["type"] == "/errors/insufficient-permissions"
        for path in ("/", "/metrics", "/openapi.json", "/nowhere"):
            page = await client.get(path, headers=host)
            assert page.status == 403
            assert (await page.json())["error"]["type"] == "strange_host"


@pytest.mark.parametrize(
    ("listed", "host", "passes"),
    [
        (("llm.example",), "llm.example:443", True),
        (("LLM.example",), "llm.EXAMPLE", True),
        (("llm.example",), "other.llm.example", False),
        (("*.example",), "llm.example", True),
        (("*.example",), "a.b.example", True),
        (("*.example",), "evilexample.org", False),
        (("*",), "evil.example", True),
        (("llm.example",), "localhost", True),
    ],
)
async def test_names_that_are_listed(listed: tuple[str, ...], host: str, passes: bool) -> None:
    async with serving(None, "hosts", options={"allowed_hosts": listed}) as (client, _):
        assert (await status(client, host, "/healthz") == 200) is passes


async def test_with_keys_a_name_has_to_be_listed_only_where_one_is(tmp_path: Path) -> None:
    path = write_keys(tmp_path / "keys.toml")
    for anonymous, options, wanted in (
        (False, {}, 200),
        (True, {}, 403),
        (False, {"allowed_hosts": ("llm.example",)}, 403),
    ):
        keys = KeyRing.load(path, allow_anonymous=anonymous)
        async with serving(None, "hosts", keys=keys, options=options) as (client, _):
            key = {"Authorization": f"Bearer {ACME_KEY}"}
            assert await status(client, "evil.example", "/healthz", **key) == wanted


async def test_the_name_that_it_is_bound_to() -> None:
    async with serving(None, "hosts", options={"host": "llm.example"}) as (client, _):
        assert await status(client, "llm.example:8080", "/healthz") == 200


@pytest.mark.parametrize("host", ["https://a.example", "a.example:80", "a b", "", "**", "a.*"])
def test_what_is_no_name(host: Any) -> None:
    with pytest.raises(ConfigError, match="allowed_hosts"):
        Settings(allowed_hosts=(host,))
