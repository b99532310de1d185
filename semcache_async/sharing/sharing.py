"""Claims, leases, leaders and followers.

A flight that would call the LLM first registers a claim in the store and is told, in the same
atomic step, of those that stood before: of two that concern each other exactly the later one is
told of the other. If the decision accepts one of these, its leader is followed and the claim
withdrawn; else the flight leads, for as long as its lease is renewed.

- A follower writes ``Join`` to its leader's inbox and is written what the flight emits, from the
  first chunk on, and how it ends; to the leader it is one more caller in its flight.
- A claim may be that of a flight which is about to follow a third one: its process answers
  ``Gone``, and whoever asked claims anew, since near a follower is not near its leader.
- A leader that is silent for a lease loses its claim. Its followers claim anew, one of them leads,
  and what the old leader may still bring is refused by the store, whose write asks for the claim in
  one atomic step.
- A flight within another one's LLM call never follows a flight of another process, so that no
  circle of processes can wait for itself.

What is lost on the way (a letter, an inbox, the store) ends in a flight per process, never in a
caller who waits for ever: a follower that hears nothing looks after its leader.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from secrets import token_hex
from typing import Generic, TypeVar

from semcache_async.flow.flight import Flight, Generated
from semcache_async.flow.flights import Flights
from semcache_async.protocols import SharingStore
from semcache_async.sharing.following import Following
from semcache_async.sharing.leading import Leading
from semcache_async.sharing.post import Post
from semcache_async.stats import Counters
from semcache_async.text.decide import Policy, decide
from semcache_async.types import Claim, Letter, Rival

__all__ = ["Sharing"]

C = TypeVar("C")
R = TypeVar("R")

_RENEWALS = 4
"""Renewals of a lease before it would end; and looks after a silent leader."""
_TRIES = 32
"""How often a flight claims before it calls the LLM on its own account."""


class Sharing(Generic[C, R]):
    """The flights of one cache, as other processes see them. ``start`` it before use."""

    def __init__(
        self,
        store: SharingStore,
        flights: Flights[C, R],
        counters: Counters,
        *,
        lease_s: float,
        timeout_s: float,
        longest_s: float,
        is_up: Callable[[], bool],
        failed: Callable[[Exception], None],
    ) -> None:
        """``longest_s``: what a flight may take; ``is_up``: is the store asked at all; ``failed``
        takes its errors."""
        self._flights = flights
        self._counters = counters
        self._renewal_s = lease_s / _RENEWALS
        self._post = Post(store, timeout_s=timeout_s, is_up=is_up, failed=failed)
        self._leading = Leading(self._post, flights, lease_s=lease_s)
        self._following = Following(
            self._post, flights, look_s=self._renewal_s, lease_s=lease_s, longest_s=longest_s
        )
        self._renewing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the inbox. Where that takes too long, flights are not shared until it is open."""
        self._renewing = asyncio.create_task(self._renew())
        await self._post.start(self._heard)

    async def lead_or_follow(
        self,
        flight: Flight[C, R],
        policy: Policy,
        verify: Callable[[Sequence[str]], Awaitable[bool]],
    ) -> Generated | None:
        """Claim; None for a flight that is to call the LLM itself, else what another process's
        flight brought, after its chunks have been emitted here.

        ``verify`` has a verifier look at one more of the prompts that a decision left open, and
        says whether it did. Raises what the other flight raised; ``TimeoutError`` past
        ``longest_s``; ``FlightLostError`` where it was lost after its first chunk."""
        strangers: set[str] = set()
        lost = False
        prompt, vector = flight.prompt, flight.vector
        for _ in range(_TRIES):
            if not self._post.is_open:
                break
            claim = Claim(
                id=token_hex(16),
                inbox=self._post.inbox,
                key=flight.key,
                prompt=prompt,
                vector=vector,
                tags=tuple(flight.tags),
                reach=policy.max_distance,
            )
            with self._leading.asking(claim.id, flight) as asked:
                rivals = await self._post.claim(claim)
                if rivals is None:
                    break
                asked.stands = True
                live = [one for one in rivals if self._lives(one, strangers)]
                rival = next((one for one in live if one.same_key), None)
                while rival is None:
                    decision = decide(prompt, live, policy)
                    rival = decision.chosen
                    if not await verify(decision.undecided):
                        break
                if rival is None:
                    if flight.elsewhere:
                        self._flights.change_leader(flight, prompt, vector, elsewhere=False)
                    flight.takes_over = lost
                    asked.lead()
                    return None
            if flight.within is not None and flight.within.is_under_way():
                break
            self._flights.change_leader(
                *(flight, rival.prompt, await self._post.vector(rival.claim)),
                elsewhere=True,
                apart=0.0 if rival.same_key else rival.distance,
            )
            made, lost = await self._following.follow(flight, rival)
            if made is not None:
                self._counters.followed += 1
                return made
            strangers.add(rival.claim)
        if flight.elsewhere:
            self._flights.change_leader(flight, prompt, vector, elsewhere=False)
        self._counters.unclaimed += 1
        return None

    def release(self, flight: Flight[C, R]) -> None:
        """The flight's body is at its end."""
        if flight.claim is not None:
            self._leading.retire(flight.claim)

    async def aclose(self) -> None:
        """Tell followers to look again, and give up every claim. The flights have ended before."""
        await self._leading.aclose()
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, return_exceptions=True)
        await self._post.aclose()

    def _lives(self, rival: Rival, strangers: set[str]) -> bool:
        """May there be a flight behind it?"""
        if rival.inbox == self._post.inbox:
            return self._leading.knows(rival.claim)
        return rival.claim not in strangers

    def _heard(self, letter: Letter) -> None:
        self._leading.heard(letter)
        self._following.heard(letter)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._renewal_s)
            claims = self._leading.claims()
            stood = await self._post.renew(claims)
            for claim, stands in zip(claims, stood, strict=True):
                if not stands:
                    self._leading.lost(claim)
