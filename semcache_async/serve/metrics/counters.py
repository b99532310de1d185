"""Everything that is counted, by name, kind and meaning, and where each number is in a row.

What the cache counts is told by ``Stats`` itself. What the service counts is one line in ``OWN``;
``Metrics.count`` counts it, and ``/metrics``, ``/semantic-cache/metrics`` and the rows that
processes share have it from here.
"""

from __future__ import annotations

from dataclasses import fields
from typing import NamedTuple

from semcache_async.serve.bypass import Bypass, Unkept
from semcache_async.serve.metrics.histogram import CELLS
from semcache_async.stats import Stats
from semcache_async.types import Source, Timings

__all__ = [
    "AT",
    "COUNTERS",
    "DURATIONS",
    "GAUGES",
    "OWN",
    "RESULTS",
    "STATUSES",
    "WIDTH",
    "Counted",
    "Family",
]

STATUSES = (400, 401, 403, 404, 405, 408, 413, 415, 424, 429, 500, 502, 503, 504)
"""HTTP errors counted by status; any other counts as 500."""


class Counted(NamedTuple):
    """One number."""

    name: str
    meaning: str


class Family(NamedTuple):
    """Numbers that differ in one label."""

    name: str
    label: str
    values: tuple[str, ...]
    meaning: str


def _of_cache(kind: str) -> tuple[Counted, ...]:
    return tuple(
        Counted(part.name, part.metadata["help"])
        for part in fields(Stats)
        if part.metadata.get("kind") == kind
    )


COUNTERS = (
    *_of_cache("counter"),
    Counted(
        "embed_pack_fill",
        "Sum over packs of the share of their budget used; by embed_batches: the mean",
    ),
)
"""What of the cache's numbers only grows."""
GAUGES = (*_of_cache("gauge"), Counted("under_way", "HTTP requests being answered"))
"""What comes and goes; shown as the sum over all processes."""
RESULTS = tuple(
    counted.name
    for counted in COUNTERS
    if counted.name in (*(source.value for source in Source), "shed", "failed")
)
"""Those counters of which each request is in exactly one."""
OWN = (
    Family(
        *("bypass_reasons", "reason", tuple(reason.value for reason in Bypass)),
        "Requests answered without the cache, by reason",
    ),
    Family(
        *("unkept_answers", "reason", tuple(reason.value for reason in Unkept)),
        "LLM calls whose answer was delivered and not to be kept, by reason",
    ),
    Family(
        *("saved_tokens", "kind", ("prompt", "completion")), "Tokens of LLM calls that hits saved"
    ),
    Family(
        *("near_hits", "outcome", ("noted", "dropped", "lost")),
        "Hits near the threshold: noted for review, dropped as too many, lost by a failing store",
    ),
    Family(
        *("upstream_retries", "reason", ("unreached", "429", "502", "503", "529")),
        "Calls of the upstream made once more, by what had come of them",
    ),
    Family(
        *("upstream_retries_refused", "lack", ("budget", "time")),
        "Calls of the upstream that might have been made once more, by what was lacking",
    ),
    Family(
        *("http_errors", "status", tuple(map(str, STATUSES))),
        "Requests answered with an HTTP error",
    ),
)
"""What the service counts itself."""
DURATIONS = (
    Family(
        *("request_seconds", "source", tuple(source.value for source in Source)),
        "Whole requests, by source",
    ),
    Family(
        *("stage_seconds", "stage"),
        tuple(part.removesuffix("_s") for part in Timings.__struct_fields__ if part != "total_s"),
        "What requests waited in each stage",
    ),
)
"""Histograms."""


class _Layout:
    """Where each number is in a row."""

    def __init__(self) -> None:
        self.width = 0
        self.counters = self._take(len(COUNTERS))
        self.gauges = self._take(len(GAUGES))
        self.own = {
            (family.name, value): self._take(1) for family in OWN for value in family.values
        }
        self.durations = {
            (family.name, value): self._take(CELLS)
            for family in DURATIONS
            for value in family.values
        }
        self.alive = self._take(1)
        """When the process last said that it lives, by ``time.monotonic``."""

    def _take(self, cells: int) -> int:
        start = self.width
        self.width += cells
        return start


AT = _Layout()
WIDTH = AT.width
"""Numbers in one process's row."""
