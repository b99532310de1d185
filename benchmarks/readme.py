"""README's table of numbers, from the committed runs: ``python -m benchmarks.readme``.

A column for each ``benchmarks/results/KIND/bench.json``; between the two comments that README has
for it, so that no figure is typed by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.bench.figures import RESULTS, Found, read_found
from benchmarks.bench.http import EXACT, REWORDED
from benchmarks.bench.lookups import RIVAL
from benchmarks.bench.report.aims import equal_p99
from benchmarks.contenders.process import ROOT
from semcache_async.load.measured.cells import milliseconds, rate, spanned
from semcache_async.load.measured.figures import Span

__all__ = ["README", "committed", "renewed"]

README = ROOT / "README.md"
_BETWEEN = re.compile(r"(<!-- numbers[^>]*-->\n).*?(\n<!-- /numbers -->)", re.DOTALL)
_KINDS = {"amx": "AMX", "avx512-bf16": "AVX512-BF16", "avx512": "AVX-512", "avx2": "AVX2"}

Cell = tuple[str, str, Span | None]
"""Ours, theirs, and their ratio."""


def renewed(readme: str, found: dict[str, Found]) -> str:
    """``readme`` with the table of the runs, by kind of CPU."""
    return _BETWEEN.sub(lambda match: match[1] + "\n".join(_table(found)) + match[2], readme)


def _table(found: dict[str, Found]) -> Iterator[str]:
    heads = [f"{one.lookups['machine']['cpu']}, {_KINDS.get(k, k)}" for k, one in found.items()]
    yield f"| ours : theirs = ratio (range over rounds) | {' | '.join(heads)} |"
    yield "|---|" + "---|" * len(heads)
    for what, cell in _ROWS:
        yield f"| {what} | {' | '.join(_shown(cell(one)) for one in found.values())} |"


def _shown(cell: Cell | None) -> str:
    ours, theirs, ratio = cell or ("", "", None)
    if ratio is None:
        return "-"
    digits = 2 if ratio.median < 10 else 3

    def plain(value: float) -> str:
        return f"{value:#.{digits}g}".rstrip(".")

    span = "" if ratio.low == ratio.high else f" ({plain(ratio.low)}-{plain(ratio.high)})"
    return f"{ours} : {theirs} = **{plain(ratio.median)}**{span}"


def _middle(span: Span | None, show: Callable[[Span | None], str]) -> str:
    return show(Span(span.median, span.median, span.median)) if span else "-"


def _lookups(label: str) -> Callable[[Found], Cell | None]:
    def cell(found: Found) -> Cell | None:
        both = [found.group(name, found.callers) for name in ("ours", label)]
        ours, theirs = (_middle(group.achieved if group else None, rate) for group in both)
        return ours, theirs, found.ratio(label, found.callers, "lookups/s")

    return cell


def _latency(callers: int | None, q: float, metric: str) -> Callable[[Found], Cell | None]:
    def cell(found: Found) -> Cell | None:
        many = callers or found.callers
        both = [found.group(name, many) for name in ("ours", RIVAL)]
        ours, theirs = (_middle(group.percentile(q) if group else None, _in_ms) for group in both)
        return ours, theirs, found.ratio(RIVAL, many, metric)

    return cell


def _in_ms(span: Span | None) -> str:
    return spanned(span, milliseconds)


def _equal(found: Found) -> Cell | None:
    values = equal_p99(found)
    if values is None:
        return None
    ratio = values[0] / values[1]
    return milliseconds(values[0]), milliseconds(values[1]), Span(ratio, ratio, ratio)


def _burst(found: Found) -> Cell | None:
    if "ours" not in found.bursts or RIVAL not in found.bursts:
        return None
    ours, theirs = (
        Span.of([t["llm_calls"] for t in found.bursts[name]]) for name in ("ours", RIVAL)
    )
    ratio = ours.median / theirs.median
    shown = (f"{span.median:g}" for span in (ours, theirs))
    return next(shown), next(shown), Span(ratio, ratio, ratio)


def _part(key: str) -> Callable[[Found], Cell | None]:
    def cell(found: Found) -> Cell | None:
        row = found.part(key)
        if row is None:
            return None
        ours, theirs = (_middle(Span.of(row[side]), rate) for side in ("ours", "theirs"))
        return ours, theirs, found.compared(key)

    return cell


def _packed(found: Found) -> Cell | None:
    if found.embedder is None:
        return None
    padded = found.tokens_per_s(found.best_padded)
    ours = found.tokens_per_s("packed, 1 CPU")
    return f"{ours:,.0f}", f"{padded:,.0f}", found.packed_to_padded()


def _http(what: str) -> Callable[[Found], Cell | None]:
    def cell(found: Found) -> Cell | None:
        ours, theirs = (
            next((g for g in found.http if g.name == f"{name}, {what}" and not g.is_open), None)
            for name in ("ours", "cachellm-proxy")
        )
        if ours is None or theirs is None:
            return None
        pairs = zip(ours.results, theirs.results, strict=False)
        ratio = Span.of([a.achieved / b.achieved for a, b in pairs])
        return _middle(ours.achieved, rate), _middle(theirs.achieved, rate), ratio

    return cell


_ROWS: tuple[tuple[str, Callable[[Found], Cell | None]], ...] = (
    ("semantic `lookup`s/s, 64 callers, 10k entries : RedisVL's `acheck`", _lookups(RIVAL)),
    ("the same : langchain-redis", _lookups("langchain-redis")),
    ("the same : GPTCache", _lookups("gptcache")),
    ("p99 of the same : RedisVL, ms", _latency(None, 99.0, "p99")),
    ("p99 at the load that is 70 % of RedisVL's capacity, ms", _equal),
    ("one caller's lookup : RedisVL, ms", _latency(1, 50.0, "p50")),
    ("LLM calls when 64 callers ask 8 intents at once, cold : RedisVL", _burst),
    ("exact hits/s in process, 256 callers : redis-py pipelines of 256 GETs", _part("exact")),
    ("the same from `local_answers` (off by default)", _part("local")),
    ("lookups/s in process : our embedder alone", _part("semantic")),
    ("packed embedder : the best padded onnxruntime fp32, tokens/s of a CPU", _packed),
    ("over HTTP, exact repeats/s, 64 callers : cachellm-proxy", _http(EXACT)),
    ("over HTTP, reworded/s, 64 callers : cachellm-proxy", _http(REWORDED)),
)


def committed(results: Path = RESULTS) -> dict[str, Found]:
    """The committed runs, by kind of CPU."""
    return {p.parent.name: read_found(p) for p in sorted(results.glob("*/bench.json"))}


if __name__ == "__main__":
    text = README.read_text(encoding="utf-8")
    README.write_text(renewed(text, committed()), encoding="utf-8")
