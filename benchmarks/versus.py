"""Lookups a second and their latency against what people would use instead.

    python -m benchmarks.versus [--contenders ours,redisvl-async,redisvl-threads] [--callers 64]
        [--entries 10000] [--texts 1000] [--rounds 5] [--max-distance 0.1] [--json FILE]

One Redis, started here; each contender in a process and an environment of its own
(``scripts/contender-env``). All hold the same BANKING77 train questions and are asked the same
test questions, in turns, the first one of a round another each time. Name one contender twice to
see the noise.
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
    stored = [question.text for question in banking77("train")][: options.entries]
    pairs = [(prompt, answer_to(number, prompt)) for number, prompt in enumerate(stored)]
    asked = itertools.cycle([question.text for question in banking77("test")])
    async with AsyncExitStack() as stack:
        model = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="versus-")))
        write_model(model)
        url = await stack.enter_async_context(embedded_redis())
        client = redis.asyncio.Redis.from_url(url, protocol=3, decode_responses=True)
        stack.push_async_callback(client.aclose)
        workers: dict[str, Worker] = {}
        contenders: dict[str, Row] = {}
        for number, name in enumerate(options.contenders):
            label = name if name not in workers else f"{name} ({number})"
            setup = Setup(
                name=f"versus{number}",
                redis_url=url,
                model=model,
                max_distance=options.max_distance,
            )
            worker = await stack.enter_async_context(start_worker(name, setup))
            workers[label] = worker
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
        server = await client.info("server")
        modules = {module["name"]: module["ver"] for module in await client.module_list()}
    return {
        "machine": describe(),
        "redis": {"version": server["redis_version"], "modules": modules},
        "options": {key: value for key, value in vars(options).items() if key != "json"},
        "contenders": contenders,
    }


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
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument("--texts", type=int, default=1_000, help="a round")
    parser.add_argument("--rest", type=int, default=50, help="texts a round for the one caller")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--max-distance", type=float, default=0.1, help="cosine, 0..2")
    parser.add_argument("--json", type=Path, help="where to write the raw figures")
    options = parser.parse_args()
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
