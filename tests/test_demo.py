"""The demo's traffic, and the demo as a whole."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from types import SimpleNamespace

import anyio
import numpy as np
import pytest
from rich.console import Console

from semcache_async.data import Question, banking77
from semcache_async.demo.live import Outcome, Traffic, shown
from semcache_async.demo.report import check_labels, percentile, print_report
from semcache_async.demo.running import DemoOptions, DemoResult, run_demo
from semcache_async.load.traffic import workload as workload_module
from semcache_async.load.traffic.workload import Arrival, make_workload, replay
from semcache_async.testing import SimulatedLLM
from semcache_async.text.prompt import normalise
from semcache_async.types import Answer, Source
from tests.load.helpers import VirtualLoop, in_virtual_time


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return banking77("train")


@pytest.fixture(scope="module")
def workload(questions: list[Question]) -> list[Arrival]:
    return make_workload(questions, requests=4_000, rate=100.0, seed=7)


# -- the traffic


def test_one_seed_one_workload(questions: list[Question]) -> None:
    def make(seed: int) -> list[Arrival]:
        return make_workload(questions, requests=300, rate=50.0, seed=seed)

    assert make(3) == make(3)
    assert make(3) != make(4)


def test_arrivals_come_in_order_at_the_rate(workload: list[Arrival]) -> None:
    times = [arrival.at_s for arrival in workload]
    assert len(workload) == 4_000
    assert times == sorted(times)
    assert 0.0 <= times[0] < times[-1] <= 40.0
    assert times[-1] == pytest.approx(40.0, rel=0.01)


@pytest.mark.parametrize("requests", [1, 2, 9, 25])
def test_small_workloads(questions: list[Question], requests: int) -> None:
    assert len(make_workload(questions, requests=requests, rate=10.0)) == requests
    everyone = make_workload(questions, requests=requests, rate=10.0, crowd_share=1.0)
    assert all(arrival.crowd == 0 for arrival in everyone)


def test_popularity_is_zipf(questions: list[Question]) -> None:
    traffic = make_workload(questions, requests=50_000, rate=1.0, zipf=1.1, crowd_share=0.0)
    counts = np.array([n for _, n in Counter(a.question.intent for a in traffic).most_common(60)])
    slope = np.polyfit(np.log(np.arange(1, 61)), np.log(counts), 1)[0]
    assert slope == pytest.approx(-1.1, abs=0.1)
    (top, _), *_ = Counter(a.question.intent for a in traffic).most_common(1)
    wordings = Counter(a.prompt for a in traffic if a.question.intent == top)
    assert len(wordings) == len({q.text for q in questions if q.intent == top})


def test_arrivals_are_burstier_than_poisson(questions: list[Question]) -> None:
    def variation(burstiness: float) -> float:
        traffic = make_workload(
            questions, requests=10_000, rate=1.0, burstiness=burstiness, crowd_share=0.0
        )
        gaps = np.diff([arrival.at_s for arrival in traffic])
        return float(gaps.std() / gaps.mean())

    assert variation(1.0) == pytest.approx(1.0, abs=0.1)
    assert variation(2.5) == pytest.approx(2.5, abs=0.3)


def test_a_crowd_asks_one_thing_in_several_wordings_at_one_moment(workload: list[Arrival]) -> None:
    numbers = {arrival.crowd for arrival in workload} - {None}
    assert len(numbers) >= 5
    for number in numbers:
        crowd = [arrival for arrival in workload if arrival.crowd == number]
        assert crowd[-1].at_s - crowd[0].at_s < 1.0
        assert len({arrival.question.intent for arrival in crowd}) == 1
        assert len(crowd) < 8 or len({normalise(arrival.prompt) for arrival in crowd}) > 2


def test_replay_asks_on_time_and_charges_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    question = Question("q", "i")
    arrivals = [Arrival(0.01 * n, "q", question) for n in range(10)]

    async def work(loop: VirtualLoop) -> None:
        monkeypatch.setattr(workload_module, "time", SimpleNamespace(perf_counter=loop.time))
        latencies: list[float] = []

        async def ask(_: Arrival, due: float) -> None:
            assert loop.time() >= due
            await asyncio.sleep(0.05)
            latencies.append(loop.time() - due)

        wide = await replay(arrivals, ask, began=loop.time(), callers=100)
        assert wide.peak > 1
        assert max(latencies) == pytest.approx(0.05)
        assert max(wide.late_s) == pytest.approx(0.0)
        latencies.clear()
        narrow = await replay(arrivals, ask, began=loop.time(), callers=1)
        assert narrow.peak == 1
        assert narrow.seconds == pytest.approx(0.5)
        assert max(latencies) == pytest.approx(0.41)

    in_virtual_time(work)


def test_percentiles_need_enough_samples() -> None:
    seconds = [n / 1_000 for n in range(1, 101)]
    assert percentile(seconds, 50) == pytest.approx(50.5)
    assert percentile(seconds, 99) is not None
    assert percentile(seconds, 99.9) is None
    assert percentile([], 50) is None


def test_a_terminal_sees_live_numbers() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    question = Question("q", "i")
    answer = Answer(text="a", source=Source.EXACT, distance=0.0, matched_prompt="q")

    async def run() -> None:
        traffic = Traffic(SimulatedLLM())
        async with shown(traffic, 2, console):
            traffic.add(Outcome(Arrival(0.0, "q", question), answer, 0.004))
            await anyio.sleep(0.05)

    anyio.run(run)
    assert isinstance(console.file, io.StringIO)
    screen = console.file.getvalue()
    for part in (
        "answered 1 ",
        "exact 100.0%",
        "LLM calls 0",
        "lookups/s",
        "p50 4.0 ms",
        "p99 4 ms",
    ):
        assert part in screen


# -- the whole


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def demo(request: pytest.FixtureRequest, redis_url: str) -> tuple[DemoResult, str]:
    options = DemoOptions(
        requests=200,
        rate=100.0,
        callers=500,
        zipf=1.1,
        llm_ms=20.0,
        seed=1,
        redis_url=redis_url,
        max_distance=0.1,
        burst_s=0.2,
    )
    console = Console(file=io.StringIO(), width=120)

    async def run() -> DemoResult:
        return await run_demo(options, console)

    result = anyio.run(run, backend_options={"use_uvloop": request.param == "uvloop"})
    print_report(result, console)
    assert isinstance(console.file, io.StringIO)
    return result, console.file.getvalue()


def test_the_sums_add_up(demo: tuple[DemoResult, str]) -> None:
    result, _ = demo
    stats = result.stats
    assert result.disagreements() == []
    assert stats.requests == 200
    assert stats.exact + stats.semantic + stats.shared + stats.generated == 200
    assert stats.llm_calls == result.llm.calls == stats.generated < 200
    assert min(stats.exact, stats.shared, stats.generated) > 0
    assert (stats.embed_errors, stats.failed, stats.bypassed) == (0, 0, 0)


def test_the_run_without_cache_calls_the_llm_each_time(demo: tuple[DemoResult, str]) -> None:
    result, _ = demo
    assert result.plain_llm.calls == len(result.plain_latencies) == 200
    assert result.plain_llm.seconds > result.llm.seconds > 0.0


def test_examples_are_what_they_say(demo: tuple[DemoResult, str]) -> None:
    result, _ = demo
    stored = {o.arrival.prompt for o in result.outcomes if o.answer.source is Source.GENERATED}
    assert result.near_misses
    for miss in result.near_misses:
        assert miss.distance > result.max_distance == 0.1
        assert {miss.prompt, miss.nearest} <= stored
    for source in (Source.SEMANTIC, Source.SHARED):
        check = check_labels(result, source)
        assert 0 <= check.other <= check.served <= result.stats[source.value]


def test_guards_refuse_what_looks_alike_and_serve_what_is(demo: tuple[DemoResult, str]) -> None:
    result, report = demo
    assert all(one.within for one in result.traps)
    assert [one.served for one in result.traps if one.pair.same] == [True] * 4
    traps = [one for one in result.traps if not one.pair.same]
    assert sum(one.served for one in traps) == 1
    refused = {one.refused_by for one in traps if not one.served}
    assert refused >= {"negation", "antonyms", "roles", "numbers", "dates", "code", "doubt"}
    assert f"would serve {len(traps)} wrong answers here; guards let 1 of them through" in report


def test_the_bursts_look_up(demo: tuple[DemoResult, str]) -> None:
    seen, unseen = demo[0].capacities
    assert seen.lookups >= seen.hits > unseen.hits
    assert unseen.lookups >= 64


def test_the_report_shows_it_all(demo: tuple[DemoResult, str]) -> None:
    _, report = demo
    shown = ("p99.9", "without cache", "LLM seconds saved", "Look-alikes", "Near-misses")
    for part in (*shown, "counters add up"):
        assert part in report
