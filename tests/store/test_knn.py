"""Small scopes are compared whole, large ones walked; either way the nearest is found."""

from __future__ import annotations

import time

import numpy as np
import pytest

from semcache_async.config import CacheConfig
from semcache_async.store.entries.knn import KnnPlanner
from semcache_async.store.keys import KeySpace, ScopeDigest
from semcache_async.store.opening import redis_store
from semcache_async.types import EntryKey, Record, Scope, VectorQuery

SCOPE = Scope(tenant="a", attributes={"b": "c"})


def planner_of(
    entries: int, total: int, *, graph: bool = True
) -> tuple[KnnPlanner, KeySpace, list[float]]:
    now = [0.0]
    keys = KeySpace("name", "fp", "")
    planner = KnnPlanner(keys.index, graph=graph, clock=lambda: now[0])
    planner.learn(keys.scope(SCOPE), {b"total_results": entries})
    planner.learn(None, {b"total_results": total})
    return planner, keys, now


@pytest.mark.parametrize(
    ("entries", "total", "walks"),
    [
        (0, 0, False),
        (0, 10_000, False),
        (10, 10, False),
        (10, 10_000, False),
        (300, 300, False),
        (333, 10_000, False),
        (1_000, 10_000, True),
        (1_000, 100_000, False),
        (3_333, 100_000, True),
        (2_876, 10_000, True),
        (10_000, 10_000, True),
        (10_000, 1_000_000, True),
        (1_000_000, 1_000_000, True),
    ],
)
def test_size_decides(entries: int, total: int, walks: bool) -> None:
    planner, keys, _ = planner_of(entries, total)
    query = VectorQuery(SCOPE, np.zeros(4, np.float32), 3)
    command = planner.search(keys.scope(SCOPE), query, b"")
    assert ("HYBRID_POLICY BATCHES" in str(command[2])) is walks
    assert str(command[2]).startswith("(@scope:{$s} @attr:{$a0})=>[KNN $k @vec $v ")


def test_a_size_is_asked_for_at_first_and_then_ever_more_rarely() -> None:
    planner, keys, now = planner_of(1, 1)
    digest = keys.scope(SCOPE)
    unseen = keys.scope(Scope(tenant="unseen"))
    assert list(planner.questions([digest, unseen])) == [unseen]
    gaps = []
    for _ in range(9):
        asked = now[0]
        while digest not in planner.questions([digest]):
            now[0] += 0.25
        gaps.append(now[0] - asked)
        planner.learn(digest, {b"total_results": 1})
    assert gaps == [0.5, 1, 2, 4, 8, 16, 32, 32, 32]


def test_an_error_teaches_nothing() -> None:
    planner, _, now = planner_of(5_000, 5_000)
    now[0] = 100.0
    assert list(planner.questions([])) == [None]
    planner.learn(None, ValueError())
    now[0] += 0.5
    assert list(planner.questions([])) == [None]


def test_what_has_been_asked_is_not_asked_again_while_the_answer_is_under_way() -> None:
    planner, keys, now = planner_of(5_000, 5_000)
    digest, unseen = keys.scope(SCOPE), keys.scope(Scope(tenant="unseen"))
    now[0] = 100.0
    assert len(planner.questions([digest, unseen])) == 3
    assert planner.questions([digest, unseen]) == {}
    query = VectorQuery(SCOPE, np.zeros(4, np.float32), 3)
    assert "BATCHES" in str(planner.search(digest, query, b"")[2])  # by what is known
    assert "BATCHES" not in str(planner.search(unseen, query, b"")[2])


def test_an_exact_index_is_left_to_itself() -> None:
    planner, keys, _ = planner_of(1, 1, graph=False)
    assert planner.questions([keys.scope(Scope())]) == {}


@pytest.mark.anyio
async def test_large_and_small_scopes_side_by_side(redis_url: str, name: str) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3_000, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    large, small = Scope(tenant="large"), Scope(tenant="small")
    records = [
        Record(
            key=EntryKey(small if n % 100 == 0 else large, str(n)),
            prompt=str(n),
            text=str(n),
            vector=vector,
            tags=(),
            exact_ttl_s=100.0,
            semantic_ttl_s=100.0,
            started_at=time.time(),
        )
        for n, vector in enumerate(vectors)
    ]
    config = CacheConfig(name=name)
    async with redis_store(redis_url, dim=32, fingerprint="f", config=config) as store:
        for start in range(0, len(records), 500):
            await store.put(records[start : start + 500])
        for _ in range(2):  # the second time, the sizes are known
            for scope, mine in ((small, vectors[::100]), (large, vectors)):
                queries = [VectorQuery(scope, vector, 1) for vector in mine[1:2_000:20]]
                found = 0
                for outcome, query in zip(await store.search(queries), queries, strict=True):
                    assert not isinstance(outcome, Exception)
                    found += bool(outcome) and outcome[0].distance < 1e-5
                    assert all(n.entry.id for n in outcome), query
                assert found >= 0.95 * len(queries)


def test_many_scopes_do_not_push_the_size_of_the_index_out() -> None:
    planner = KnnPlanner("i", graph=True, clock=lambda: 0.0)
    planner.learn(None, {b"total_results": 10_000})
    for number in range(5_000):
        planner.learn(ScopeDigest(str(number), (), b""), {b"total_results": 2})
    assert None not in planner.questions([])


@pytest.mark.parametrize(("total", "batch"), [(10_000, 40), (100_000, 40), (1_000_000, 159)])
def test_the_walk_takes_more_candidates_in_a_larger_index(total: int, batch: int) -> None:
    planner, keys, _ = planner_of(total, total)
    query = VectorQuery(SCOPE, np.zeros(4, np.float32), 3)
    assert f"BATCH_SIZE {batch} " in str(planner.search(keys.scope(SCOPE), query, b"")[2])
