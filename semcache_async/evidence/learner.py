"""Learns from a cache's own traffic which answers it may serve, after its callers were answered.

Everything that a request calls here is synchronous and short: ``policy`` and ``standing`` read what
is known, ``missed`` and ``hit`` put a case aside. Tasks of the learner's own judge, keep, and fit.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from enum import Enum
from typing import NamedTuple, Protocol, TypeAlias

from semcache_async.bounds.choice import Choice, choose
from semcache_async.bounds.histogram import Histogram, Sample, periods
from semcache_async.bounds.per_entry import serves
from semcache_async.bounds.precision import needed
from semcache_async.complaints import Complaints
from semcache_async.config import CacheConfig
from semcache_async.evidence.judging import Judging, same
from semcache_async.evidence.local import LocalEvidence
from semcache_async.evidence.verdicts import Verdicts, pair_of, read_verdicts, write_verdicts
from semcache_async.flow.recent import Recent
from semcache_async.protocols import EvidenceStore, Store
from semcache_async.stats import Counters
from semcache_async.text.decide import Candidate, Policy, Standing
from semcache_async.types import Case, Entry, Neighbour, Owner, Produced, Scope

__all__ = ["Call", "Learner", "Words"]

Call: TypeAlias = Callable[[], Awaitable[Produced]]
"""An LLM call."""

PEOPLE = 3.0
"""What one verdict by ``feedback`` counts, in samples of the judge's."""

_QUEUED, _AT_ONCE = 256, 4
_SCOPES = 4_096
_REFRESH_S, _LONGEST_S = 10.0, 80.0
"""How old what is known of a scope may be before it is read anew, in the background; longer each
time that nothing has changed."""
_ENOUGH_NEW = 20
"""Verdicts after which a scope's distance is chosen anew at once."""
_UNPROVEN = 0.08
"""Where a scope starts that is to find its distance. What lies farther out misses, and is judged:
the farther a scope starts, the less it learns."""
_FEW = 100.0
"""Samples below which the curve of the tenant's scopes is asked."""
_POOLED = 500.0
"""Samples up to which a scope adds to the curve of its tenant's scopes: none makes it alone."""


class Words(Protocol):
    """What two prompts' words say: ``flow.wording.Wording``."""

    def refusal(self, prompt: str, candidate: str, /) -> str | None: ...
    def erases(self, prompt: str, candidate: str, /) -> bool: ...
    def objects(self, prompt: str, candidate: str, /) -> bool: ...


class _How(Enum):
    """What became of the stored answer that is judged."""

    MISSED = "missed"
    """It was not served."""
    AUDITED = "audited"
    """It was, or in shadow mode would have been, and was drawn at random."""
    WATCHED = "watched"
    """It was served, soon after its scope's distance had grown."""


class _Pending(NamedTuple):
    """What is to be judged."""

    prompt: str
    scope: Scope
    near: tuple[Neighbour, ...]
    fresh: str | Call | None
    """What the LLM said, or how to ask it."""
    how: _How
    """Of the first of ``near``."""


class _Known:
    """What this process knows of one scope."""

    __slots__ = (
        *("basis", "choice", "due", "fresh", "loading", "policy"),
        *("total", "wait_s", "watched"),
    )

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.choice: Choice | None = None
        self.basis: object = None
        """The sums that it was made from."""
        self.due = 0.0
        self.wait_s = _REFRESH_S
        self.fresh = 0
        """Verdicts since it was chosen."""
        self.total = 0.0
        self.watched = 0
        """Hits that are all to be judged: the first ones, and those after the distance has grown,
        which are not what was seen before, since fewer prompts are stored now, and those that
        remain serve farther."""
        self.loading: asyncio.Task[None] | None = None


class Learner:
    """One cache's evidence: gathered, kept in the store, and turned into distances."""

    def __init__(
        self,
        store: Store,
        config: CacheConfig,
        counters: Counters,
        words: Words,
        judging: Judging,
        *,
        judged: bool,
        busy: Callable[[], bool],
        draw: Callable[[], float] = random.random,
    ) -> None:
        """``judged``: is there a judge? ``busy``: is there so much to do that learning waits?"""
        self._local: LocalEvidence | None = None
        self._keeper: EvidenceStore | LocalEvidence
        if isinstance(store, EvidenceStore):
            self._keeper = store
        else:
            self._keeper = self._local = LocalEvidence()
        self._now = store.now
        self._config = config
        self._counters = counters
        self._words = words
        self._judging = judging
        self._busy = busy
        self._draw = draw
        self._learns = config.target_precision is not None or config.verified is not None
        self._active = judged or self._learns or config.shadow
        self.listens = self._active or self._local is not None
        """Is it of any use to tell of hits?"""
        self._verified = config.verified
        self._by_notes_alone = self._local is None and config.verified is None
        self._pending: deque[_Pending] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._judges = 0
        self._scopes: Recent[Scope, _Known] = Recent(_SCOPES)
        self._complaints = Complaints()
        start = config.max_distance
        if config.target_precision is not None:
            start = min(start, _UNPROVEN)
        self._start = Policy(start, words.refusal, self.standing, config.max_distance)

    # -- what requests ask

    def policy(self, scope: Scope) -> Policy:
        """What a neighbour of this scope has to meet now."""
        if self._config.target_precision is None:
            return self._start
        known = self._known(scope)
        if time.monotonic() >= known.due:
            self._renew(scope, known)
        return known.policy

    def standing(self, prompt: str, candidate: Candidate) -> Standing:
        """What is known of serving a candidate's answer to a prompt."""
        if candidate.notes is None and self._by_notes_alone:
            return Standing.OPEN
        if not isinstance(candidate, Neighbour):
            return Standing.OPEN if self._verified is None else Standing.UNVERIFIED
        verdicts = self._verdicts(candidate)
        found = Standing.OPEN
        if verdicts is not None:
            found = verdicts.standing(pair_of(prompt), candidate.distance)
            if found is Standing.RIGHT and self._words.erases(prompt, candidate.prompt):
                found = Standing.OPEN
        if found is not Standing.OPEN or self._verified is None:
            return found
        curve = None if verdicts is None else verdicts.curve
        if serves(curve, candidate.distance, 1.0 - self._verified, self._draw()):
            return Standing.OPEN
        return Standing.UNVERIFIED

    # -- what requests tell

    def missed(
        self, prompt: str, scope: Scope, near: Sequence[Neighbour], fresh: str | None
    ) -> None:
        """A prompt missed, and ``near`` were its neighbours; ``fresh`` is what the LLM said."""
        if not self._active or (fresh is None and self._judging.needs_fresh):
            return
        reviewed = tuple(one for one in near if one.distance <= self._config.review_distance)
        if reviewed:
            self._put(_Pending(prompt, scope, reviewed, fresh, _How.MISSED))

    def hit(self, prompt: str, scope: Scope, near: Neighbour, call: Call | None = None) -> None:
        """A stored answer was served: it is judged afterwards, if it is drawn. Without a judge that
        takes an LLM call (``call``) to compare with, which is made only where the config asks for
        a precision."""
        self.seen(scope, near.entry)
        if not self._active or (self._judging.needs_fresh and not (call and self._learns)):
            return
        how = _How.AUDITED
        if self._draw() >= self._config.audit_share:
            known = self._scopes.get(scope)
            if known is None or known.watched <= 0:
                return
            known.watched -= 1
            how = _How.WATCHED
        self._put(_Pending(prompt, scope, (near,), call, how))

    def held_back(self, prompt: str, scope: Scope, near: Neighbour, fresh: str) -> None:
        """A stored answer would have been served, were it not for shadow mode."""
        self._put(_Pending(prompt, scope, (near,), fresh, _How.AUDITED))

    def seen(self, scope: Scope, entry: Entry) -> None:
        """An answer that verdicts may come for."""
        if self._local is not None:
            self._local.seen(scope, entry)

    # -- what people say

    async def entry(self, entry_id: str) -> Entry | None:
        """A live entry; raises a ``StoreError`` where the store fails."""
        found = await self._keeper.annotate(entry_id, lambda _entry, notes: notes)
        return None if found is None else found[0]

    async def said(self, prompt: str, entry: Entry, distance: float | None, right: bool) -> None:
        """Keep somebody's verdict; it holds on return. Raises a ``StoreError``."""
        if right:
            self._counters.feedback_right += 1
        else:
            self._counters.feedback_wrong += 1
        if distance is None:
            return
        sample = Sample(distance, right, PEOPLE)
        owner = await self._annotate(pair_of(prompt), entry, sample)
        if owner is not None:
            await self._tally(owner, sample, pooled=False)
            for scope, known in self._scopes.items():
                if self._keeper.owner(scope) == owner:
                    await self._choose(scope, known)

    async def choice(self, scope: Scope) -> Choice | None:
        """The distance of a scope and why, from the evidence there is now; None where the config
        sets it. Raises a ``StoreError``."""
        if self._config.target_precision is None:
            return None
        known = self._known(scope)
        await self._choose(scope, known)
        return known.choice

    def choices(self) -> list[tuple[Scope, Choice]]:
        """What this process goes by, of the scopes that it has served."""
        return [(scope, one.choice) for scope, one in self._scopes.items() if one.choice]

    # -- in the background

    @property
    def judging(self) -> int:
        """What waits to be judged, is being judged, or is being made a distance of."""
        return len(self._pending) + len(self._tasks)

    async def aclose(self) -> None:
        """Drop what is left."""
        self._pending.clear()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _put(self, pending: _Pending) -> None:
        if len(self._pending) >= _QUEUED or self._busy():
            self._counters.judge_skips += 1
            return
        self._pending.append(pending)
        if self._judges < _AT_ONCE:
            self._judges += 1
            self._spawn(self._judge_all())

    async def _judge_all(self) -> None:
        try:
            while self._pending:
                pending = self._pending.popleft()
                try:
                    await self._judge(pending)
                except Exception as error:
                    self._counters.evidence_lost += 1
                    self._complaints.warn("evidence", error)
        finally:
            self._judges -= 1

    async def _judge(self, pending: _Pending) -> None:
        """Label the neighbour that distance alone would have served; where words refuse them all,
        the nearest of those, so that a rewording refused for its words costs one call and not
        two."""
        words, prompt = self._words, pending.prompt
        near, objected = pending.near[0], False
        if pending.how is _How.MISSED:
            seen = [one for one in pending.near if not words.erases(prompt, one.prompt)]
            if not seen:
                return
            served = (one for one in seen if not words.objects(prompt, one.prompt))
            found = next(served, None)
            near, objected = found or seen[0], found is None
        pair = pair_of(prompt)
        verdicts = self._verdicts(near)
        if verdicts is not None and pair in verdicts.right and pending.how is _How.MISSED:
            return
        fresh = pending.fresh
        told = isinstance(fresh, str) and same(fresh, near.entry.text)
        if not told and not self._judging.may_ask():
            return
        if callable(fresh):
            fresh = (await fresh()).text
        label = await self._judging.label(
            Case(
                prompt=prompt,
                matched_prompt=near.prompt,
                stored_text=near.entry.text,
                fresh_text=fresh,
                distance=near.distance,
                scope=pending.scope,
            )
        )
        if label is None:
            return
        self._count(label.right, audited=pending.how is _How.AUDITED)
        sample = Sample(near.distance, label.right)
        owner = self._keeper.owner(pending.scope)
        self.seen(pending.scope, near.entry)
        if label.sure and (label.right or not objected):
            await self._annotate(pair, near.entry, sample)
        if not objected:
            await self._tally(owner, sample, pooled=self._known(pending.scope).total < _POOLED)
            self._learnt(pending.scope, sample)

    def _count(self, right: bool, *, audited: bool) -> None:
        counters = self._counters
        counters.judged += 1
        counters.judged_wrong += not right
        if audited:
            counters.audited += 1
            counters.audited_wrong += not right

    async def _annotate(self, pair: str, entry: Entry, sample: Sample) -> Owner | None:
        def change(there: Entry, notes: bytes | None) -> bytes | None:
            if there.created_at != entry.created_at:
                return notes
            known = read_verdicts(notes, there) or Verdicts(there.created_at)
            sampled = self._verified is not None
            return write_verdicts(known.after(pair, *sample, sampled=sampled))

        found = await self._keeper.annotate(entry.id, change)
        return None if found is None else found[1]

    async def _tally(self, owner: Owner, sample: Sample, *, pooled: bool) -> None:
        one = Histogram()
        if one.add(*sample):
            period = periods(self._now())[0][0]
            await self._keeper.tally(owner, period, one.fields(), pooled=pooled)

    # -- a scope's distance

    def _known(self, scope: Scope) -> _Known:
        known = self._scopes.get(scope)
        if known is None:
            known = _Known(self._start)
            if self._config.target_precision is not None:
                known.watched = needed(self._config.target_precision)
            self._scopes.put(scope, known)
        return known

    def _learnt(self, scope: Scope, sample: Sample) -> None:
        if self._config.target_precision is None:
            return
        known = self._known(scope)
        known.fresh += 1
        served_wrong = not sample.right and sample.distance <= known.policy.max_distance
        if served_wrong or known.fresh >= _ENOUGH_NEW:
            self._renew(scope, known)

    def _renew(self, scope: Scope, known: _Known) -> None:
        known.due = time.monotonic() + known.wait_s
        if known.loading is None:
            known.loading = self._spawn(self._renewed(scope, known))

    async def _renewed(self, scope: Scope, known: _Known) -> None:
        try:
            await self._choose(scope, known)
        except Exception as error:
            self._complaints.warn("evidence", error)
        finally:
            known.loading = None

    async def _choose(self, scope: Scope, known: _Known) -> None:
        config = self._config
        if config.target_precision is None:
            return
        known.fresh = 0
        counted = periods(self._now())
        found = await self._keeper.tallies(
            self._keeper.owner(scope), [number for number, _ in counted]
        )
        if known.choice is not None and (counted[0][0], found) == known.basis:
            known.wait_s = min(_LONGEST_S, known.wait_s * 2.0)
            return
        known.basis, known.wait_s = (counted[0][0], found), _REFRESH_S
        own, like = (_summed(parts, [weight for _, weight in counted]) for parts in found)
        known.total = own.total
        known.choice = choose(
            own,
            like if own.total < _FEW else None,
            target=config.target_precision,
            default=self._start.max_distance,
            ceiling=config.max_distance,
        )
        reach = known.choice.max_distance
        policy = self._start._replace(max_distance=-1.0 if reach is None else reach)
        if policy.max_distance > max(self._start.max_distance, known.policy.max_distance):
            known.watched = needed(config.target_precision)
        known.policy = policy

    def _verdicts(self, near: Neighbour) -> Verdicts | None:
        notes = near.notes if self._local is None else self._local.notes(near.entry.id)
        return read_verdicts(notes, near.entry)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _summed(parts: Sequence[dict[str, float]], weights: Sequence[float]) -> Histogram:
    found = Histogram()
    for fields, weight in zip(parts, weights, strict=True):
        if fields:
            found += Histogram.of_fields(fields).faded(weight)
    return found
