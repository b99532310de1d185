"""A run's figures as a table, and raw."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from benchmarks.contenders.asking import Asked
from benchmarks.contenders.rounds import Round

PERCENTILES = (50.0, 90.0, 99.0, 99.9)

Row: TypeAlias = dict[str, Any]


def spread(values: Sequence[float], digits: int) -> str:
    """Median and range."""
    return f"{np.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def report(found: Row) -> Iterator[str]:
    machine, options = found["machine"], found["options"]
    contenders: dict[str, Row] = found["contenders"]
    modules = ", ".join(f"{name} {version}" for name, version in found["redis"]["modules"].items())
    yield (
        f"{machine['cpu']}, {machine['cpus']} CPUs, {' '.join(machine['flags'])}; "
        f"{machine['system']}; Redis {found['redis']['version']} ({modules})"
    )
    for label, row in contenders.items():
        versions = ", ".join(f"{name} {version}" for name, version in row["versions"].items())
        yield f"{label}: {row['about']}; {versions}"
    tables = _lookups if options["scenario"] == "lookups" else _asked
    yield from tables(contenders, options)


def _lookups(contenders: dict[str, Row], options: Row) -> Iterator[str]:
    rounds: dict[str, list[Round]] = {label: row["rounds"] for label, row in contenders.items()}
    first = next(iter(rounds))
    yield (
        f"{options['entries']} entries, {options['texts']} texts a round, {options['rounds']} "
        f"rounds in turns, distance <= {options['max_distance']}; medians over rounds (range), "
        "p99.9 over all"
    )
    yield ""
    heads = "".join(f"{head:>9}" for head in ("p50", "p90", "p99", "p99.9"))
    yield f"{options['callers']} callers{'':8}{'lookups/s':>22}{heads} ms{'hits':>8}"
    for label, turns in rounds.items():
        times = [float(np.median([turn.load.at(p) for turn in turns])) for p in PERCENTILES[:-1]]
        pooled = list(itertools.chain.from_iterable(turn.load.latencies_ms for turn in turns))
        times.append(float(np.percentile(pooled, PERCENTILES[-1])))
        hits = sum(answer is not None for turn in turns for answer in turn.load.answers)
        yield (
            f"{label:18}{spread([turn.load.per_s for turn in turns], 1):>22}"
            f"{''.join(f'{time:9.1f}' for time in times)}   {hits:8}"
        )
    yield ""
    yield (
        f"{'':18}{'one caller, ms':>18}{'p99':>8}{'embedding alone/s':>23}{'one caller, ms':>20}"
        f"{'CPU ms a lookup':>17}{'Redis':>7}{'idle CPU':>10}{'fill s':>8}"
    )
    for label, turns in rounds.items():
        idle = max(turn.load.idle_cpu for turn in turns)
        yield (
            f"{label:18}{spread([turn.rest.at(50) for turn in turns], 1):>18}"
            f"{np.median([turn.rest.at(99) for turn in turns]):8.1f}"
            f"{spread([turn.embed.per_s for turn in turns], 1):>23}"
            f"{spread([turn.embed_rest.at(50) for turn in turns], 1):>20}"
            f"{np.median([turn.load.worker_cpu_ms for turn in turns]):17.1f}"
            f"{np.median([turn.load.redis_cpu_ms for turn in turns]):7.2f}"
            f"{idle:10.1%}{contenders[label]['fill_s']:8.0f}"
        )
    if len(rounds) > 1:
        yield ""
        yield (
            f"{first + ' to':18}{'lookups/s':>22}{'p50':>20}{'p99':>20}{'one caller':>20}"
            f"{'embedding alone':>22}{'other answers':>15}"
        )
    for label in list(rounds)[1:]:
        both = list(zip(rounds[first], rounds[label], strict=True))
        other = sum(
            a != b
            for ours, theirs in both
            for a, b in zip(ours.load.answers, theirs.load.answers, strict=True)
        )
        asked = sum(len(ours.load.answers) for ours, _ in both)
        yield (
            f"{label:18}{spread([a.load.per_s / b.load.per_s for a, b in both], 2):>22}"
            f"{spread([a.load.at(50) / b.load.at(50) for a, b in both], 3):>20}"
            f"{spread([a.load.at(99) / b.load.at(99) for a, b in both], 3):>20}"
            f"{spread([a.rest.at(50) / b.rest.at(50) for a, b in both], 3):>20}"
            f"{spread([a.embed.per_s / b.embed.per_s for a, b in both], 2):>22}"
            f"{f'{other}/{asked}':>15}"
        )


def _asked(contenders: dict[str, Row], options: Row) -> Iterator[str]:
    rounds: dict[str, list[Asked]] = {label: row["rounds"] for label, row in contenders.items()}
    first = next(iter(rounds))
    some = rounds[first][0]
    yield f"{_plan(some, options)}, each turn from an empty cache"
    yield (
        f"{options['rounds']} rounds in turns, distance <= {options['max_distance']}; LLM: "
        f"lognormal, median {options['llm_ms']:g} ms, sigma {options['llm_sigma']:g}; "
        "medians over rounds (range)"
    )
    yield ""
    yield (
        f"{'':18}{'LLM calls':>20}{'an intent':>20}{'p50 ms':>24}{'p90':>9}{'p99':>9}{'most':>9}"
        f"{'answers/s':>11}{'late ms':>9}{'CPU ms':>8}{'Redis':>7}{'other intent':>14}{'failed':>8}"
    )
    for label, turns in rounds.items():
        over = [float(np.median([turn.at(p) for turn in turns])) for p in (90.0, 99.0, 100.0)]
        other = sum(turn.other_intent for turn in turns)
        requests = sum(turn.requests for turn in turns)
        yield (
            f"{label:18}{spread([turn.llm_calls for turn in turns], 0):>20}"
            f"{spread([turn.per_intent for turn in turns], 2):>20}"
            f"{spread([turn.at(50) for turn in turns], 1):>24}"
            f"{''.join(f'{time:9.1f}' for time in over)}"
            f"{np.median([turn.per_s for turn in turns]):11.1f}"
            f"{np.median([turn.late_ms for turn in turns]):9.1f}"
            f"{np.median([turn.worker_cpu_ms for turn in turns]):8.1f}"
            f"{np.median([turn.redis_cpu_ms for turn in turns]):7.2f}"
            f"{f'{other}/{requests}':>14}{sum(len(turn.failures) for turn in turns):8}"
        )
    if len(rounds) > 1:
        yield ""
        yield f"{first + ' to':18}{'LLM calls':>24}{'p50':>24}{'p99':>24}"
    for label in list(rounds)[1:]:
        both = list(zip(rounds[first], rounds[label], strict=True))
        yield (
            f"{label:18}{spread([a.llm_calls / b.llm_calls for a, b in both], 3):>24}"
            f"{spread([a.at(50) / b.at(50) for a, b in both], 3):>24}"
            f"{spread([a.at(99) / b.at(99) for a, b in both], 3):>24}"
        )


def _plan(some: Asked, options: Row) -> str:
    if options["scenario"] == "burst":
        return f"{some.requests} callers ask {some.intents} intents at once"
    way = f"at {options['rate']:g}/s, open loop" if options["rate"] else "closed loop"
    if not options["rate"]:
        way += f" of {options['callers']} callers"
    return f"{some.requests} requests, Zipf {options['zipf']:g} over 77 intents, {way}"


def raw(found: Row) -> str:
    """As JSON, answers by whether there was one."""
    contenders = {
        label: {**row, "rounds": [_plain(taken) for taken in row["rounds"]]}
        for label, row in found["contenders"].items()
    }
    return json.dumps({**found, "contenders": contenders}, indent=1)


def _plain(taken: Round | Asked) -> Row:
    if isinstance(taken, Asked):
        return taken._asdict()
    row: Row = {}
    for name, loop in taken._asdict().items():
        row[name] = {**loop._asdict(), "hits": sum(a is not None for a in loop.answers)}
        del row[name]["answers"], row[name]["lag_ms"]
    return row
