"""Events by HTTP: applied on return, by admins alone."""

from __future__ import annotations

from typing import Any

import pytest

from semcache_async import Scope
from semcache_async.errors import StoreUnavailableError
from semcache_async.serve.keys import KeyRing
from tests.serve.running import ACME_KEY, ADMIN_KEY, Client, client_of, service_for, write_keys

pytestmark = pytest.mark.anyio

PATH = "/v1/events"


async def post(client: Client, body: Any, key: str | None = None) -> tuple[int, Any]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with client.post(PATH, json=body, headers=headers) as response:
        return response.status, await response.json()


async def test_what_is_named_goes() -> None:
    async with service_for() as service, client_of(service) as client:
        cache = service.cache
        scopes = (Scope(tenant="a"), Scope(tenant="b"), Scope(namespace="docs"))
        ids = [
            await cache.store(f"{tag} {n} at {30 * n}", "x", scope=scope, tags=(tag,))
            for n, scope in enumerate(scopes)
            for tag in ("red", "blue")
        ]
        assert await post(client, {"tags": ["red"], "tenant": "a"}) == (
            200,
            {"removed": 1, "versions": {}},
        )
        assert await post(client, [{"tags": ["red"]}, {"ids": ids[3:4], "tags": None}]) == (
            200,
            {"removed": 3, "versions": {}},
        )
        status, said = await post(client, {"tenants": ["a"], "namespaces": ["docs", "none"]})
        assert (status, said["removed"], list(said["versions"])) == (200, 1, ["docs", "none"])
        for scope, n in zip(scopes, range(3), strict=True):
            assert await cache.lookup(f"blue {n} at {30 * n}", scope=scope) is None
        status, again = await post(client, {"namespaces": ["docs"]})
        assert again["versions"]["docs"] > said["versions"]["docs"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        7,
        [7],
        None,
        {"tag": ["a"]},
        {"tags": "a"},
        {"tags": [" "]},
        {"tenant": "a"},
        {"tags": None},
        [{"tags": ["a"]}, {"tags": ["a\0"]}],
    ],
)
async def test_what_is_no_event(body: Any) -> None:
    async with service_for() as service, client_of(service) as client:
        await service.cache.store("red at 10", "x", tags=("a",))
        status, said = await post(client, body)
        assert (status, bool(said["error"]["message"])) == (400, True)
        assert await service.cache.lookup("red at 10") is not None


async def test_admins_alone(tmp_path: Any) -> None:
    async with service_for() as service, client_of(service) as client:
        service.keys = KeyRing.load(write_keys(tmp_path / "keys.toml"))
        for key, wanted in ((None, 401), ("sk-no", 401), (ACME_KEY, 403), (ADMIN_KEY, 200)):
            assert (await post(client, {"tags": ["a"]}, key))[0] == wanted


async def test_a_store_that_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(**_: Any) -> int:
        raise StoreUnavailableError("Redis did not answer.")

    async with service_for() as service, client_of(service) as client:
        monkeypatch.setattr(service.cache, "invalidate", refuse)
        status, said = await post(client, {"tags": ["a"]})
        assert (status, said["error"]["code"]) == (503, "redis_unavailable")
