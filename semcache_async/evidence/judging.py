"""Was the stored answer right? Asked of the judge, or else of the two answers themselves."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeAlias

from semcache_async.complaints import Complaints
from semcache_async.flow.quotas import TokenBucket
from semcache_async.protocols import Judge
from semcache_async.stats import Counters
from semcache_async.types import Case

__all__ = ["Agree", "Judging", "Label", "same"]

_TIMEOUT_S = 30.0
_PASS = 0.5

Agree: TypeAlias = Callable[[str, str], Awaitable[bool | None]]
"""Do two answers say the same? None where that cannot be told."""


class Label(NamedTuple):
    """What was said of a case."""

    right: bool
    sure: bool
    """Somebody said so who has read both prompts, or the answers are the same to the letter. Two
    answers in different words may well both be right: that moves a scope's curve, and no entry."""


class Judging:
    """One cache's judge, its budget and what replaces it."""

    def __init__(
        self,
        judge: Judge | None,
        agree: Agree,
        counters: Counters,
        *,
        rate: float | None,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self._judge = judge
        self._agree = agree
        self._counters = counters
        self._bucket = TokenBucket(rate)
        self._timeout_s = timeout_s
        self._complaints = Complaints()

    @property
    def needs_fresh(self) -> bool:
        """Can nothing be said without a fresh answer?"""
        return self._judge is None

    def may_ask(self) -> bool:
        """Does the budget allow for one more? Then it is spent."""
        if self._bucket.take():
            return True
        self._counters.judge_skips += 1
        return False

    async def label(self, case: Case) -> Label | None:
        """None where there is no verdict; one that failed is counted."""
        if case.fresh_text is not None and same(case.fresh_text, case.stored_text):
            return Label(right=True, sure=True)
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._judge is not None:
                    score = await self._judge(case)
                    return None if score is None else Label(_passes(score), sure=True)
                if case.fresh_text is None:
                    return None
                agreed = await self._agree(case.fresh_text, case.stored_text)
                return None if agreed is None else Label(agreed, sure=False)
        except Exception as error:
            self._counters.judge_errors += 1
            self._complaints.warn("judge", error)
            return None


def same(one: str, other: str) -> bool:
    """Are two answers the same to the letter, but for white space?"""
    return one.split() == other.split()


def _passes(score: object) -> bool:
    if isinstance(score, bool):
        return score
    if not isinstance(score, int | float) or not math.isfinite(score) or not 0.0 <= score <= 1.0:
        raise ValueError("a judge must return a number from 0 to 1")
    return score >= _PASS
