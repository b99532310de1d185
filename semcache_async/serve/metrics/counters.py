"""Everything that is counted, by name, kind and meaning, and where each number is in a row.

What the cache counts is told by ``Stats`` itself. What the service counts is one line in ``OWN``;
``Metrics.count`` counts it, and ``/metrics``, ``/semantic-cache/metrics`` and the rows that
processes share have it from here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import NamedTuple

from semcache_async.config import DEFAULT_MODEL
from semcache_async.serve.bypass import Bypass, Unkept
from semcache_async.serve.metrics import savings
from semcache_async.serve.metrics.histogram import CELLS
from semcache_async.serve.settings import DEFAULT
from semcache_async.stats import Stats
from semcache_async.types import Source, Timings

__all__ = [
    "COUNTERS",
    "DURATIONS",
    "GAUGES",
    "INDEX_GAUGES",
    "MODEL_COUNTERS",
    "MODEL_GAUGES",
    "OWN",
    "PROTOCOLS",
    "RESULTS",
    "STATUSES",
    "Counted",
    "Family",
    "Layout",
    "Table",
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


class Table(NamedTuple):
    """Numbers that differ in two labels."""

    name: str
    labels: tuple[str, str]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
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
PROTOCOLS = Table(
    *("protocol_requests", ("protocol", "result")),
    ("chat", "completions", "messages", "responses", "embeddings", "langcache", "plain"),
    (*(source.value for source in Source), "missed", "other", "failed"),
    "Requests by protocol and result; missed: a lookup that asks no LLM, other: what reads nothing "
    "of the cache, failed: an error, or a caller who left",
)
"""What the routes' ``counted_as`` names."""
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
        *("saved_seconds", "source", ("exact", "semantic")),
        "Seconds that callers of hits did not wait, each as long as a generated answer takes",
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
"""Histograms that every service has."""


MODEL_COUNTERS = (
    Counted("unready", "Prompts that had the exact tier only: the model was not loaded yet"),
    Counted("embedded_texts", "Texts that the model has run"),
)
MODEL_GAUGES = (
    Counted("ready", "Processes in which the model is loaded"),
    Counted("memory_bytes", "By how much the processes grew while they loaded the model"),
)
"""Of each model, besides what its index holds."""
INDEX_GAUGES = (
    Counted("entries", "Entries of the model's index"),
    Counted("index_bytes", "Bytes of the model's index, without its entries"),
)
"""Of each model's index, which all processes share."""


class Layout:
    """Where each number is in a row, for upstreams and models of these names."""

    def __init__(
        self, upstreams: Sequence[str] = (DEFAULT,), models: Sequence[str] = (DEFAULT_MODEL,)
    ) -> None:
        names = tuple(upstreams)
        self.models = tuple(models)
        self.tables = (
            PROTOCOLS,
            Table(
                *("upstream_calls", ("upstream", "outcome"), names),
                ("ok", "error", "timeout", "unreached", "broken", "left"),
                "Calls of each upstream, retries not counted apart; broken: no answer, or half of "
                "one, left: nobody waited any more",
            ),
        )
        first_byte = "From a call to the first byte of its answer, retries each for itself"
        self.durations_of = (
            *DURATIONS,
            Family("upstream_first_byte_seconds", "upstream", names, first_byte),
        )
        self.width = 0
        self.counters = self._take(len(COUNTERS))
        self.gauges = self._take(len(GAUGES))
        self.numbers: dict[tuple[str, ...], int] = {
            (family.name, value): self._take(1) for family in OWN for value in family.values
        }
        """Those of families by name and label, and of tables by name and both."""
        self.numbers |= {
            (table.name, row, column): self._take(1)
            for table in self.tables
            for row in table.rows
            for column in table.columns
        }
        self.of_models = {
            (model, counted.name): self._take(1)
            for model in self.models
            for counted in (*MODEL_COUNTERS, *MODEL_GAUGES)
        }
        self.durations = {
            (family.name, value): self._take(CELLS)
            for family in self.durations_of
            for value in family.values
        }
        self.savings = self._take(savings.CELLS)
        self.alive = self._take(1)
        """When the process last said that it lives, by ``time.monotonic``."""

    def _take(self, cells: int) -> int:
        start = self.width
        self.width += cells
        return start
