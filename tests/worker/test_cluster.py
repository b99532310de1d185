"""Streams in a Redis Cluster, wherever their slots lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from semcache_async.config import CacheConfig
from semcache_async.worker.purging import open_purger
from tests.helpers import SLOW_ON_DEBUG
from tests.store.helpers import open_partitions, record
from tests.store.load import SCOPES
from tests.store.servers import cluster, endpoints
from tests.worker.helpers import consuming, settled

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]


@SLOW_ON_DEBUG
async def test_a_stream_and_what_is_put_aside_lie_anywhere(tmp_path: Path, name: str) -> None:
    async with cluster(tmp_path) as nodes:
        url = f"redis+cluster://{endpoints(nodes)}"
        async with (
            open_partitions(url, name, 4) as store,
            open_purger(url, CacheConfig(name=name, partitions=4, store_timeout_s=10.0)) as (
                _,
                purger,
            ),
            redis.asyncio.RedisCluster(host="127.0.0.1", port=nodes[0].port) as client,
        ):
            for n, stream in enumerate(("events", "other:events", f"{name}:{{p0}}:events")):
                tagged = [record(store, f"q {n}", n, scope, tags=("t",)) for scope in SCOPES]
                await store.put(tagged)
                async with consuming(url, stream, purger) as consumer:
                    await client.xadd(stream, {"tags": "t"})
                    await client.xadd(stream, {"oh": "no"})
                    one: Any = client
                    await settled(one, stream)
                    assert consumer.counts.removed == len(SCOPES)
                    assert (await consumer.stream.lag()).dead == 1
