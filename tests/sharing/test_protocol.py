"""Thousands of interleavings of three processes that ask for near things at once, checked; and that
the checks see what a mistake in the protocol does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from semcache_async.flow.flight import Flight
from semcache_async.flow.flights import Flights
from semcache_async.sharing.leading import Asked, Leading
from semcache_async.testing import MemoryStore
from semcache_async.testing.sharing import SharingMemoryStore
from semcache_async.types import Claim
from tests.sharing.world import Plan, run

PLANS = {
    "undisturbed": Plan(),
    "a slow store": Plan(latency_s=0.8),
    "a death": Plan(deaths=1),
    "a pause": Plan(pauses=1),
    "both": Plan(deaths=1, pauses=1),
}
SEEDS = 400


@pytest.mark.parametrize("plan", PLANS)
def test_what_must_hold(plan: str) -> None:
    for seed in range(SEEDS):
        faults = run(seed, PLANS[plan]).faults
        assert not faults, f"python -m tests.sharing.world {seed} ({PLANS[plan]}): {faults}"


# -- mistakes, each of which must show


def keep_those_who_came_by_meaning(patch: pytest.MonkeyPatch) -> None:
    def change_leader(
        _flights: Any,
        flight: Flight[Any, Any],
        _prompt: str,
        _vector: Any,
        *,
        elsewhere: bool,
        apart: float = 0.0,
    ) -> None:
        flight.elsewhere, flight.apart = elsewhere, apart

    patch.setattr(Flights, "change_leader", change_leader)


def let_a_follower_be_followed(patch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def asking(self: Any, claim: str, flight: Flight[Any, Any]) -> Iterator[Asked]:
        asked = self._asked[claim] = Asked(claim, flight)
        yield asked
        if not asked.leads:
            self._post.withdraw(claim)
            asked.leads = True
        for join in asked.joins:
            self._join(asked, join)

    patch.setattr(Leading, "asking", asking)


def search_before_registering(patch: pytest.MonkeyPatch) -> None:
    whole = SharingMemoryStore.claim

    async def claim(self: SharingMemoryStore, claims: Sequence[Claim]) -> Any:
        found = await whole(self, claims)
        await self.withdraw([one.id for one in claims])
        await asyncio.sleep(0.01)
        await whole(self, claims)
        return found

    patch.setattr(SharingMemoryStore, "claim", claim)


def write_whoever_leads_now(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SharingMemoryStore, "put", MemoryStore.put)


def let_no_lease_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SharingMemoryStore, "_stands", lambda self, claim: claim in self._claims)
    everything = property(lambda self: [claim for claim, _ in self._claims.values()])
    patch.setattr(SharingMemoryStore, "claims", everything)


def take_over_before_the_lease_ends(patch: pytest.MonkeyPatch) -> None:
    async def stand(_self: Any, claims: Sequence[str]) -> list[bool]:
        return [False] * len(claims)

    patch.setattr(SharingMemoryStore, "stand", stand)


@pytest.mark.parametrize(
    ("mistake", "plan"),
    [
        (keep_those_who_came_by_meaning, "undisturbed"),
        (let_a_follower_be_followed, "undisturbed"),
        (search_before_registering, "undisturbed"),
        (write_whoever_leads_now, "a pause"),
        (let_no_lease_end, "a death"),
        (take_over_before_the_lease_ends, "undisturbed"),
    ],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_a_mistake_shows(
    mistake: Callable[[pytest.MonkeyPatch], None], plan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mistake(monkeypatch)
    assert any(run(seed, PLANS[plan]).faults for seed in range(SEEDS))
