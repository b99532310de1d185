"""The whole comparison: its report from small records, and stages that fail or take too long."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from benchmarks import readme
from benchmarks.bench import __main__ as bench
from benchmarks.bench import against
from benchmarks.bench.figures import Found, ratio_of, read_found
from benchmarks.bench.http import EXACT, REWORDED, apart, fill, wordings
from benchmarks.bench.proxies import open_llm, open_proxy
from benchmarks.bench.quiet import CpuTimes, cpu_times, others_share
from benchmarks.bench.record import (
    STAGES,
    Row,
    kind_of,
    make_result,
    read_records,
    texts_from,
    this_machine,
    write_record,
)
from benchmarks.bench.record import write_results as written
from benchmarks.bench.report import TITLE, render
from benchmarks.bench.report.aims import aims
from benchmarks.bench.report.curves import lines
from benchmarks.bench.sizes import AGAIN, BEFORE, TINY
from benchmarks.contenders.process import ContenderError
from benchmarks.contenders.rounds import Loop
from semcache_async.data import Question, banking77
from semcache_async.load.asking.http import open_http
from semcache_async.load.measured.histogram import Histogram
from semcache_async.load.measured.result import Result

SPEEDS = {"ours": 10.0, AGAIN: 11.0, "redisvl-async": 100.0, "ours-unpacked": 20.0}
"""Milliseconds of a lookup."""
MANY = 64


def loop(ms: float, count: int = 120, elapsed_s: float | None = None) -> Loop:
    seconds = count * ms / 1e3 if elapsed_s is None else elapsed_s
    answers: list[str | None] = ["yes", None] * (count // 2)
    return Loop(count / seconds, [ms] * count, answers, 1.0, 0.5, 0.0, [0.1, 7.0], seconds)


def result(name: str, ms: float, callers: int = MANY) -> Result:
    return make_result(name, loop(ms), workload="questions", seed=0, callers=callers)


def opened(name: str, ms: float, rate: float) -> Result:
    at_s = [number / rate for number in range(120)]
    load: dict[str, Any] = {"at_s": at_s, "rate": rate, "window_s": 120 / rate}
    return make_result(name, loop(ms), workload="at times", seed=0, **load)


def lookups() -> Row:
    turns = [
        result(name, ms * (1 + 0.1 * turn), callers)
        for turn in range(2)
        for name, ms in SPEEDS.items()
        for callers in (MANY, 1, 16)
    ]
    turns += [opened(name, SPEEDS[name], 7.0) for name in ("ours", "redisvl-async")]
    costs = {name: [{"worker_ms": 5.0, "redis_ms": 0.2}] * 2 for name in SPEEDS}
    about = {"what": "torch", "versions": {"python": "3"}, "environment": ".venv"}
    return {
        "about": dict.fromkeys(SPEEDS, about),
        "left_out": {"gptcache": "no environment; make it: scripts/pinned-env gptcache"},
        "failures": [],
        "redis": {"version": "8.2", "modules": {"search": 1}},
        "entries": 1_000,
        "callers": MANY,
        "costs": costs,
        "others": [0.0, 0.3, 0.4],
        "other_answers": {name: [1, 120] for name in SPEEDS},
        "results": written(turns),
        "embed": written(result("ours", ms, callers) for ms in (8.0, 9.0) for callers in (MANY, 1)),
    }


def intents() -> Row:
    turn = {
        "requests": 64,
        "intents": 8,
        "other_intent": 0,
        "failures": [],
        "latency": Histogram([0.8] * 64).encode(),
    }
    labels = {"ours": [{**turn, "llm_calls": 8}], "ours-flightless": [{**turn, "llm_calls": 64}]}
    said = {"burst": "64 callers ask 8 questions"}
    llm = {"median_ms": 800, "sigma": 0.35}
    return {"about": {}, "scenarios": said, "llm": llm, "turns": {"burst": labels}}


def parts() -> Row:
    both = {"unit": "1/s", "ours": [90.0, 95.0], "theirs": [100.0, 100.0]}
    keys = ("semantic", "exact", "local", "rest")
    return {"compared": [{"key": key, "title": f"{key} : part", **both} for key in keys]}


def embedder() -> Row:
    ways = {
        "padded, 32 in arrival order, 1 CPU": {"cpus": 1, "seconds": [2.0, 2.0]},
        "packed, 1 CPU": {"cpus": 1, "seconds": [1.0, 0.9]},
        "packed, 2 CPUs": {"cpus": 2, "seconds": [0.5, 0.5]},
    }
    figures = {"texts": 100, "tokens": 1_400, "cosine": 0.99999, "cpus": 2, "backend": "some"}
    return {"embedder": {**figures, "peak_flops": 1e11, "flops_per_token": 2e7, "ways": ways}}


def http() -> Row:
    named = (f"{name}, {what}" for name in ("ours", "cachellm-proxy") for what in (EXACT, REWORDED))
    return {"about": {"ours": "serve"}, "results": written(result(name, 5.0) for name in named)}


RECORDS = {
    "lookups": lookups,
    "intents": intents,
    "parts": parts,
    "embedder": embedder,
    "http": http,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the records of all stages."""
    for stage, record in RECORDS.items():
        write_record(tmp_path / "bench.json", stage, record(), command="python -m it", began=0.0)
    return tmp_path / "bench.json"


@pytest.fixture
def found(path: Path) -> Found:
    return read_found(path)


# -- the report


def test_the_report_says_it_all(found: Found, tmp_path: Path) -> None:
    results = tmp_path / "new" / "results"
    assert render(found, results) == results / "bench.md"
    assert {path.name for path in results.iterdir()} == {"bench.md", "bench.png", "bench.json"}
    text = (results / "bench.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {TITLE}")
    for shown in (*SPEEDS, "ours-flightless", "cachellm-proxy", "Aims", "Noise floor", "8.00"):
        assert shown in text, shown
    assert "| ours-unpacked |" in text
    assert "gptcache was left out: no environment" in text
    assert "where not met: the limit" in text
    assert "lookups: others used 30% of the CPUs during the turns" in text
    assert (results / "bench.png").read_bytes().startswith(b"\x89PNG")
    assert read_records(results / "bench.json") == found.records


def test_a_report_of_nothing_says_so(tmp_path: Path) -> None:
    text = render(read_found(tmp_path / "none.json"), tmp_path).read_text(encoding="utf-8")
    for stage in STAGES:
        assert f"{stage}: not measured." in text
    assert "nan" not in text


def test_readme_has_the_numbers_of_the_committed_runs() -> None:
    runs = readme.committed()
    assert set(runs) >= {"avx2", "avx512-bf16"}
    text = readme.README.read_text(encoding="utf-8")
    assert readme.renewed(text, runs) == text, "run: python -m benchmarks.readme"
    assert readme.renewed(text.replace(" = **", " = **9"), runs) == text


def test_kinds_of_cpu_are_told_apart() -> None:
    machine = this_machine()
    flags = ("avx2", "avx512f", "avx512_bf16")
    kinds = [kind_of(replace(machine, flags=flags[:count])) for count in range(4)]
    assert kinds == ["other", "avx2", "avx512", "avx512-bf16"]


def test_two_checkouts_are_compared_turn_by_turn(tmp_path: Path) -> None:
    speeds = {"ours": 8.0, BEFORE: 10.0, AGAIN: 8.1}
    turns = [
        result(name, ms * (1 + turn), callers)
        for turn in range(2)
        for name, ms in speeds.items()
        for callers in (MANY, 1)
    ]
    exact = [result(name, 1.0, 256) for name in speeds for _ in range(2)]
    record = {**lookups(), "results": written(turns), "exact": written(exact), "commit": "abc"}
    record = {**record, "machine": msgspec.to_builtins(this_machine())}
    text = against.render(record, tmp_path).read_text(encoding="utf-8")
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines()}
    assert "commit abc" in text
    assert re.search(r"\| 0\.8\b.*x \| 1\.[23]% \| differs", rows["p99 ms"])
    assert re.search(r"\| 0\.8\b.*x \| 1\.[23]% \| differs", rows["one lookup at rest: p50 ms"])
    assert "x | 0.0% | within noise |" in rows["exact hits/s"]


def test_curves_are_of_all_rounds_together(found: Found) -> None:
    group = found.group("ours", MANY)
    assert group is not None
    [(name, _, times)] = lines([group, None])
    encoded = [text for turn in group.results for text in turn.latency.values()]
    assert name == "ours"
    assert len(times) == len(Histogram.merged(encoded)) == 240
    assert times.percentile(25.0) == pytest.approx(0.010, rel=1e-3)
    assert times.percentile(75.0) == pytest.approx(0.011, rel=1e-3)


# -- figures


def test_ratios_are_of_turns_taken_together(found: Found) -> None:
    span = found.ratio("redisvl-async", MANY, "p99")
    assert span is not None
    assert span == pytest.approx((0.1, 0.1, 0.1), rel=2e-3)
    one, two, three = (result("any", ms) for ms in (10.0, 20.0, 40.0))
    alone = ratio_of([one, two], [three], lambda r: r.answers().percentile(50.0))
    assert alone == pytest.approx((0.375, 0.375, 0.375), rel=2e-3)
    assert ratio_of([], [one], lambda r: r.achieved) is None


def test_nothing_is_claimed_below_the_noise_floor(found: Found) -> None:
    assert found.floor["lookups/s", MANY] == pytest.approx(0.1, rel=0.01)
    unpacked = found.ratio("ours-unpacked", MANY, "lookups/s")
    again = found.ratio(AGAIN, MANY, "lookups/s")
    assert found.verdict(unpacked, "lookups/s", MANY) == "differs"
    assert found.verdict(again, "lookups/s", MANY) == "within noise"
    assert found.verdict(again, "strange", MANY) == "noise unknown"


def test_aims_are_judged_and_what_is_missed_has_its_limit(found: Found) -> None:
    judged = {aim.what: aim for aim in aims(found)}
    assert judged["lookups/s, 64 callers"].met is True
    assert judged["the same, of our embedder alone"].met is True
    assert judged["one lookup at rest, p50"].met is True
    assert judged["the same with local_answers"].met is False
    lag = judged["event loop lag, p99, 64 callers"]
    assert lag.met is False
    assert "CPUs" in lag.limit
    packed = judged["embedder, tokens/s of a CPU, cosine ≥ 0.999"]
    assert packed.met is True
    assert "29% of the peak" in packed.measured
    assert judged["p99 at equal load (70 % of RedisVL's capacity)"].met is True
    assert all(aim.met is None for aim in aims(Found({})))


def test_the_open_loop_counts_what_was_answered_in_time() -> None:
    at_s = [0.0, 0.5, 0.9]
    taken = Loop(3.0, [100.0, 100.0, 200.0], ["yes", "yes", None], 1.0, 1.0, 0.0, [], 1.1)
    load: dict[str, Any] = {"at_s": at_s, "rate": 3.0, "window_s": 1.0}
    made = make_result("any", taken, workload="", seed=0, **load)
    assert (made.due, made.answered, made.offered, made.achieved) == (3, 2, 3.0, 2.0)
    assert {source: len(Histogram.decode(times)) for source, times in made.latency.items()} == {
        "semantic": 2,
        "miss": 1,
    }


def test_what_others_use_is_what_is_busy_beyond_ones_own() -> None:
    before, after = CpuTimes(10.0, 100.0), CpuTimes(16.0, 110.0)
    assert others_share(before, after, 4.0) == 0.2
    assert others_share(before, after, 9.0) == 0.0
    assert others_share(before, before, 0.0) == 0.0
    busy, total = cpu_times()
    assert 0 <= busy <= total


def test_texts_go_in_a_circle() -> None:
    assert texts_from("abc", 4, 5) == list("bcabc")


# -- stages


async def stage(name: str, *_: Any) -> None:
    """``run_stage`` in its place: one fails, one does not end, the others keep something."""
    keep = _[-1]
    keep({"results": [], "stage_was": name})
    if name == "intents":
        raise ContenderError("fell over")
    if name == "parts":
        await asyncio.Event().wait()


def one_third() -> float:
    return 1 / 3


def test_a_failing_stage_costs_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "run_stage", stage)
    monkeypatch.setattr(bench, "busy_share", one_third)
    monkeypatch.setitem(bench.LIMITS_S, "parts", 0.01)
    asyncio.run(bench.measure(list(STAGES), TINY, tmp_path / "bench.json", "command"))
    records = read_records(tmp_path / "bench.json")
    assert {name: record["stage_was"] for name, record in records.items()} == {
        name: name for name in STAGES
    }
    failed = {name: record["failed"] for name, record in records.items() if "failed" in record}
    assert failed["intents"] == "ContenderError: fell over"
    assert failed["parts"].startswith("stopped after 0")
    assert set(failed) == {"intents", "parts"}
    text = render(Found(records), tmp_path).read_text(encoding="utf-8")
    assert "intents: did not end: ContenderError: fell over" in text


def test_a_busy_machine_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "run_stage", stage)
    monkeypatch.setattr(bench, "busy_share", one_third)
    asyncio.run(bench.measure(["lookups"], TINY, tmp_path / "bench.json", "command"))
    text = render(read_found(tmp_path / "bench.json"), tmp_path).read_text(encoding="utf-8")
    assert "lookups: the machine was not idle when it began: 33% of its CPUs" in text


def test_wordings_are_exact_or_all_different() -> None:
    stored = [Question("How?", "how"), Question("Why?", "why")]

    def first(what: str, count: int, turn: int = 0) -> Sequence[str]:
        return [question.text for question in islice(wordings(what, stored, turn), count)]

    assert first(EXACT, 5) == ["How?", "Why?", "How?", "Why?", "How?"]
    assert len(set(first(REWORDED, 20))) == 20
    assert first(REWORDED, 20) == first(REWORDED, 20)
    assert set(first(REWORDED, 20)) == set(first(REWORDED, 20, turn=1))
    assert not set(first(REWORDED, 20)) & {"How?", "Why?"}


def test_stored_questions_are_apart() -> None:
    angles = np.radians([0, 10, 40, 45, 90, 95])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    questions = [Question(f"{number}", "any") for number in range(6)]
    assert [q.text for q in apart(questions, vectors, 0.1, 6)] == ["0", "2", "4"]
    assert [q.text for q in apart(questions, vectors, 0.1, 2)] == ["0", "2"]


# -- the proxies themselves


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("name", ["ours", "cachellm-proxy"])
async def test_proxies_answer_from_what_was_asked_before(name: str) -> None:
    stored = banking77("train")[:2]
    async with open_llm(0.01) as upstream:
        try:
            opening = open_proxy(name, upstream, 0.1)
            proxy = await opening.__aenter__()
        except ContenderError as error:
            if "pinned-env" not in str(error):
                raise
            pytest.skip(str(error))
        try:
            async with open_http(proxy.url, model="simulated") as target:
                await fill(target, stored)
                hits = ("exact", "hit"), ("semantic", "hit")
                for what, sources in zip((EXACT, REWORDED), hits, strict=True):
                    for question in islice(wordings(what, stored, 0), 4):
                        assert (await target.ask(question.text)).source in sources
        finally:
            await opening.__aexit__(None, None, None)
