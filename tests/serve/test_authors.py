"""Who made an entry is known by its key, cannot be forged, and is enough to remove it by."""

from __future__ import annotations

from typing import Any

import pytest

from semcache_async.serve.keys import Caller, KeyRing, hash_key
from semcache_async.simulator import SimulatorOptions
from tests.serve.running import Client, serving, settled

pytestmark = pytest.mark.anyio

LLM = SimulatorOptions(median_ms=0.0, tokens_per_s=0.0, tokens=5)
KEYS = KeyRing(
    {
        hash_key("sk-ann"): Caller(tenant="acme", author="ann"),
        hash_key("sk-bob"): Caller(tenant="acme", author="bob"),
        hash_key("sk-root"): Caller(admin=True, author="root"),
    }
)


async def post(client: Client, key: str, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {key}", **headers}
    async with client.post(path, json=body, headers=headers) as response:
        return response.status, await response.json()


async def chat(client: Client, key: str, prompt: str, **headers: str) -> tuple[int, Any]:
    body = {"model": "simulated", "messages": [{"role": "user", "content": prompt}]}
    return await post(client, key, "/v1/chat/completions", body, **headers)


async def test_all_of_one_author_is_purged(redis_url: str, name: str) -> None:
    async with serving(redis_url, name, keys=KEYS, llm=LLM) as (client, service):
        cache = service.cache
        for key, start in (("sk-ann", 0), ("sk-bob", 180)):
            assert (await chat(client, key, f"refund at {start}"))[0] == 200
            body = {"prompt": f"parcel at {start + 60}", "model": "simulated", "tags": ["faq"]}
            assert (await post(client, key, "/semantic-cache/answer", body))[0] == 200
            body = {"prompt": f"delivery at {start + 120}", "response": "Soon."}
            assert (await post(client, key, "/v1/caches/c/entries", body))[0] == 201
        await settled(service)
        assert len(await cache.browse(tags=["author:ann"])) == 3
        assert len(await cache.browse(tags=["author:bob"])) == 3
        tagged = {entry.tags for entry in await cache.browse(tags=["faq"])}
        assert tagged == {("faq", "author:ann"), ("faq", "author:bob")}

        purge = ("/semantic-cache/invalidate", {"tags": ["author:ann"]})
        assert (await post(client, "sk-bob", *purge))[0] == 403
        assert await post(client, "sk-root", *purge) == (200, {"removed": 3})
        assert await cache.browse(tags=["author:ann"]) == []
        assert len(await cache.browse(tags=["author:bob"])) == 3


async def test_nobody_signs_as_another_but_an_admin() -> None:
    async with serving(None, "authors", keys=KEYS, llm=LLM) as (client, service):
        as_bob = {"x-semcache-tags": "faq, author:bob"}
        status, told = await chat(client, "sk-ann", "refund at 0", **as_bob)
        assert (status, told["error"]["code"]) == (403, "foreign_author")
        body = {"prompt": "refund at 0", "model": "simulated", "tags": ["author:bob"]}
        assert (await post(client, "sk-ann", "/semantic-cache/answer", body))[0] == 403
        assert (await chat(client, "sk-bob", "refund at 0", **as_bob))[0] == 200
        assert (await chat(client, "sk-root", "parcel at 90", **as_bob))[0] == 200
        await settled(service)
        found = {entry.tags for entry in await service.cache.browse()}
        assert found == {("faq", "author:bob"), ("faq", "author:bob", "author:root")}


async def test_without_keys_nobody_signs() -> None:
    async with serving(None, "authors", llm=LLM) as (client, service):
        assert (await chat(client, "none", "refund at 0"))[0] == 200
        await settled(service)
        assert [entry.tags for entry in await service.cache.browse()] == [()]
