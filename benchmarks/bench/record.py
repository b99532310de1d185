"""What a stage leaves behind, as a file and as figures."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from benchmarks.contenders.rounds import Loop
from semcache_async.load.measured.histogram import Histogram
from semcache_async.load.measured.machine import Machine, describe_machine
from semcache_async.load.measured.result import Result

__all__ = [
    *("STAGES", "Row", "kind_of", "make_result", "read_records", "read_results"),
    *("texts_from", "this_machine", "write_record", "write_results"),
]

Row: TypeAlias = dict[str, Any]
STAGES = ("lookups", "intents", "parts", "embedder", "http")

_KINDS = {
    "amx_bf16": "amx",
    "avx512_bf16": "avx512-bf16",
    "avx512f": "avx512",
    "avx2": "avx2",
    "asimd": "neon",
}


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
        machine=this_machine(),
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


def write_record(path: Path, stage: str, found: Row, *, command: str, began: float) -> None:
    """Among the others in ``path``, which is whole or is not written."""
    record = {
        "stage": stage,
        "when": time.strftime("%Y-%m-%d %H:%M %Z"),
        "seconds": round(time.perf_counter() - began, 1),
        "command": command,
        "machine": msgspec.to_builtins(this_machine()),
        **found,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps({**read_records(path), stage: record}), encoding="utf-8")
    new.replace(path)


def read_records(path: Path) -> dict[str, Row]:
    """By stage; none where there is no file."""
    if not path.exists():
        return {}
    records: dict[str, Row] = json.loads(path.read_text(encoding="utf-8"))
    return records


def texts_from(texts: Sequence[str], start: int, count: int) -> list[str]:
    """``count`` of them in a circle."""
    shift = start % len(texts)
    return list(itertools.islice(itertools.cycle([*texts[shift:], *texts[:shift]]), count))


@cache
def this_machine() -> Machine:
    """Described once."""
    return describe_machine()


def kind_of(machine: Machine) -> str:
    """What decides how fast the embedder is: the name of a directory in ``results``."""
    return next((kind for flag, kind in _KINDS.items() if flag in machine.flags), "other")
