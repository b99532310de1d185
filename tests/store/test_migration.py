"""Entries of another model: they answer exact repeats where they lie, and move past every
invalidation."""

from __future__ import annotations

import asyncio
import random
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis.asyncio
from msgspec import structs

from semcache_async import CacheConfig, ConfigError, Scope, SemanticCache, Source, StoreError
from semcache_async.opening import Opening
from semcache_async.store.migration import MIGRATING_COMMANDS, Migration, Tally, parts_of
from semcache_async.store.opening import redis_stores
from semcache_async.store.partitioned.partitions import PartitionedStore
from semcache_async.store.redis_store import RedisStore
from semcache_async.store.wire.replies import NEEDED_COMMANDS
from semcache_async.testing import AngleEmbedder
from semcache_async.types import Entry, EntryKey, Vector
from tests.helpers import SLOW_ON_DEBUG, until
from tests.store.helpers import (
    DIM,
    SCOPE,
    Relay,
    found,
    open_partitions,
    open_store,
    record,
    relay,
    text_of,
    unit,
)
from tests.store.migration import migrate_and_kill

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

Embed = Callable[[Sequence[str]], Awaitable[list[Vector | None]]]
Between = tuple[Relay, RedisStore, RedisStore, RedisStore]
OLD: dict[str, Any] = {"vector_dtype": "float16"}
"""Makes another fingerprint, as another model does."""


async def embed(texts: Sequence[str]) -> list[Vector | None]:
    """A degree for each character."""
    return [unit(len(text)) for text in texts]


async def migration(
    *stores: RedisStore, embed: Embed = embed, rate: float | None = None
) -> Migration:
    parts, _ = await parts_of(stores, None)
    return Migration(parts, embed, rate=rate, told=lambda _: None)


async def migrated(*stores: RedisStore, embed: Embed = embed) -> Tally:
    return await (await migration(*stores, embed=embed)).run()


class Client(NamedTuple):
    """Redis as it is."""

    redis: redis.asyncio.Redis
    name: str

    async def keys(self) -> dict[str, list[str]]:
        """The keys of all entries, by fingerprint."""
        keys: dict[str, list[str]] = {}
        async for key in self.redis.scan_iter(f"{self.name}:*"):
            match = re.fullmatch(r".+:\{p\d+\}:([0-9a-f]{16}):[0-9a-f]{32}", key.decode())
            if match:
                keys.setdefault(match[1], []).append(key.decode())
        return keys

    async def indexes(self) -> list[str]:
        listed = await self.redis.execute_command("FT._LIST")
        return [one.decode() for one in listed if one.decode().startswith(self.name)]


@pytest.fixture
async def client(redis_url: str, name: str) -> AsyncIterator[Client]:
    opened = redis.asyncio.Redis.from_url(redis_url)
    yield Client(opened, name)
    await opened.aclose()


async def fingerprint_of(new: RedisStore) -> str:
    """Of the only other one."""
    (source,) = await new.sources()
    return source.keys.fingerprint


# -- what moves


async def test_an_entry_keeps_all_but_its_vector(redis_url: str, name: str, client: Client) -> None:
    scope = Scope(tenant="a", attributes={"plan": "pro"})
    async with open_store(redis_url, name, **OLD) as old:
        ids = await old.put([record(old, "q", 180, scope, tags=("t", "u"), semantic_ttl_s=300.0)])
        await old.annotate(str(ids[0]), lambda _entry, _notes: b"NOTES")
    async with open_store(redis_url, name) as new:
        tally = await migrated(new)
        assert (tally.moved, tally.exact_only, tally.seen) == (1, 0, 1)
        assert await found(new, 1, scope) == ["q"]
        was = await fingerprint_of(new)
    keys = await client.keys()
    (before,), (after,) = keys.pop(was), keys.popitem()[1]
    assert await client.redis.pexpiretime(before) == await client.redis.pexpiretime(after) > 0
    one, other = await client.redis.hgetall(before), await client.redis.hgetall(after)
    assert one.pop(b"vec") != other.pop(b"vec")
    assert one == other
    assert one[b"notes"] == b"NOTES"


async def test_again_there_is_nothing_to_do(redis_url: str, name: str) -> None:
    async with open_store(redis_url, name, **OLD) as old:
        await old.put([record(old, f"q {n}", n) for n in range(300)])
    asked: list[str] = []

    async def noting(texts: Sequence[str]) -> list[Vector | None]:
        asked.extend(texts)
        return await embed(texts)

    async with open_store(redis_url, name) as new:
        looked = await (await migration(new)).look()
        assert (looked.lacking, looked.moved) == (300, 0)
        assert (await migrated(new, embed=noting)).moved == 300
        assert (await migrated(new, embed=noting)).moved == 0
        assert len(asked) == len(set(asked)) == 300
        assert len(await new.browse((), 1_000)) == 300


async def test_what_the_model_cannot_read_has_the_exact_tier_only(
    redis_url: str, name: str
) -> None:
    async with open_store(redis_url, name, **OLD) as old:
        await old.put([record(old, "q", 0), record(old, "unreadable", 1)])

    async def reads_some(texts: Sequence[str]) -> list[Vector | None]:
        return [unit(0) if text == "q" else None for text in texts]

    async with open_store(redis_url, name) as new:
        tally = await migrated(new, embed=reads_some)
        assert (tally.moved, tally.exact_only) == (2, 1)
        await (await migration(new)).drop()
        assert await text_of(new, "unreadable") == "answer to unreadable"
        assert await found(new, 0) == ["q"]


async def test_sealed_ones_move_sealed(redis_url: str, name: str, client: Client) -> None:
    first, second, other = (b64encode(bytes([n]) * 32).decode() for n in range(3))
    async with open_store(redis_url, name, encryption_keys=(first,), **OLD) as old:
        await old.put([record(old, "q", 0)])
    async with open_store(redis_url, name, encryption_keys=(other,)) as stranger:
        tally = await migrated(stranger)
        assert (tally.moved, tally.unread) == (0, 1)
        with pytest.raises(StoreError, match="1 cannot be read"):
            await (await migration(stranger)).drop()
    async with open_store(redis_url, name, encryption_keys=(second, first)) as new:
        assert (await migrated(new)).moved == 1
        await (await migration(new)).drop()
        assert await found(new, 1) == ["q"]
    for keys in (await client.keys()).values():
        assert b"answer" not in (await client.redis.hgetall(keys[0]))[b"entry"]


async def test_partitions(redis_url: str, name: str) -> None:
    scopes = [Scope(tenant="a", locale=str(n)) for n in range(9)]
    async with open_partitions(redis_url, name, 3, **OLD) as old:
        await old.put([record(old, "q", 0, scope) for scope in scopes])
    async with open_partitions(redis_url, name, 3) as new:
        assert isinstance(new, PartitionedStore)
        assert sum(new.unmoved.values()) == 9
        assert [await text_of(new, "q", scope) for scope in scopes] == ["answer to q"] * 9
        stores = list({id(new.of(scope)): new.of(scope) for scope in scopes}.values())
        assert len(stores) == 3
        assert (await migrated(*stores)).moved == 9
        await (await migration(*stores)).drop()
        assert [await found(new, 1, scope) for scope in scopes] == [["q"]] * 9
        assert [await store.sources() for store in stores] == [[], [], []]


async def test_indexes_of_their_tenants(redis_url: str, name: str) -> None:
    scopes = [Scope(tenant=str(n)) for n in range(4)]
    async with open_partitions(redis_url, name, 1, index_per_tenant=True, **OLD) as old:
        await old.put([record(old, "q", 0, scope) for scope in scopes])
    config = CacheConfig(name=name, index_per_tenant=True, store_timeout_s=10.0)
    async with (
        open_partitions(redis_url, name, 1, index_per_tenant=True) as new,
        redis_stores(redis_url, dim=DIM, fingerprint="angle", config=config) as (common,),
    ):
        assert [await text_of(new, "q", scope) for scope in scopes] == ["answer to q"] * 4
        assert await found(new, 1, scopes[0]) == []
        await new.put([record(new, "q", 90, scopes[3], text="NEWER")])
        assert (await migrated(common)).moved == 3
        await (await migration(common)).drop()
        assert await common.sources() == []
        assert [await found(new, 1, scope) for scope in scopes] == [["q"]] * 4
        assert await text_of(new, "q", scopes[3]) == "NEWER"


async def test_which_one_is_meant(redis_url: str, name: str) -> None:
    async with open_store(redis_url, name) as new:
        assert await parts_of([new], None) == ([], 0)
        with pytest.raises(ConfigError, match="there are none"):
            await parts_of([new], "0" * 16)
        async with open_store(redis_url, name, **OLD) as old:
            empty, size = await parts_of([new], None)
            assert (len(empty), size) == (1, 0)
            async with open_store(redis_url, name, index="flat") as flat:
                with pytest.raises(ConfigError, match="--from"):
                    await parts_of([new], None)
                await flat.put([record(flat, "q", 0)])
                ((source, _),), size = await parts_of([new], None)
                assert size == 1
                await old.put([record(old, "q", 0)])
                with pytest.raises(ConfigError, match=rf"{source.keys.fingerprint} \(1 entries\)"):
                    await parts_of([new], None)
                chosen, _ = await parts_of([new], source.keys.fingerprint)
                assert chosen[0].source.keys.index == source.keys.index


async def test_texts_a_second(redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_store(redis_url, name, **OLD) as old:
        await old.put([record(old, f"q {n}", n) for n in range(60)])
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    async with open_store(redis_url, name) as new:
        moving = await migration(new, rate=20.0)
        monkeypatch.setattr("semcache_async.store.migration.asyncio.sleep", sleep)
        assert (await moving.run()).moved == 60
    assert sum(waits) > 1.0 + 0.9  # of 20, 20 and 20 the first went at once


# -- and what must not


@pytest.fixture
async def between(redis_url: str, name: str, tmp_path: Path) -> AsyncIterator[Between]:
    """A relay, the new store that speaks through it, another of the same model, and an old one."""
    async with open_store(redis_url, name, **OLD) as old:
        await old.put([record(old, "q", 0, tags=("price",)), record(old, "else", 0)])
        async with (
            relay(redis_url, tmp_path) as (gate, url),
            open_store(url, name, connections=2) as new,
            open_store(redis_url, name) as other,
        ):
            yield gate, new, other, old


CONDITIONS: list[dict[str, Any]] = [
    {"tags": ["price"]},
    {"scope": SCOPE, "tags": ["price"]},
    {"tenant": "a", "tags": ["price"]},
    {"entry_ids": "its own"},
]


async def _ids(store: RedisStore, conditions: dict[str, Any]) -> dict[str, Any]:
    if "entry_ids" not in conditions:
        return conditions
    (source,) = await store.sources()
    ids: list[str] = []

    async def note(some: list[str]) -> None:
        ids.extend(some)

    await source.walk(note, at_once=10)
    kept = [one for one in ids if (await store.noted(one) or [None])[0]]
    named = {one: (await store.noted(one)) for one in kept}
    return {"entry_ids": [one for one, known in named.items() if known and known[0].prompt == "q"]}


@pytest.mark.parametrize("by", ["new", "old"])
@pytest.mark.parametrize("conditions", CONDITIONS, ids=str)
async def test_an_invalidation_while_the_prompt_is_embedded(
    between: Between, conditions: dict[str, Any], by: str
) -> None:
    _, new, other, old = between
    purged = await _ids(other, conditions)

    async def purging(texts: Sequence[str]) -> list[Vector | None]:
        assert await (other if by == "new" else old).remove(**purged) == 1
        return await embed(texts)

    assert (await migrated(new, embed=purging)).moved == 1
    for store in (new, old):
        assert await text_of(store, "q") is None
        assert await text_of(store, "else") is not None


@pytest.mark.parametrize("by", ["new", "old"])
@pytest.mark.parametrize("conditions", CONDITIONS, ids=str)
async def test_an_invalidation_between_reading_and_writing(
    between: Between, conditions: dict[str, Any], by: str
) -> None:
    gate, new, other, old = between
    purged = await _ids(other, conditions)
    gate.hold(b"EXEC")
    moving = asyncio.create_task(migrated(new))
    await gate.held.wait()
    assert await (other if by == "new" else old).remove(**purged) == 1
    gate.release()
    assert (await moving).moved == 1
    for store in (new, old):
        assert await text_of(store, "q") is None
        assert await text_of(store, "else") is not None


@pytest.mark.parametrize("by", ["new", "old"])
async def test_an_invalidation_that_has_looked_here_already(
    between: Between,
    redis_url: str,
    name: str,
    tmp_path: Path,
    by: str,
) -> None:
    """It raised its fences, and has deleted in one index; the entry in the other is not copied."""
    _, new, _, old = between
    (tmp_path / "second").mkdir()
    options = OLD if by == "old" else {}
    async with (
        relay(redis_url, tmp_path / "second") as (gate, url),
        open_store(url, name, **options) as purger,
    ):
        gate.hold(b"UNLINK")
        purging = asyncio.create_task(purger.remove(tags=["price"]))
        await gate.held.wait()
        assert (await migrated(new)).fenced == 1
        with pytest.raises(StoreError, match="1 entries wait for an invalidation"):
            await (await migration(new)).drop()
        gate.release()
        assert await purging == 1
    assert await text_of(new, "q") is None
    assert await text_of(old, "q") is None
    await (await migration(new)).drop()


async def test_a_fence_is_raised_between_reading_and_writing(
    between: Between, redis_url: str, name: str, tmp_path: Path
) -> None:
    """The removal found nothing here, and has yet to delete what is copied."""
    gate, new, _, _ = between
    (tmp_path / "second").mkdir()
    async with (
        relay(redis_url, tmp_path / "second") as (second, url),
        open_store(url, name) as purger,
    ):
        gate.hold(b"EXEC")
        moving = asyncio.create_task(migrated(new))
        await gate.held.wait()
        second.hold(b"UNLINK")
        purging = asyncio.create_task(purger.remove(tags=["price"]))
        await second.held.wait()
        gate.release()
        assert (await moving).fenced == 1
        second.release()
        assert await purging == 1
    assert await text_of(new, "q") is None


async def test_a_copy_made_just_before_the_fence_is_found_by_the_removal(
    between: Between,
) -> None:
    _, new, other, _ = between
    assert (await migrated(new)).moved == 2
    assert await other.remove(tags=["price"]) == 2
    assert await text_of(new, "q") is None
    assert (await migrated(new)).moved == 0
    assert await text_of(new, "q") is None


@pytest.mark.parametrize("end", ["expires", "deleted"])
async def test_one_that_ends_between_reading_and_writing(
    between: Between, client: Client, end: str
) -> None:
    gate, new, _, _ = between
    keys = (await client.keys())[await fingerprint_of(new)]
    gate.hold(b"EXEC")
    moving = asyncio.create_task(migrated(new))
    await gate.held.wait()
    for key in keys:
        await (client.redis.pexpire(key, 1) if end == "expires" else client.redis.unlink(key))
    while await client.redis.exists(*keys):  # noqa: ASYNC110 - Redis tells nobody
        await asyncio.sleep(0)
    gate.release()
    assert (await moving).moved == 0
    assert not await client.keys()


async def test_an_answer_that_came_meanwhile_wins(
    between: Between,
) -> None:
    gate, new, other, _ = between
    gate.hold(b"EXEC")
    moving = asyncio.create_task(migrated(new))
    await gate.held.wait()
    other.others.prefixes = ()  # as of one that knows of no other index
    await other.put([record(other, "q", 90, text="NEWER")])
    gate.release()
    assert (await moving).moved == 1
    assert await text_of(new, "q") == "NEWER"
    assert await found(new, 90, k=1) == ["q"]


async def test_one_that_is_written_anew_meanwhile_moves_as_it_is_then(
    between: Between,
) -> None:
    _, new, _, old = between
    asked: list[list[str]] = []

    async def overtaken(texts: Sequence[str]) -> list[Vector | None]:
        asked.append(list(texts))
        if len(asked) == 1:
            newer = record(old, "q", 0, text="NEWER", tags=("other",))
            await old.put([structs.replace(newer, prompt="Q")])
        return await embed(texts)

    assert (await migrated(new, embed=overtaken)).moved == 2
    assert asked[1:] == [["Q"]]
    assert await text_of(new, "q") == "NEWER"
    assert await new.remove(tags=["price"]) == 0


async def test_those_that_an_invalidation_spared_move_when_it_is_forgotten(
    redis_url: str, name: str, client: Client
) -> None:
    """A fence says less than a removal can."""
    plain, paid = Scope(tenant="a"), Scope(tenant="a", attributes={"plan": "paid"})
    async with open_store(redis_url, name, **OLD) as old:
        await old.put([record(old, "q", 0, plain), record(old, "q", 0, paid)])
    async with open_store(redis_url, name) as new:
        assert await new.remove(scope=paid) == 1
        assert (await migrated(new)).fenced == 1
        assert await text_of(new, "q", plain) == "answer to q"
        async for key in client.redis.scan_iter(f"{name}:*fence*"):
            await client.redis.unlink(key)
        assert (await migrated(new)).moved == 1
        assert await found(new, 1, plain) == ["q"]


async def test_random_interleavings(redis_url: str, name: str) -> None:
    """Answers are written, invalidated and moved at once, by two models. None comes back that was
    invalidated after it was made, and none is lost that was not."""
    rng = random.Random(5)
    async with open_store(redis_url, name, **OLD) as old, open_store(redis_url, name) as new:
        for run in range(60):
            await _interleave(run, rng, old, new)


async def _interleave(run: int, rng: random.Random, old: RedisStore, new: RedisStore) -> None:
    scope = Scope(tenant=f"run {run}")
    prompts = [f"q {run} {n}" for n in range(6)]
    tags = {prompt: (rng.choice("rgb"),) for prompt in prompts}
    await old.put([record(old, prompt, 0, scope, tags=tags[prompt]) for prompt in prompts])
    removed: set[str] = set()

    async def pauses() -> None:
        for _ in range(rng.randint(0, 30)):
            await asyncio.sleep(0)

    async def invalidate() -> None:
        await pauses()
        tag = rng.choice("rgb")
        await rng.choice((old, new)).remove(scope=scope, tags=[tag])
        removed.update(prompt for prompt in prompts if tags[prompt] == (tag,))

    async def dawdling(texts: Sequence[str]) -> list[Vector | None]:
        await pauses()
        return await embed(texts)

    await asyncio.gather(migrated(new, embed=dawdling), invalidate(), invalidate())
    await migrated(new)
    for prompt in prompts:
        texts = [await text_of(store, prompt, scope) for store in (old, new)]
        wanted = None if prompt in removed else f"answer to {prompt}"
        assert texts == [wanted, wanted], (run, prompt, tags[prompt])
    kept = {prompt for prompt in prompts if prompt not in removed}
    assert set(await found(new, 0, scope, k=10)) == kept


@SLOW_ON_DEBUG
async def test_killed_twice_it_goes_on() -> None:
    faults, figures = await migrate_and_kill(500, 2, rate=250.0)
    assert not faults, (faults, figures)


# -- what serves meanwhile


async def test_exact_repeats_are_answered_from_the_old_index(redis_url: str, name: str) -> None:
    other_scope = Scope(tenant="a", locale="de")
    async with open_store(redis_url, name, **OLD) as old:
        await old.put([record(old, "q", 0), record(old, "r", 0)])
    async with open_store(redis_url, name) as new:
        assert new.unmoved == {await fingerprint_of(new): 2}
        keys = [EntryKey(SCOPE, "q"), EntryKey(SCOPE, "no"), EntryKey(SCOPE, "r")]
        found_ = await new.fetch([*keys, EntryKey(other_scope, "q")])
        texts = [one.text if isinstance(one, Entry) else one for one in found_]
        assert texts == ["answer to q", None, "answer to r", None]
        assert await found(new, 0) == []
        assert isinstance(found_[0], Entry)
        assert await new.noted(found_[0].id) is not None
        assert await new.remove(entry_ids=[found_[0].id]) == 1
        assert await text_of(new, "q") is None


async def test_an_old_answer_ends_when_it_would_have(redis_url: str, name: str) -> None:
    ahead = 0.0
    async with open_store(redis_url, name, **OLD) as old:
        await old.put([record(old, "q", 0, exact_ttl_s=50.0, semantic_ttl_s=500.0)])
    async with open_store(redis_url, name, ahead=lambda: ahead) as new:
        assert await text_of(new, "q") is not None
        ahead = 60.0
        assert await text_of(new, "q") is None


async def test_a_new_answer_replaces_the_old_one_for_good(
    redis_url: str, name: str, client: Client
) -> None:
    async with open_store(redis_url, name, **OLD) as old:
        await old.put([record(old, "q", 0)])
    async with open_store(redis_url, name) as new:
        await new.put([record(new, "q", 0, text="NEWER")])
        assert await text_of(new, "q") == "NEWER"
        assert await fingerprint_of(new) not in await client.keys()
        await client.redis.unlink(f"{(await client.keys()).popitem()[1][0]}")  # as if it ended
        assert await text_of(new, "q") is None
        assert (await migrated(new)).moved == 0


async def test_no_lookup_misses_while_an_entry_moves_and_goes(between: Between) -> None:
    """The old place is read before the new one."""
    gate, new, other, _ = between
    gate.hold(b"HGET", whole=False)
    reading = asyncio.create_task(new.fetch([EntryKey(SCOPE, "q")]))
    await gate.held.wait()
    await migrated(other)
    await (await migration(other)).drop()
    gate.release()
    (entry,) = await reading
    assert isinstance(entry, Entry)


async def test_after_the_drop_nobody_asks_there(
    redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(redis_url, name, **OLD) as old:
        await old.put([record(old, "q", 0)])
    monkeypatch.setattr("semcache_async.store.siblings._EVERY_S", 0.0)
    monkeypatch.setattr("semcache_async.store.clock._EVERY_S", 0.0)
    async with open_store(redis_url, name) as new:
        await migrated(new)
        await (await migration(new)).drop()
        assert new.connections
        sent = len(new.others.prefixes)
        assert sent == 1
        assert await text_of(new, "q") == "answer to q"  # and learns that it is gone
        assert not new.others.prefixes
        async with open_store(redis_url, name, **OLD) as back:
            await back.put([record(back, "late", 0)])
            await text_of(new, "late")  # learns of it
            await text_of(new, "late")  # and what it holds
            assert await text_of(new, "late") == "answer to late"


def open_cache(redis_url: str, name: str, **options: Any) -> Opening[SemanticCache]:
    config = CacheConfig(name=name, store_timeout_s=10.0, **options)
    return SemanticCache.open(redis_url, config=config, embedder=AngleEmbedder())


async def test_local_answers_hear_of_changes_in_the_old_index(
    redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("semcache_async.store.siblings._EVERY_S", 0.05)
    async with (
        open_cache(redis_url, name, **OLD) as old,
        open_cache(redis_url, name, local_answers=10) as new,
    ):
        entry_id = await old.store("q at 0", "OLD")
        hit = None
        while hit is None or new._tiers.recall("q at 0", Scope()) is None:
            hit = await new.lookup("q at 0")
        await old.invalidate(entry_ids=[entry_id])
        await until(lambda: new._tiers.recall("q at 0", Scope()) is None)
        assert await new.lookup("q at 0") is None


async def test_it_is_said_once_that_the_index_is_empty(
    redis_url: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_cache(redis_url, name, **OLD) as old:
        await old.store("q at 0", "OLD")
        assert not caplog.messages
    async with open_cache(redis_url, name) as new:
        (said,) = caplog.messages
        assert "1 entries are of another one" in said
        assert f"semcache migrate --name {name} " in said
        assert new.stats().elsewhere == 1
        answer = await new.lookup("q at 0")
        assert answer is not None
        assert (answer.text, answer.source) == ("OLD", Source.EXACT)
        await new.store("another at 9", "NEW")
    caplog.clear()
    async with open_cache(redis_url, name):
        assert not caplog.messages


# -- and the end


async def test_the_old_index_goes_in_pages(
    redis_url: str, name: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(redis_url, name, **OLD) as old:
        for start in range(0, 1_000, 100):
            await old.put([record(old, f"q {n}", n) for n in range(start, start + 100)])
    async with open_store(redis_url, name) as new:
        dropped = await fingerprint_of(new)
        moving = await migration(new)
        assert (await moving.run()).moved == 1_000
        pages: list[int] = []
        source = (await new.sources())[0]
        spoken = new._execute

        async def noting(commands: Any) -> list[Any]:
            pages.extend(len(command) - 1 for command in commands if command[0] == "UNLINK")
            assert not any("DD" in command for command in commands)
            return await spoken(commands)

        parts, _ = await parts_of([new], None)
        parts[0].source.execute = noting
        await Migration(parts, embed, rate=None, told=lambda _: None).drop()
        assert sum(pages) == 1_000
        assert max(pages) <= 256
        assert source.keys.index not in await client.indexes()
        assert dropped not in await client.keys()
        assert len(await new.browse((), 2_000)) == 1_000


async def test_with_no_more_than_the_permissions_named(
    redis_url: str, name: str, client: Client
) -> None:
    allowed = [f"+{command.lower()}" for command in (*NEEDED_COMMANDS, *MIGRATING_COMMANDS)]
    await client.redis.acl_setuser(
        name, enabled=True, passwords=["+secret"], commands=allowed, keys=[f"{name}:*"]
    )
    async with open_store(redis_url, name, **OLD) as old:
        await old.put([record(old, "q", 0)])
    url = redis_url.replace("unix://", f"unix://{name}:secret@")
    try:
        async with open_store(url, name) as new:
            assert (await migrated(new)).moved == 1
            await (await migration(new)).drop()
    finally:
        await client.redis.acl_deluser(name)
    assert len(await client.indexes()) == 2  # entries and claims
