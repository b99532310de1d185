"""Micro-batching: dispatch when idle, fill while busy."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from semcache_async.errors import CacheClosedError, QueueFullError
from semcache_async.flow.batcher import MicroBatcher

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]


class Gate:
    """A batch function that records its batches and answers when told to."""

    def __init__(self, *, opened: bool = False) -> None:
        self.batches: list[list[str]] = []
        self.opened = asyncio.Event()
        if opened:
            self.opened.set()

    async def __call__(self, items: list[str]) -> Sequence[str | Exception]:
        self.batches.append(items)
        await self.opened.wait()
        return [ValueError(item) if item.startswith("bad") else item.upper() for item in items]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_one_tick_of_submits_is_one_batch() -> None:
    gate = Gate(opened=True)
    batcher = MicroBatcher(gate, budget=10)
    assert await asyncio.gather(*[batcher.submit(c) for c in "abc"]) == ["A", "B", "C"]
    assert gate.batches == [["a", "b", "c"]]


async def test_fills_while_busy_and_leaves_when_free() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, budget=10)
    waiters = [batcher.submit("a")]
    await settle()
    for c in "bcd":
        waiters.append(batcher.submit(c))
        await settle()
    assert gate.batches == [["a"]]
    assert batcher.queued == 3
    gate.opened.set()
    assert await asyncio.gather(*waiters) == ["A", "B", "C", "D"]
    assert gate.batches == [["a"], ["b", "c", "d"]]
    assert (batcher.batches, batcher.items, batcher.fill) == (2, 4, 0.2)


async def test_concurrency_bounds_the_batches_under_way() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, budget=1, concurrency=2)
    waiters = [batcher.submit(c) for c in "abc"]
    await settle()
    assert gate.batches == [["a"], ["b"]]
    assert batcher.under_way == 2
    gate.opened.set()
    await asyncio.gather(*waiters)
    assert gate.batches == [["a"], ["b"], ["c"]]


async def test_budget_is_cost_and_smaller_items_fill_the_rest() -> None:
    gate = Gate(opened=True)
    batcher = MicroBatcher(gate, budget=5, cost=len)
    await asyncio.gather(*[batcher.submit(i) for i in ("aaa", "bbbb", "cc", "d")])
    assert gate.batches == [["aaa", "cc"], ["bbbb", "d"]]


async def test_an_item_over_the_budget_goes_alone() -> None:
    gate = Gate(opened=True)
    batcher = MicroBatcher(gate, budget=5, cost=len)
    await asyncio.gather(*[batcher.submit(i) for i in ("a", "b" * 50, "c")])
    assert gate.batches == [["a", "c"], ["b" * 50]]


async def test_equal_keys_are_one_item() -> None:
    gate = Gate(opened=True)
    batcher = MicroBatcher(gate, budget=10)
    assert await asyncio.gather(*[batcher.submit("a") for _ in range(100)]) == ["A"] * 100
    assert gate.batches == [["a"]]


@pytest.mark.parametrize(("pure", "batches"), [(True, [["a"]]), (False, [["a"], ["a"]])])
async def test_an_item_under_way_is_joined_only_if_pure(pure: bool, batches: object) -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, budget=10, pure=pure)
    first = batcher.submit("a")
    await settle()
    second = batcher.submit("a")
    gate.opened.set()
    assert await asyncio.gather(*[first, second]) == ["A", "A"]
    assert gate.batches == batches


async def test_abandoned_items_never_run() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, budget=10)
    first = batcher.submit("a")
    await settle()
    doomed, kept, shared = batcher.submit("b"), batcher.submit("c"), batcher.submit("b")
    doomed.cancel()
    shared.cancel()
    gate.opened.set()
    await asyncio.gather(first, kept)
    assert gate.batches == [["a"], ["c"]]
    assert batcher.queued == 0


async def test_one_leaving_does_not_take_the_item_from_another() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, budget=10)
    first, second = batcher.submit("a"), batcher.submit("a")
    first.cancel()
    gate.opened.set()
    assert await second == "A"


async def test_a_bad_item_fails_alone() -> None:
    batcher = MicroBatcher(Gate(opened=True), budget=32)
    items = ["bad" if i == 17 else f"item {i}" for i in range(32)]
    results = await asyncio.gather(*[batcher.submit(i) for i in items], return_exceptions=True)
    assert [i for i, r in enumerate(results) if isinstance(r, Exception)] == [17]


async def test_a_failed_batch_reaches_every_waiter_and_the_next_one_works() -> None:
    async def run(items: list[str]) -> Sequence[str]:
        if "a" in items:
            raise OSError("down")
        return items

    batcher = MicroBatcher(run, budget=10)
    results = await asyncio.gather(*[batcher.submit(c) for c in "abc"], return_exceptions=True)
    assert [type(result) for result in results] == [OSError] * 3
    assert await batcher.submit("d") == "d"


async def test_a_wrong_number_of_results_is_an_error_for_all() -> None:
    async def run(items: list[str]) -> Sequence[str]:
        return items[1:]

    batcher = MicroBatcher(run, budget=10)
    results = await asyncio.gather(*[batcher.submit(c) for c in "ab"], return_exceptions=True)
    assert [str(result) for result in results] == ["A batch of 2 items got 1 results."] * 2


async def test_closing_settles_everybody() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, budget=1)
    waiters = [batcher.submit(c) for c in "abc"]
    await settle()
    await batcher.aclose()
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert [type(result) for result in results] == [CacheClosedError] * 3
    with pytest.raises(CacheClosedError):
        await batcher.submit("d")


async def test_bulk_lets_others_go_first_but_is_never_starved() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, budget=2)
    waiters = [batcher.submit("first")]
    await settle()
    waiters += [batcher.submit(f"bulk {n}", bulk=True) for n in range(4)]
    waiters += [batcher.submit(f"single {n}") for n in range(8)]
    gate.opened.set()
    await asyncio.gather(*waiters)
    order = [item for batch in gate.batches for item in batch]
    assert order[0] == "first"
    assert sorted(item for item in order if "single" in item) == [f"single {n}" for n in range(8)]
    assert order.index("single 5") < order.index("bulk 1")
    assert order.index("bulk 0") < order.index("single 7")


async def test_a_bulk_item_that_somebody_wants_now_is_no_longer_bulk() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, budget=1)
    waiters = [batcher.submit("first")]
    await settle()
    waiters += [batcher.submit(key, bulk=True) for key in ("a", "b")]
    waiters += [batcher.submit("b"), batcher.submit("c")]
    gate.opened.set()
    await asyncio.gather(*waiters)
    assert gate.batches == [["first"], ["b"], ["c"], ["a"]]


async def test_what_is_overdue_fails_and_frees_its_place() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, budget=1, timeout_s=0.001)
    results = await asyncio.gather(*[batcher.submit(key) for key in "abc"], return_exceptions=True)
    assert [type(result) for result in results] == [TimeoutError] * 3
    assert len({id(result) for result in results}) == 3
    for _ in range(5):
        await asyncio.sleep(0)
    assert (batcher.queued, batcher.under_way) == (0, 0)
    gate.opened.set()
    fine = MicroBatcher(gate, budget=1, timeout_s=60.0)
    assert await fine.submit("d") == "D"
    await batcher.aclose()
    await fine.aclose()


async def test_one_too_many_is_told_at_once() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, budget=1, most_queued=2)
    waiters = [batcher.submit("a")]
    await settle()
    waiters += [batcher.submit("b"), batcher.submit("c", bulk=True)]
    with pytest.raises(QueueFullError):
        await batcher.submit("d")
    waiters.append(batcher.submit("b"))  # no further item
    gate.opened.set()
    assert await asyncio.gather(*waiters) == ["A", "B", "C", "B"]


async def test_failing_all_settles_what_is_queued_and_under_way() -> None:
    gate = Gate()
    batcher = MicroBatcher(gate, budget=1)
    waiters = [batcher.submit(key) for key in "abc"]
    await settle()
    batcher.fail(ValueError("gone"))
    results = await asyncio.gather(*waiters, return_exceptions=True)
    assert [type(result) for result in results] == [ValueError] * 3
    gate.opened.set()
    assert await batcher.submit("d") == "D"


async def test_what_was_given_up_is_late_and_not_closed_for_who_joins_it() -> None:
    running, stopping, stopped = asyncio.Event(), asyncio.Event(), asyncio.Event()
    now = asyncio.get_running_loop().time()

    async def run(items: list[str]) -> Sequence[str]:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopping.set()
            await stopped.wait()
        return items

    batcher = MicroBatcher(run, budget=1, pure=True, timeout_s=1_000.0, clock=lambda: now)
    first = batcher.submit("a")
    await running.wait()
    now += 2_000.0
    batcher._ring()
    await stopping.wait()
    second = batcher.submit("a")
    stopped.set()
    results = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(result) for result in results] == [TimeoutError] * 2
    await batcher.aclose()
