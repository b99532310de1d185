"""Encryption at rest: what Redis holds, what opens, and what a stranger's hand on Redis can do."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
import redis.asyncio

from semcache_async import CacheConfig, SemanticCache
from semcache_async.errors import ConfigError
from semcache_async.serve.journal import open_journal
from semcache_async.store.log import RedisLog
from semcache_async.store.sealing import CLEAR, KeySealer, Sealer, sealer_of
from semcache_async.store.wire import redis_pipelines
from semcache_async.testing import AngleEmbedder
from semcache_async.types import Answer, EntryKey, Scope, Source, VectorQuery
from tests.store.helpers import everything, open_store, record, text_of, unit

pytestmark = pytest.mark.anyio

SCOPE = Scope(tenant="a", attributes={"plan": "attribute-in-words"})


def new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def sealer(*keys: str) -> Sealer:
    return KeySealer(keys)


# -- the sealer


def test_what_was_sealed_opens_in_its_context_alone() -> None:
    one = sealer(new_key())
    sealed = one.seal(b"answer", context=b"entry a 1")
    assert b"answer" not in sealed
    assert sealed != one.seal(b"answer", context=b"entry a 1")
    assert one.open(sealed, context=b"entry a 1") == b"answer"
    assert one.unopened == 0
    assert one.open(sealed, context=b"entry b 1") is None
    assert one.open(sealed, context=b"entry a 2") is None
    assert one.unopened == 2


def test_nothing_that_was_changed_opens() -> None:
    one = sealer(new_key())
    sealed = one.seal(b"answer", context=b"c")
    changed = [sealed[:n] + bytes([sealed[n] ^ 1]) + sealed[n + 1 :] for n in range(len(sealed))]
    cut = [sealed[:n] for n in range(len(sealed))]
    for data in (*changed, *cut, b"", b'{"scope": "in clear"}', sealed + b"\0"):
        assert one.open(data, context=b"c") is None


def test_the_first_key_seals_and_all_open() -> None:
    old, new = new_key(), new_key()
    by_old = sealer(old).seal(b"answer", context=b"c")
    rotated = sealer(new, old)
    assert rotated.open(by_old, context=b"c") == b"answer"
    by_new = rotated.seal(b"answer", context=b"c")
    assert sealer(new).open(by_new, context=b"c") == b"answer"
    assert sealer(old).open(by_new, context=b"c") is None
    assert sealer(new).open(by_old, context=b"c") is None


def test_each_reason_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    one, foreign = sealer(new_key()), sealer(new_key()).seal(b"x", context=b"c")
    with caplog.at_level(logging.WARNING, logger="semcache_async"):
        for _ in range(3):
            one.open(foreign, context=b"c")
            one.open(b"{}", context=b"c")
    assert one.unopened == 6
    assert len(caplog.messages) == 2


def test_without_keys_nothing_is_done() -> None:
    assert not sealer_of(CacheConfig()).seals
    assert not CLEAR.seals
    assert CLEAR.open(CLEAR.seal(b"x", context=b"c"), context=b"d") == b"x"


@pytest.mark.parametrize(
    "encode",
    [
        lambda raw: base64.b64encode(raw).decode(),
        lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("="),
        lambda raw: raw.hex(),
        lambda raw: f" {raw.hex().upper()}\n",
    ],
)
def test_a_key_in_any_of_its_forms(encode: Any) -> None:
    raw = b"\xfb\xef\xbe" * 10 + b"\xff\xfe"
    sealed = sealer(raw.hex()).seal(b"x", context=b"c")
    keys = CacheConfig(encryption_keys=(encode(raw),)).encryption_keys
    assert sealer(*keys).open(sealed, context=b"c") == b"x"


@pytest.mark.parametrize(
    "keys", ["ab" * 32, ["short"], ["ab " * 20 + "abcd"], [b"ab" * 16], ["zz" * 32], ["é" * 44], 5]
)
def test_what_is_no_key_is_told_and_not_shown(keys: Any) -> None:
    with pytest.raises(ConfigError, match="encryption_keys") as told:
        CacheConfig(encryption_keys=keys)
    shown = keys if isinstance(keys, str) else str(keys[0]) if isinstance(keys, list) else "\0"
    assert shown not in str(told.value)


def test_no_key_is_shown() -> None:
    key = new_key()
    config = CacheConfig(encryption_keys=(key,))
    assert key not in repr(config)
    assert key not in repr(sealer_of(config))


async def test_without_the_package_it_is_said_what_to_do(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, name: str
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(ConfigError, match=r"semcache-async\[encryption\]"):
        async with open_store(redis_url, name, encryption_keys=(new_key(),)):
            pass


# -- in Redis


async def test_redis_holds_nothing_in_clear(
    redis_url: str, name: str, client: redis.asyncio.Redis
) -> None:
    words = ("question-in-words", "answer-in-words", "tag-in-words", "attribute-in-words")
    config = CacheConfig(name=name, encryption_keys=(new_key(),))
    for sealing in (config, CacheConfig(name=f"{name}-clear")):
        async with (
            SemanticCache.open(redis_url, config=sealing, embedder=AngleEmbedder()) as cache,
            open_journal(cache, fraction=0.0) as journal,
        ):
            prompt = "question-in-words at 10"
            entry_id = await cache.store(prompt, "answer-in-words", scope=SCOPE, tags=[words[2]])
            assert await cache.feedback("other words at 14", entry_id, right=True)
            hit = Answer(
                text="answer-in-words",
                source=Source.SEMANTIC,
                distance=0.01,
                matched_prompt="question-in-words",
            )
            journal.note_hit(prompt="question-in-words too", answer=hit, scope=SCOPE)
            await journal.flush()
            (listed,) = await journal.near(1)
            await journal.review(listed.id, "right")
            assert (await journal.reviews())[0].hit.matched_prompt == "question-in-words"
            lying = await everything(client, sealing.name)
            assert all((word.encode() in lying) is (sealing is not config) for word in words)
            assert (b'"right"' in lying) is (sealing is not config)

            again = await cache.lookup(prompt, scope=SCOPE)
            assert again is not None
            assert again.source is Source.EXACT
            near = await cache.lookup("other words at 14", scope=SCOPE)
            assert near is not None
            assert (near.source, near.text) == (Source.SEMANTIC, "answer-in-words")
            assert [entry.id for entry in await cache.browse(tags=[words[2]])] == [entry_id]
            would = await cache.would_invalidate(tags=[words[2]])
            assert [(entry.prompt, entry.tags) for entry in would.examples] == [
                (prompt, (words[2],))
            ]
            assert cache.stats().unopened == 0


async def test_nor_what_processes_say_to_each_other(
    redis_url: str, name: str, client: redis.asyncio.Redis
) -> None:
    """One flight of two caches: its claim, and the letters with the pieces of its answer."""
    word, gate = "question-in-words", asyncio.Event()

    async def pieces(prompt: str) -> AsyncIterator[str]:
        yield f"{prompt}: "
        await gate.wait()
        yield "answer-in-words"

    sealed = CacheConfig(name=name, encryption_keys=(new_key(),))
    for config in (sealed, CacheConfig(name=f"{name}-clear")):
        gate.clear()
        lying = []
        async with (
            SemanticCache.open(redis_url, config=config, embedder=AngleEmbedder()) as one,
            SemanticCache.open(redis_url, config=config, embedder=AngleEmbedder()) as other,
            aclosing(one.stream(f"{word} at 0", pieces)) as led,
            aclosing(other.stream(f"{word} at 3", pieces)) as followed,
        ):
            assert await anext(led) == f"{word} at 0: "
            lying.append(await everything(client, config.name))
            assert await anext(followed) == f"{word} at 0: "
            lying.append(await everything(client, config.name))
            gate.set()
            assert [piece async for piece in followed] == ["answer-in-words"]
            assert [piece async for piece in led] == ["answer-in-words"]
            lying.append(await everything(client, config.name))
            assert one.stats().unopened == other.stats().unopened == 0
        found = [word.encode() in moment for moment in lying]
        assert any(found) is (config is not sealed)
        assert found[0] is (config is not sealed)


async def test_a_payload_opens_only_where_it_was_put(
    redis_url: str, name: str, client: redis.asyncio.Redis
) -> None:
    mine, theirs = Scope(tenant="a"), Scope(tenant="b")
    async with open_store(redis_url, name, encryption_keys=(new_key(),)) as store:
        first, second, foreign = await store.put(
            [
                record(store, "first", 0, mine),
                record(store, "second", 90, mine),
                record(store, "first", 0, theirs),
            ]
        )
        keys = [f"{store._prefix.decode()}{one}" for one in (first, second, foreign)]
        payloads = [await client.hget(key, "entry") for key in keys]
        for wrong in (1, 2):
            await client.hset(keys[0], "entry", payloads[wrong])
            assert await text_of(store, "first", mine) is None
            (near,) = await store.search([VectorQuery(mine, unit(0), 1)])
            assert [one.entry.prompt for one in near] != ["first"]  # type: ignore[union-attr]
        assert store.unopened >= 2
        await client.hset(keys[0], "entry", payloads[0])
        assert await text_of(store, "first", mine) == "answer to first"


async def test_turning_it_on_and_rotating(
    redis_url: str, name: str, client: redis.asyncio.Redis
) -> None:
    old, new = new_key(), new_key()
    async with open_store(redis_url, name) as clear:
        await clear.put([record(clear, "clear", 0)])
    async with open_store(redis_url, name, encryption_keys=(old,)) as store:
        assert await text_of(store, "clear") is None
        assert (await store.search([VectorQuery(Scope(tenant="a"), unit(0), 1)]))[0] == []
        await store.put([record(store, "sealed", 0)])
    async with open_store(redis_url, name, encryption_keys=(new, old)) as store:
        assert await text_of(store, "sealed") == "answer to sealed"
        await store.put([record(store, "sealed", 0)])
    async with open_store(redis_url, name, encryption_keys=(new,)) as store:
        assert await text_of(store, "sealed") == "answer to sealed"
        assert await store.fetch([EntryKey(Scope(tenant="a"), "clear")]) == [None]
    async with open_store(redis_url, name) as clear:
        assert await text_of(clear, "sealed") is None
        assert await text_of(clear, "clear") == "answer to clear"


async def test_notes_that_do_not_open_are_none(
    redis_url: str, name: str, client: redis.asyncio.Redis
) -> None:
    async with open_store(redis_url, name, encryption_keys=(new_key(),)) as store:
        one, other = await store.put([record(store, "one", 0), record(store, "two", 90)])
        assert isinstance(one, str)
        await store.annotate(one, lambda _entry, _notes: b'{"of": 1.0}')
        noted = await store.noted(one)
        assert noted is not None
        assert noted[2] == b'{"of": 1.0}'
        sealed = await client.hget(f"{store._prefix.decode()}{one}", "notes")
        assert isinstance(sealed, bytes)
        assert b'{"of"' not in sealed
        await client.hset(f"{store._prefix.decode()}{other}", "notes", sealed)
        moved = await store.noted(str(other))
        assert moved is not None
        assert moved[2] is None


async def test_a_log_passes_over_what_does_not_open(redis_url: str, name: str) -> None:
    one, other = sealer(new_key()), sealer(new_key())
    async with redis_pipelines(redis_url, connections=1, timeout_s=5.0) as pipelines:
        logs = [
            RedisLog(pipelines, name, "near", keep=9, ttl_s=60.0, sealer=by)
            for by in (one, other, CLEAR)
        ]
        for n, log in enumerate(logs):
            await log.append([json.dumps({"n": n}).encode()])
        (found,) = await logs[0].newest(9)
        assert found[1] == b'{"n": 0}'
        assert await logs[1].get(found[0]) is None
