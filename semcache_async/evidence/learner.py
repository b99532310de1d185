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
from contextvars import Context, copy_context
from dataclasses import replace
from enum import Enum
from functools import lru_cache, partial
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

from semcache_async.bounds.choice import Choice, Origin, Outcome, choose
from semcache_async.bounds.histogram import Counts, Histogram, Sample, periods
from semcache_async.bounds.per_entry import serves
from semcache_async.bounds.precision import needed
from semcache_async.complaints import Complaints
from semcache_async.config import STRICT_DISTANCE, CacheConfig
from semcache_async.errors import CacheClosedError, OverloadedError
from semcache_async.evidence.judging import Judging, Label, same
from semcache_async.evidence.local import LocalEvidence
from semcache_async.evidence.verdicts import Verdicts, pair_of, read_verdicts, write_verdicts
from semcache_async.flow.models import Models, Room
from semcache_async.flow.quotas import Quotas
from semcache_async.flow.recent import Recent
from semcache_async.flow.verifying import Verifying
from semcache_async.flow.wording import Wording
from semcache_async.protocols import EvidenceStore, Store, Tracing
from semcache_async.stats import Counters
from semcache_async.text.decide import Candidate, Policy, Standing
from semcache_async.types import Case, Entry, Neighbour, Owner, Produced, Scope

__all__ = ["Call", "Learner"]

Call: TypeAlias = Callable[[], Awaitable[Produced]]
"""An LLM call."""

PEOPLE = 3.0
"""What one verdict by ``feedback`` counts, in samples of the judge's."""

_QUEUED, _AT_ONCE = 256, 4
_SCOPES = 4_096
_BETWEEN_S = 0.005
"""From one scope's renewal to the next one's."""
_REFRESH_S, _LONGEST_S = 10.0, 80.0
"""How old what is known of a scope may be before it is read anew, in the background; longer each
time that nothing has changed."""
_ENOUGH_NEW = 20
"""Verdicts after which a scope's distance is chosen anew at once."""
_TENANTS = 4_096
"""Tenants whose start is remembered."""
_UNPROVEN = 0.08
"""Where a scope starts that is to find its distance. What lies farther out misses, and is judged:
the farther a scope starts, the less it learns."""
_FEW = 100.0
"""Samples below which the curve of the tenant's scopes is asked."""
_AUDITED, _AUDITED_WRONG = "audited", "audited_wrong"
"""Beside a scope's samples: how many of them are of audited hits."""
_MOST = 1e12
"""More of them than that are a mistake."""
_POOLED = 500.0
"""Samples up to which a scope adds to the curve of its tenant's scopes: none makes it alone."""


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
    context: Context
    """The caller's own, for the judge and the LLM."""


class _Known:
    """What this process knows of one scope."""

    __slots__ = (
        *("basis", "choice", "due", "fresh", "owner", "policy"),
        *("scope", "total", "wait_s", "watched"),
    )

    def __init__(self, scope: Scope, policy: Policy) -> None:
        self.scope = scope
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
        self.owner: Owner | None = None


class Learner:
    """One cache's evidence: gathered, kept in the store, and turned into distances."""

    def __init__(
        self,
        store: Store,
        config: CacheConfig,
        counters: Counters,
        models: Models,
        judging: Judging,
        *,
        judged: bool,
        busy: Callable[[], bool],
        verifying: Verifying | None = None,
        quotas: Quotas,
        validated: Callable[[Entry], Awaitable[None]],
        draw: Callable[[], float] = random.random,
    ) -> None:
        """``validated`` is told of answers that were found right. ``judged``: is there a judge?
        ``busy``: is there so much to do that learning waits?"""
        self._local: LocalEvidence | None = None
        self._keeper: EvidenceStore | LocalEvidence
        if isinstance(store, EvidenceStore):
            self._keeper = store
        else:
            self._keeper = self._local = LocalEvidence()
        self._now = store.now
        self._config = config
        self._counters = counters
        self._models = models
        self._verifying = verifying
        self._judging = judging
        self._busy = busy
        self._quotas = quotas
        self._validated = validated
        self._draw = draw
        self._active = judged or config.learns or config.shadow
        self.listens = self._active or self._local is not None
        """Is it of any use to tell of hits?"""
        self._verified = config.verified
        self._by_notes_alone = self._local is None and config.verified is None
        self._pending: deque[_Pending] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._judges = 0
        self._scopes: Recent[Scope, _Known] = Recent(_SCOPES)
        self._counted: dict[str, int] | None = None
        """``scopes``, until a choice is another one."""
        self._stale: dict[_Known, None] = {}
        self._renewing = False
        self._blank: dict[float, Choice] = {}
        """What a scope without any evidence comes to, by the most that its model's may serve."""
        self.tracing: Tracing | None = None
        self._closed = False
        self._salt = repr(draw()).encode()
        self._complaints = Complaints()
        self._start_of = lru_cache(maxsize=_TENANTS)(self._start_for)

    # -- what requests ask

    def policy(self, scope: Scope) -> Policy:
        """What a neighbour of this scope has to meet now."""
        if self._config.target_precision is None:
            return self._start_of(scope.tenant, self._models.only or self._models.of(scope))
        known = self._known(scope)
        if time.monotonic() >= known.due:
            self._renew(known)
        return known.policy

    def start(self, scope: Scope) -> Policy:
        """The same before there is evidence: for who has no use for any."""
        return self._start_of(scope.tenant, self._models.only or self._models.of(scope))

    def _start_for(self, tenant: str, room: Room) -> Policy:
        """The readings of a tenant's prompts are its own."""
        words, start = room.reader.wording, room.max_distance
        if self._config.target_precision is not None:
            start = min(start, _UNPROVEN if room.measured else STRICT_DISTANCE)
        policy = Policy(
            start,
            partial(words.refusal, tenant=tenant),
            partial(self._standing, words),
            room.max_distance,
        )
        if self._verifying is None:
            return policy
        return policy._replace(verifier=partial(self._verifying.refusal, tenant=tenant))

    def _standing(self, words: Wording, prompt: str, candidate: Candidate) -> Standing:
        """What is known of serving a candidate's answer to a prompt."""
        if candidate.notes is None and self._by_notes_alone:
            return Standing.OPEN
        if not isinstance(candidate, Neighbour):
            return Standing.OPEN if self._verified is None else Standing.UNVERIFIED
        verdicts = self._verdicts(candidate)
        found = Standing.OPEN
        if verdicts is not None:
            found = verdicts.standing(pair_of(prompt), candidate.distance)
            if found is Standing.RIGHT and words.erases(prompt, candidate.prompt):
                found = Standing.OPEN
        if found is not Standing.OPEN or self._verified is None:
            return found
        if verdicts is None:
            return Standing.UNVERIFIED
        draw = self._lot(pair_of(prompt), candidate.entry, verdicts)
        served = serves(verdicts.curve, candidate.distance, 1.0 - self._verified, draw)
        return Standing.OPEN if served else Standing.UNVERIFIED

    def _lot(self, pair: str, entry: Entry, verdicts: Verdicts) -> float:
        """0..1, the same however often one request looks: drawn again, it would be drawn until it
        serves."""
        text = f"{pair} {entry.id} {entry.created_at} {len(verdicts.samples)}"
        digest = blake2b(text.encode(), digest_size=8, key=self._salt).digest()
        return int.from_bytes(digest, "big") / 2.0**64

    # -- what requests tell

    def missed(
        self, prompt: str, scope: Scope, near: Sequence[Neighbour], fresh: str | None
    ) -> None:
        """A prompt missed, and ``near`` were its neighbours; ``fresh`` is what the LLM said."""
        if not self._active or (fresh is None and self._judging.needs_fresh):
            return
        reviewed = tuple(one for one in near if one.distance <= self._config.review_distance)
        if reviewed:
            self._put(prompt, scope, reviewed, fresh, _How.MISSED)

    def hit(self, prompt: str, scope: Scope, near: Neighbour, call: Call | None = None) -> None:
        """A stored answer was served: it is judged afterwards, if it is drawn. Without a judge that
        takes an LLM call (``call``) to compare with, which is made only where the config asks for
        a precision."""
        self.seen(scope, near.entry)
        if not self._active or (self._judging.needs_fresh and not (call and self._config.learns)):
            return
        how = _How.AUDITED
        if self._draw() >= self._config.audit_share:
            known = self._scopes.get(scope)
            if known is None or known.watched <= 0:
                return
            how = _How.WATCHED
        self._put(prompt, scope, (near,), call, how)

    def held_back(self, prompt: str, scope: Scope, near: Neighbour, fresh: str | None) -> None:
        """A stored answer would have been served, were it not for shadow mode."""
        if fresh is not None or not self._judging.needs_fresh:
            self._put(prompt, scope, (near,), fresh, _How.AUDITED)

    def seen(self, scope: Scope, entry: Entry) -> None:
        """An answer that verdicts may come for."""
        if self._local is not None:
            self._local.seen(scope, entry)

    def forget(self) -> None:
        """Any entry may have been deleted."""
        if self._local is not None:
            self._local.forget()

    # -- what people say

    async def entry(self, entry_id: str) -> tuple[Entry, Owner] | None:
        """A live entry and whose it is; raises a ``StoreError`` where the store fails."""
        self._check_open()
        found = await self._keeper.noted(entry_id)
        return None if found is None else found[:2]

    async def said(self, prompt: str, entry: Entry, distance: float, right: bool) -> bool:
        """Keep somebody's verdict; it holds on return. False where the entry has gone meanwhile.
        Raises a ``StoreError``."""
        pair = pair_of(prompt)
        sample = Sample(distance, right, PEOPLE)
        before, owner = await self._annotate(pair, entry, sample, by_people=True)
        if owner is None:
            return False
        if before is not right:  # said again, it is no further sample
            try:
                await self._tally(owner, sample, pooled=False)
            except Exception as error:
                self._lose(error)
            for known in self._scopes.values():
                if known.owner == owner:
                    self._renew(known)
        return True

    async def choice(self, scope: Scope) -> Choice | None:
        """The distance of a scope and why, from the evidence there is now; None where the config
        sets it. Raises a ``StoreError``."""
        self._check_open()
        known = self._known(scope)
        await self._choose(known)
        return known.choice

    def choices(self) -> list[tuple[Scope, Choice]]:
        """What this process goes by, of the scopes that it has served."""
        return [(one.scope, one.choice) for one in self._scopes.values() if one.choice]

    def scopes(self) -> dict[str, int]:
        """How many there are of ``choices``, and of some kinds, as ``Stats`` names them."""
        if self._counted is None:
            found = [choice for _, choice in self.choices()]
            self._counted = {
                "scopes": len(found),
                "scopes_proven": sum(one.origin is Origin.LEARNED for one in found),
                "scopes_stopped": sum(one.origin is Origin.STOPPED for one in found),
                "scopes_broken": sum(one.outcome is Outcome.BROKEN for one in found),
            }
        return self._counted

    # -- in the background

    @property
    def judging(self) -> int:
        """What waits to be judged, is being judged, or is being made a distance of."""
        return len(self._pending) + len(self._tasks)

    async def aclose(self, *, patience_s: float) -> None:
        """Drop what is left; for a judge that cannot be cancelled, wait so long."""
        self._closed = True
        self._pending.clear()
        self._stale.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=patience_s)

    def _check_open(self) -> None:
        if self._closed:
            raise CacheClosedError("The cache is closed; open a new one.")

    def _put(
        self,
        prompt: str,
        scope: Scope,
        near: tuple[Neighbour, ...],
        fresh: str | Call | None,
        how: _How,
    ) -> None:
        if self._closed:
            return
        full = len(self._pending) >= _QUEUED or self._busy()
        if full or not self._quotas.verdict(scope.tenant):
            self._counters.judge_skips += 1
            return
        context = copy_context()
        if self.tracing is not None:
            context.run(self.tracing.leave)
        self._pending.append(_Pending(prompt, scope, near, fresh, how, context))
        if self._judges < _AT_ONCE:
            self._judges += 1
            self._spawn(self._judge_all())

    async def _judge_all(self) -> None:
        try:
            while self._pending:
                pending = self._pending.popleft()
                judging = self._spawn(self._judge(pending), pending.context)
                await asyncio.wait([judging])
                if judging.cancelled():
                    self._counters.judge_errors += 1  # by the judge's own doing: this is not
                elif (error := judging.exception()) is not None:
                    self._lose(error)
        finally:
            self._judges -= 1

    def _lose(self, error: BaseException) -> None:
        self._counters.evidence_lost += 1
        self._complaints.warn("evidence", error)

    async def _judge(self, pending: _Pending) -> None:
        """Label the neighbour that distance alone would have served; where words or the verifier
        refuse them all, the nearest of those, so that a rewording refused for its words costs one
        call and not two."""
        found = await self._worth_judging(pending)
        if found is None:
            return
        near, objected = found
        label = await self._label(pending, near)
        if label is not None:
            await self._learn(pending, near, label, objected=objected)

    async def _worth_judging(self, pending: _Pending) -> tuple[Neighbour, bool] | None:
        """The neighbour, and whether words or the verifier speak against it."""
        words = self._models.of(pending.scope).reader.wording
        prompt, tenant = pending.prompt, pending.scope.tenant
        if pending.how is not _How.MISSED:
            return pending.near[0], False
        seen = [one for one in pending.near if not words.erases(prompt, one.prompt, tenant=tenant)]
        if not seen:
            return None
        found: Neighbour | None = None
        for one in seen:
            if words.objects(prompt, one.prompt, tenant=tenant):
                continue
            verifying = self._verifying
            if not (verifying and await verifying.refuses(prompt, one.prompt, tenant=tenant)):
                found = one
                break
        near = found or seen[0]
        verdicts = self._verdicts(near)
        if verdicts is not None and verdicts.known(pair_of(prompt)) is not None:
            return None  # one pair is one sample, however often it is asked
        return near, found is None

    async def _label(self, pending: _Pending, near: Neighbour) -> Label | None:
        """None without a verdict. Answers that are the same to the letter cost nothing."""
        fresh = pending.fresh
        free = isinstance(fresh, str) and same(fresh, near.entry.text)
        if not (free or self._judging.may_ask()):
            return None
        if callable(fresh):
            try:
                fresh = (await fresh()).text
            except OverloadedError:
                self._counters.judge_skips += 1
                return None
            except Exception as error:
                self._counters.judge_errors += 1
                self._complaints.warn("audit", error)
                return None
        return await self._judging.label(
            Case(
                prompt=pending.prompt,
                matched_prompt=near.prompt,
                stored_text=near.entry.text,
                fresh_text=fresh,
                distance=near.distance,
                scope=pending.scope,
            )
        )

    async def _learn(
        self, pending: _Pending, near: Neighbour, label: Label, *, objected: bool
    ) -> None:
        self._count(label.right, audited=pending.how is _How.AUDITED)
        known = self._known(pending.scope)
        if pending.how is _How.WATCHED:
            known.watched -= 1
        sample = Sample(near.distance, label.right)
        self.seen(pending.scope, near.entry)
        if label.sure:
            pair = pair_of(pending.prompt)
            await self._annotate(pair, near.entry, sample, moves_reach=not objected)
            if label.right:
                await self._validated(near.entry)
        if not objected:
            owner, pooled = self._keeper.owner(pending.scope), known.total < _POOLED
            audited = pending.how is _How.AUDITED
            await self._tally(owner, sample, pooled=pooled, audited=audited)
            self._learnt(known, sample)

    def _count(self, right: bool, *, audited: bool) -> None:
        counters = self._counters
        counters.judged += 1
        counters.judged_wrong += not right
        if audited:
            counters.audited += 1
            counters.audited_wrong += not right

    async def _annotate(
        self,
        pair: str,
        entry: Entry,
        sample: Sample,
        *,
        by_people: bool = False,
        moves_reach: bool = True,
    ) -> tuple[bool | None, Owner | None]:
        """What was known of the pair, and whose the entry is; no owner where it has gone."""
        before: bool | None = None
        replaced = False

        def change(there: Entry, notes: bytes | None) -> bytes | None:
            nonlocal before, replaced
            replaced = there.created_at != entry.created_at
            if replaced:
                return notes
            known = read_verdicts(notes, there) or Verdicts(there.created_at)
            before = known.known(pair)
            after = known.after(
                pair,
                sample,
                by_people=by_people,
                moves_reach=moves_reach,
                sampled=self._verified is not None,
            )
            return write_verdicts(after)

        found = await self._keeper.annotate(entry.id, change)
        return before, None if found is None or replaced else found[1]

    async def _tally(
        self, owner: Owner, sample: Sample, *, pooled: bool, audited: bool = False
    ) -> None:
        one = Histogram()
        if one.add(*sample):
            period, amounts = periods(self._now())[0][0], one.fields()
            if audited:
                amounts |= {_AUDITED: 1.0} if sample.right else {_AUDITED: 1.0, _AUDITED_WRONG: 1.0}
            await self._keeper.tally(owner, period, amounts, pooled=pooled)

    # -- a scope's distance

    def _known(self, scope: Scope) -> _Known:
        known = self._scopes.get(scope)
        if known is None:
            known = _Known(scope, self._start_of(scope.tenant, self._models.of(scope)))
            if self._config.target_precision is not None:
                known.watched = needed(self._config.target_precision)
            self._scopes.put(scope, known)
        return known

    def _learnt(self, known: _Known, sample: Sample) -> None:
        if self._config.target_precision is None:
            return
        known.fresh += 1
        served_wrong = not sample.right and sample.distance <= known.policy.max_distance
        if served_wrong or known.fresh >= _ENOUGH_NEW:
            self._renew(known)

    def _renew(self, known: _Known) -> None:
        """Soon, and one after the other: many scopes at once must not hold up what callers ask."""
        known.due = time.monotonic() + known.wait_s
        if self._closed:
            return
        self._stale[known] = None
        if len(self._stale) > _SCOPES:
            del self._stale[next(iter(self._stale))]
        if not self._renewing:
            self._renewing = True
            self._spawn(self._renew_all())

    async def _renew_all(self) -> None:
        try:
            while self._stale:
                known = next(iter(self._stale))
                del self._stale[known]
                try:
                    await self._choose(known)
                except Exception as error:
                    self._complaints.warn("evidence", error)
                if self._stale:
                    await asyncio.sleep(_BETWEEN_S)
        finally:
            self._renewing = False

    async def _choose(self, known: _Known) -> None:
        config = self._config
        if config.target_precision is None:
            return
        known.fresh = 0
        counted = periods(self._now())
        known.owner = self._keeper.owner(known.scope)
        found = await self._keeper.tallies(known.owner, [number for number, _ in counted])
        if known.choice is not None and (counted[0][0], found) == known.basis:
            known.wait_s = min(_LONGEST_S, known.wait_s * 2.0)
            return
        known.basis, known.wait_s = (counted[0][0], found), _REFRESH_S
        weights = [weight for _, weight in counted]
        own, like = (_summed(parts, weights) for parts in found)
        known.total = own.total
        start = self._start_of(known.scope.tenant, self._models.of(known.scope))
        chosen = self._chosen(own, like, config.target_precision, start)
        known.choice = replace(chosen, audited=_audited(found[0], weights))
        self._counted = None
        reach = known.choice.max_distance
        policy = known.policy._replace(max_distance=-1.0 if reach is None else reach)
        if policy.max_distance > max(start.max_distance, known.policy.max_distance):
            known.watched = needed(config.target_precision)
        known.policy = policy

    def _chosen(self, own: Histogram, like: Histogram, target: float, start: Policy) -> Choice:
        blank = not (own.total or like.total)
        if blank and (known := self._blank.get(start.ceiling)) is not None:
            return known
        choice = choose(
            own,
            like if own.total < _FEW else None,
            target=target,
            default=start.max_distance,
            ceiling=start.ceiling,
        )
        if blank:
            self._blank[start.ceiling] = choice
        return choice

    def _verdicts(self, near: Neighbour) -> Verdicts | None:
        notes = near.notes if self._local is None else self._local.notes(near.entry.id)
        return read_verdicts(notes, near.entry)

    def _spawn(
        self, work: Coroutine[None, None, None], context: Context | None = None
    ) -> asyncio.Task[None]:
        task = asyncio.create_task(work, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _audited(parts: Sequence[dict[str, float]], weights: Sequence[float]) -> Counts:
    every, wrong = (
        sum(
            weight * number
            for part, weight in zip(parts, weights, strict=True)
            if 0.0 < (number := part.get(name, 0.0)) <= _MOST
        )
        for name in (_AUDITED, _AUDITED_WRONG)
    )
    return Counts(max(0.0, every - wrong), wrong)


def _summed(parts: Sequence[dict[str, float]], weights: Sequence[float]) -> Histogram:
    found = Histogram()
    for fields, weight in zip(parts, weights, strict=True):
        if fields:
            found += Histogram.of_fields(fields).faded(weight)
    return found
