"""What the command line asks of a running service, or of its Redis."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from semcache_async.config import CacheConfig
from semcache_async.errors import ConfigError, SemcacheError

if TYPE_CHECKING:
    from semcache_async.serve.settings import Settings
    from semcache_async.store.wire import RedisPipelines
    from semcache_async.store.wire.dialect import Dialect

__all__ = [
    "Example",
    "Invalidated",
    "ServiceError",
    "options_of",
    "redis_bump",
    "redis_feedback",
    "redis_invalidate",
    "redis_stats",
    "settings_of",
    "settings_of_one_model",
    "service_bump",
    "service_feedback",
    "service_invalidate",
    "service_stats",
]

_TIMEOUT_S = 30.0
_EXAMPLES = 10
_SAMPLE = 100
"""Entries of an index whose hashes are weighed."""


class ServiceError(SemcacheError):
    """The service cannot be reached, or refused."""


class Example(msgspec.Struct):
    """One of the entries meant."""

    prompt: str
    created_at: float
    tags: list[str]


class Invalidated(msgspec.Struct):
    """What was removed or, in a dry run, would be, with some examples."""

    count: int
    examples: list[Example] = []


async def service_stats(url: str, api_key: str | None) -> dict[str, Any]:
    """What ``GET /semantic-cache/metrics`` says."""
    return await _request(url, "GET", "/semantic-cache/metrics", api_key)


async def service_invalidate(
    url: str, api_key: str | None, what: Mapping[str, Any], *, dry_run: bool
) -> Invalidated:
    """What the service removed, or would."""
    body = {**what, "dry_run": True} if dry_run else what
    said = await _request(url, "POST", "/semantic-cache/invalidate", api_key, body)
    if not dry_run:
        return Invalidated(said["removed"])
    return msgspec.convert(said, Invalidated)


async def service_feedback(
    url: str, api_key: str | None, prompt: str, entry_id: str, *, right: bool
) -> None:
    """Tell the service whether the entry's answer is right for the prompt."""
    what = {"prompt": prompt, "entry_id": entry_id, "right": right}
    await _request(url, "POST", "/semantic-cache/feedback", api_key, what)


async def redis_stats(url: str, name: str) -> dict[str, Any]:
    """Entries, indexes and memory, of every server that has a part. Raises a ``StoreError``."""
    from semcache_async.store import redis_at
    from semcache_async.store.wire import redis_pipelines

    timeout_s = CacheConfig(name=name).store_timeout_s
    async with (
        redis_at(url) as found,
        redis_pipelines(found, connections=1, timeout_s=timeout_s) as pipelines,
    ):
        await pipelines.execute([("PING",)])  # a cluster is asked for its nodes
        servers = [await _server_stats(server, name) for server in pipelines.servers()]

    def said(what: str) -> str:
        return " + ".join(server[what] for server in servers)

    indexes = {index: about for server in servers for index, about in server["indexes"].items()}
    return {
        "entries": sum(index["entries"] for index in indexes.values()),
        "keys_in_redis": sum(server["keys"] for server in servers),
        "memory": said("used_memory_human"),
        "max_memory": said("maxmemory_human"),
        "eviction": " + ".join(dict.fromkeys(server["maxmemory_policy"] for server in servers)),
        "indexes": dict(sorted(indexes.items())),
    }


async def _server_stats(server: RedisPipelines, name: str) -> dict[str, Any]:
    from semcache_async.store.keys import is_entry_index
    from semcache_async.store.wire.dialect import dialect_of
    from semcache_async.store.wire.replies import MovedError, checked

    async def ask(*command: str) -> Any:
        return checked((await server.execute([command]))[0])

    dialect = dialect_of(await ask("HELLO"))
    indexes = {}
    for index in [index.decode(errors="replace") for index in await ask("FT._LIST")]:
        if is_entry_index(index, name):
            (info,) = await server.execute([("FT.INFO", index)])
            if isinstance(info, MovedError):  # what is left of one whose keys are elsewhere now
                continue
            info = dialect.reply(("FT.INFO",), info) if dialect else info
            hashes = await _hash_bytes(server, dialect, index)
            indexes[index] = _index(checked(info), hashes)
    lines = _text(await ask("INFO", "memory")).splitlines()
    memory = dict(line.split(":", 1) for line in lines if ":" in line)
    shown = ("used_memory_human", "maxmemory_human", "maxmemory_policy")
    return {
        "indexes": indexes,
        "keys": int(await ask("DBSIZE")),
        **{what: memory.get(what, "?") for what in shown},
    }


async def redis_invalidate(
    url: str, config: CacheConfig, what: Mapping[str, Any], *, dry_run: bool
) -> Invalidated:
    """What was removed, or would be, of whatever model: none is loaded."""
    from semcache_async.request.query import check_tags
    from semcache_async.store import open_removing
    from semcache_async.types import scope_or_tenant

    named = {key: value for key, value in what.items() if key not in ("tags", "entry_ids")}
    scope, tenant = scope_or_tenant(named)
    tags, entry_ids = check_tags(what.get("tags", ())), what.get("entry_ids", ())
    async with open_removing(url, config) as (_, store):
        if not dry_run:
            return Invalidated(
                await store.remove(scope=scope, tenant=tenant, tags=tags, entry_ids=entry_ids)
            )
        affected = await store.would_remove(
            scope=scope, tenant=tenant, tags=tags, entry_ids=entry_ids, examples=_EXAMPLES
        )
    return msgspec.convert(affected, Invalidated, from_attributes=True)


async def service_bump(url: str, api_key: str | None, namespaces: list[str]) -> dict[str, int]:
    """The versions that the service began."""
    said = await _request(url, "POST", "/v1/events", api_key, {"namespaces": namespaces})
    versions: dict[str, int] = said["versions"]
    return versions


async def redis_bump(url: str, config: CacheConfig, namespaces: list[str]) -> dict[str, int]:
    """The versions that were begun."""
    from semcache_async.store import open_removing

    async with open_removing(url, config) as (_, store):
        return {namespace: await store.bump(namespace) for namespace in namespaces}


async def redis_feedback(
    url: str, config: CacheConfig, prompt: str, entry_id: str, *, right: bool
) -> None:
    """Note in Redis whether the entry's answer is right for the prompt; loads the model, which has
    to say how far the two prompts lie apart. ``config``: with ``verified``, if the service has."""
    from semcache_async.cache import SemanticCache

    async with SemanticCache.open(url, config=config) as cache:
        await cache.loaded()
        if not await cache.feedback(prompt, entry_id, right=right):
            raise ServiceError("There is no such entry, or it is no longer kept.")


def options_of(name: str | None, file: Path | None) -> CacheConfig:
    """The cache's options, its secret, keys and partitions among them, as the service has them from
    the environment and its file. Raises ``ConfigError``."""
    return settings_of(name, file).cache


def settings_of(name: str | None, file: Path | None) -> Settings:
    """The same, with the embedder's."""
    from semcache_async.serve.settings import read_settings

    return read_settings({"name": name}, file=file, asks_llm=False)


def settings_of_one_model(
    name: str | None, file: Path | None, model: str | None, flag: str
) -> Settings:
    """The same for what concerns one model, which ``flag`` names where there are several."""
    settings = settings_of(name, file)
    options = settings.cache
    if options.models and model is None:
        raise ConfigError(f"Name one with {flag}: {', '.join(options.model_names)}.")
    cache = replace(options, model=model or options.model, models=())
    if model is None:
        return replace(settings, cache=cache)
    return replace(settings, cache=cache, embeddings_url=None, embeddings_model=None)


async def _hash_bytes(server: RedisPipelines, dialect: Dialect | None, index: str) -> float | None:
    """The mean size of some entries' hashes; None without entries, or where the user may not ask
    for it."""
    find = ("FT.SEARCH", index, "*", "NOCONTENT", "LIMIT", "0", str(_SAMPLE), "DIALECT", "2")
    (found,) = await server.execute([dialect.command(find) if dialect else find])
    found = dialect.reply(find, found) if dialect else found
    if not isinstance(found, dict):
        return None
    weigh = [("MEMORY", "USAGE", row[b"id"], "SAMPLES", "0") for row in found[b"results"]]
    sizes = [size for size in await server.execute(weigh) if isinstance(size, int)]
    return sum(sizes) / len(sizes) if sizes else None


def _index(info: Mapping[bytes, Any], hashes: float | None) -> dict[str, Any]:
    from semcache_async.store.entries.schema import size_of

    entries, indexed = size_of(info)
    each = indexed / max(1, entries)
    return {
        "entries": entries,
        "index_bytes": indexed,
        "bytes_per_entry": None if hashes is None else round(hashes + each),
        "indexing_failures": int(float(info.get(b"hash_indexing_failures", 0))),
        "percent_indexed": round(float(info.get(b"percent_indexed", 0)) * 100, 1),
    }


def _text(answer: Any) -> str:
    return answer.decode() if isinstance(answer, bytes) else str(answer)


async def _request(
    url: str, method: str, path: str, api_key: str | None, body: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    data = None if body is None else msgspec.json.encode(body)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.request(
                method, f"{url.rstrip('/')}{path}", data=data, allow_redirects=False
            ) as response,
        ):
            raw = await response.read()
    except aiohttp.InvalidURL:
        raise ConfigError(f"{url!r} is no URL; give one such as http://localhost:8080.") from None
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ServiceError(f"No answer from {url} ({str(error) or 'too slow'}).") from error
    if response.status == 204:
        return {}
    try:
        answer = msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.DecodeError:
        raise ServiceError(f"{url} is no semcache service ({response.status}).") from None
    if response.status != 200:
        message = answer.get("error", {}).get("message", response.reason)
        raise ServiceError(f"{url} refused ({response.status}): {message}")
    return answer
