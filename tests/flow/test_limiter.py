"""LLM calls at once: the queue, the limit, and what moves it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from semcache_async.errors import OverloadedError
from semcache_async.flow.limiter import Limiter, is_overload
from tests.helpers import until

pytestmark = pytest.mark.anyio


class TooManyError(Exception):
    status_code = 429


class Calls:
    """Calls that end when they are told to."""

    def __init__(self, limiter: Limiter) -> None:
        self._limiter = limiter
        self.begun: list[asyncio.Future[None]] = []

    async def one(self) -> None:
        async with self._limiter.turn():
            ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.begun.append(ended)
            await ended

    def start(self, count: int) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.one()) for _ in range(count)]

    async def end(self, error: Exception | None = None) -> None:
        """End the oldest."""
        ended = self.begun.pop(0)
        if error is None:
            ended.set_result(None)
        else:
            ended.set_exception(error)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_no_more_than_most_at_once_and_the_others_in_turn() -> None:
    limiter = Limiter(most=2, wait_s=1e6)
    calls = Calls(limiter)
    tasks = calls.start(5)
    await until(lambda: limiter.waiting == 3)
    assert (limiter.under_way, len(calls.begun)) == (2, 2)
    for left in (3, 2, 1):
        assert limiter.waiting == left
        await calls.end()
        await until(lambda: len(calls.begun) == 2)
    for _ in range(2):
        await calls.end()
    await asyncio.gather(*tasks)
    assert (limiter.under_way, limiter.waiting, limiter.limit) == (0, 0, 2)


async def test_who_leaves_the_queue_takes_nobodys_turn() -> None:
    limiter = Limiter(most=1, wait_s=1e6)
    calls = Calls(limiter)
    first, *others = calls.start(4)
    await until(lambda: limiter.waiting == 3)
    others[1].cancel()
    await until(lambda: limiter.waiting == 2)
    first.cancel()
    others[0].cancel()  # in the very moment in which its turn comes
    await asyncio.gather(first, *others[:2], return_exceptions=True)
    await until(lambda: limiter.under_way == 1 and not limiter.waiting)
    calls.begun.pop(0)
    await until(lambda: len(calls.begun) == 1)
    await calls.end()
    await others[2]
    assert (limiter.under_way, limiter.waiting) == (0, 0)


async def test_who_would_wait_too_long_is_told_at_once() -> None:
    limiter = Limiter(most=1, wait_s=1e6)
    calls = Calls(limiter)
    calls.start(1)
    await until(lambda: len(calls.begun) == 1)
    limiter._mean_s = 1e6 - 1.0
    (waiting,) = calls.start(1)
    await until(lambda: limiter.waiting == 1)
    with pytest.raises(OverloadedError, match="1 LLM calls are under way and 1 wait"):
        await calls.one()
    waiting.cancel()
    await calls.end()
    await until(lambda: limiter.under_way == 0)


async def test_a_wait_has_an_end() -> None:
    limiter = Limiter(most=1, wait_s=0.01)
    calls = Calls(limiter)
    calls.start(1)
    await until(lambda: len(calls.begun) == 1)
    with pytest.raises(OverloadedError):
        await calls.one()
    assert limiter.waiting == 0
    await calls.end()
    await until(lambda: limiter.under_way == 0)


async def test_the_limit_gives_way_once_a_round_and_comes_back() -> None:
    limiter = Limiter(most=16, wait_s=1e6)
    calls = Calls(limiter)
    tasks = calls.start(16)
    await until(lambda: len(calls.begun) == 16)
    for _ in range(3):
        await calls.end(TooManyError())
    assert limiter.limit == 12  # of one round, one sign counts
    for _ in range(13):
        await calls.end(ValueError())
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(one, TooManyError) for one in found) == 3
    tasks = calls.start(12)
    await until(lambda: len(calls.begun) == 12)
    await calls.end(TooManyError())
    assert limiter.limit == 9
    for _ in range(11):
        await calls.end(ValueError())
    await asyncio.gather(*tasks, return_exceptions=True)
    for _ in range(40):
        more = calls.start(limiter.limit)
        await until(lambda: len(calls.begun) == len(more))  # noqa: B023 - awaited here
        while calls.begun:
            await calls.end()
        await asyncio.gather(*more)
    assert limiter.limit == 16


async def test_what_few_calls_say_lowers_nothing() -> None:
    limiter = Limiter(most=100, wait_s=1e6)
    for _ in range(50):
        with pytest.raises(TooManyError):
            async with limiter.turn():
                raise TooManyError
    assert limiter.limit == 100


async def test_it_never_closes_altogether() -> None:
    limiter = Limiter(most=2, wait_s=1e6)
    for _ in range(50):
        with pytest.raises(TooManyError):
            async with limiter.turn():
                raise TooManyError
    assert limiter.limit == 1
    async with limiter.turn():
        assert limiter.under_way == 1


async def test_a_turn_that_comes_as_its_caller_leaves_is_the_next_ones() -> None:
    limiter = Limiter(most=1, wait_s=1e6)
    calls = Calls(limiter)
    first, *others = calls.start(4)
    await until(lambda: limiter.waiting == 3)
    first.cancel()
    for one in others[:2]:
        one.cancel()
    found = await asyncio.gather(first, *others[:2], return_exceptions=True)
    assert {type(one) for one in found} == {asyncio.CancelledError}
    await until(lambda: len(calls.begun) == 2)
    calls.begun[-1].set_result(None)
    await others[2]
    assert (limiter.under_way, limiter.waiting) == (0, 0)


async def test_an_error_that_raises_when_looked_at_keeps_no_turn() -> None:
    class OddError(Exception):
        @property
        def response(self) -> int:
            raise RuntimeError("odd")

    limiter = Limiter(most=1, wait_s=1e6)
    with pytest.raises(RuntimeError):
        async with limiter.turn():
            raise OddError
    assert limiter.under_way == 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), True),
        (TooManyError(), True),
        (ValueError(), False),
        (asyncio.CancelledError(), False),
    ],
)
def test_signs_of_overload(error: BaseException, expected: bool) -> None:
    assert is_overload(error) is expected


@pytest.mark.parametrize(
    ("carried", "expected"),
    [
        ({"status": 503}, True),
        ({"status": 500}, False),
        ({"status": "429"}, False),
        ({"response": SimpleNamespace(status_code=529)}, True),
        ({"response": None}, False),
    ],
)
def test_signs_of_overload_in_other_clients_errors(carried: dict[str, Any], expected: bool) -> None:
    error = Exception("told")
    error.__dict__.update(carried)
    assert is_overload(error) is expected
