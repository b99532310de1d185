"""A store and a client of the Redis that it is in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from semcache_async.store.redis_store import RedisStore
from tests.store.helpers import open_store


@pytest.fixture
async def store(redis_url: str, name: str) -> AsyncIterator[RedisStore]:
    async with open_store(redis_url, name) as store:
        yield store


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_url(redis_url, protocol=3)
    yield client
    await client.aclose()
