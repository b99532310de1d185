"""A cluster of real servers: partitions on its nodes, slots that move, masters that fail over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from semcache_async import CacheConfig, SemanticCache
from semcache_async.cli.remote import redis_stats
from semcache_async.errors import StoreAuthError, StoreError, StoreUnavailableError
from semcache_async.protocols import Store
from semcache_async.store.log import RedisLog
from semcache_async.store.partitioned.partitions import PartitionedStore
from semcache_async.store.wire import redis_pipelines
from semcache_async.store.wire.cluster import slot_of
from semcache_async.store.wire.replies import NEEDED_COMMANDS
from semcache_async.testing import AngleEmbedder
from semcache_async.types import Scope, VectorQuery
from tests.helpers import GatedLLM
from tests.store.helpers import found, open_partitions, open_store, record, text_of, unit
from tests.store.load import SCOPES, under_load
from tests.store.servers import Server, cluster, endpoints, id_of, server, until_equal

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]


def url_of(nodes: list[Server]) -> str:
    return f"redis+cluster://{endpoints(nodes)}"


async def test_partitions_lie_on_all_masters(tmp_path: Path, name: str) -> None:
    async with cluster(tmp_path) as nodes, open_partitions(url_of(nodes[1:2]), name, 4) as store:
        prompts = [record(store, f"q {scope.tenant}", 0, scope, tags=("t",)) for scope in SCOPES]
        ids = [id_ for id_ in await store.put(prompts) if isinstance(id_, str)]
        assert len(ids) == len(SCOPES)
        for scope in SCOPES:
            assert await found(store, 3, scope) == [f"q {scope.tenant}"]
            assert await text_of(store, f"q {scope.tenant}", scope) is not None
        assert all([await node.client.dbsize() for node in nodes])
        assert len(await store.browse(["t"], 100)) == len(SCOPES)
        await store.check()
        assert (await store.noted(ids[5])) is not None
        assert await store.annotate(ids[5], lambda _entry, _notes: b"{}") is not None
        assert await store.remove(scope=SCOPES[0]) == 1
        assert await store.remove(entry_ids=ids[1:3]) == 2
        assert await store.remove(tags=["t"]) == len(SCOPES) - 3
        assert await store.browse((), 100) == []
        assert store.connections <= 3 * 5
        async with redis_pipelines(url_of(nodes[:1]), connections=1, timeout_s=5) as pipelines:
            log = RedisLog(pipelines, name, "near", keep=9, ttl_s=60)
            await log.append([b"one", b"two"])
            assert [row for _, row in await log.newest(9)] == [b"two", b"one"]


async def test_processes_share_flights(tmp_path: Path, name: str) -> None:
    config = CacheConfig(name=name, partitions=4, store_timeout_s=5.0)
    llm = GatedLLM()
    async with (
        cluster(tmp_path) as nodes,
        SemanticCache.open(url_of(nodes), config=config, embedder=AngleEmbedder()) as one,
        SemanticCache.open(url_of(nodes), config=config, embedder=AngleEmbedder()) as other,
    ):
        asked = [
            asyncio.create_task(cache.get_or_generate("at 10", llm, scope=scope))
            for scope in SCOPES
            for cache in (one, other)
        ]
        await until_equal(lambda: _counted(llm.prompts), len(SCOPES))
        llm.gate.set()
        answers = await asyncio.gather(*asked)
        assert {answer.text for answer in answers} == {"answer to at 10"}
        assert len(llm.prompts) == len(SCOPES)


async def test_a_slot_that_moves_takes_its_partition_along(tmp_path: Path, name: str) -> None:
    async with cluster(tmp_path) as nodes, open_store(url_of(nodes), name) as store:
        slot, source, target = slot_of("p0"), nodes[2], nodes[0]
        for n in range(3):
            await store.put([record(store, f"q{n}", n)])
        reports: list[str | None] = []
        watching = asyncio.create_task(store.watch(reports.append))
        await until_equal(lambda: _counted(reports), 1)
        await target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", await id_of(source))
        await source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", await id_of(target))
        keys = await source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100)
        await source.ask("MIGRATE", "127.0.0.1", target.port, keys[0], 0, 5_000)
        for n in range(3):  # wherever it is
            assert await text_of(store, f"q{n}") is not None
        assert await text_of(store, "not there") is None
        (outcome,) = await store.put([record(store, "new", 9)])
        assert isinstance(outcome, StoreError)
        assert not isinstance(outcome, StoreUnavailableError)
        with pytest.raises(StoreError, match="moving"):
            await store.remove(scope=Scope(tenant="b"))
        for key in keys[1:]:
            await source.ask("MIGRATE", "127.0.0.1", target.port, key, 0, 5_000)
        for node in (target, source, nodes[1]):
            await node.ask("CLUSTER", "SETSLOT", slot, "NODE", await id_of(target))
        with pytest.raises(StoreError):  # reports of changes no longer come from there
            await watching
        for n in range(3):
            assert await text_of(store, f"q{n}") is not None
        (outcome,) = await store.put([record(store, "new", 9)])
        assert isinstance(outcome, str)
        await until_equal(lambda: _nearby(store), ["new", "q2", "q1", "q0"])  # indexed anew
        assert (await redis_stats(url_of(nodes), name))["entries"] == 4
        assert await store.remove(scope=Scope(tenant="a")) == 4
        assert await target.client.dbsize() > 0


async def _counted(reports: Sequence[object]) -> int:
    return len(reports)


async def _nearby(store: Store) -> list[str]:
    (outcome,) = await store.search([VectorQuery(Scope(tenant="a"), unit(9), 5)])
    return [] if isinstance(outcome, Exception) else [near.entry.prompt for near in outcome]


@pytest.mark.parametrize("how", ["killed", "stopped", "asked"])
async def test_a_failover_under_load(tmp_path: Path, name: str, how: str) -> None:
    async with cluster(tmp_path, replicas=1) as nodes:
        opened = open_partitions(url_of(nodes[:3]), name, 4, store_timeout_s=1.0)
        async with opened as store, under_load(store) as load:
            master, replica = nodes[2:]
            if how == "killed":
                master.kill()
            elif how == "stopped":
                master.stop()
            else:
                await replica.ask("CLUSTER", "FAILOVER")
            await until_equal(replica.role, "master")
            await load.fresh()
            if how == "stopped":
                master.go_on()
                await until_equal(master.role, "slave")
            await load.fresh()


async def test_the_other_partitions_serve_on(tmp_path: Path, name: str) -> None:
    async with cluster(tmp_path) as nodes:
        for node in nodes:
            await node.client.config_set("cluster-require-full-coverage", "no")
        opened = open_partitions(url_of(nodes[:1]), name, 4, store_timeout_s=1.0)
        async with opened as store, under_load(store) as load:
            nodes[2].kill()
            living = [scope for scope in SCOPES if not _is_on_the_last(store, scope)]
            assert 0 < len(living) < len(SCOPES)
            await load.fresh(living)
            await store.check()
            for node in nodes[:2]:
                node.kill()
            everything = [record(store, "q", 0, scope) for scope in SCOPES]
            with pytest.raises(StoreUnavailableError):
                await until_equal(lambda: store.put(everything), ())


def _is_on_the_last(store: Store, scope: Scope) -> bool:
    assert isinstance(store, PartitionedStore)
    return store.of(scope) in store._stores[:2]


async def test_the_permissions_that_the_docs_list_are_enough(tmp_path: Path, name: str) -> None:
    allowed = [f"+{command.lower()}" for command in (*NEEDED_COMMANDS, "INFO", "DBSIZE")]
    async with cluster(tmp_path) as nodes:
        for node in nodes:
            await node.ask("ACL", "SETUSER", "app", "on", ">hush", f"~{name}:*", *allowed)
            await node.ask("ACL", "SETUSER", "default", "+@all", "resetpass", ">other")
        url = f"redis+cluster://app:hush@{endpoints(nodes)}"
        async with open_partitions(url, name, 3) as store:
            await store.put([record(store, "q", 0, scope, tags=("t",)) for scope in SCOPES])
            said = await redis_stats(url, name)
            assert said["entries"] == said["keys_in_redis"] == len(SCOPES)
            assert len(said["indexes"]) == 3
            assert said["memory"].count("+") == 2
            assert await store.remove(tags=["t"]) == len(SCOPES)
        async with redis_pipelines(url.replace("hush", "hus"), connections=1, timeout_s=1) as wrong:
            with pytest.raises(StoreAuthError) as caught:
                await wrong.execute([("PING",)])
        assert "hus" not in str(caught.value)


@pytest.mark.parametrize("said", ["MOVED 15882 :{port}", "TRYAGAIN later", "CLUSTERDOWN no"])
async def test_a_node_that_always_refuses_is_not_asked_for_ever(said: str) -> None:
    asked = 0

    async def node(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        port = writer.get_extra_info("sockname")[1]
        while words := await _command(reader):
            if words[0] == b"HELLO":
                writer.write(b"%1\r\n$4\r\nrole\r\n$6\r\nmaster\r\n")
            elif words[0] == b"CLUSTER":
                writer.write(b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:%d\r\n" % port)
            elif words[0] == b"HGET":
                asked += 1
                writer.write(f"-{said.format(port=port)}\r\n".encode())
            else:
                writer.write(b"+OK\r\n")
        writer.close()

    async with await asyncio.start_server(node, "127.0.0.1", 0) as listening:
        url = f"redis+cluster://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with redis_pipelines(url, connections=1, timeout_s=5) as pipelines:
            ok, refused = await pipelines.execute([("PING",), ("HGET", "{p0}", "x")])
            assert ok == b"OK"
            assert isinstance(refused, StoreError)
            assert 1 <= asked <= 5
            async with pipelines.session() as session:
                (refused,) = await session.execute([("HGET", "{p0}", "x")])
                assert isinstance(refused, StoreError)
        listening.close()
    await until_equal(_left, 1)


async def _command(reader: asyncio.StreamReader) -> list[bytes]:
    head = await reader.readline()
    words = []
    for _ in range(int(head[1:] or 0)):
        size = int((await reader.readline())[1:])
        words.append((await reader.readexactly(size + 2))[:-2])
    return words


async def _left() -> int:
    return sum("TestRunner" not in repr(task) for task in asyncio.all_tasks())


async def test_what_is_no_cluster_and_what_is_one(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        plain = f"redis://127.0.0.1:{nodes[0].port}"
        async with redis_pipelines(plain, connections=1, timeout_s=1) as pipelines:
            (reply,) = await pipelines.execute([("HGET", "{p0}", "x")])
        assert isinstance(reply, StoreError)
        assert "redis+cluster://" in str(reply)
    async with server(tmp_path) as one:
        url = f"redis+cluster://u:hush@127.0.0.1:{one.port}"
        async with redis_pipelines(url, connections=1, timeout_s=1) as pipelines:
            with pytest.raises(StoreError) as caught:
                await pipelines.execute([("PING",)])
        assert "hush" not in str(caught.value)
        url = url_of([one])
        async with redis_pipelines(url, connections=1, timeout_s=1) as pipelines:
            with pytest.raises(StoreError, match="redis://host:port"):
                await pipelines.execute([("PING",)])
    async with redis_pipelines(url, connections=1, timeout_s=1) as pipelines:
        with pytest.raises(StoreUnavailableError, match="Cannot connect"):
            await pipelines.execute([("PING",)])
