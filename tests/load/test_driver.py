"""Open and closed loop, in virtual time: every figure is exact."""

from __future__ import annotations

import asyncio
import itertools

import numpy as np
import pytest

from semcache_async.load.asking.driver import closed_loop, open_loop
from semcache_async.load.asking.tally import Tally
from semcache_async.load.asking.targets import Reply, RequestError
from tests.load.helpers import QUESTION, Queue, VirtualLoop, arrivals, in_virtual_time, result

STEADY = np.arange(1, 400) / 100.0
"""A request every 10 ms for 4 s."""


def asked_openly(target: Queue, at_s: list[float], tally_s: tuple[float, float], **options: float):  # type: ignore[no-untyped-def]
    async def work(loop: VirtualLoop) -> Tally:
        tally = Tally(warm_up_s=tally_s[0], duration_s=tally_s[1], clock=loop.time)
        await open_loop(target, arrivals(*at_s), tally, **options)  # type: ignore[arg-type]
        return tally

    return in_virtual_time(work)


def test_requests_due_during_a_stall_are_charged_with_it() -> None:
    """Coordinated omission: a driver that waits would record one slow request, not a hundred."""
    target = Queue(0.001, stall_at=1.0, stall_s=1.0)
    tally = asked_openly(target, STEADY.tolist(), (0.0, 5.0))
    queued = [max(0.0, 2.0 - at) for at in STEADY if 1.0 <= at < 2.0]
    slow = [at for at in queued if at > 0.1]
    times = tally.latency["exact"]
    assert len(times) == len(STEADY)
    share_below = 100.0 * (1 - (len(slow) + 0.5) / len(STEADY))
    assert times.percentile(share_below) == pytest.approx(0.2, abs=0.03)
    assert times.max == pytest.approx(1.0, rel=0.02)
    assert times.percentiles([80.0])[0] > 0.2
    # all left on time; what the stall cost is not hidden in the sending
    assert tally.lateness.max < 0.001
    assert tally.service.max == pytest.approx(times.max)
    assert tally.peak >= 100


def test_a_blocked_event_loop_is_charged_and_seen() -> None:
    """Who cannot even send on time records the wait, and says so."""

    class Blocking(Queue):
        async def ask(self, prompt: str, /) -> Reply:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            if len(self.asked) == 100:
                loop.now += 1.0
            return await super().ask(prompt)

    tally = asked_openly(Blocking(0.0), STEADY.tolist(), (0.0, 3.98))
    assert tally.lateness.max == pytest.approx(0.99, rel=0.02)
    assert tally.latency["exact"].max == pytest.approx(1.0, rel=0.02)
    assert tally.latency["exact"].percentile(100 - 100 * 50 / 399) == pytest.approx(0.5, abs=0.05)
    assert tally.service.percentile(99.0) < 0.02
    assert tally.lag.max == pytest.approx(1.0, abs=0.02)
    assert len(tally.lag) == pytest.approx(796, abs=2)
    assert tally.lag.percentile(100 - 100 * 100 / 796) == pytest.approx(0.5, abs=0.05)


def test_only_what_is_due_in_the_window_is_measured() -> None:
    tally = asked_openly(Queue(0.5), [0.1, 1.1, 2.0, 9.0], (1.0, 2.0))
    assert tally.due == len(tally.latency["exact"]) == len(tally.service) == 2
    assert tally.done == 2
    assert tally.sources.total() == 4
    assert len(tally.lateness) == 2


def test_held_requests_count_their_wait() -> None:
    tally = asked_openly(Queue(0.0), [0.1] * 5, (0.0, 10.0), max_in_flight=2)
    assert (tally.held, tally.peak) == (3, 2)

    class Wide(Queue):
        async def ask(self, prompt: str, /) -> Reply:
            await asyncio.sleep(1.0)
            return Reply("exact")

    tally = asked_openly(Wide(), [0.1] * 5, (0.0, 10.0), max_in_flight=2)
    assert tally.latency["exact"].percentiles([1.0, 60.0, 100.0]) == pytest.approx(
        [1.0, 2.0, 3.0], rel=0.01
    )


def test_what_is_never_answered_is_counted() -> None:
    class Deaf(Queue):
        async def ask(self, prompt: str, /) -> Reply:
            await asyncio.sleep(1e6)
            return Reply("exact")

    tally = asked_openly(Deaf(), [0.5, 0.6, 0.7], (0.0, 1.0), max_in_flight=2, drain_s=30.0)
    assert tally.errors == {"unanswered when the run ended": 2, "held until the run ended": 1}
    assert tally.due == len(tally.latency["error"]) == 3
    assert tally.latency["error"].max == pytest.approx(30.2, rel=0.01)
    assert result(tally).all_failed


def test_errors_are_counted_by_kind() -> None:
    class Failing(Queue):
        async def ask(self, prompt: str, /) -> Reply:
            self.asked.append(prompt)
            if len(self.asked) % 2:
                raise RequestError("HTTP 503")
            raise ValueError("a secret")

    tally = asked_openly(Failing(), [0.1, 0.2, 0.3], (0.0, 1.0))
    assert tally.errors == {"HTTP 503": 2, "ValueError": 1}
    assert tally.done == 0
    assert result(tally).all_failed


def test_closed_loop_asks_again_once_answered() -> None:
    class Wide(Queue):
        async def ask(self, prompt: str, /) -> Reply:
            await asyncio.sleep(0.1)
            return await super().ask(prompt)

    async def work(loop: VirtualLoop) -> Tally:
        tally = Tally(warm_up_s=1.0, duration_s=2.0, clock=loop.time)
        await closed_loop(Wide(0.0), itertools.repeat(QUESTION), tally, callers=8)
        return tally

    tally = in_virtual_time(work)
    made = result(tally, rate=None, callers=8)
    assert tally.peak == 8
    assert made.achieved == pytest.approx(80.0, rel=0.1)
    assert tally.due == pytest.approx(160, abs=8)
    assert made.requests == pytest.approx(240, abs=8)
    assert tally.latency["exact"].max == pytest.approx(0.1, rel=0.01)
    assert made.load == "8 callers"


def test_cancelling_a_run_leaves_nothing() -> None:
    async def work(loop: VirtualLoop) -> None:
        tally = Tally(warm_up_s=0.0, duration_s=100.0, clock=loop.time)
        run = asyncio.create_task(open_loop(Queue(50.0), arrivals(0.1, 0.2, 90.0), tally))
        await asyncio.sleep(1.0)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert asyncio.all_tasks() == {asyncio.current_task()}

    in_virtual_time(work)
