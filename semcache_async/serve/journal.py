"""Hits near the threshold, and what people say of them: the material to calibrate with.

Noting a hit is synchronous and cheap, and may drop it; a task of the journal's own writes.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Literal, NamedTuple, TypeAlias, TypeVar

import anyio
import msgspec

from semcache_async.cache import SemanticCache
from semcache_async.complaints import Complaints
from semcache_async.serve.errors import NotFound
from semcache_async.serve.metrics.metrics import Metrics
from semcache_async.store.log import Log, Logged, MemoryLog, RedisLog
from semcache_async.store.sealing import sealer_of
from semcache_async.store.wire import redis_pipelines
from semcache_async.types import Answer, Scope, Source

__all__ = ["Journal", "NearHit", "Review", "Verdict", "open_journal"]

Verdict: TypeAlias = Literal["right", "wrong"]

NEAR_TTL_S, REVIEWS_TTL_S = 7 * 86_400.0, 365 * 86_400.0
REVIEWS_KEPT = 10_000
LONGEST = 8_192
"""Characters of a prompt; hits of longer ones are not noted."""
QUEUED = 1_000
"""Hits that wait to be written; more are dropped."""
QUIET_S, PAIRS = 600.0, 4_096
"""For this long a process notes a pair of prompts once, if it was among the last so many."""
BAND = 0.02
"""Hits are told apart by such bands of distance: of a crowded band fewer are noted."""

_BATCH = 64


class NearHit(msgspec.Struct, frozen=True, kw_only=True):
    """One answer that was served to another wording, or in shadow mode would have been."""

    at: float
    """Unix seconds."""
    prompt: str
    matched_prompt: str
    distance: float
    entry_id: str | None = None
    tenant: str = ""
    locale: str = ""
    model: str = ""

    @property
    def pair(self) -> tuple[str, ...]:
        """What a verdict is about."""
        return (self.tenant, self.prompt, self.matched_prompt)


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody said of a hit."""

    hit: NearHit
    verdict: Verdict
    at: float
    """Unix seconds."""


class Listed(NamedTuple):
    """A hit with its id and the last verdict on its two prompts."""

    id: str
    hit: NearHit
    verdict: Verdict | None


@asynccontextmanager
async def open_journal(
    cache: SemanticCache,
    *,
    keep: int = 1_000,
    fraction: float = 0.5,
    metrics: Metrics | None = None,
) -> AsyncIterator[Journal]:
    """The journal of one cache: in its Redis, for all its processes, or else in memory. It has a
    connection of its own, so that it never stands in a lookup's way.

    ``keep`` near hits are kept (0 = none); a hit is near the threshold from ``fraction`` of
    ``max_distance`` on, and at any distance where each scope or entry finds its own.
    """
    near: Log = MemoryLog(keep=keep)
    reviews: Log = MemoryLog(keep=REVIEWS_KEPT)
    async with AsyncExitStack() as stack:
        if cache.redis_url is not None:
            name, timeout_s = cache.config.name, cache.config.store_timeout_s
            pipelines = await stack.enter_async_context(
                redis_pipelines(cache.redis_url, connections=1, timeout_s=timeout_s)
            )
            log = partial(RedisLog, pipelines, name, sealer=sealer_of(cache.config))
            near = log("near", keep=keep, ttl_s=NEAR_TTL_S)
            reviews = log("reviews", keep=REVIEWS_KEPT, ttl_s=REVIEWS_TTL_S)
        floor = 0.0 if cache.config.learns else fraction * min(cache.ceilings())
        journal = Journal(near, reviews, keep=keep, floor=floor, metrics=metrics)
        writing = asyncio.create_task(journal.write())
        try:
            yield journal
        finally:
            with anyio.CancelScope(shield=True):
                with anyio.move_on_after(cache.config.store_timeout_s):
                    await journal.flush()
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)


class Journal:
    """Keeps near hits and reviews. Make one with ``open_journal``."""

    def __init__(
        self,
        near: Log,
        reviews: Log,
        *,
        keep: int,
        floor: float,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.time,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._near = near
        self._reviews = reviews
        self._keep = keep
        self._floor = floor
        self._metrics = metrics or Metrics()
        self._clock = clock
        self._draw = draw
        self._lately: deque[int] = deque()
        self._in_band: Counter[int] = Counter()
        self._queue: deque[NearHit] = deque()
        self._filled = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._quiet: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._complaints = Complaints()

    def note_hit(self, *, prompt: str, answer: Answer, scope: Scope) -> None:
        """Keep a semantic hit near the threshold, if it is drawn. Never waits, never raises."""
        matched, distance = answer.matched_prompt, answer.distance
        if answer.source is not Source.SEMANTIC or matched is None or distance is None:
            return
        if distance < self._floor or not self._keep or max(len(prompt), len(matched)) > LONGEST:
            return
        if self._crowded(distance):
            return
        now = self._clock()
        hit = NearHit(
            at=now,
            prompt=prompt,
            matched_prompt=matched,
            distance=distance,
            entry_id=answer.entry_id,
            tenant=scope.tenant,
            locale=scope.locale,
            model=scope.model,
        )
        if self._heard(hit.pair, now):
            return
        if len(self._queue) >= QUEUED:
            self._metrics.count("near_hits", "dropped")
            return
        self._metrics.count("near_hits", "noted")
        self._remember(distance)
        self._queue.append(hit)
        self._idle.clear()
        self._filled.set()

    async def write(self) -> None:
        """Write what was noted. Returns never."""
        while True:
            await self._filled.wait()
            batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
            try:
                await self._near.append([msgspec.json.encode(hit) for hit in batch])
            except Exception as error:
                self._metrics.count("near_hits", "lost", number=len(batch))
                self._complaints.warn("near hits not kept", error)
            if not self._queue:
                self._filled.clear()
                self._idle.set()

    async def flush(self) -> None:
        """Return once all that was noted before is written or dropped."""
        await self._idle.wait()

    async def near(self, limit: int) -> list[Listed]:
        """The last hits near the threshold, each pair of prompts once, the newest first."""
        verdicts = {
            review.hit.pair: review.verdict for review in await self.reviews(2 * self._keep)
        }
        listed: dict[tuple[str, ...], Listed] = {}
        for id_, hit in _read(await self._near.newest(self._keep), NearHit):
            if len(listed) == limit:
                break
            listed.setdefault(hit.pair, Listed(id_, hit, verdicts.get(hit.pair)))
        return list(listed.values())

    async def review(self, hit_id: str, verdict: Verdict) -> NearHit:
        """Keep a verdict on a hit, which is returned; a later one on the same prompts replaces
        it."""
        record = await self._near.get(hit_id)
        found = None if record is None else next(_read([(hit_id, record)], NearHit), None)
        if found is None:
            raise NotFound("There is no such hit, or it is no longer kept.", param="id")
        review = Review(hit=found[1], verdict=verdict, at=self._clock())
        await self._reviews.append([msgspec.json.encode(review)])
        return review.hit

    async def reviews(self, limit: int = REVIEWS_KEPT) -> list[Review]:
        """The last verdict on each pair of prompts, the newest first."""
        last: dict[tuple[str, ...], Review] = {}
        for _, review in _read(await self._reviews.newest(limit), Review):
            last.setdefault(review.hit.pair, review)
        return list(last.values())

    def _crowded(self, distance: float) -> bool:
        """Is this hit left out, since of the last ``keep`` that were noted more lay in its band
        than in another? Where most hits lie at one distance, they would push out all others."""
        many, few = self._in_band[int(distance / BAND)], min(self._in_band.values(), default=0)
        return many > few and self._draw() >= (1 + few) / (1 + many)

    def _remember(self, distance: float) -> None:
        self._lately.append(int(distance / BAND))
        self._in_band[self._lately[-1]] += 1
        if len(self._lately) > self._keep:
            oldest = self._lately.popleft()
            self._in_band[oldest] -= 1
            if not self._in_band[oldest]:
                del self._in_band[oldest]

    def _heard(self, pair: tuple[str, ...], now: float) -> bool:
        """Was this pair noted a short while ago? A popular one would push out all others."""
        if now < self._quiet.get(pair, 0.0):
            return True
        self._quiet[pair] = now + QUIET_S
        self._quiet.move_to_end(pair)
        if len(self._quiet) > PAIRS:
            self._quiet.popitem(last=False)
        return False


_Kept = TypeVar("_Kept", NearHit, Review)


def _read(rows: Sequence[Logged], kind: type[_Kept]) -> Iterator[tuple[str, _Kept]]:
    """What can be read; another version's records are passed over."""
    for id_, record in rows:
        try:
            yield id_, msgspec.json.decode(record, type=kind)
        except msgspec.DecodeError:
            continue
