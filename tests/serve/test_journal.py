"""Near hits and reviews: kept, capped, shared by workers, and never in a request's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import count

import msgspec
import pytest

from semcache_async import Answer, CacheConfig, Scope, SemanticCache, Source
from semcache_async.errors import StoreUnavailableError
from semcache_async.serve import journal as module
from semcache_async.serve.errors import NotFound
from semcache_async.serve.journal import Journal, open_journal
from semcache_async.serve.metrics.metrics import Metrics
from semcache_async.store.log import MemoryLog
from semcache_async.testing import AngleEmbedder, MemoryStore

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

SCOPE = Scope(tenant="acme", model="m")


@pytest.fixture(params=["redis", "memory"])
async def cache(
    request: pytest.FixtureRequest, redis_url: str, name: str
) -> AsyncIterator[SemanticCache]:
    config = CacheConfig(name=name, max_distance=0.1)
    embedder = AngleEmbedder()
    if request.param == "redis":
        async with SemanticCache.open(redis_url, config=config, embedder=embedder) as cache:
            yield cache
    else:
        async with SemanticCache.open(
            store=MemoryStore(), config=config, embedder=embedder
        ) as cache:
            yield cache


def hit(
    matched: str = "stored", distance: float = 0.08, source: Source = Source.SEMANTIC
) -> Answer:
    return Answer(
        text="it", source=source, distance=distance, matched_prompt=matched, entry_id="e1"
    )


async def test_a_near_hit_is_listed_reviewed_and_exported(cache: SemanticCache) -> None:
    async with open_journal(cache) as journal:
        for n in range(3):
            journal.note_hit(prompt=f"asked {n}", answer=hit(), scope=SCOPE)
        await journal.flush()
        near = await journal.near(2)
        assert [one.hit.prompt for one in near] == ["asked 2", "asked 1"]
        assert near[0].hit.tenant == "acme"
        assert near[0].hit.distance == 0.08
        assert near[0].verdict is None

        await journal.review(near[0].id, "right")
        await journal.review(near[1].id, "right")
        await journal.review(near[0].id, "wrong")
        assert [one.verdict for one in await journal.near(3)] == ["wrong", "right", None]
        reviews = await journal.reviews()
        assert [(one.hit.prompt, one.verdict) for one in reviews] == [
            ("asked 2", "wrong"),
            ("asked 1", "right"),
        ]


async def test_what_is_not_near_is_not_noted(cache: SemanticCache) -> None:
    async with open_journal(cache, fraction=0.5) as journal:
        journal.note_hit(prompt="far inside", answer=hit(distance=0.049), scope=SCOPE)
        journal.note_hit(prompt="exact", answer=hit(source=Source.EXACT), scope=SCOPE)
        journal.note_hit(prompt="shared", answer=hit(source=Source.SHARED), scope=SCOPE)
        journal.note_hit(prompt="x" * (module.LONGEST + 1), answer=hit(), scope=SCOPE)
        journal.note_hit(prompt="on the edge", answer=hit(distance=0.05), scope=SCOPE)
        await journal.flush()
        assert [one.hit.prompt for one in await journal.near(9)] == ["on the edge"]
    metrics = Metrics()
    async with open_journal(cache, keep=0, metrics=metrics) as journal:
        journal.note_hit(prompt="none", answer=hit(), scope=SCOPE)
        await journal.flush()
        assert set(metrics.own("near_hits").values()) == {0}


@pytest.mark.parametrize("id_", ["", "x", "1-1", "9" * 20 + "-1", "1-1\r\nDEL", "-", "+", "0"])
async def test_a_review_of_nothing(cache: SemanticCache, id_: str) -> None:
    async with open_journal(cache) as journal:
        with pytest.raises(NotFound):
            await journal.review(id_, "right")


async def test_noted_hits_are_written_before_it_closes(redis_url: str, name: str) -> None:
    config = CacheConfig(name=name)
    embedder = AngleEmbedder()
    async with SemanticCache.open(redis_url, config=config, embedder=embedder) as cache:
        async with open_journal(cache) as journal:
            for n in range(200):
                journal.note_hit(prompt=f"asked {n}", answer=hit(), scope=SCOPE)
        async with open_journal(cache) as another_workers:
            assert len(await another_workers.near(500)) == 200


class GatedLog(MemoryLog):
    """Writes nothing until told to, or fails."""

    def __init__(self) -> None:
        super().__init__(keep=100_000)
        self.gate = asyncio.Event()
        self.fails = False

    async def append(self, records: Sequence[bytes]) -> None:
        await self.gate.wait()
        if self.fails:
            raise StoreUnavailableError("down")
        await super().append(records)


async def test_a_stuck_log_drops_and_never_waits() -> None:
    log = GatedLog()
    metrics = Metrics()
    journal = Journal(log, MemoryLog(keep=10), keep=100_000, floor=0.0, metrics=metrics)
    writing = asyncio.create_task(journal.write())
    for n in range(module.QUEUED + 5):
        journal.note_hit(prompt=f"asked {n}", answer=hit(), scope=SCOPE)
    assert metrics.own("near_hits") == {"noted": module.QUEUED, "dropped": 5, "lost": 0}
    log.gate.set()
    await journal.flush()
    assert len(await journal.near(10_000)) == module.QUEUED
    log.fails = True
    journal.note_hit(prompt="lost", answer=hit(), scope=SCOPE)
    await journal.flush()
    assert metrics.own("near_hits") == {"noted": module.QUEUED + 1, "dropped": 5, "lost": 1}
    log.fails = False
    journal.note_hit(prompt="kept", answer=hit(), scope=SCOPE)
    await journal.flush()
    assert (await journal.near(1))[0].hit.prompt == "kept"
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


async def test_a_popular_pair_does_not_push_out_the_others() -> None:
    now = 1_000.0
    log = MemoryLog(keep=100)
    journal = Journal(log, MemoryLog(keep=10), keep=100, floor=0.0, clock=lambda: now)
    writing = asyncio.create_task(journal.write())
    for _ in range(50):
        journal.note_hit(prompt="popular", answer=hit(), scope=SCOPE)
    journal.note_hit(prompt="popular", answer=hit(), scope=Scope(tenant="other"))
    await journal.flush()
    assert len(await log.newest(100)) == 2
    now += module.QUIET_S
    journal.note_hit(prompt="popular", answer=hit(), scope=SCOPE)
    await journal.flush()
    assert len(await log.newest(100)) == 3
    assert len(await journal.near(100)) == 2
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


async def test_a_crowded_band_of_distances_leaves_room_for_the_others() -> None:
    draw = 0.99
    metrics = Metrics()
    journal = Journal(
        *(MemoryLog(keep=12), MemoryLog(keep=1)),
        keep=12,
        floor=0.0,
        metrics=metrics,
        draw=lambda: draw,
    )

    def noted(distance: float, times: int = 1) -> int:
        before = metrics.own("near_hits")["noted"]
        for _ in range(times):
            prompt = f"asked {next(numbers)}"
            journal.note_hit(prompt=prompt, answer=hit(distance=distance), scope=SCOPE)
        return int(metrics.own("near_hits")["noted"] - before)

    numbers = count()
    assert noted(0.01, 5) == 5  # there is no other band
    assert noted(0.07) == 1
    assert noted(0.015, 10) == 0  # five of this one, one of the other: two chances in six
    draw = 0.33
    assert noted(0.01) == 1
    assert noted(0.01) == 0  # two in seven
    draw = 0.99
    assert noted(0.07, 9) == 6  # until it is as many
    assert noted(0.01) == 1  # what was noted twelve notes ago counts no longer
    for _ in range(40):
        noted(0.07)
    assert noted(0.01) == 1


async def test_where_distances_are_found_any_is_of_interest(redis_url: str, name: str) -> None:
    config = CacheConfig(name=name, target_precision=0.9)
    async with (
        SemanticCache.open(redis_url, config=config, embedder=AngleEmbedder()) as cache,
        open_journal(cache) as journal,
    ):
        journal.note_hit(prompt="asked", answer=hit(distance=0.001), scope=SCOPE)
        await journal.flush()
        assert len(await journal.near(1)) == 1


async def test_records_of_another_version_are_passed_over() -> None:
    log = MemoryLog(keep=10)
    journal = Journal(log, MemoryLog(keep=10), keep=10, floor=0.0)
    rows: list[bytes] = [b"", b"{}", b"\xff", msgspec.json.encode({"at": "now"})]
    await log.append(rows)
    assert await journal.near(10) == []
    (id_, _), *_ = await log.newest(1)
    with pytest.raises(NotFound):
        await journal.review(id_, "wrong")
