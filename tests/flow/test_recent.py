"""Answers kept in this process: true to every change, whatever overtakes what."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import pytest
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st

from semcache_async import CacheConfig, Scope, SemanticCache, Source
from semcache_async.errors import ConfigError
from semcache_async.flow.recent import Recent, RecentAnswers
from semcache_async.testing import AngleEmbedder, MemoryStore
from semcache_async.types import Entry

SCOPE = Scope()
NOW = 1_000_000.0


def entry(id_: str = "a", *, lives_s: float = 100.0) -> Entry:
    return Entry(id_, "prompt", "text", NOW, NOW + lives_s)


def listening(size: int = 10) -> RecentAnswers:
    recent = RecentAnswers(size)
    recent.change(None)
    return recent


def test_the_least_recently_used_goes() -> None:
    recent: Recent[str, int] = Recent(2)
    recent.put("a", 1)
    recent.put("b", 2)
    recent.get("a")
    assert recent.put("c", 3) == ("b", 2)
    assert [recent.get(key) for key in "abc"] == [1, None, 3]


def test_nothing_is_kept_while_nobody_reports() -> None:
    recent = RecentAnswers(10)
    recent.keep(SCOPE, "p", entry(), recent.now())
    assert recent.get(SCOPE, "p", NOW) is None
    recent.change(None)
    recent.keep(SCOPE, "p", entry(), recent.now())
    assert recent.get(SCOPE, "p", NOW) is not None
    recent.deafen()
    recent.keep(SCOPE, "p", entry(), recent.now())
    assert recent.get(SCOPE, "p", NOW) is None


def test_every_wording_of_a_changed_entry_goes_and_no_other() -> None:
    recent = listening()
    for prompt, id_ in [("P", "a"), ("p?", "a"), ("q", "b")]:
        recent.keep(SCOPE, prompt, entry(id_), recent.now())
    recent.change("a")
    assert [recent.get(SCOPE, p, NOW) is None for p in ("P", "p?", "q")] == [True, True, False]
    assert len(recent) == 1


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda recent: recent.change("a"),
        lambda recent: recent.change(None),
        lambda recent: recent.forget_all(),
        lambda recent: (recent.deafen(), recent.change(None)),
        lambda recent: [recent.change(str(n)) for n in range(70_000)],  # more than is remembered
    ],
    ids=["changed", "all changed", "own doing", "went deaf", "too many to remember"],
)
def test_a_report_that_overtakes_the_reply_is_not_lost(
    meanwhile: Callable[[RecentAnswers], object],
) -> None:
    recent = listening()
    since = recent.now()
    meanwhile(recent)
    recent.keep(SCOPE, "p", entry(), since)
    assert recent.get(SCOPE, "p", NOW) is None
    recent.keep(SCOPE, "p", entry(), recent.now())
    assert recent.get(SCOPE, "p", NOW) is not None


def test_scope_is_part_of_the_key_and_the_end_is_the_entrys_own() -> None:
    recent = listening()
    recent.keep(SCOPE, "p", entry(), recent.now())
    recent.keep(SCOPE, "late", entry("b", lives_s=0.0), recent.now())
    assert recent.get(Scope(tenant="b"), "p", NOW) is None
    assert recent.get(SCOPE, "late", NOW) is None


@given(st.lists(st.tuples(st.sampled_from("kcg"), st.sampled_from("abcde"), st.integers(0, 9))))
def test_bounded_and_without_loose_ends(steps: list[tuple[str, str, int]]) -> None:
    recent = listening(3)
    for step, id_, prompt in steps:
        if step == "k":
            recent.keep(SCOPE, f"{id_}{prompt}", entry(id_), recent.now())
        elif step == "c":
            recent.change(id_)
            assert all(recent.get(SCOPE, f"{id_}{n}", NOW) is None for n in range(10))
        else:
            recent.get(SCOPE, f"{id_}{prompt}", NOW)
    assert len(recent) <= 3
    held = {key for keys in recent._prompts.values() for key in keys}
    assert held == set(recent._by_prompt._items)


async def never(prompt: str) -> str:
    raise AssertionError(prompt)


async def until_recalled(cache: SemanticCache, prompt: str) -> None:
    async with asyncio.timeout(10):
        while cache._tiers.recall(prompt, SCOPE) is None:
            await cache.lookup(prompt)
            await asyncio.sleep(0.005)


async def until_gone(cache: SemanticCache, prompt: str) -> None:
    async with asyncio.timeout(10):
        while cache._tiers.recall(prompt, SCOPE) is not None:  # noqa: ASYNC110 - Redis's own time
            await asyncio.sleep(0.005)


@pytest.mark.anyio
@pytest.mark.usefixtures("no_leftovers")
async def test_changes_by_another_process_arrive(redis_url: str, name: str) -> None:
    config = CacheConfig(name=name, local_answers=100)
    async with (
        SemanticCache.open(redis_url, embedder=AngleEmbedder(), config=config) as one,
        SemanticCache.open(redis_url, embedder=AngleEmbedder(), config=config) as other,
    ):
        await one.store("at 0", "old", tags=("t",))
        await until_recalled(one, "at 0")
        answer = await one.get_or_generate("at 0", never)
        assert (answer.source, answer.text, answer.timings.total_s) == (Source.EXACT, "old", 0.0)

        await other.store("at 0", "new")
        await until_gone(one, "at 0")
        assert (await one.get_or_generate("at 0", never)).text == "new"

        await until_recalled(one, "at 0")
        await one.store("at 0", "own")  # one's own doing shows at once
        own = await one.lookup("at 0")
        assert own is not None
        assert own.text == "own"

        await until_recalled(one, "at 0")
        await other.invalidate(scope=SCOPE)
        await until_gone(one, "at 0")
        assert await one.lookup("at 0") is None

        await one.store("at 90", "brief", ttl_s=0.05)
        while await one.lookup("at 90") is not None:  # noqa: ASYNC110 - its end comes by itself
            await asyncio.sleep(0)


@pytest.mark.anyio
@pytest.mark.usefixtures("no_leftovers")
async def test_when_reports_stop_nothing_is_recalled() -> None:
    config = CacheConfig(local_answers=100)
    async with SemanticCache.open(embedder=AngleEmbedder(), config=config) as cache:
        assert cache.redis_url is not None
        await cache.store("at 0", "text")
        await until_recalled(cache, "at 0")
        client = redis.asyncio.Redis.from_url(cache.redis_url)
        pid = (await client.info("server"))["process_id"]
        await client.aclose()
        os.kill(int(pid), signal.SIGKILL)
        await until_gone(cache, "at 0")


@pytest.mark.anyio
async def test_a_store_that_reports_nothing_is_refused() -> None:
    config = CacheConfig(local_answers=1)
    with pytest.raises(ConfigError, match="reports changes"):
        async with SemanticCache.open(store=MemoryStore(), embedder=AngleEmbedder(), config=config):
            pass
