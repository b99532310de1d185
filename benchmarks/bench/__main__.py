"""Everything that is compared, in one run, and the report of it.

    python -m benchmarks.bench [--quick] [--stages lookups,intents,parts,embedder,http]
        [--render] [--out benchmarks/out/bench] [--results benchmarks/results]

Each stage is bounded in time and leaves its figures in ``--out``; one that fails is named in the
report, and the others stand. ``--render`` measures nothing and draws what is there. ``--tiny`` only
shows that it all works. Contenders whose environments ``scripts/contender-env`` has not made are
left out, and named.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import shlex
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop

from benchmarks.bench.field import say
from benchmarks.bench.http import run_http
from benchmarks.bench.intents import run_intents
from benchmarks.bench.lookups import run_lookups
from benchmarks.bench.parts import run_embedder, run_parts
from benchmarks.bench.quiet import busy_share
from benchmarks.bench.record import STAGES, Row, write_record
from benchmarks.bench.report import render
from benchmarks.bench.sizes import QUICK, TINY, WHOLE, Sizes

LIMITS_S = {"lookups": 1_150.0, "intents": 600.0, "parts": 240.0, "embedder": 150.0, "http": 300.0}
"""A stage still going on by then has failed; what it kept so far stays."""

Keep = Callable[[Row], None]


async def measure(stages: list[str], sizes: Sizes, out: Path, command: str) -> None:
    """Every stage in turn."""
    for stage in stages:
        kept: Row = {"busy": await asyncio.to_thread(busy_share)}
        began = time.perf_counter()
        say(f"== {stage} (others use {kept['busy']:.0%} of the CPUs)")
        (out / f"{stage}.json").unlink(missing_ok=True)

        def keep(found: Row, stage: str = stage, began: float = began, kept: Row = kept) -> None:
            kept.update(found)
            write_record(out, stage, kept, command=command, began=began)

        failure = ""
        try:
            async with asyncio.timeout(LIMITS_S[stage]):
                await run_stage(stage, sizes, out, keep)
        except TimeoutError:
            failure = f"stopped after {LIMITS_S[stage]:.0f} s"
        except Exception as error:
            traceback.print_exc()
            failure = f"{type(error).__name__}: {error}"[:500]
        if failure:
            say(f"{stage} failed: {failure}")
            write_record(out, stage, {**kept, "failed": failure}, command=command, began=began)
        say(f"== {stage}: {time.perf_counter() - began:.0f} s")


async def run_stage(stage: str, sizes: Sizes, out: Path, keep: Keep) -> None:
    runs: dict[str, Callable[[], Awaitable[None]]] = {
        "lookups": functools.partial(run_lookups, sizes, out.parent, keep),
        "intents": functools.partial(run_intents, sizes, keep),
        "http": functools.partial(run_http, sizes, out.parent, keep),
    }
    if stage in runs:
        await runs[stage]()
    else:
        keep(await (run_parts if stage == "parts" else run_embedder)(sizes))


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare everything; write the report.")
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--quick", action="store_true", help="some four minutes in place of half an hour"
    )
    size.add_argument("--tiny", action="store_true", help="only to see that it works")
    parser.add_argument(
        "--stages",
        type=lambda names: [name for name in names.split(",") if name],
        default=list(STAGES),
        help=f"of {','.join(STAGES)}",
    )
    parser.add_argument("--render", action="store_true", help="draw what was measured before")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/out/bench"))
    parser.add_argument("--results", type=Path, default=Path("benchmarks/results"))
    chosen = parser.parse_args()
    if strange := set(chosen.stages) - set(STAGES):
        parser.error(f"no such stage: {', '.join(sorted(strange))}")
    sizes = QUICK if chosen.quick else TINY if chosen.tiny else WHOLE
    if not chosen.render:
        command = shlex.join(["python", "-m", "benchmarks.bench", *sys.argv[1:]])
        uvloop.run(measure(chosen.stages, sizes, chosen.out, command))
    print(render(chosen.out, chosen.results))


if __name__ == "__main__":
    main()
