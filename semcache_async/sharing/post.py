"""What a process asks of the store about flights: in batches, and failing open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from secrets import token_hex
from typing import Any, TypeVar

from semcache_async.complaints import Complaints
from semcache_async.errors import StoreError
from semcache_async.flow.batcher import MicroBatcher
from semcache_async.protocols import SharingStore
from semcache_async.sharing.letters import Body, encode
from semcache_async.types import Claim, Letter, Rival, Vector

__all__ = ["Post"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_CLAIMS, _AT_ONCE = 16, 128
"""Claims, and letters and others, in one pipeline: some milliseconds of Redis's time."""
_AGAIN_S = 1.0
_REFUSALS, _REST_S = 3, 30.0
"""After so many claims in a row that the store refused, none is made for a while: one that cannot
take them, as Redis 8's cluster with its own search, is not asked for each miss."""


class _Outgoing:
    """A letter on its way, to which no other is equal: batches keep the order of what is written,
    and do without what is queued twice."""

    __slots__ = ("inbox", "letter")

    def __init__(self, inbox: str, letter: Letter) -> None:
        self.inbox = inbox
        self.letter = letter


class Post:
    """An inbox of this process, and the claims and letters that it sends."""

    def __init__(
        self,
        store: SharingStore,
        *,
        timeout_s: float,
        is_up: Callable[[], bool],
        failed: Callable[[Exception], None],
    ) -> None:
        self._store = store
        self._timeout_s = timeout_s
        self._is_up = is_up
        self._failed = failed
        self._complaints = Complaints()
        self._claims: MicroBatcher[Claim, Sequence[Rival]] = MicroBatcher(
            store.claim, budget=_CLAIMS, timeout_s=timeout_s
        )
        self._letters: MicroBatcher[_Outgoing, bool] = MicroBatcher(
            self._write, budget=_AT_ONCE, timeout_s=timeout_s
        )
        self._ends: MicroBatcher[str, None] = MicroBatcher(
            store.withdraw, budget=_AT_ONCE, timeout_s=timeout_s
        )
        self._vectors: MicroBatcher[str, Vector | None] = MicroBatcher(
            store.vectors, budget=_AT_ONCE, timeout_s=timeout_s
        )
        self._looks: MicroBatcher[str, bool] = MicroBatcher(
            store.stand, budget=_AT_ONCE, timeout_s=timeout_s
        )
        self.inbox = token_hex(16)
        """Its name: 32 hex digits."""
        self._open = asyncio.Event()
        self._tried = asyncio.Event()
        """It is open, or could not be opened."""
        self._refusals = 0
        self._rests_until = 0.0
        self._sent: set[asyncio.Future[Any]] = set()
        """What nobody waits for."""
        self._listening: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Can claims be made, and this process be written to?"""
        if self._rests_until and asyncio.get_running_loop().time() < self._rests_until:
            return False
        return self._open.is_set() and self._is_up()

    async def start(self, heard: Callable[[Letter], None]) -> None:
        """Open the inbox, and pass on what comes; returns once that has been tried, or after a
        time."""
        self._listening = asyncio.create_task(self._listen(heard))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timeout_s):
                await self._tried.wait()

    async def claim(self, claim: Claim) -> Sequence[Rival] | None:
        """Who stood before; None where the store does not say."""
        try:
            rivals = await self._claims.submit(claim)
            self._refusals = 0
            return rivals
        except StoreError as error:
            self._failed(error)
            self._refusals += 1
            if self._refusals >= _REFUSALS:
                self._rests_until = asyncio.get_running_loop().time() + _REST_S
        except TimeoutError:  # a queue of claims says nothing of the store
            self._complaints.warn("flights", "more to claim at once than can be; not shared")
        return None

    async def vector(self, claim: str) -> Vector | None:
        """That of a claim's prompt, if the store says."""
        return await self._asked(self._vectors, claim)

    async def stands(self, claim: str) -> bool | None:
        """None where the store does not say."""
        return await self._asked(self._looks, claim)

    async def renew(self, claims: Sequence[str]) -> Sequence[bool]:
        """Which still stood; all, where the store does not say: it will refuse what it must."""
        if not self._is_up():
            return [True] * len(claims)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._store.renew(self.inbox, claims)
        except (StoreError, TimeoutError) as error:
            self._failed(error)
            return [True] * len(claims)

    def withdraw(self, claim: str) -> None:
        """End a claim, in the background; where that fails, its lease will."""
        if self._is_up():
            self._in_background(self._ends.submit(claim))

    async def write(self, inbox: str, claim: str, body: Body | None) -> bool | None:
        """Put a letter (None: an empty one) into an inbox; False where nobody will read it, None
        where the store does not say."""
        return await self._asked(self._letters, _letter(inbox, claim, body))

    def send(self, inbox: str, claim: str, body: Body | None) -> None:
        """``write`` in the background."""
        if self._is_up():
            self._in_background(self._letters.submit(_letter(inbox, claim, body)))

    async def aclose(self) -> None:
        """Send what is to be sent, for a time, and give the inbox up."""
        if self._sent and self._is_up():
            await asyncio.wait(self._sent, timeout=self._timeout_s)
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        if self._is_up():
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(self._timeout_s):
                    await self._store.leave(self.inbox)
        for batcher in (self._claims, self._letters, self._ends, self._vectors, self._looks):
            await batcher.aclose()

    async def _asked(self, batcher: MicroBatcher[K, V], item: K) -> V | None:
        """None where the store is not asked, or does not say."""
        if not self._is_up():
            return None
        try:
            return await batcher.submit(item)
        except (StoreError, TimeoutError) as error:
            self._failed(error)
            return None

    async def _write(self, letters: Sequence[_Outgoing]) -> Sequence[bool | Exception]:
        return await self._store.write([(one.inbox, one.letter) for one in letters])

    def _in_background(self, waiter: asyncio.Future[Any]) -> None:
        self._sent.add(waiter)
        waiter.add_done_callback(self._was_sent)

    def _was_sent(self, waiter: asyncio.Future[Any]) -> None:
        self._sent.discard(waiter)
        if not waiter.cancelled():
            waiter.exception()  # what was lost, leases and looks make up for

    async def _listen(self, heard: Callable[[Letter], None]) -> None:
        def opened(letter: Letter | None) -> None:
            if letter is None:
                self._open.set()
                self._tried.set()
            else:
                heard(letter)

        while True:
            try:
                await self._store.hear(self.inbox, opened)
            except Exception as error:  # it has to go on, whatever somebody put into the inbox
                self._complaints.warn("flights are not shared with other processes", error)
            finally:
                self._open.clear()
                self._tried.set()
            await asyncio.sleep(_AGAIN_S)


def _letter(inbox: str, claim: str, body: Body | None) -> _Outgoing:
    return _Outgoing(inbox, Letter(claim, b"" if body is None else encode(body)))
