"""The users of docs/redis: each may do its part, and no more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from redis.exceptions import NoPermissionError

from semcache_async.cli.remote import redis_stats
from semcache_async.config import CacheConfig
from semcache_async.errors import StoreAuthError
from semcache_async.store.embedded import embedded_redis
from semcache_async.store.opening import removing_stores
from tests.store.helpers import found, open_store, record

pytestmark = pytest.mark.anyio

DOCS = Path(__file__).parents[2] / "docs" / "redis"
ROLES = ("", "-reader", "-worker", "-admin")


@pytest.fixture
async def url_of(redis_url: str, name: str) -> AsyncIterator[Callable[[str], str]]:
    """The URL of each user, made as the file says."""
    async with redis.asyncio.from_url(redis_url) as client:
        made = []
        for line in (DOCS / "users.acl").read_text().replace("NAME:", f"{name}:").splitlines():
            _, user, *rules = line.split()
            made.append(user.replace("semcache", name))
            rules = ["reset", *(rule if rule[0] != ">" else ">hush" for rule in rules)]
            await client.execute_command("ACL", "SETUSER", made[-1], *rules)
        assert made == [f"{name}{role}" for role in ROLES]
        yield lambda role: redis_url.replace("unix://", f"unix://{name}{role}:hush@")
        for user in made:
            await client.acl_deluser(user)


async def denied(client: redis.asyncio.Redis, *commands: tuple[Any, ...]) -> None:
    for command in commands:
        with pytest.raises(NoPermissionError):
            await client.execute_command(*command)


@pytest.mark.parametrize("role", ROLES)
async def test_nobody_may_reach_beyond_the_cache(
    url_of: Callable[[str], str], name: str, role: str
) -> None:
    async with redis.asyncio.from_url(url_of(role)) as client:
        await denied(
            client,
            *(("GET", "other"), ("HGET", f"{name}x:k", "entry"), ("UNLINK", "other")),
            *(("FLUSHALL",), ("FLUSHDB",), ("KEYS", "*"), ("CONFIG", "GET", "*"), ("ACL", "LIST")),
            *(("EVAL", "return 1", 0), ("SHUTDOWN",), ("MODULE", "LIST"), ("MONITOR",)),
            *(
                ("CLIENT", "LIST"),
                ("PUBLISH", "c", "m"),
                ("SWAPDB", 0, 1),
                ("FT.CONFIG", "GET", "*"),
            ),
        )


async def test_a_cache_that_is_there_is_opened_by_who_may_create_no_index(
    url_of: Callable[[str], str], redis_url: str, name: str
) -> None:
    async with redis.asyncio.from_url(redis_url) as client:
        await client.execute_command("ACL", "SETUSER", name, "-ft.create")
    with pytest.raises(StoreAuthError):
        async with open_store(url_of(""), name):
            pass
    async with open_store(url_of("-admin"), name):
        pass
    async with open_store(url_of(""), name) as store:
        await store.put([record(store, "q", 0)])
        assert await found(store, 0) == ["q"]


async def test_the_reader_looks_and_changes_nothing(
    url_of: Callable[[str], str], redis_url: str, name: str
) -> None:
    async with open_store(redis_url, name) as store:
        await store.put([record(store, "q", 0)])
        key = store._keys.key(store._keys.entry_id(record(store, "q", 0).key))
        index = store._keys.index
        stats = await redis_stats(url_of("-reader"), name)
        assert stats["entries"] == 1
        assert stats["indexes"][index]["bytes_per_entry"] > 300
        async with redis.asyncio.from_url(url_of("-reader")) as client:
            assert await client.hget(key, "entry")
            found = await client.execute_command("FT.SEARCH", index, "*", "RETURN", 1, "entry")
            assert key.encode() in repr(found).encode()
            await denied(
                client,
                *(("HSET", key, "entry", "x"), ("HDEL", key, "entry"), ("UNLINK", key)),
                *(("PEXPIRE", key, 1), ("FT.DROPINDEX", index), ("XADD", f"{name}:x", "*", "a", 1)),
                ("FT.CREATE", f"{name}:i", "SCHEMA", "a", "TAG"),
            )


async def test_the_worker_removes_and_stores_nothing(
    url_of: Callable[[str], str], redis_url: str, name: str
) -> None:
    url = url_of("-worker")
    async with (
        open_store(redis_url, name) as store,
        removing_stores(url, config=CacheConfig(name=name, store_timeout_s=10.0)) as (its_own,),
        redis.asyncio.from_url(url) as client,
    ):
        await store.put([record(store, "q", 0, tags=("t",)), record(store, "r", 9)])
        assert await its_own.remove(tags=["t"]) == 1
        assert await found(store, 0) == ["r"]
        stream = f"{name}:events"
        await client.xgroup_create(stream, "g", 0, mkstream=True)
        await client.xadd(stream, {"tags": "t"})
        delivered: Any = await client.xreadgroup("g", "c", {stream: ">"})
        ((_, ((id_, _),)),) = delivered
        await client.xautoclaim(stream, "g", "c", 0)
        await client.xinfo_groups(stream)
        assert await client.xack(stream, "g", id_) == 1
        key = f"{store._keys.prefix}k"
        await denied(client, ("HSET", key, "entry", "x"), ("HGET", key, "entry"))


async def test_the_admin_sees_what_it_runs_and_drops_an_index(
    url_of: Callable[[str], str], redis_url: str, name: str
) -> None:
    async with open_store(url_of("-admin"), name) as store:
        (id_,) = await store.put([record(store, "q", 0, tags=("t",))])
        assert (await redis_stats(url_of("-admin"), name))["entries"] == 1
        assert await store.remove(tags=["t"]) == 1
        await store.put([record(store, "q", 0)])
        async with redis.asyncio.from_url(url_of("-admin")) as client:
            key = store._keys.key(str(id_))
            assert await client.memory_usage(key)
            assert await client.object("freq", key)
            await client.latency_latest()
            await client.slowlog_get(1)
            await client.execute_command("FT.DROPINDEX", store._keys.index)


async def test_the_settings_are_taken_and_are_the_embedded_ones(tmp_path: Path) -> None:
    settings = DOCS / "redis.conf"
    (tmp_path / "redis.conf").symlink_to(settings)
    lines = [
        line.split(None, 1) for line in settings.read_text().splitlines() if line[:1] not in "# "
    ]
    wanted = {
        name: value.strip().strip('"').replace("4gb", str(4 * 2**30)) for name, value in lines
    }
    async with (
        embedded_redis(tmp_path) as url,
        redis.asyncio.from_url(url, decode_responses=True) as client,
    ):
        assert await client.config_get(*wanted) == wanted
    async with (
        embedded_redis() as url,
        redis.asyncio.from_url(url, decode_responses=True) as client,
    ):
        ours = wanted.keys() - {"maxmemory", "appendonly"}
        assert await client.config_get(*ours) == {name: wanted[name] for name in ours}
