"""What ``semcache doctor`` finds about Redis. Nothing is changed there, and nothing is waited for
longer than the cache would."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from semcache_async.cli.setup.finding import (
    MEMORY,
    OLD,
    SIZING,
    TOPOLOGIES,
    USERS,
    Finding,
    bad,
    fine,
    poor,
    troubled,
)
from semcache_async.config import CacheConfig
from semcache_async.errors import SemcacheError, StoreAuthError
from semcache_async.store import redis_at
from semcache_async.store.keys import beyond, log_key
from semcache_async.store.wire import Command, RedisPipelines, redis_pipelines
from semcache_async.store.wire.address import check_database, read_url
from semcache_async.store.wire.replies import NEEDED_COMMANDS, checked
from semcache_async.store.wire.server import advice, check_mode, is_private

__all__ = ["look_at_redis"]

_EMBEDDED = "embedded:"
_LONGEST_S = 5.0
_PINGS, _PINGS_S = 20, 1.0
_SLOW_MS = 5.0
_SKEW_S = 2.0
_FLOAT16 = 21_000
"""The version of Search from which it knows float16."""
_OUTSIDE = {"MULTI", "EXEC", "WATCH", "UNWATCH", "CLIENT|TRACKING", "CLUSTER|SLOTS", "ASKING"}
"""What is not queued in a transaction."""


async def look_at_redis(url: str | None, config: CacheConfig) -> AsyncIterator[Finding]:
    """``url`` as ``semcache serve`` takes it. An embedded Redis whose directory is not there yet
    is tried elsewhere."""
    embedded = url is None or url.startswith(_EMBEDDED)
    if url is None:
        yield poor(
            "redis",
            "Without a URL an embedded Redis is used, which ends with the service, answers and all",
            "Give --redis-url for more than trying it out",
            TOPOLOGIES,
        )
    try:
        async with (
            redis_at(_tried(url)) as found,
            redis_pipelines(
                found, connections=1, timeout_s=min(config.store_timeout_s, _LONGEST_S)
            ) as pipelines,
        ):
            await pipelines.execute([("HELLO",)])  # a cluster is asked for its nodes
            servers = pipelines.servers()
            for n, server in enumerate(servers, start=1):
                of = f"server {n} of {len(servers)}: " if len(servers) > 1 else ""
                looked = _look_at(server, config, cluster=_is_cluster(found), url=found)
                async for finding in looked:
                    if not (embedded and finding.check in ("memory", "persistence", "user")):
                        yield replace(finding, said=of + finding.said)
    except SemcacheError as error:
        yield troubled("redis", error)


def _tried(url: str | None) -> str | None:
    if url is None or url.startswith(_EMBEDDED):
        there = url is not None and Path(url.removeprefix(_EMBEDDED)).is_dir()
        return url if there else None
    read_url(url)
    check_database(url)
    return url


def _is_cluster(url: str) -> bool:
    return read_url(url).kind == "cluster"


async def _look_at(
    server: RedisPipelines, config: CacheConfig, *, cluster: bool, url: str
) -> AsyncIterator[Finding]:
    hello: Mapping[bytes, Any] = checked((await server.execute([("HELLO",)]))[0])
    check_mode(hello)
    yield await _latency(server, hello)
    if (old := advice(hello)) is not None and not is_private(url):
        yield poor("version", old, "", OLD)
    if hello.get(b"server") == b"valkey":
        said = "Valkey is spoken to in its own way, which no live server was tried with"
        yield poor("version", said, "Watch it, or take Redis 8", TOPOLOGIES)
    if hello.get(b"role") in (b"slave", b"replica"):
        todo = "Give the URL of the master, or redis+sentinel://host/SERVICE"
        yield bad("role", "It is a replica, to which nothing is written", todo, TOPOLOGIES)
    if hello.get(b"mode") == b"cluster" and not cluster:
        said = "It is one of a Redis Cluster, and other nodes have other keys"
        yield bad("role", said, "Give the URL as redis+cluster://host:port", TOPOLOGIES)
    time_, indexes, info = await server.execute([("TIME",), ("FT._LIST",), ("INFO",)])
    yield _search(hello, indexes, config)
    if isinstance(time_, list):
        yield _clock(time_)
    async for finding in _permissions(server, config, cluster):
        yield finding
    if isinstance(info, StoreAuthError):
        said = "This user may not ask for limits and persistence (INFO), and need not"
        yield fine("memory", f"{said}; semcache-reader of {USERS} may")
    else:
        for finding in _of_info(_read(checked(info))):
            yield finding


async def _latency(server: RedisPipelines, hello: Mapping[bytes, Any]) -> Finding:
    spent: list[float] = []
    began = time.perf_counter()
    while len(spent) < _PINGS and time.perf_counter() - began < _PINGS_S:
        sent = time.perf_counter()
        await server.execute([("PING",)])
        spent.append((time.perf_counter() - sent) * 1_000)
    median = statistics.median(spent)
    name, version = (hello.get(what, b"?").decode() for what in (b"server", b"version"))
    said = f"{name} {version}, {median:.2f} ms a round trip ({min(spent):.2f} to {max(spent):.2f})"
    if median <= _SLOW_MS:
        return fine("redis", said)
    todo = "Every hit waits so long: put Redis nearer, or set local_answers"
    return poor("redis", said, todo, SIZING)


def _search(hello: Mapping[bytes, Any], indexes: Any, config: CacheConfig) -> Finding:
    if isinstance(indexes, SemcacheError) and not isinstance(indexes, StoreAuthError):
        return troubled("search", indexes)
    version = _search_version(hello)
    said = f"Search {version // 10_000}.{version // 100 % 100}.{version % 100}" if version else "?"
    if config.vector_dtype == "float16" and 0 < version < _FLOAT16:
        todo = "Take Redis 8 or Redis Stack 7.4, or vector_dtype float32"
        return bad("search", f"{said} knows no float16", todo, MEMORY)
    if isinstance(indexes, StoreAuthError):
        return fine("search", said)
    names = [index.decode(errors="replace") for index in indexes]
    if left := beyond(names, config.name, config.partitions):
        said = f"{said}; there are more partitions than the {config.partitions} configured"
        todo = f"Set partitions as it was, or drop {', '.join(left)}"
        return poor("search", said, todo, TOPOLOGIES)
    kinds = "float32 and float16" if version >= _FLOAT16 else "float32"
    mine = sum(name.startswith(f"{config.name}:") for name in names)
    return fine("search", f"{said} ({kinds}), indexes of {config.name}: {mine} of {len(names)}")


def _search_version(hello: Mapping[bytes, Any]) -> int:
    for module in hello.get(b"modules", ()):
        if isinstance(module, dict) and module.get(b"name") in (b"search", b"searchlight"):
            return int(module.get(b"ver", 0))
    return 0


def _clock(said: list[bytes]) -> Finding:
    ahead = int(said[0]) + int(said[1]) / 1e6 - time.time()
    if abs(ahead) <= _SKEW_S:
        return fine("clock", f"Redis's is {ahead * 1_000:+.0f} ms from this host's")
    return poor(
        "clock",
        f"Redis's is {ahead:+.1f} s from this host's. The cache goes by Redis's alone",
        "What logs and metrics say of times does not fit together: run NTP on both",
    )


# -- what its user may do


async def _permissions(
    server: RedisPipelines, config: CacheConfig, cluster: bool
) -> AsyncIterator[Finding]:
    """Whatever a user must be allowed, asked for in a transaction that is broken before anything
    is in it, so that none of it is done."""
    key = log_key(config.name, "doctor")
    asked = {name: _harmless(name, key) for name in NEEDED_COMMANDS if name not in _OUTSIDE}
    others = [("WATCH", key), ("UNWATCH",), ("CLIENT", "TRACKING", "OFF")]
    if cluster:
        others += [("CLUSTER", "SLOTS"), ("ASKING",)]
    async with server.session() as session:
        at_once = await session.execute(others)
        replies = dict(zip(map(_name, others), at_once, strict=True))
        replies["MULTI"], broken = await session.execute([("MULTI",), ("HGET", key)])
        if replies["MULTI"] == b"OK" and isinstance(broken, Exception):
            queued = await session.execute([*asked.values(), ("EXEC",)])
            replies |= zip([*asked, "EXEC"], queued, strict=True)
    denied = {name: str(one) for name, one in replies.items() if _is_denied(one)}
    keyless = [name for name, why in denied.items() if "access a key" in why]
    lacking = [name for name in denied if name not in keyless]
    if keyless:
        todo = f"Give it the keys ~{config.name}:*"
        yield bad("keys", f"Redis's user may not have the cache's keys ({keyless[0]})", todo, USERS)
    if lacking == ["FT.CREATE"]:
        said = "Redis's user may make no index, so that another one has to open the cache first"
        yield poor("user", said, "Open it once as semcache-admin", USERS)
    elif lacking:
        more = "" if "MULTI" not in lacking else "; others were not tried"
        todo = f"Allow it {' '.join(f'+{name.lower()}' for name in lacking)}"
        yield bad("user", f"Redis's user may not do all that is needed{more}", todo, USERS)
    if denied:
        return
    (dangerous,) = await server.execute([("CONFIG", "GET", "maxmemory")])
    if isinstance(dangerous, Exception):
        yield fine("user", "Redis's user may do what is needed")
    else:
        said = "Redis's user may do what is needed, and far more than that"
        yield poor("user", said, "Give the cache a user of its own", USERS)


def _is_denied(reply: Any) -> bool:
    return isinstance(reply, StoreAuthError) or "because of: NOPERM" in str(reply)


def _name(command: Command) -> str:
    return (
        "|".join(map(str, command[:2])) if command[0] in ("CLIENT", "CLUSTER") else str(command[0])
    )


def _harmless(name: str, key: str) -> Command:
    """The command in a form that Redis takes, were it to be done."""
    rest: dict[str, tuple[str, ...]] = {
        **dict.fromkeys(("TIME", "PING", "FT._LIST"), ()),
        **dict.fromkeys(("HGETALL", "UNLINK", "FT.INFO"), (key,)),
        **dict.fromkeys(("HGET", "HMGET", "HDEL", "ZSCORE"), (key, "f")),
        **dict.fromkeys(("HSET", "HSETNX"), (key, "f", "v")),
        **dict.fromkeys(("FT.SEARCH", "FT.AGGREGATE"), (key, "*")),
        "HINCRBYFLOAT": (key, "f", "1"),
        "PEXPIRE": (key, "1"),
        "ZADD": (key, "1", "m"),
        "FT.CREATE": (key, "SCHEMA", "f", "TAG"),
        "FT.CURSOR": ("READ", key, "1"),
        "XADD": (key, "*", "f", "v"),
        "XREAD": ("STREAMS", key, "0"),
        "XTRIM": (key, "MAXLEN", "1"),
        "XRANGE": (key, "-", "+"),
        "XREVRANGE": (key, "+", "-"),
    }
    return (name, *rest[name])


# -- what it says of itself


def _read(info: Any) -> dict[str, str]:
    lines = (info.decode() if isinstance(info, bytes) else str(info)).splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _of_info(info: Mapping[str, str]) -> Iterator[Finding]:
    used, most = info.get("used_memory_human", "?"), info.get("maxmemory_human", "?")
    policy = info.get("maxmemory_policy", "?")
    said = f"{used} used of {most}, {policy}"
    if info.get("maxmemory") == "0":
        said = f"{used} used, and no limit (maxmemory 0)"
        todo = "Set maxmemory, and maxmemory-policy allkeys-lfu"
        yield poor("memory", said, todo, MEMORY)
    elif policy == "noeviction":
        said = f"{said}: what is full stores nothing new"
        yield poor("memory", said, "Set maxmemory-policy allkeys-lfu", MEMORY)
    else:
        yield fine("memory", said)
    if info.get("aof_enabled") == "1":
        yield fine("persistence", "an append-only file: a restart keeps the answers")
    else:
        saved = int(info.get("rdb_last_save_time", "0"))
        started = time.time() - int(info.get("uptime_in_seconds", "0"))
        said = "snapshots" if saved > started + 1 else "no append-only file, and no snapshot yet"
        yield poor(
            "persistence",
            f"{said}: a restart may begin with an empty cache",
            "Set appendonly yes where that matters",
            MEMORY,
        )
