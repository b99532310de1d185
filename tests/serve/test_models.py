"""A service with several models: each endpoint covers them all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from semcache_async.config import ModelRule
from semcache_async.serve.service import Service
from tests.helpers import until
from tests.serve.running import AT_ONCE, Client, serving
from tests.test_models import Models

pytestmark = pytest.mark.anyio

RULE = ModelRule(model="wide", llms=("wide-*",), max_distance=0.04)


@pytest.fixture
async def load(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Models]:
    """What loads ``wide``."""
    models = Models()
    monkeypatch.setattr("semcache_async.embed.load_embedder", models)
    yield models
    models.gate.set()


async def ask(client: Client, prompt: str, **more: Any) -> dict[str, Any]:
    body = {"prompt": prompt, "model": "wide-1", **more}
    async with client.post("/semantic-cache/answer", json=body) as response:
        told: dict[str, Any] = await response.json()
        return told


async def told(client: Client, path: str) -> Any:
    async with client.get(path) as response:
        return await response.json()


async def embedded(client: Client, model: str) -> tuple[int, Any]:
    body = {"model": model, "input": "x at 30"}
    async with client.post("/v1/embeddings", json=body) as response:
        return response.status, await response.json()


async def numbers(client: Client) -> dict[str, dict[str, float]]:
    """What /metrics says of each model."""
    async with client.get("/metrics") as response:
        families = list(text_string_to_metric_families(await response.text()))
    return {
        family.name.removeprefix("semcache_model_"): {
            sample.labels["model"]: sample.value for sample in family.samples
        }
        for family in families
        if family.name.startswith("semcache_model_")
    }


async def test_while_one_is_loaded_and_after(redis_url: str, name: str, load: Models) -> None:
    options = {"upstream_key": AT_ONCE.api_key}
    cache: dict[str, Any] = {"models": (RULE,), "store_timeout_s": 30.0}
    async with serving(redis_url, name, llm=AT_ONCE, options=options, **cache) as (client, service):
        assert (await ask(client, "refund at 30"))["source"] == "generated"
        assert (await ask(client, "refund at 30"))["source"] == "exact"
        ready = await told(client, "/readyz")
        assert ready == {
            "status": "ready",
            "degraded": "The model wide is not loaded: it is being done.",
        }
        assert (await embedded(client, "wide"))[0] == 503
        found = await numbers(client)
        assert found["ready"] == {"default": 1, "wide": 0}
        assert found["unready"] == {"default": 0, "wide": 1}

        load.gate.set()
        await service.cache.loaded()
        assert await told(client, "/readyz") == {"status": "ready"}
        await _has_its_own_reach(client, service)
        status, body = await embedded(client, "wide")
        assert (status, body["model"], len(body["data"][0]["embedding"])) == (200, "wide", 16)
        assert (await embedded(client, "all-MiniLM-L6-v2"))[1]["model"] == "all-MiniLM-L6-v2"

        found = await numbers(client)
        assert found["ready"] == {"default": 1, "wide": 1}
        assert found["entries"] == {"default": 1, "wide": 2}
        assert min(found["index_bytes"].values()) > 0
        assert set(found["memory_bytes"]) == {"default", "wide"}
        assert found["embedded_texts"]["wide"] > 0
        told_of = (await told(client, "/semantic-cache/metrics"))["models"]
        assert (told_of["wide"]["entries"], told_of["wide"]["unready"]) == (2, 1)


async def _has_its_own_reach(client: Client, service: Service) -> None:
    """Beyond the config's ``max_distance``, within the rule's."""
    assert (await ask(client, "refund at 60"))["source"] == "generated"
    await until(lambda: service.cache.stats().flights == 0)
    near = await ask(client, "money back at 80")
    assert (near["source"], near["max_distance"]) == ("semantic", 0.04)
    narrow = await ask(client, "money back at 81", max_distance=0.01, explain=True)
    assert narrow["source"] == "generated"
    await until(lambda: service.cache.stats().flights == 0)


async def test_langcache_finds_by_the_model_of_a_scope(
    redis_url: str, name: str, load: Models
) -> None:
    load.gate.set()
    rule = ModelRule(model="wide", tenants=("*",), max_distance=0.04)
    async with serving(redis_url, name, models=(rule,), store_timeout_s=30.0) as (client, service):
        await service.cache.loaded()
        path = "/v1/caches/c/entries"
        kept = {"prompt": "refund at 30", "response": "a"}
        async with client.post(path, json=kept) as response:
            assert response.status == 201
        for prompt, hits in (("money back at 50", 1), ("money back at 65", 0)):
            async with client.post(f"{path}/search", json={"prompt": prompt}) as response:
                assert len((await response.json())["data"]) == hits
        async with client.post("/v1/caches/c/flush") as response:
            assert response.status == 204
        assert await service.cache.browse() == []
