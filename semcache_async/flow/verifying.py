"""Pairs of prompts to a verifier's scores, for many callers at once: batched and remembered."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from semcache_async.complaints import Complaints
from semcache_async.errors import CacheClosedError, SemcacheError
from semcache_async.flow.batcher import MicroBatcher
from semcache_async.flow.recent import Recent
from semcache_async.flow.vectors import in_halves
from semcache_async.protocols import Verifier
from semcache_async.text.decide import UNSCORED, VERIFIER

__all__ = ["Verifying"]

_PLAIN_BATCH = 32
"""Pairs per call of a verifier that does not say how many tokens it takes."""
_CHARACTERS_A_TOKEN = 4
_REMEMBERED = 16_384


class _Pair(NamedTuple):
    """The prompt that is asked, the one whose answer might serve it, and whose they are."""

    prompt: str
    candidate: str
    tenant: str | None

    @property
    def digest(self) -> bytes:
        """Names it in 16 bytes, however long the prompts are."""
        named = repr((self.prompt, self.candidate, self.tenant))
        return blake2b(named.encode("utf-8", "surrogatepass"), digest_size=16).digest()

    @property
    def tokens(self) -> int:
        """About."""
        return 3 + (len(self.prompt) + len(self.candidate)) // _CHARACTERS_A_TOKEN


class Verifying:
    """A verifier behind micro-batches. The last scores are remembered, each tenant's own; a pair
    that has none, for whatever reason, is refused."""

    def __init__(self, verifier: Verifier, *, min_score: float, timeout_s: float) -> None:
        self._verifier = verifier
        self._min_score = min_score
        self._timeout_s = timeout_s
        self._scores = Recent[bytes, float](_REMEMBERED)
        self._complaints = Complaints()
        streams = int(getattr(verifier, "streams", 1))
        tokens = getattr(verifier, "token_budget", None)
        self._executor = ThreadPoolExecutor(streams, thread_name_prefix="semcache-verify")
        self._batcher: MicroBatcher[_Pair, float] = MicroBatcher(
            self._score,
            budget=tokens or _PLAIN_BATCH,
            cost=(lambda pair: pair.tokens) if tokens else None,
            concurrency=streams,
            pure=True,
            timeout_s=timeout_s,
        )
        self.refused = self.failed = 0
        """Candidates without an answer for it."""

    @property
    def asked(self) -> int:
        """Pairs that the verifier was given."""
        return self._batcher.items

    @property
    def queued(self) -> int:
        """Pairs that wait for it."""
        return self._batcher.queued

    def refusal(self, prompt: str, candidate: str, *, tenant: str | None = None) -> str | None:
        """What it is known to have said against serving one's answer to the other."""
        if prompt == candidate:
            return None
        score = self._scores.get(_Pair(prompt, candidate, tenant).digest)
        if score is None:
            return UNSCORED
        if score < self._min_score:
            self.refused += 1
            return VERIFIER
        return None

    async def ask(
        self,
        prompt: str,
        candidate: str,
        *,
        tenant: str | None = None,
        bulk: bool = False,
        until: float | None = None,
    ) -> None:
        """Have the pair's score remembered, if one can be had ``until`` then by the loop's
        clock."""
        pair = _Pair(prompt, candidate, tenant)
        digest = pair.digest
        if self._scores.get(digest) is not None:
            return
        try:
            async with asyncio.timeout_at(until):
                score = await self._batcher.submit(pair, bulk=bulk)
            self._scores.put(digest, score)
        except CacheClosedError:
            raise
        except TimeoutError:
            self.failed += 1
            self._complaints.warn("verifier", "out of time, counted as no")
        except Exception as error:
            self.failed += 1
            self._complaints.warn("verifier", error)

    async def refuses(self, prompt: str, candidate: str, *, tenant: str | None = None) -> bool:
        """Would it refuse the candidate? For what nobody waits for."""
        await self.ask(prompt, candidate, tenant=tenant, bulk=True)
        return self.refusal(prompt, candidate, tenant=tenant) is not None

    async def aclose(self) -> None:
        await self._batcher.aclose()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _score(self, pairs: list[_Pair]) -> Sequence[float | Exception]:
        return await in_halves(self._score_all, pairs)

    async def _score_all(self, pairs: list[_Pair]) -> Sequence[float | Exception]:
        asked = [(pair.prompt, pair.candidate) for pair in pairs]
        score = self._verifier.score
        if inspect.iscoroutinefunction(score):
            found = np.asarray(await score(asked))
        else:
            loop = asyncio.get_running_loop()
            found = np.asarray(await loop.run_in_executor(self._executor, score, asked))
        if found.shape != (len(pairs),):
            raise SemcacheError(
                f"The verifier returned shape {found.shape} for {len(pairs)} pairs; it must be "
                f"({len(pairs)},): one score each."
            )
        return [
            score
            if 0.0 <= score <= 1.0
            else SemcacheError(f"The verifier gave the score {score:.3g}, which is not in 0..1.")
            for score in found.astype(np.float64).tolist()
        ]
