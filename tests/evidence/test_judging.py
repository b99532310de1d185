"""Labels, and what is none."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from semcache_async.evidence.judging import Agree, Judging, Label
from semcache_async.flow.quotas import TokenBucket
from semcache_async.protocols import Judge
from semcache_async.stats import Counters
from semcache_async.types import Case, Scope

pytestmark = pytest.mark.anyio


def case(fresh: str | None = "yes, it is", stored: str = "it is") -> Case:
    return Case(
        prompt="a",
        matched_prompt="b",
        stored_text=stored,
        fresh_text=fresh,
        distance=0.1,
        scope=Scope(),
    )


async def disagree(one: str, other: str) -> bool | None:
    return False


def judging(
    judge: Judge | None, agree: Agree = disagree, **options: Any
) -> tuple[Judging, Counters]:
    counters = Counters()
    return Judging(judge, agree, counters, rate=options.pop("rate", None), **options), counters


@pytest.mark.parametrize(
    ("score", "right"),
    [(1.0, True), (0.5, True), (0.49, False), (0, False), (1, True), (True, True)],
)
async def test_a_score_becomes_a_verdict(score: Any, right: bool) -> None:
    async def judge(_case: Case) -> Any:
        return score

    made, _ = judging(judge)
    assert await made.label(case()) == Label(right, sure=True)


@pytest.mark.parametrize("score", [7, -0.1, math.nan, math.inf, "yes"])
async def test_an_odd_score_is_no_verdict(score: Any) -> None:
    async def judge(_case: Case) -> Any:
        return score

    made, counters = judging(judge)
    assert await made.label(case()) is None
    assert counters.judge_errors == 1


async def test_a_judge_that_cannot_tell_is_no_error() -> None:
    async def undecided(_case: Case) -> float | None:
        return None

    made, counters = judging(undecided)
    assert await made.label(case()) is None
    assert counters.judge_errors == 0


async def test_a_judge_that_raises_or_hangs_gives_none() -> None:
    async def raises(_case: Case) -> float:
        raise RuntimeError("no")

    async def hangs(_case: Case) -> float:
        await asyncio.Event().wait()
        return 1.0

    for judge in (raises, hangs):
        made, counters = judging(judge, timeout_s=0.01)
        assert await made.label(case()) is None
        assert counters.judge_errors == 1


async def test_the_same_answer_needs_no_judge() -> None:
    async def judge(_case: Case) -> float:
        raise AssertionError

    made, _ = judging(judge)
    assert await made.label(case("it  is\n", "it is")) == Label(True, sure=True)


async def test_without_a_judge_answers_are_compared() -> None:
    for agreed, expected in ((True, Label(True, sure=False)), (False, Label(False, sure=False))):

        async def agree(_one: str, _other: str, agreed: bool = agreed) -> bool | None:
            return agreed

        made, _ = judging(None, agree)
        assert made.needs_fresh
        assert await made.label(case()) == expected

    async def cannot(_one: str, _other: str) -> bool | None:
        return None

    made, counters = judging(None, cannot)
    assert await made.label(case()) is None
    assert await made.label(case(fresh=None)) is None
    assert counters.judge_errors == 0


def test_the_budget_is_an_average_with_a_minute_at_once() -> None:
    now = 0.0
    bucket = TokenBucket(0.5, lambda: now)
    assert sum(bucket.take() for _ in range(100)) == 30
    now = 10.0
    assert sum(bucket.take() for _ in range(100)) == 5
    now = -1e9  # a clock that jumps back
    assert not bucket.take()
    now = 1e9
    assert sum(bucket.take() for _ in range(100)) == 30
    slow = TokenBucket(0.001, lambda: now)
    assert [slow.take(), slow.take()] == [True, False]
    assert all(TokenBucket(None, lambda: now).take() for _ in range(1_000))


async def test_over_budget_is_counted() -> None:
    made, counters = judging(None, rate=0.01)
    assert [made.may_ask(), made.may_ask()] == [True, False]
    assert counters.judge_skips == 1
