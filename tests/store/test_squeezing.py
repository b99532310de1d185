"""Long entries lie compressed; what cannot be expanded is a miss."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
import redis.asyncio
import zstandard

from semcache_async.config import CacheConfig
from semcache_async.errors import ConfigError
from semcache_async.store.sealing import MAGIC
from semcache_async.store.squeezing import SQUEEZED, Squeezer
from semcache_async.types import EntryKey
from tests.store.helpers import SCOPE, found, open_store, record

pytestmark = pytest.mark.anyio

LONG = "The refund is on its way, and takes five working days. " * 40
KEY = "00" * 32


@pytest.mark.parametrize("keys", [(), (KEY,)], ids=["clear", "sealed"])
async def test_long_entries_are_squeezed_and_read_by_everybody(
    redis_url: str, client: redis.asyncio.Redis, name: str, keys: tuple[str, ...]
) -> None:
    async with (
        open_store(redis_url, name, compress_over_bytes=500, encryption_keys=keys) as one,
        open_store(redis_url, name, encryption_keys=keys) as other,
    ):
        ids = await one.put([record(one, "long", 0, text=LONG), record(one, "short", 90)])
        long, short = [await client.hget(one._keys.key(str(id_)), "entry") for id_ in ids]
        assert isinstance(long, bytes)
        assert isinstance(short, bytes)
        assert len(long) < len(LONG) / 5
        assert long.startswith(MAGIC if keys else SQUEEZED)
        assert not short.startswith(SQUEEZED)
        for store in (one, other):
            (entry,) = await store.fetch([EntryKey(SCOPE, "long")])
            assert getattr(entry, "text", None) == LONG
            assert await found(store, 0) == ["long", "short"]


async def test_without_zstd_they_are_misses_said_once(
    redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_store(redis_url, name, compress_over_bytes=500) as one,
        open_store(redis_url, name) as other,
    ):
        await one.put([record(one, "long", 0, text=LONG), record(one, "short", 90)])
        monkeypatch.setitem(sys.modules, "zstandard", None)
        with caplog.at_level(logging.WARNING, "semcache_async"):
            assert await other.fetch([EntryKey(SCOPE, "long")] * 2) == [None, None]
            assert await found(other, 0) == ["short"]
        assert other.unopened >= 3
        (said,) = [line for line in caplog.messages if "compressed" in line]
        assert "semcache-async[zstd]" in said
        with pytest.raises(ConfigError, match=r"semcache-async\[zstd\]"):
            Squeezer(over=500)


def _bomb() -> bytes:
    return zstandard.compress(bytes(2**26))


def _unsized() -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(bytes(2_000))


@pytest.mark.parametrize(
    "data", [_bomb(), _unsized(), SQUEEZED, zstandard.compress(bytes(2_000))[:-4]]
)
def test_what_would_grow_or_was_changed_is_refused(data: bytes) -> None:
    squeezer = Squeezer(most=2_000)
    assert squeezer.expand(data) is None
    assert squeezer.unread == 1
    assert squeezer.expand(zstandard.compress(bytes(2_000))) == bytes(2_000)


def test_what_does_not_get_smaller_stays() -> None:
    data: Any = bytes(range(256))
    assert Squeezer(over=1).squeeze(data) == data
    assert Squeezer(over=1).squeeze(b"") == b""


async def test_what_is_longer_than_may_be_expanded_is_kept_as_it_is(
    redis_url: str, name: str
) -> None:
    options: dict[str, Any] = {
        "compress_over_bytes": 500,
        "max_answer_bytes": 2_000,
        "max_prompt_bytes": 2_000,
    }
    async with open_store(redis_url, name, **options) as store:
        tags = tuple(f"tag number {n}" for n in range(8_000))
        await store.put([record(store, "tagged", 0, tags=tags)])
        assert await found(store, 0) == ["tagged"]
        assert store.unopened == 0


def test_the_option() -> None:
    with pytest.raises(ConfigError, match="compress_over_bytes=0"):
        CacheConfig(compress_over_bytes=0)
