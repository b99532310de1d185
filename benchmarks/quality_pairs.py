"""How many wrong answers the guards keep back, and what that costs: labelled pairs of prompts.

    python -m benchmarks.quality_pairs FILE... [--at .05,.10,.15,.20] [--out REPORT.md]

Each file is JSONL (may be gzipped): ``text_a``, ``text_b``, ``label`` (1: one answer serves both)
and, where there is one, ``kind``. A pair counts at a distance when that distance alone would serve
it. *Caught* are pairs of label 0 that are not served, *lost* pairs of label 1 that are not.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from semcache_async import default_embedder
from semcache_async.bounds.intervals import wilson
from semcache_async.text.guards import DOUBT, GUARDS, Kind, Verdict, analyse, verdict
from semcache_async.tune.pairs import read_pairs

DISTANCES = (0.05, 0.10, 0.15, 0.20)
APART = "fresh_each_time"
"""Pairs of prompts that ask for something new each time: no guard of wording is for them."""
_BATCH = 256


class Pair(NamedTuple):
    text_a: str
    text_b: str
    right: bool
    kind: str
    distance: float
    verdict: Verdict

    @property
    def by(self) -> str:
        """What kept it from being served."""
        if self.verdict.guard is not None:
            return self.verdict.guard
        return "-" if self.verdict.kind is Kind.ACCEPT else DOUBT


class Share(NamedTuple):
    """So many of so many, with the 95 % interval of Wilson."""

    some: int
    of: int

    def __str__(self) -> str:
        if not self.of:
            return "-"
        low, high = wilson(self.some, self.of)
        return f"{self.some}/{self.of} {self.some / self.of:.1%} ({low:.0%}-{high:.0%})"


def distances(texts: Sequence[tuple[str, str]]) -> list[float]:
    """Cosine distances of pairs; a text that the model cannot read is infinitely far."""
    embedder = default_embedder()
    every = sorted({text for pair in texts for text in pair}, key=len)
    vectors: dict[str, np.ndarray] = {}
    for start in range(0, len(every), _BATCH):
        batch = every[start : start + _BATCH]
        try:
            vectors.update(zip(batch, embedder.embed(batch), strict=True))
        except ValueError:
            for text in batch:
                try:
                    vectors[text] = embedder.embed([text])[0]
                except ValueError:
                    continue
    return [
        float(1 - vectors[a] @ vectors[b]) if a in vectors and b in vectors else math.inf
        for a, b in texts
    ]


def judged(path: Path) -> list[Pair]:
    found, name = read_pairs(path), path.name.split(".")[0]
    texts = [(pair.text_a, pair.text_b) for pair in found]
    return [
        Pair(a, b, pair.right, pair.kind or name, distance, verdict(analyse(a), analyse(b)))
        for pair, (a, b), distance in zip(found, texts, distances(texts), strict=True)
    ]


def table(head: Sequence[str], body: Iterable[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return [*lines, *("| " + " | ".join(map(str, row)) + " |" for row in body), ""]


def share(pairs: Iterable[Pair], *, right: bool, kept: Callable[[Pair], bool]) -> Share:
    chosen = [pair for pair in pairs if pair.right is right]
    return Share(sum(map(kept, chosen)), len(chosen))


def _kept(pair: Pair) -> bool:
    return not pair.verdict.served


def report(name: str, pairs: Sequence[Pair], at: Sequence[float]) -> list[str]:
    lines = [f"## {name}", ""]
    main = [pair for pair in pairs if pair.kind != APART]
    by_distance = []
    for limit in at:
        near = [pair for pair in main if pair.distance <= limit]
        by_distance.append(
            [
                f"{limit:.2f}",
                share(near, right=False, kept=_kept),
                share(near, right=True, kept=_kept),
            ]
        )
    lines += table(["distance", "caught of the wrong", "lost of the right"], by_distance)
    for title, names in (
        ("kind", sorted({pair.kind for pair in pairs})),
        ("guard", [*GUARDS, DOUBT]),
    ):
        body = []
        for each in names:
            cells: list[object] = [each]
            for limit in at:
                near = [pair for pair in pairs if pair.distance <= limit]
                if title == "kind":
                    near = [pair for pair in near if pair.kind == each]
                    kept = _kept
                else:
                    near = [pair for pair in near if pair.kind != APART]

                    def kept(pair: Pair, guard: str = each) -> bool:
                        return pair.by == guard

                cells += [share(near, right=False, kept=kept), share(near, right=True, kept=kept)]
            if any(isinstance(cell, Share) and cell.some for cell in cells) or title == "kind":
                body.append(cells)
        heads = [head for limit in at for head in (f"caught {limit:.2f}", f"lost {limit:.2f}")]
        if title == "guard" or len(names) > 1:
            lines += table([title, *heads], body)
    return lines


def cost(pairs: Sequence[Pair]) -> list[str]:
    """Microseconds of processor time, with words met before, as in traffic."""
    some = [pair for pair in pairs if len(pair.text_a) < 200][:3000]
    begun = time.process_time()
    first = [analyse(pair.text_a) for pair in some]
    analysed = time.process_time() - begun
    second = [analyse(pair.text_b) for pair in some]
    begun = time.process_time()
    for one, two in zip(first, second, strict=True):
        verdict(one, two)
    decided = time.process_time() - begun
    count = max(1, len(some))
    return [
        (
            f"Cost over {len(some)} short pairs: {analysed / count * 1e6:.0f} us an analysis, "
            f"{decided / count * 1e6:.0f} us a verdict."
        ),
        "",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--at", default=",".join(map(str, DISTANCES)))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    at = [float(each) for each in options.at.split(",")]
    lines = ["# Guards on labelled pairs", ""]
    everything: list[Pair] = []
    for path in options.files:
        pairs = judged(path)
        everything += pairs
        lines += report(path.name, pairs, at)
    lines += cost(everything)
    text = "\n".join(lines)
    if options.out is None:
        sys.stdout.write(text)
    else:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
