"""Which distance a scope serves at."""

from __future__ import annotations

from dataclasses import replace

import pytest

from semcache_async.bounds.choice import ENOUGH, Choice, Origin, Outcome, choose, refuted
from semcache_async.bounds.histogram import Counts, Histogram, Sample


def chosen(own: Histogram, like: Histogram | None = None, target: float = 0.95) -> Choice:
    return choose(own, like, target=target, default=0.05, ceiling=0.3)


def samples(distance: float, right: int, wrong: int) -> list[Sample]:
    return [Sample(distance, True)] * right + [Sample(distance, False)] * wrong


def test_without_evidence_the_default_serves() -> None:
    found = chosen(Histogram())
    assert (found.max_distance, found.origin) == (0.05, Origin.DEFAULT)
    assert (
        found.explain() == "0.05, the default: what was seen neither proves nor refutes .950 so far"
    )


def test_evidence_sets_the_distance() -> None:
    own = Histogram.of([*samples(0.05, 200, 1), *samples(0.1, 300, 4), *samples(0.2, 10, 90)])
    found = chosen(own)
    assert found.origin is Origin.LEARNED
    assert found.max_distance is not None
    assert 0.1 <= found.max_distance < 0.2
    assert "at least" in found.explain()


@pytest.mark.parametrize(
    ("right", "wrong", "outcome"),
    [
        *((0, 0, Outcome.OPEN), (30, 0, Outcome.OPEN), (71, 0, Outcome.OPEN)),
        *((72, 0, Outcome.KEPT), (300, 3, Outcome.KEPT), (95, 5, Outcome.OPEN)),
        *((0, 1, Outcome.OPEN), (2, 2, Outcome.BROKEN), (90, 12, Outcome.BROKEN)),
    ],
)
def test_a_promise_is_held_against_audits(right: int, wrong: int, outcome: Outcome) -> None:
    found = replace(chosen(Histogram()), audited=Counts(right, wrong))
    assert found.outcome is outcome


def test_the_ceiling_holds() -> None:
    own = Histogram.of(samples(0.1, 1_000, 0))
    found = choose(own, target=0.95, default=0.05, ceiling=0.08)
    assert found.max_distance == 0.08


def test_too_little_evidence_takes_the_curve_of_like_scopes() -> None:
    like = Histogram.of([*samples(0.1, 1_000, 5), *samples(0.2, 10, 500)])
    found = chosen(Histogram.of(samples(0.08, 3, 0)), like)
    assert found.origin is Origin.POOLED
    assert found.promise.pooled
    assert "an estimate, pooled" in found.explain()
    contrary = chosen(Histogram.of(samples(0.08, 3, 3)), like)
    assert contrary.origin is not Origin.POOLED


def test_bad_evidence_farther_out_cuts_the_default() -> None:
    own = Histogram.of(
        [*samples(0.07, 43, 7), *samples(0.11, 35, 20), *samples(0.2, 10, 60)],
    )
    assert own.total > ENOUGH
    found = chosen(own)
    assert found.origin in (Origin.CUT, Origin.STOPPED)
    assert (found.max_distance or 0.0) < 0.05
    assert "default" in found.explain() or "nothing" in found.explain()


def test_where_no_distance_is_expected_to_do_serving_stops() -> None:
    own = Histogram.of([*samples(0.03, 20, 20), *samples(0.1, 20, 40)])
    found = chosen(own)
    assert (found.max_distance, found.origin) == (None, Origin.STOPPED)
    assert found.explain() == "nothing by meaning: no distance is expected to reach .950"


def test_a_few_wrong_hits_refute_the_default() -> None:
    own = Histogram.of(samples(0.03, 5, 3))
    assert refuted(own, 0.05, 0.95)
    assert not refuted(own, 0.02, 0.95)
    found = chosen(own)
    assert (found.max_distance or 0.0) < 0.03
