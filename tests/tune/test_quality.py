"""The quality benchmark: what it reads, how it counts, and that its shortcuts change nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.quality.data import PairSet, Replay, read_replay
from benchmarks.quality.figures import (
    CurvePoint,
    Share,
    area,
    count_pairs,
    count_replays,
    pair_curve,
    promise_gap,
)
from benchmarks.quality.report import write
from benchmarks.quality.rows import Cached, Outcome, Static, near, taking
from benchmarks.quality.run import Plan, run_all
from benchmarks.quality.store import MatrixStore
from benchmarks.quality.vectors import Remembered
from semcache_async.data import Question
from semcache_async.testing import AngleEmbedder, MemoryStore
from semcache_async.tune.pairs import Pair
from semcache_async.types import EntryKey, Piece, Record, Scope, VectorQuery


class Angles(AngleEmbedder):
    """Enough of ``TextEmbedder``."""

    window, token_budget, streams = 64, 64, 1

    def tokenise(self, texts: Any) -> list[Any]:
        return [np.zeros(len(text.split()), np.int32) for text in texts]

    def readable(self, tokens: Any) -> bool:
        return True

    def pieces(self, text: str) -> list[Piece]:
        return [Piece(hash(word[0]), *word.span()) for word in re.finditer(r"\S+", text)]


@pytest.fixture
def embedder() -> Remembered:
    made: Any = Angles()
    return Remembered(made)


QUESTIONS = [Question(f"q{n} at {(n * 37) % 90}", f"{(n * 37) % 90 // 15}") for n in range(120)]


def test_own_questions(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"text": "a", "intent": 1}\n\n{"text": "b", "intent": "2"}\n')
    replay = read_replay(path)
    assert replay.questions == (Question("a", "1"), Question("b", "2"))
    assert replay.ordered(0, 1) == [Question("a", "1")]
    assert sorted(replay.ordered(3, 9)) == sorted(replay.questions)
    path.write_text(
        '{"text_a": "a", "text_b": "b", "label": 1}\n{"text_a": "b", "text_b": "c", "label": 0}'
    )
    assert [q.intent for q in read_replay(path).questions] == ["a", "a", "c"]
    for text, complaint in (('{"text": "a"}', "line 1"), ("", "no questions")):
        path.write_text(text)
        with pytest.raises(ValueError, match=complaint):
            read_replay(path)


def test_counting() -> None:
    runs = [
        [
            Outcome(True, True),
            Outcome(True, False),
            Outcome(False, True),
            Outcome(True, True, exact=True),
        ],
        [Outcome(False, True)] * 4,
    ]
    found = count_replays(runs)
    assert (found.hits, found.wrong, found.exact) == (Share(2, 8), Share(1, 2), 1)
    assert found.spread == (0.0, 0.5)
    assert promise_gap(0.9, found) == pytest.approx(0.4)
    assert promise_gap(0.3, found) == 0.0
    assert str(Share(0, 0)) == "-"
    assert str(Share(1, 2)).startswith("50.0 % (")


def test_pairs_by_kind() -> None:
    pairs = [Pair("a", "b", True, kind="k"), Pair("c", "d", False, kind="k"), Pair("e", "f", False)]
    found = count_pairs(pairs, [True, True, False])
    assert (found.right, found.wrong) == (Share(1, 1), Share(1, 2))
    assert found.by_kind == {"k": (Share(1, 1), Share(1, 1))}


def test_the_area_is_the_mean_precision() -> None:
    curve = pair_curve([0.1, 0.2, 0.2, 0.4], [True, True, False, False])
    assert curve == [
        CurvePoint(0.1, 0.25, 1.0),
        CurvePoint(0.2, 0.75, 2 / 3),
        CurvePoint(0.4, 1.0, 0.5),
    ]
    assert area(curve) == pytest.approx(0.25 + 0.5 * (1 + 2 / 3) / 2 + 0.25 * (2 / 3 + 0.5) / 2)
    assert area([CurvePoint(0.1, 0.5, 1.0)]) == 1.0
    assert area([]) is None


@pytest.mark.anyio
async def test_the_store_finds_what_the_plain_one_finds() -> None:
    angles = AngleEmbedder()
    plain, quick = MemoryStore(), MatrixStore()
    texts = [f"t{n} at {n}" for n in range(150)]
    for store in (plain, quick):
        records = [
            Record(
                key=EntryKey(Scope(tenant="ab"[n % 2]), text),
                prompt=text,
                text=text,
                vector=vector,
                tags=(),
                exact_ttl_s=1e7,
                semantic_ttl_s=1e7,
                started_at=plain.now(),
            )
            for n, (text, vector) in enumerate(zip(texts, angles.embed(texts), strict=True))
        ]
        await store.put(records)
        await store.put(records[:3])
    query = VectorQuery(
        scope=Scope(tenant="a"), vector=angles.embed(["x at 41.3"])[0], neighbours=3
    )
    found = [await store.search([query]) for store in (plain, quick)]
    rows = [[] if isinstance(f[0], Exception) else f[0] for f in found]
    prompts = [[(one.prompt, round(one.distance, 5)) for one in row] for row in rows]
    assert prompts[0] == prompts[1]
    assert len(prompts[0]) == 3


@pytest.mark.anyio
async def test_the_cache_decides_as_its_distance_alone_would(embedder: Remembered) -> None:
    """Without guards that speak against it, the real cache and the vectors agree."""
    for distance in (0.0005, 0.01):
        cache = Cached("cache", embedder, {"max_distance": distance, "guards": ()})
        served = await cache.replay(QUESTIONS, 0)
        alone = await Static("", embedder, distance).replay(QUESTIONS, 0)
        assert [(o.hit, o.right) for o in served] == [(o.hit, o.right) for o in alone]
        pairs = [Pair("a at 0", "b at 1", True), Pair("a at 0", "b at 80", False)]
        assert await cache.judge(pairs) == await Static("", embedder, distance).judge(pairs)


def test_taking_counts_equal_texts_as_exact(embedder: Remembered) -> None:
    questions = [Question("a at 1", "x"), Question("a at 1", "y")]
    outcomes = taking(questions, embedder.embed([q.text for q in questions]), 0.0)
    assert outcomes[1] == Outcome(True, False, 0.0, exact=True)
    assert near(embedder, [Pair("at 0", "at 60", True)]) == pytest.approx([0.5])


def test_a_whole_report(embedder: Remembered, tmp_path: Path) -> None:
    pairs = PairSet("pairs", "made up", (Pair("a at 0", "b at 1", True, kind="k"),))
    replay = Replay("questions", "made up", tuple(QUESTIONS))
    plan = Plan(requests=60, orders=2, pairs=1)
    found = run_all(plan, embedder, [replay, ("other", "not there")], [pairs])
    made = write(found, plan, "A test.", tmp_path)
    text = made[0].read_text()
    assert "| cache, default |" in text
    assert "- other: not there" in text
    assert "| k | 0/0, " in text
    assert json.loads(made[1].read_text())["replays"]["questions"]["RedisVL default"]["hits"]["of"]
    assert made[2].read_bytes().startswith(b"\x89PNG")
