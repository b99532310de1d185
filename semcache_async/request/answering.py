"""The one flow of an answered query: tiers, then a flight, then the LLM call and the store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import nullcontext, suppress
from copy import copy
from functools import partial
from inspect import isawaitable
from typing import Any, Generic, TypeAlias, TypeVar

from semcache_async.config import CacheConfig
from semcache_async.errors import FlightLostError, OverloadedError, SemcacheError
from semcache_async.evidence.learner import Call, Learner
from semcache_async.flow.failures import Failures
from semcache_async.flow.flight import Flight, Generated, Raised, Seat, inside
from semcache_async.flow.flights import Body, Flights
from semcache_async.flow.limiter import Limiter
from semcache_async.protocols import Generate, GenerateStream, Produce
from semcache_async.request.attempt import Attempt
from semcache_async.request.tiers import Tiers
from semcache_async.sharing.sharing import Sharing
from semcache_async.stats import Counters
from semcache_async.types import Answer, Entry, EntryKey, Produced, Scope, Source

__all__ = ["Answering", "Outcome", "in_pieces", "whole"]

C = TypeVar("C")


Outcome: TypeAlias = Answer | Generated
"""What a flight brings. An ``Answer`` was found on the leader's second look."""


class Answering(Generic[C]):
    """Queries of one cache on their way to an answer. ``C`` is what LLM calls emit."""

    def __init__(
        self, tiers: Tiers, learner: Learner, config: CacheConfig, counters: Counters
    ) -> None:
        self._tiers = tiers
        self._learner = learner
        self._config = config
        self._counters = counters
        self.limiter = Limiter(most=config.max_llm_calls, wait_s=config.llm_wait_s)
        """Who may call the LLM now."""
        self._flights: Flights[C, Outcome] = Flights(finish_abandoned=config.finish_abandoned)
        self._failures = Failures(config.error_ttl_s)
        self._renewing: dict[EntryKey, asyncio.Task[None]] = {}
        self._renewals = 0
        """LLM calls under way that nobody waited for when they began."""
        self._sharing: Sharing[C, Outcome] | None = None
        if (store := tiers.sharing) is not None:
            self._sharing = Sharing(
                *(store, self._flights, counters),
                lease_s=config.lease_s,
                timeout_s=config.store_timeout_s,
                longest_s=config.generate_timeout_s,
                is_up=lambda: tiers.store_is_up,
                failed=tiers.store_failed,
            )

    async def start(self) -> None:
        """Before the first query."""
        if self._sharing is not None:
            await self._sharing.start()

    def __len__(self) -> int:
        """Flights under way."""
        return len(self._flights)

    @property
    def waiting(self) -> int:
        """Callers in flights."""
        return self._flights.waiting

    async def answer(self, attempt: Attempt, produce: Produce[C]) -> Answer:
        """A stored answer, or what a flight brings."""
        while True:
            found = await self.seek(attempt, produce)
            if isinstance(found, Answer):
                if attempt.renews is not None:
                    self.renew(attempt, attempt.renews, found, produce)
                self.audit(attempt, partial(self._call_to_compare, attempt.query.prompt, produce))
                return found
            try:
                outcome = await self.outcome(attempt, found)
            except FlightLostError:
                continue  # nothing of it was handed on here
            finally:
                self.leave(found, attempt)
            if outcome is not None:
                return outcome

    async def seek(self, attempt: Attempt, produce: Produce[C]) -> Answer | Seat[C, Outcome]:
        """A stored answer, or else a seat in a flight."""
        query = attempt.query
        if query.key.scope.namespace:
            query = attempt.query = await self._tiers.pinned(query)
        key, shadow = query.flight, self._config.shadow and query.reads
        if query.reads:
            seat = None if shadow else self._flights.join(key, query.tags, query.policy)
            if seat is not None:
                return seat
            found = await self._tiers.find(attempt)
            if found is not None:
                return found
            known = self._failures.error(key)
            if known is not None:
                self._counters.spared_errors += 1
                raise known
        query = attempt.vetted()
        flight, body = self._new_flight(attempt, produce)
        if shadow or not query.writes:
            return self._flights.fly_alone(flight, body)
        if not query.reads:
            return self._flights.refresh(flight, body)
        if query.policy.verifier is not None:
            nearest, verify = self._flights.nearest, self._tiers.verify
            while await verify(attempt, nearest(flight, query.policy).undecided):
                pass
        return self._flights.board(flight, query.policy, body)

    def renew(self, attempt: Attempt, old: Entry, hit: Answer, produce: Produce[C]) -> None:
        """A caller has been given an old answer: make it anew. It is what a miss would have done,
        but that nobody waits for it, and that callers who wait for their turn go before."""
        self._counters.stale += hit.stale
        query = attempt.vetted()
        if query.flight in self._renewing or not query.writes or self._is_busy():
            return
        if not self._failures.pauses(old.id):
            attempt = copy(attempt)
            if attempt.span is not None:
                attempt.span = attempt.span.aside()
            task = asyncio.create_task(self._renew(attempt, old, produce))
            self._renewing[query.flight] = task
            task.add_done_callback(lambda _: self._renewing.pop(query.flight, None))

    async def _renew(self, attempt: Attempt, old: Entry, produce: Produce[C]) -> None:
        inside.set(None)  # whoever's LLM call found the old answer does not wait for the new one
        with suppress(SemcacheError):  # closed meanwhile
            await self._tiers.embed(attempt)  # so that others find its flight by meaning
            flight, body = self._new_flight(attempt, produce, quiet=True)
            flight.tags.update(dict.fromkeys(old.tags))
            seat = self._flights.board(flight, attempt.query.policy, body)
            self._flights.leave(seat)
            if seat.flight.task is not None:
                await asyncio.wait([seat.flight.task])
                self._failures.tried(old.id, renewed=_is_kept(seat.flight.task))

    def _new_flight(
        self, attempt: Attempt, produce: Produce[C], *, quiet: bool = False
    ) -> tuple[Flight[C, Outcome], Body[C, Outcome]]:
        query = attempt.query
        flight: Flight[C, Outcome] = Flight(
            query.flight,
            query.prompt,
            attempt.vector,
            query.tags,
            self._tiers.now(),
            stored=query.writes,
            emits=attempt.emits,
            quiet=quiet,
        )
        fly = self._fly if attempt.span is None else self._fly_recorded
        return flight, partial(fly, attempt.anew(), produce)

    def audit(self, attempt: Attempt, call: Call | None = None) -> None:
        """Have a semantic hit judged, if it is drawn; ``call`` is the LLM call it saved, for where
        nothing else can tell."""
        if attempt.served is not None and self._learner.listens:
            query = attempt.query
            self._learner.hit(query.prompt, query.scope, attempt.served, call)

    def learn(self, attempt: Attempt, text: str | None) -> None:
        """A miss tells whether the neighbours' answers would have been right; ``text`` is the fresh
        one, if there is one. What is stale would differ from it because the world has changed."""
        query, now = attempt.query, self._tiers.now()
        if attempt.served is not None:
            self._learner.held_back(query.prompt, query.scope, attempt.served, text)
        elif attempt.shadow is None:
            near = [one for one in attempt.near if not one.entry.is_stale(now)]
            self._learner.missed(query.prompt, query.scope, near, text)

    # -- in a flight

    def source(self, attempt: Attempt, seat: Seat[C, Outcome]) -> Source:
        """What an answer from this seat counts as."""
        if not seat.leads or seat.flight.elsewhere:
            return Source.SHARED
        query = attempt.query
        return Source.GENERATED if query.reads or query.writes else Source.BYPASSED

    async def read(self, seat: Seat[C, Outcome], seen: int) -> bool:
        """Wait for more than ``seen`` chunks; False when there will be none."""
        return await self._flights.read(seat, seen)

    def leave(self, seat: Seat[C, Outcome], attempt: Attempt) -> None:
        """Give the seat up."""
        if attempt.span is not None and not seat.leads:
            attempt.span.link(seat.flight.traceparent)
        self._flights.leave(seat)

    async def outcome(self, attempt: Attempt, seat: Seat[C, Outcome]) -> Answer | None:
        """What the flight brings; None for a follower who has to look again, since near the leader
        is not near the follower: the leader found, on its second look, an answer that was made for
        a third prompt, or turned out to follow another process's."""
        began = time.perf_counter()
        outcome = await seat.waiter
        attempt.generate_s += time.perf_counter() - began
        if outcome is None or isinstance(outcome, Answer):
            return outcome if seat.leads else None
        flight, distance = seat.flight, None if seat.leads else seat.distance
        if flight.elsewhere:
            distance = attempt.distance_to(flight.vector)
            distance = flight.apart if distance is None else distance
        return attempt.answer(
            outcome.text,
            self.source(attempt, seat),
            entry_id=outcome.entry_id,
            distance=distance,
            matched_prompt=None if distance is None else flight.prompt,
            made_at=self._tiers.now() - outcome.age_s,
            age_s=outcome.age_s,
        )

    async def _fly_recorded(
        self, attempt: Attempt, produce: Produce[C], flight: Flight[C, Outcome]
    ) -> Outcome:
        """``_fly``, of a request that is recorded."""
        attempt.span = span = attempt.span and attempt.span.flight()
        if span is None:
            return await self._fly(attempt, produce, flight)
        flight.traceparent = span.traceparent
        try:
            made = await self._fly(attempt, span.calling(produce), flight)
        except BaseException as error:
            span.link(flight.led_by)
            span.end(None, error)
            raise
        span.link(flight.led_by)
        span.end(made)
        return made

    async def _fly(
        self, attempt: Attempt, produce: Produce[C], flight: Flight[C, Outcome]
    ) -> Outcome:
        """A flight's body: bring what another process's flight brings, else ``_make`` it."""
        query = attempt.query
        shared = query.reads and query.writes and not query.key.scope.epoch < 0
        sharing = self._sharing if shared else None
        if sharing is None or flight.emits is None or self._config.shadow:
            return await self._make(attempt, produce, flight)
        try:
            verify = partial(self._tiers.verify, attempt)
            followed = await sharing.lead_or_follow(flight, query.policy, verify)
            return followed or await self._make(attempt, produce, flight)
        finally:
            sharing.release(flight)

    async def _make(
        self, attempt: Attempt, produce: Produce[C], flight: Flight[C, Outcome]
    ) -> Outcome:
        """Look a second time, since another's store may have landed between this query's search and
        its boarding; else call the LLM and store what it says."""
        query = attempt.query
        if query.reads and not self._config.shadow:
            found = await self._tiers.find(attempt)
            if found is not None:
                self.audit(attempt)
                return found
        flight.started_at = self._tiers.now()
        async with self._tiers.embedding(attempt):
            with self._tiers.quotas.flight(query.key.scope.tenant):
                made = await self._call(query.prompt, produce, flight.emit, flight)
            flight.end()
            self._failures.forget(flight.key)
            entry_id = None
            if query.reads or query.writes:
                entry_id = await self._tiers.keep(
                    *(attempt, made, flight.started_at, flight.tags, flight.claim, flight.llm_s)
                )
        if query.reads and made.keep and attempt.replaces is None and not query.personal:
            self.learn(attempt, made.text)
        return Generated(made.text, entry_id, max(0.0, self._tiers.now() - flight.started_at))

    async def _call_to_compare(self, prompt: str, produce: Produce[C]) -> Produced:
        """An audit's own call: made only where nobody has to wait for it."""
        if self._is_busy():
            raise OverloadedError("There is no room for an audit's call.")
        return await self._call(prompt, produce, _nobody)

    def _is_busy(self) -> bool:
        """Would an LLM call have to wait for its turn now?"""
        return bool(self.limiter.waiting) or self.limiter.under_way >= self.limiter.limit

    async def _call(
        self,
        prompt: str,
        produce: Produce[C],
        emit: Callable[[C], None],
        flight: Flight[C, Outcome] | None = None,
    ) -> Produced:
        """Call the LLM when it is this flight's turn. One within another's call shares its turn,
        since it must not wait for it; an audit's call takes none, and one that nobody waits for
        waits for none, and leaves half of them to others."""
        waits = flight is not None and not self._flights.has(flight.within)
        idle = flight is not None and flight.quiet and not flight.waiters
        if idle and (self._is_busy() or self._renewals >= max(1, self.limiter.limit // 2)):
            raise OverloadedError("There is no room to make a stored answer anew.")
        async with self.limiter.turn() if waits else nullcontext():
            self._renewals += idle
            self._counters.llm_calls += 1
            if flight is not None:
                flight.called = True
                self._counters.takeovers += flight.takes_over
                self._counters.renewed += flight.quiet
            began = time.perf_counter()
            try:
                async with asyncio.timeout(self._config.generate_timeout_s):
                    return await produce(prompt, emit)
            except BaseException as error:
                self._counters.llm_errors += 1
                if flight is not None:
                    self._failures.note(flight.key, error)
                raise
            finally:
                self._renewals -= idle
                if flight is not None:
                    flight.llm_s = time.perf_counter() - began

    # -- from outside

    def let_nobody_board(
        self, scope: Scope | None, tenant: str | None, tags: Collection[str]
    ) -> None:
        """Let nobody else board the flights whose answers an invalidation concerns."""
        self._flights.let_nobody_board(lambda flight: flight.concerns(scope, tenant, tags))

    async def aclose(self) -> None:
        """Cancel every LLM call; what is being stored gets ``close_timeout_s``."""
        for task in self._renewing.values():
            task.cancel()
        await self._flights.aclose(patience_s=self._config.close_timeout_s)
        if self._sharing is not None:
            await self._sharing.aclose()


def _is_kept(flight: asyncio.Task[Outcome | Raised]) -> bool:
    """Did it bring an answer that others will find?"""
    outcome = None if flight.cancelled() else flight.result()
    return not isinstance(outcome, Raised) and getattr(outcome, "entry_id", None) is not None


def _nobody(_chunk: object) -> None:
    """Nobody listens to the call of an audit."""


def whole(generate: Generate) -> Produce[Any]:
    """A ``Produce`` that emits nothing."""

    async def produce(prompt: str, _emit: Callable[[Any], None]) -> Produced:
        making = generate(prompt)
        if not isawaitable(making):
            raise TypeError(
                f"generate is no async function: it returned {type(making).__name__}. Give a plain "
                "one as lambda prompt: asyncio.to_thread(generate, prompt)."
            )
        text = await making
        if not isinstance(text, str):
            raise TypeError(
                f"generate returned {type(text).__name__}; it must return the answer as a str."
            )
        return Produced(text)

    return produce


def in_pieces(generate_stream: GenerateStream) -> Produce[str]:
    """A ``Produce`` that emits each piece of the answer."""

    async def produce(prompt: str, emit: Callable[[str], None]) -> Produced:
        pieces: list[str] = []
        stream: AsyncIterator[Any] = generate_stream(prompt)
        try:
            async for piece in stream:
                if not isinstance(piece, str):
                    raise TypeError(
                        f"generate_stream gave a {type(piece).__name__}; it must give str."
                    )
                pieces.append(piece)
                emit(piece)
        finally:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
        return Produced("".join(pieces))

    return produce
