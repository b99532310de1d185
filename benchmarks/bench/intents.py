"""LLM calls per intent: a burst, real popularity at a rate, and by so many callers."""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks.bench.field import OPENING_S, Field, open_field, rotated, say
from benchmarks.bench.record import Row
from benchmarks.bench.sizes import Sizes
from benchmarks.contenders.asking import Asked, Plan, ask, burst, zipf
from benchmarks.contenders.rounds import measure
from semcache_async.data import banking77
from semcache_async.load.measured.histogram import Histogram

__all__ = ["SCENARIOS", "run_intents"]

SCENARIOS = {
    "burst": "{callers} callers ask {intents} questions at one moment, each in its own way",
    "zipf": (
        "{zipf_requests} requests at {zipf_rate:g}/s, open loop, a tenth in flash crowds; "
        "popularity of the 77 intents by Zipf's law, s = {zipf:g}"
    ),
    "closed": (
        "{closed_requests} requests by {callers} callers who each ask again once answered; "
        "popularity of the 77 intents by Zipf's law, s = {zipf:g}"
    ),
}
_OWN = ("ours", "ours-flightless", "none")


async def run_intents(sizes: Sizes, keep: Callable[[Row], None]) -> None:
    """The stage; ``keep`` is given the whole record after every round."""
    said = {name: getattr(sizes, name) for name in sizes.__slots__}
    about = {name: text.format(**said) for name, text in SCENARIOS.items()}
    peers = [name for name in sizes.peers if name != "redisvl-threads"]
    rows: dict[str, dict[str, list[Row]]] = {name: {} for name in SCENARIOS}
    async with open_field((*_OWN, *peers), sizes.max_distance) as field:
        for turn in range(sizes.intents_rounds):
            for scenario, labels in rows.items():
                plan = make_plan(scenario, sizes, turn)
                for label in rotated(list(field.workers), turn):
                    asked = await field.attempt(label, one(field, label, plan, sizes, turn))
                    if asked is None:
                        continue
                    labels.setdefault(label, []).append(plain(asked))
                    say(
                        f"{scenario} {turn + 1}: {label}: {asked.llm_calls} LLM calls for "
                        f"{asked.intents} intents, p50 {asked.at(50):.0f} ms"
                    )
            llm = {"median_ms": sizes.llm_ms, "sigma": sizes.llm_sigma}
            keep({**field.record(), "scenarios": about, "llm": llm, "turns": rows})


def make_plan(scenario: str, sizes: Sizes, turn: int) -> Plan:
    questions, seed = banking77("test"), sizes.seed + turn
    if scenario == "burst":
        return burst(questions, callers=sizes.callers, intents=sizes.intents, seed=seed)
    requests = sizes.zipf_requests if scenario == "zipf" else sizes.closed_requests
    plan = zipf(questions, requests=requests, rate=sizes.zipf_rate, exponent=sizes.zipf, seed=seed)
    return plan if scenario == "zipf" else plan._replace(at_s=[])


async def one(field: Field, label: str, plan: Plan, sizes: Sizes, turn: int) -> Asked:
    """One turn, from an empty cache, in at most a few times what its LLM calls take."""
    worker = field.workers[label]
    await field.client.flushall()
    await worker.ask("open", within_s=OPENING_S, name=f"turn{time.monotonic_ns()}")
    warm = [question.text for question in banking77("train")][: sizes.callers]
    for callers in (sizes.callers, 1):
        await measure(
            *(worker, field.client, "lookup", warm, callers), limit_s=0.5, within_s=OPENING_S
        )
    llm = {"median_s": sizes.llm_ms / 1e3, "sigma": sizes.llm_sigma, "seed": sizes.seed + turn}
    callers_or_times = None if plan.at_s else sizes.callers
    lasts = plan.at_s[-1] if plan.at_s else len(plan.texts) / sizes.callers * 2.0
    asked = await ask(
        *(worker, field.client, plan, llm, callers_or_times), within_s=5.0 * lasts + 120.0
    )
    await worker.ask("close", within_s=OPENING_S)
    return asked


def plain(asked: Asked) -> Row:
    """With its latencies as a histogram."""
    row = asked._asdict()
    row["latency"] = Histogram(ms / 1e3 for ms in row.pop("latencies_ms")).encode()
    return row
