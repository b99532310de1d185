"""How often promises fail, by simulation: ``python -m benchmarks.quality.promise [--draws 300]``.

Samples are drawn from curves whose precision is known at every distance; a promise fails where the
true precision of what it would serve is below its target. ``each`` tests every distance as if it
were the only one, ``careful`` allows for the search, ``split`` is what ``semcache calibrate`` does.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from semcache_async.bounds.histogram import WIDTH, Histogram
from semcache_async.bounds.precision import promise
from semcache_async.tune.calibrate import clearest

__all__ = ["curves", "simulate"]

Floats = NDArray[np.float64]
_BUCKETS = 125
NEAR: Floats = (np.arange(_BUCKETS, dtype=np.float64) + 0.5) * WIDTH
SHARES: Floats = np.asarray(NEAR**1.5 / np.sum(NEAR**1.5), np.float64)
"""Most neighbours lie far out, as they do among real questions."""


def curves(target: float) -> Iterator[tuple[str, Floats]]:
    """Names and precisions by distance."""
    bad = 1.0 - target
    yield "flat, a hair below the target", np.full(_BUCKETS, target - 1e-9)
    yield "flat, a quarter more wrong", np.full(_BUCKETS, 1.0 - 1.25 * bad)
    yield "falling in a line", np.clip(1.0 - bad * NEAR / 0.06, 0.0, 1.0)
    yield "falling as a logistic curve", 1.0 / (1.0 + np.exp((NEAR - 0.17) / 0.015))
    steps = [1.0 - 0.35 * bad, 1.0 - 0.66 * bad, 1.0 - 1.5 * bad]
    yield (
        "like assistant commands",
        np.select([x > NEAR for x in (0.05, 0.15, 0.2)], steps, 1 - 3 * bad),
    )
    yield "a step", np.where(NEAR < 0.1, 1.0 - 0.3 * bad, 1.0 - 10.0 * bad)
    yield "traps near", np.where(NEAR < 0.04, 1.0 - 3.0 * bad, 1.0 - 0.6 * bad)


def simulate(
    precision: Floats, target: float, count: int, draws: int, random: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """By way: how often the promise failed, and which share of what could be served it found."""
    reached = np.cumsum(SHARES)
    true = np.cumsum(precision * SHARES) / reached
    possible = np.flatnonzero(true >= target)
    ideal = reached[possible.max()] if len(possible) else np.nan
    failed: dict[str, float] = {}
    found: dict[str, float] = {}
    for _ in range(draws):
        total = random.multinomial(count, SHARES)
        wrong = random.binomial(total, 1.0 - precision)
        first = random.binomial(total, 1.0 / 3.0)
        first_wrong = random.hypergeometric(wrong, total - wrong, first)
        every, start = _histogram(total, wrong), _histogram(first, first_wrong)
        rest = _histogram(total - first, wrong - first_wrong)
        for way, made in (
            ("each", promise(every, target=target, careful=False)),
            ("careful", promise(every, target=target)),
            ("split", promise(rest, target=target, starts=(clearest(start, target),))),
        ):
            place = -1 if made.max_distance is None else round(made.max_distance / WIDTH) - 1
            kept = place >= 0 and true[place] >= target
            failed[way] = failed.get(way, 0.0) + (place >= 0 and not kept) / draws
            found[way] = found.get(way, 0.0) + (reached[place] / ideal if kept else 0.0) / draws
    return {way: (failed[way], found[way] if len(possible) else float("nan")) for way in failed}


def _histogram(total: NDArray[np.int64], wrong: NDArray[np.int64]) -> Histogram:
    made = Histogram(buckets=_BUCKETS)
    made.right = (total - wrong).astype(float).tolist()
    made.wrong = wrong.astype(float).tolist()
    made.squares = total.astype(float).tolist()
    return made


def main() -> None:
    """The table."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.quality.promise")
    options.add_argument("--draws", type=int, default=300)
    draws = options.parse_args().draws
    random = np.random.default_rng(0)
    ways = ("each", "careful", "split")
    print(f"| target | curve | samples | {' | '.join(f'{way}: failed, found' for way in ways)} |")
    print("|---|---|---|---|---|---|")
    for target in (0.98, 0.95, 0.9):
        for name, precision in curves(target):
            for count in (500, 2_000, 8_000):
                found = simulate(precision, target, count, draws, random)
                cells = [f"{failed:.3f}, {share:.2f}" for failed, share in found.values()]
                print(f"| {target} | {name} | {count} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
