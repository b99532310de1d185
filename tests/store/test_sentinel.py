"""A master, its replicas and their sentinels, all real: who is asked, and what a failover does."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

from semcache_async.errors import ConfigError, StoreAuthError, StoreUnavailableError
from semcache_async.store.wire import redis_pipelines
from tests.store.helpers import open_store, record, text_of
from tests.store.load import under_load
from tests.store.servers import Server, endpoints, servers, until_equal, watched

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]


def url_of(sentinels: list[Server], service: str = "main", user: str = "", query: str = "") -> str:
    return f"redis+sentinel://{user}{endpoints(sentinels)}/{service}{query}"


@pytest.mark.parametrize("how", ["killed", "stopped", "asked"])
async def test_a_failover_under_load(tmp_path: Path, name: str, how: str) -> None:
    async with watched(tmp_path) as (data, sentinels):
        opened = open_store(url_of(sentinels), name, store_timeout_s=1.0)
        async with opened as store, under_load(store) as load:
            if how == "killed":
                data[0].kill()
            elif how == "stopped":
                data[0].stop()
            else:
                await sentinels[0].ask("SENTINEL", "FAILOVER", "main")

            async def masters() -> int:
                return [await one.role() for one in data[1:]].count("master")

            await until_equal(masters, 1)
            await load.fresh()
            if how == "stopped":  # it still takes itself for the master
                data[0].go_on()
            await load.fresh()


async def test_a_demoted_master_is_left_at_once(tmp_path: Path, name: str) -> None:
    """Without sentinels that kill its connections: it refuses to write, or says that it is none."""
    async with (
        watched(tmp_path, replicas=1, sentinels=1) as (data, sentinels),
        open_store(url_of(sentinels), name, store_timeout_s=2.0) as store,
    ):
        await store.put([record(store, "before", 0)])
        await until_equal(lambda: _in_step(data), True)
        await sentinels[0].ask("SENTINEL", "REMOVE", "main")
        await data[1].ask("REPLICAOF", "NO", "ONE")
        await data[0].ask("REPLICAOF", "127.0.0.1", data[1].port)
        await sentinels[0].ask("SENTINEL", "MONITOR", "main", "127.0.0.1", data[1].port, 1)
        await until_equal(data[0].role, "slave")
        assert await store.remove(tags=["nobody's"]) == 0
        assert isinstance((await store.put([record(store, "after", 9)]))[0], str)
        assert await text_of(store, "before") == "answer to before"
        assert await text_of(store, "after") == "answer to after"


async def _in_step(data: list[Server]) -> bool:
    offsets = [(await one.client.info("replication"))["master_repl_offset"] for one in data]
    return bool(offsets[0] == offsets[1])


async def test_who_is_asked(tmp_path: Path, name: str) -> None:
    async with watched(tmp_path, replicas=1, sentinels=1) as (data, sentinels):
        dead = Server.__new__(Server)
        dead.port = 1
        async with redis_pipelines(
            url_of([dead, *sentinels], query="?db=0"), connections=1, timeout_s=2
        ) as pipelines:
            (role, *_), pong = await pipelines.execute([("ROLE",), ("PING",)])
            assert (role, pong) == (b"master", b"PONG")
        await sentinels[0].ask("SENTINEL", "REMOVE", "main")
        await sentinels[0].ask("SENTINEL", "MONITOR", "main", "127.0.0.1", data[1].port, 1)
        await _refused(url_of(sentinels), "replica")
        await _refused(url_of(sentinels, "other"), "no service 'other'")
        await _refused(url_of([dead]), "No sentinel leads to a master of 'main'")
        with pytest.raises(ConfigError, match=r"redis\+sentinel://"):
            async with open_store(f"redis://127.0.0.1:{sentinels[0].port}", name):
                pass


async def test_a_sentinel_that_is_silent(tmp_path: Path) -> None:
    async with watched(tmp_path, replicas=0, sentinels=2) as (_, sentinels):
        sentinels[0].stop()
        async with redis_pipelines(url_of(sentinels), connections=1, timeout_s=1) as pipelines:
            assert await pipelines.execute([("PING",)]) == [b"PONG"]


async def test_each_has_credentials_of_its_own(tmp_path: Path) -> None:
    async with watched(tmp_path, replicas=0, sentinels=1) as (data, sentinels):
        for one, password in ((data[0], "hush"), (sentinels[0], "quiet")):
            await one.ask("ACL", "SETUSER", "app", "on", f">{password}", "~*", "+@all")
            await one.ask("ACL", "SETUSER", "default", "-@all", "+@connection", "off")
        query = "?sentinel_username=app&sentinel_password="
        async with redis_pipelines(
            url_of(sentinels, user="app:hush@", query=f"{query}quiet"), connections=1, timeout_s=2
        ) as pipelines:
            assert await pipelines.execute([("PING",)]) == [b"PONG"]
        for user, password in (("app:hush@", "hushed"), ("app:hushed@", "quiet"), ("", "quiet")):
            url = url_of(sentinels, user=user, query=query + password)
            async with redis_pipelines(url, connections=1, timeout_s=2) as pipelines:
                with pytest.raises(StoreAuthError) as caught:
                    await pipelines.execute([("PING",)])
            shown = "".join(traceback.format_exception(caught.value))
            assert "hush" not in shown
            assert "quiet" not in shown


async def _refused(url: str, why: str) -> None:
    async with redis_pipelines(url, connections=1, timeout_s=2) as pipelines:
        with pytest.raises(StoreUnavailableError, match=why):
            await pipelines.execute([("PING",)])


async def test_a_replica_that_is_asked_in_vain(tmp_path: Path) -> None:
    """A plain URL of a replica: what it refuses to write is an error, as it always was."""
    async with servers(tmp_path, 2) as (master, replica):
        await replica.ask("REPLICAOF", "127.0.0.1", master.port)
        url = f"redis://127.0.0.1:{replica.port}"
        async with redis_pipelines(url, connections=1, timeout_s=2) as pipelines:
            await until_equal(replica.role, "slave")
            (reply,) = await pipelines.execute([("SET", "a", "b")])
            assert isinstance(reply, StoreUnavailableError)
