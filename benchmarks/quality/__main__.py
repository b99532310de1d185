"""Run it: ``python -m benchmarks.quality [--quick] [--model NAME] [--data FILE ...]``.

FILE holds one's own questions in the order of arrival, as JSON lines: {"text": ..., "intent": ...}.
"""

from __future__ import annotations

import argparse
import platform
import sys
from pathlib import Path

from benchmarks.quality.data import pair_sets, read_replay, replays
from benchmarks.quality.report import write
from benchmarks.quality.run import Plan, run_all
from benchmarks.quality.vectors import Remembered
from semcache_async.embed import load_embedder

_OUT = Path(__file__).parents[1] / "out"


def main() -> None:
    """Everything, then the report."""
    options = argparse.ArgumentParser(description=__doc__, prog="python -m benchmarks.quality")
    options.add_argument("--quick", action="store_true", help="800 requests, one order, 600 pairs")
    options.add_argument("--requests", type=int, help="of each replay, at most (4000)")
    options.add_argument("--orders", type=int, help="of each replay (2)")
    options.add_argument("--data", type=Path, action="append", default=[], metavar="FILE")
    options.add_argument("--own-only", action="store_true", help="replay --data alone; no pairs")
    options.add_argument("--model", help="a name or directory (the default model)")
    options.add_argument("--out", type=Path, default=_OUT, metavar="FOLDER")
    given = options.parse_args()
    basis = Plan(800, 1, 600) if given.quick else Plan()
    plan = Plan(given.requests or basis.requests, given.orders or basis.orders, basis.pairs)
    embedder = load_embedder(given.model)
    found = run_all(
        plan,
        Remembered(embedder, _OUT),
        map(read_replay, given.data) if given.own_only else replays(given.data),
        pair_sets() if not given.own_only else (),
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    about = (
        f"Model {embedder.fingerprint[:12]} by {embedder.backend}; Python "
        f"{platform.python_version()}, {platform.machine()}; {found.seconds:.0f} s."
    )
    for path in write(found, plan, about, given.out):
        print(path)


if __name__ == "__main__":
    main()
