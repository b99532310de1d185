"""Everything that is compared, in one run, and the report of it.

    python -m benchmarks.bench [--quick] [--stages lookups,intents,parts,embedder,http]
        [--render] [--results DIRECTORY]
    python -m benchmarks.bench --against CHECKOUT [--quick]

Each stage is bounded in time and leaves its figures in ``bench.json``; one that fails is named in
the report, and the others stand. The directory of a whole run is ``benchmarks/results/KIND``, by
the kind of CPU, of any other ``benchmarks/out``. ``--render`` measures nothing and draws what is
there. ``--tiny`` only shows that it all works. Contenders whose environments
``scripts/pinned-env`` has not made are left out, and named. ``--against`` compares with another
checkout of ours, and with nobody else.
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

from benchmarks.bench import against
from benchmarks.bench.field import say
from benchmarks.bench.figures import RESULTS, read_found
from benchmarks.bench.http import run_http
from benchmarks.bench.intents import run_intents
from benchmarks.bench.lookups import run_lookups
from benchmarks.bench.parts import run_embedder, run_parts
from benchmarks.bench.quiet import busy_share
from benchmarks.bench.record import STAGES, Row, kind_of, this_machine, write_record
from benchmarks.bench.report import render
from benchmarks.bench.sizes import QUICK, TINY, WHOLE, Sizes
from benchmarks.contenders.process import ROOT

OUT = ROOT / "benchmarks" / "out"
LIMITS_S = {"lookups": 1_150.0, "intents": 600.0, "parts": 240.0, "embedder": 150.0, "http": 300.0}
"""A stage still going on by then has failed; what it kept so far stays."""

Keep = Callable[[Row], None]


async def measure(stages: list[str], sizes: Sizes, path: Path, command: str) -> None:
    """Every stage in turn, into the file ``path``."""
    for stage in stages:
        kept: Row = {"busy": await asyncio.to_thread(busy_share)}
        began = time.perf_counter()
        say(f"== {stage} (others use {kept['busy']:.0%} of the CPUs)")

        def keep(found: Row, stage: str = stage, began: float = began, kept: Row = kept) -> None:
            kept.update(found)
            write_record(path, stage, kept, command=command, began=began)

        failure = ""
        try:
            async with asyncio.timeout(LIMITS_S[stage]):
                await run_stage(stage, sizes, keep)
        except TimeoutError:
            failure = f"stopped after {LIMITS_S[stage]:.0f} s"
        except Exception as error:
            traceback.print_exc()
            failure = f"{type(error).__name__}: {error}"[:500]
        if failure:
            say(f"{stage} failed: {failure}")
            keep({"failed": failure})
        say(f"== {stage}: {time.perf_counter() - began:.0f} s")


async def run_stage(stage: str, sizes: Sizes, keep: Keep) -> None:
    runs: dict[str, Callable[[], Awaitable[None]]] = {
        "lookups": functools.partial(run_lookups, sizes, OUT, keep),
        "intents": functools.partial(run_intents, sizes, keep),
        "http": functools.partial(run_http, sizes, OUT, keep),
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
    parser.add_argument("--against", type=Path, help="the root of another checkout of ours")
    parser.add_argument("--results", type=Path, help="where the report goes")
    chosen = parser.parse_args()
    if strange := set(chosen.stages) - set(STAGES):
        parser.error(f"no such stage: {', '.join(sorted(strange))}")
    name, sizes = ("quick", QUICK) if chosen.quick else ("tiny", TINY)
    if whole := not (chosen.quick or chosen.tiny):
        sizes = WHOLE
    if chosen.against:
        record = uvloop.run(against.run_against(sizes, OUT, chosen.against))
        written = against.render(record, chosen.results or OUT / "against")
        print(written.read_text(encoding="utf-8"))
        return
    own = RESULTS / kind_of(this_machine()) if whole else OUT / name
    directory = chosen.results or own
    if not chosen.render:
        command = shlex.join(["python", "-m", "benchmarks.bench", *sys.argv[1:]])
        uvloop.run(measure(chosen.stages, sizes, directory / "bench.json", command))
    print(render(read_found(directory / "bench.json"), directory))


if __name__ == "__main__":
    main()
