"""Who asks the very same again soon wants another answer: chat front ends have a button for it, and
can send no header."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import blake2b

from semcache_async.flow.recent import Recent
from semcache_async.serve.completions.plan import Plan

__all__ = ["Again"]

_REMEMBERED = 16_384


class Again:
    """What each asker was answered within the last ``seconds``, in this process; 0: nothing is
    remembered."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._answered: Recent[bytes, float] = Recent(_REMEMBERED if seconds else 0)

    def asked(self, plan: Plan, asker: str) -> bool:
        """Does ``asker`` ask what it was answered just now?"""
        if not self._seconds or plan.reason is not None:
            return False
        at = self._answered.get(_key(plan, asker))
        return at is not None and self._clock() - at <= self._seconds

    def answered(self, plan: Plan, asker: str) -> None:
        """``asker`` has its answer."""
        if self._seconds and plan.reason is None:
            self._answered.put(_key(plan, asker), self._clock())


def _key(plan: Plan, asker: str) -> bytes:
    said = (asker, plan.request.user, plan.prompt, plan.scope)
    return blake2b(repr(said).encode(errors="surrogatepass"), digest_size=16).digest()
