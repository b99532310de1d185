"""What a stage leaves behind, as a file and as figures."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from benchmarks.contenders.rounds import Loop
from semcache_async.load.histogram import Histogram
from semcache_async.load.machine import Machine, describe_machine
from semcache_async.load.result import Result

__all__ = [
    *("STAGES", "Row", "make_result", "read_record", "read_results", "texts_from"),
    *("write_record", "write_results"),
]

Row: TypeAlias = dict[str, Any]
STAGES = ("lookups", "intents", "parts", "embedder", "http")

_MACHINE: list[Machine] = []


def make_result(
    name: str,
    loop: Loop,
    *,
    workload: str,
    seed: int,
    callers: int | None = None,
    at_s: Sequence[float] = (),
    rate: float | None = None,
    window_s: float = 0.0,
) -> Result:
    """Of a closed loop of ``callers``, or of an open one at ``rate`` for ``window_s``."""
    seconds = [ms / 1e3 for ms in loop.latencies_ms]
    latency = {
        source: Histogram(
            s for s, a in zip(seconds, loop.answers, strict=True) if (a is None) == no
        )
        for source, no in (("semantic", False), ("miss", True))
    }
    due = len(seconds)
    if rate is None:
        window_s, answered = loop.elapsed_s, due
    else:
        answered = sum(at + s < window_s for at, s in zip(at_s, seconds, strict=True))
    return Result(
        name=name,
        workload=workload,
        seed=seed,
        target_rate=rate,
        callers=callers,
        warm_up_s=0.0,
        duration_s=window_s,
        latency={source: times.encode() for source, times in latency.items() if len(times)},
        service=Histogram().encode(),
        lateness=Histogram().encode(),
        first_token=Histogram().encode(),
        lag=Histogram(ms / 1e3 for ms in loop.lag_ms).encode(),
        due=due,
        answered=answered,
        errors={},
        held=0,
        peak=callers or 0,
        requests=due,
        llm_calls=None,
        intents=0,
        machine=_machine(),
    )


def write_results(results: Iterable[Result]) -> list[Row]:
    """Without the machine, which a record has once."""
    rows: list[Row] = msgspec.to_builtins(list(results))
    for row in rows:
        del row["machine"]
    return rows


def read_results(record: Row, field: str = "results") -> list[Result]:
    rows = [{**row, "machine": record["machine"]} for row in record.get(field, ())]
    return msgspec.convert(rows, list[Result])


def write_record(directory: Path, stage: str, found: Row, *, command: str, began: float) -> None:
    """``STAGE.json``; the file is whole or is not written."""
    record = {
        "stage": stage,
        "when": time.strftime("%Y-%m-%d %H:%M %Z"),
        "seconds": round(time.perf_counter() - began, 1),
        "command": command,
        "machine": msgspec.to_builtins(_machine()),
        **found,
    }
    directory.mkdir(parents=True, exist_ok=True)
    new = directory / f"{stage}.json.new"
    new.write_text(json.dumps(record), encoding="utf-8")
    new.replace(directory / f"{stage}.json")


def read_record(directory: Path, stage: str) -> Row | None:
    path = directory / f"{stage}.json"
    if not path.exists():
        return None
    record: Row = json.loads(path.read_text(encoding="utf-8"))
    return record


def texts_from(texts: Sequence[str], start: int, count: int) -> list[str]:
    """``count`` of them in a circle."""
    shift = start % len(texts)
    return list(itertools.islice(itertools.cycle([*texts[shift:], *texts[:shift]]), count))


def _machine() -> Machine:
    if not _MACHINE:
        _MACHINE.append(describe_machine())
    return _MACHINE[0]
