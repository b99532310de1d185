"""Liveness, readiness, and the numbers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import redis.asyncio

from semcache_async.errors import StoreFullError, StoreUnavailableError
from semcache_async.serve.readiness import REMEMBERED_S, Readiness
from semcache_async.store.keys import is_entry_index
from tests.serve.running import Client, Clock, client_of, service_for

pytestmark = pytest.mark.anyio


async def get(client: Client, path: str) -> tuple[int, Any]:
    async with client.get(path) as response:
        assert response.headers["Cache-Control"] == "no-store"
        return response.status, await response.json()


async def test_ready_with_redis_and_its_index(redis_url: str, name: str) -> None:
    clock = Clock()
    async with (
        service_for(redis_url=redis_url, cache={"name": name}) as service,
        client_of(service) as client,
    ):
        service.readiness = Readiness(service.cache, clock=clock)
        assert await get(client, "/healthz") == (200, {"status": "ok"})
        assert await get(client, "/readyz") == (200, {"status": "ready"})
        async with redis.asyncio.from_url(redis_url) as admin:
            indexes = [index.decode() for index in await admin.execute_command("FT._LIST")]
            (index,) = [index for index in indexes if is_entry_index(index, name)]
            await admin.execute_command("FT.DROPINDEX", index)
        assert (await get(client, "/readyz"))[0] == 200  # as it was a moment ago
        clock.now += REMEMBERED_S
        status, body = await get(client, "/readyz")
        assert (status, body["status"]) == (503, "not ready")
        assert "index" in body["reason"]
        assert (await get(client, "/healthz"))[0] == 200


async def test_not_ready_without_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse() -> None:
        raise StoreUnavailableError("Redis cannot be reached.")

    async def hang() -> None:
        await asyncio.Event().wait()

    clock = Clock()
    async with (
        service_for(cache={"store_timeout_s": 0.01}) as service,
        client_of(service) as client,
    ):
        service.readiness = Readiness(service.cache, clock=clock)
        for check, reason in ((refuse, "cannot be reached"), (hang, "in time")):
            monkeypatch.setattr(service.cache, "check", check)
            clock.now += REMEMBERED_S
            status, body = await get(client, "/readyz")
            assert status == 503
            assert reason in body["reason"]


async def test_not_ready_while_draining() -> None:
    async with service_for() as service, client_of(service) as client:
        service.draining = True
        assert await get(client, "/readyz") == (503, {"status": "not ready", "reason": "draining"})
        assert (await get(client, "/healthz"))[0] == 200


async def test_many_probes_are_one_check(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = []

    async def check() -> None:
        checks.append(1)

    async with service_for() as service, client_of(service) as client:
        service.readiness = Readiness(service.cache, clock=Clock())
        monkeypatch.setattr(service.cache, "check", check)
        results = await asyncio.gather(*(get(client, "/readyz") for _ in range(20)))
        assert {status for status, _ in results} == {200}
        assert len(checks) == 1


async def test_metrics_are_prometheus_text() -> None:
    async with service_for() as service, client_of(service) as client:
        async with client.get("/metrics") as response:
            assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            text = await response.text()
        assert 'semcache_requests_total{result="exact"} 0.0' in text
        assert "semcache_under_way 1.0" in text
        assert "tenant" not in text


async def test_what_cannot_be_written_is_said(redis_url: str, name: str) -> None:
    async with (
        service_for(redis_url=redis_url, cache={"name": name}) as service,
        client_of(service) as client,
        redis.asyncio.from_url(redis_url) as admin,
    ):
        await service.cache.store("before", "an answer")
        await admin.config_set("maxmemory", 1, "maxmemory-policy", "noeviction")
        try:
            with pytest.raises(StoreFullError):
                await service.cache.store("after", "an answer")
            status, body = await get(client, "/readyz")
            assert (status, body["status"]) == (200, "ready")
            assert body["degraded"].startswith("Answers are not kept: Redis keeps nothing new")
            assert not service.cache.stats().store_keeps
            assert await service.cache.lookup("before") is not None
        finally:
            await admin.config_set("maxmemory", 0, "maxmemory-policy", "allkeys-lfu")
        await service.cache.store("after", "an answer")
        assert await get(client, "/readyz") == (200, {"status": "ready"})
        assert service.cache.stats().store_keeps
