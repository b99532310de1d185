"""The log beside the entries: in order, capped, mortal."""

from __future__ import annotations

import pytest

from semcache_async.errors import StoreError
from semcache_async.store.keys import KeySpace, log_key
from semcache_async.store.log import MemoryLog, RedisLog
from semcache_async.store.wire import redis_pipelines

pytestmark = pytest.mark.anyio


async def test_redis_keeps_the_newest_for_a_while(redis_url: str, name: str) -> None:
    async with redis_pipelines(redis_url, connections=1, timeout_s=5.0) as pipelines:
        log = RedisLog(pipelines, name, "near", keep=100, ttl_s=60.0)
        for n in range(5):
            await log.append([b"%d" % (100 * n + m) for m in range(100)])
        key = log_key(name, "near")
        length, ttl_ms = await pipelines.execute([("XLEN", key), ("PTTL", key)])
        assert 100 <= length <= 200
        assert 0 < ttl_ms <= 60_000
        newest = await log.newest(2)
        assert [record for _, record in newest] == [b"499", b"498"]
        assert await log.get(newest[0][0]) == b"499"
        await log.append([])
        await pipelines.execute([("DEL", key)])
        assert await log.newest(2) == []
        assert await log.get(newest[0][0]) is None
        await pipelines.execute([("SET", key, "no stream")])
        for asked in (log.newest(2), log.get("1-1"), log.append([b"x"])):
            with pytest.raises(StoreError, match="WRONGTYPE"):
                await asked
        await pipelines.execute([("DEL", key)])


@pytest.mark.parametrize("id_", ["", "x", "1-1", "9" * 20 + "-1", "1-1\r\nDEL", "-", "+", "0"])
async def test_no_such_record(redis_url: str, name: str, id_: str) -> None:
    async with redis_pipelines(redis_url, connections=1, timeout_s=5.0) as pipelines:
        log = RedisLog(pipelines, name, "near", keep=10, ttl_s=60.0)
        await log.append([b"x"])
        assert await log.get(id_) is None
        assert await MemoryLog(keep=10).get(id_) is None


async def test_memory_keeps_the_newest() -> None:
    log = MemoryLog(keep=3)
    await log.append([b"%d" % n for n in range(5)])
    newest = await log.newest(2)
    assert [record for _, record in newest] == [b"4", b"3"]
    assert [record for _, record in await log.newest(9)] == [b"4", b"3", b"2"]
    assert await log.get(newest[1][0]) == b"3"


def test_a_log_is_no_entry() -> None:
    keys = KeySpace("cache", "f" * 16, "")
    assert not log_key("cache", "near").startswith(keys.prefix)
    assert log_key("cache", "near") != log_key("cache", "reviews")
