"""Against what people would use instead: lookups and their latency, LLM calls and theirs.

    python -m benchmarks.versus [--contenders ours,redisvl-async,redisvl-threads]
        [--scenario lookups|burst|zipf] [--callers 64] [--rounds 5] [--max-distance 0.1]
        [--json FILE] and, by scenario,
        lookups: [--entries 10000] [--texts 1000] [--rest 50]
        burst:   [--intents 8] [--llm-ms 800] [--llm-sigma 0.35] [--seed 0]
        zipf:    [--texts 1000] [--rate 30, or 0 for a closed loop] [--zipf 1.1] and the LLM's

One Redis, started here; each contender in a process and an environment of its own
(``scripts/contender-env``), in turns, the first one of a round another each time. For lookups all
hold the same BANKING77 train questions and are asked the same test questions. In the others every
turn begins with an empty cache, and a simulated LLM answers what is missed. Name one contender
twice to see the noise.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import redis.asyncio
import uvloop

from benchmarks.contenders import Setup
from benchmarks.contenders.asking import Plan, ask, burst, zipf
from benchmarks.contenders.machine import describe
from benchmarks.contenders.model import write_model
from benchmarks.contenders.process import ContenderError, Worker, start_worker
from benchmarks.contenders.report import Row, raw, report
from benchmarks.contenders.rounds import Round, measure
from semcache_async.data import banking77
from semcache_async.store.embedded import embedded_redis

ANSWER, WARM_UP, EMBEDDED = 300, 64, 300


def answer_to(number: int, prompt: str) -> str:
    """About as long as a short answer of an LLM, and no other's."""
    return (f"Answer {number} to: " + f"{prompt} " * ANSWER)[:ANSWER]


async def run(options: argparse.Namespace) -> Row:
    """Every figure, raw."""
    async with AsyncExitStack() as stack:
        model = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="versus-")))
        write_model(model)
        url = await stack.enter_async_context(embedded_redis())
        client = redis.asyncio.Redis.from_url(url, protocol=3, decode_responses=True)
        stack.push_async_callback(client.aclose)
        workers: dict[str, Worker] = {}
        for number, name in enumerate(options.contenders):
            label = name if name not in workers else f"{name} ({number})"
            setup = Setup(
                name=f"versus{number}",
                redis_url=url,
                model=model,
                max_distance=options.max_distance,
            )
            workers[label] = await stack.enter_async_context(start_worker(name, setup))
        compare = compare_lookups if options.scenario == "lookups" else compare_asked
        contenders = await compare(workers, client, options)
        server = await client.info("server")
        modules = {module["name"]: module["ver"] for module in await client.module_list()}
    return {
        "machine": describe(),
        "redis": {"version": server["redis_version"], "modules": modules},
        "options": {key: value for key, value in vars(options).items() if key != "json"},
        "contenders": contenders,
    }


async def compare_lookups(
    workers: dict[str, Worker], client: redis.asyncio.Redis, options: argparse.Namespace
) -> dict[str, Row]:
    stored = [question.text for question in banking77("train")][: options.entries]
    pairs = [(prompt, answer_to(number, prompt)) for number, prompt in enumerate(stored)]
    asked = itertools.cycle([question.text for question in banking77("test")])
    contenders: dict[str, Row] = {}
    for label, worker in workers.items():
        opened = await worker.ask("open")
        filled = await worker.ask("fill", pairs=pairs)
        contenders[label] = {
            "about": opened["about"],
            "versions": opened["versions"],
            "fill_s": filled["elapsed_s"],
            "rounds": [],
        }
        say(f"{label}: {len(pairs)} entries in {filled['elapsed_s']:.0f} s")
    for label, worker in workers.items():
        warm = list(itertools.islice(asked, WARM_UP))
        for callers in (options.callers, 1):
            await measure(worker, client, "lookup", warm, callers)
        say(f"{label}: warm")
    for turn in range(options.rounds):
        texts = list(itertools.islice(asked, options.texts))
        for label in rotated(list(workers), turn):
            taken = await take_turn(workers[label], client, texts, options)
            contenders[label]["rounds"].append(taken)
            say(f"round {turn + 1}: {label}: {taken.load.per_s:.0f} lookups/s")
    return contenders


async def compare_asked(
    workers: dict[str, Worker], client: redis.asyncio.Redis, options: argparse.Namespace
) -> dict[str, Row]:
    """One contender is open at a time; Redis is emptied in between."""
    warm = [question.text for question in banking77("train")][:WARM_UP]
    contenders: dict[str, Row] = {}
    for turn in range(options.rounds):
        plan = make_plan(options, turn)
        llm = {"median_s": options.llm_ms / 1e3, "sigma": options.llm_sigma, "seed": turn}
        for label in rotated(list(workers), turn):
            worker = workers[label]
            await client.flushall()
            opened = await worker.ask("open", name=f"turn{turn}")
            row = {"about": opened["about"], "versions": opened["versions"], "rounds": []}
            for callers in (options.callers, 1):
                await measure(worker, client, "lookup", warm, callers)
            closed = options.scenario == "zipf" and not options.rate
            taken = await ask(worker, client, plan, llm, options.callers if closed else None)
            await worker.ask("close")
            contenders.setdefault(label, row)["rounds"].append(taken)
            say(
                f"round {turn + 1}: {label}: {taken.llm_calls} LLM calls for {taken.intents} "
                f"intents, p50 {taken.at(50):.0f} ms"
            )
            if taken.failures:
                say(f"  {len(taken.failures)} failed, the first one by {taken.failures[0]}")
    return contenders


def make_plan(options: argparse.Namespace, turn: int) -> Plan:
    questions, seed = banking77("test"), options.seed + turn
    if options.scenario == "burst":
        return burst(questions, callers=options.callers, intents=options.intents, seed=seed)
    return zipf(
        questions,
        requests=options.texts,
        rate=options.rate or 1.0,
        exponent=options.zipf,
        seed=seed,
    )


async def take_turn(
    worker: Worker, client: redis.asyncio.Redis, texts: list[str], options: argparse.Namespace
) -> Round:
    some, few = texts[:EMBEDDED], texts[: options.rest]
    return Round(
        load=await measure(worker, client, "lookup", texts, options.callers),
        rest=await measure(worker, client, "lookup", few, 1),
        embed=await measure(worker, client, "embed", some, options.callers),
        embed_rest=await measure(worker, client, "embed", few, 1),
    )


def rotated(names: list[str], turn: int) -> list[str]:
    shift = turn % len(names)
    return names[shift:] + names[:shift]


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--contenders",
        type=lambda names: names.split(","),
        default=["ours", "redisvl-async", "redisvl-threads"],
    )
    parser.add_argument("--scenario", choices=("lookups", "burst", "zipf"), default="lookups")
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--texts", type=int, default=1_000, help="a round")
    parser.add_argument("--rest", type=int, default=50, help="texts a round for the one caller")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-distance", type=float, default=0.1, help="cosine, 0..2")
    parser.add_argument("--intents", type=int, default=8, help="of a burst")
    parser.add_argument("--rate", type=float, default=30.0, help="requests/s; 0: closed loop")
    parser.add_argument("--zipf", type=float, default=1.1, help="exponent")
    parser.add_argument("--llm-ms", type=float, default=800.0, help="its median")
    parser.add_argument("--llm-sigma", type=float, default=0.35)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the raw figures")
    options = parser.parse_args()
    if options.scenario == "lookups" and "none" in options.contenders:
        parser.error("none looks nothing up; compare it by --scenario burst or zipf")
    try:
        found = uvloop.run(run(options))
    except (ContenderError, LookupError) as error:
        sys.exit(str(error))
    for line in report(found):
        print(line)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(raw(found), encoding="utf-8")


if __name__ == "__main__":
    main()
