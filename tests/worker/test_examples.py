"""The files of docs/examples, as they stand there."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from semcache_async import Scope, SemanticCache
from semcache_async.config import CacheConfig
from semcache_async.serve.keys import Caller, KeyRing, hash_key
from semcache_async.testing import AngleEmbedder
from semcache_async.worker.purging import open_purger
from semcache_async.worker.rules import read_rules
from tests.serve.running import live
from tests.worker.helpers import consuming, settled

pytestmark = pytest.mark.anyio

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.fixture
def anyio_backend() -> str:
    """Programs are run, which need no second loop."""
    return "asyncio"


@pytest.fixture
def config(name: str) -> CacheConfig:
    return CacheConfig(name=name, index="flat", store_timeout_s=10.0)


async def run(*command: str | Path, **env: str | Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, env={**os.environ, **{key: str(text) for key, text in env.items()}}, stdout=PIPE
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return said.decode()


async def kept(cache: SemanticCache) -> set[str]:
    return {entry.prompt for entry in await cache.browse()}


async def test_a_shop_changes_a_price(
    client: redis.asyncio.Redis, redis_url: str, config: CacheConfig, tmp_path: Path
) -> None:
    stream = f"{config.name}:events"
    with sqlite3.connect(tmp_path / "shop.db") as shop:
        shop.execute("CREATE TABLE products (id TEXT, price TEXT)")
        shop.execute("INSERT INTO products VALUES ('42', '9.00'), ('43', '5.00')")
    async with (
        SemanticCache.open(redis_url, config=config, embedder=AngleEmbedder()) as cache,
        open_purger(redis_url, config) as (_, purger),
    ):
        await cache.store("What is 42? at 10", "9.00", tags=("product:42",))
        await cache.store("What is 43? at 80", "5.00", tags=("product:43",))
        env: dict[str, Any] = {
            "SHOP_DB": tmp_path / "shop.db",
            "REDIS_URL": redis_url,
            "EVENTS_STREAM": stream,
        }
        await run(sys.executable, EXAMPLES / "shop_price.py", "42", "10.00", **env)
        async with consuming(redis_url, stream, purger):
            await settled(client, stream)
        assert await kept(cache) == {"What is 43? at 80"}
    assert shop.execute("SELECT price FROM products ORDER BY id").fetchall() == [
        ("10.00",),
        ("5.00",),
    ]
    shop.close()


async def test_a_documentation_site_is_rebuilt(redis_url: str, name: str) -> None:
    keys = KeyRing({hash_key("sk-a"): Caller(admin=True)})
    async with live(redis_url, name, keys=keys) as service:
        docs, shop = Scope(namespace="docs"), Scope(namespace="shop")
        cache = service.service.cache
        for scope in (docs, shop):
            await cache.store("Is there a page? at 10", "Yes.", scope=scope)
            assert await cache.lookup("Is there a page? at 10", scope=scope) is not None
        script = EXAMPLES / "docs_site_rebuilt.sh"
        said = await run(script, SEMCACHE_URL=service.url, SEMCACHE_API_KEY="sk-a")
        told = json.loads(said)
        assert (told["removed"], list(told["versions"])) == (0, ["docs"])
        assert await cache.lookup("Is there a page? at 10", scope=docs) is None
        assert await cache.lookup("Is there a page? at 10", scope=shop) is not None


def change(table: str, op: str, before: Any, after: Any) -> str:
    """As Debezium has it."""
    payload = {
        "before": before,
        "after": after,
        "source": {"connector": "postgresql", "db": "shop", "schema": "public", "table": table},
        "transaction": None,
        "op": op,
        "ts_ms": 1_700_000_000_000,
    }
    return json.dumps({"schema": {"type": "struct", "optional": False}, "payload": payload})


async def test_a_change_feed(
    client: redis.asyncio.Redis, redis_url: str, config: CacheConfig
) -> None:
    stream = f"{config.name}:shop.public.products"
    rules = read_rules(EXAMPLES / "debezium_rules.toml")
    acme, other = Scope(tenant="acme"), Scope(tenant="other")
    docs = Scope(namespace="docs")
    async with (
        SemanticCache.open(redis_url, config=config, embedder=AngleEmbedder()) as cache,
        open_purger(redis_url, config) as (_, purger),
        consuming(redis_url, stream, purger, rules=rules) as consumer,
    ):
        for n, (tag, scope) in enumerate(
            [
                ("product:1", acme),
                ("product:2", acme),
                ("product:2", other),
                ("product:3", other),
                ("catalogue", other),
            ]
        ):
            await cache.store(f"{tag} of {scope.tenant} at {n * 30}", "x", scope=scope, tags=(tag,))
        await cache.store("a page at 170", "x", scope=docs)

        async def fed(*events: tuple[str, str]) -> set[str]:
            for key, value in events:
                await client.xadd(stream, {"key": key, "value": value})
                await client.xadd(stream, {key: value})
            await settled(client, stream)
            return {prompt.partition(" at ")[0] for prompt in await kept(cache)}

        everything = await kept(cache)
        id_ = json.dumps({"payload": {"id": 1}})
        assert len(await fed((id_, change("orders", "c", None, {"id": 1})))) == len(everything)
        assert await fed((id_, change("products", "u", {"id": 1}, {"id": 1}))) == {
            *("product:2 of acme", "product:2 of other", "product:3 of other"),
            *("catalogue of other", "a page"),
        }
        price = {"product_id": 2, "tenant": "acme"}
        assert await fed((id_, change("prices", "c", None, price))) == {
            *("product:2 of other", "product:3 of other", "catalogue of other", "a page"),
        }
        deleted = change("products", "d", {"id": 3}, None)
        assert await fed((id_, deleted), (id_, "default")) == {"product:2 of other", "a page"}
        await fed((id_, change("pages", "u", None, {"id": 7})))
        assert await cache.lookup("a page at 170", scope=docs) is None
        assert await fed((id_, change("tenants", "d", {"name": "other"}, None))) == {"a page"}
    assert (consumer.counts.dead, consumer.counts.failures) == (0, 0)
    assert consumer.counts.ignored == 4  # the order, and what followed the deletion
