"""The decision, as a pure function."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from semcache_async.text.decide import Candidate, Policy, Reason, Standing, decide


class Near(NamedTuple):
    distance: float
    prompt: str = "stored"
    notes: bytes | None = None


@pytest.mark.parametrize(
    ("distances", "chosen", "reason"),
    [
        ([], None, Reason.NO_NEIGHBOUR),
        ([0.051], None, Reason.TOO_FAR),
        ([0.05], 0.05, Reason.ACCEPTED),
        ([0.04, 0.01, 0.3], 0.01, Reason.ACCEPTED),
        ([math.nan, 0.02], 0.02, Reason.ACCEPTED),
        ([math.nan], None, Reason.NO_NEIGHBOUR),
        ([math.inf], None, Reason.TOO_FAR),
    ],
)
def test_nearest_acceptable(distances: list[float], chosen: float | None, reason: Reason) -> None:
    decision = decide("asked", [Near(d) for d in distances], Policy(0.05))
    assert decision.reason is reason
    assert (decision.chosen.distance if decision.chosen else None) == chosen


@given(st.lists(st.floats(0, 2)), st.floats(0, 2))
def test_never_beyond_the_policy_and_never_misses_a_near_one(
    distances: list[float], limit: float
) -> None:
    decision = decide("asked", [Near(d) for d in distances], Policy(limit))
    if decision.chosen is None:
        assert all(d > limit for d in distances)
    else:
        assert decision.chosen.distance == min(distances) <= limit


def test_what_is_known_of_a_pair_goes_before_distance_and_words() -> None:
    known = {
        "right": Standing.RIGHT,
        "wrong": Standing.VERDICT,
        "few": Standing.UNVERIFIED,
    }

    def standing(_prompt: str, candidate: Candidate) -> Standing:
        return known.get(candidate.prompt, Standing.OPEN)

    def refusal(_prompt: str, candidate: str) -> str | None:
        return "negation" if candidate in ("right", "other") else None

    policy = Policy(0.1, refusal, standing, ceiling=0.2)
    near = [Near(0.01, "wrong"), Near(0.03, "other"), Near(0.15, "far")]
    found = decide("asked", [*near, Near(0.19, "right")], policy)
    assert found.chosen == Near(0.19, "right")
    assert [one.by for one in found.refused] == ["verdict", "negation"]
    assert decide("asked", [*near, Near(0.21, "right")], policy).reason is Reason.REFUSED
    assert decide("asked", [Near(0.19, "right")], policy.at_most(0.15)).chosen is None
    assert decide("asked", [Near(0.05, "open")], policy._replace(max_distance=-1.0)).chosen is None
    explored = decide("asked", [Near(0.02, "few"), Near(0.03, "open")], policy)
    assert explored.chosen is None  # asked of, and not passed over for one farther off
    assert [one.by for one in explored.refused] == ["unverified"]
