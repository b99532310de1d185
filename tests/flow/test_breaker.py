"""The breaker: one outage and nobody asks; one probe that gets through and everybody does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from semcache_async.errors import StoreError, StoreUnavailableError
from semcache_async.flow.breaker import Breaker, is_outage
from tests.helpers import until

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]


class Rig:
    """A breaker whose pauses end when told, and whose probes bring what they are told to."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self.outcomes: asyncio.Queue[BaseException | None] = asyncio.Queue()
        self.probes = 0
        self.opened: list[Exception] = []
        self.pace = asyncio.Semaphore(0)
        self.breaker = Breaker(
            self.probe, timeout_s=60.0, opened=self.opened.append, sleep=self.sleep
        )

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await self.pace.acquire()

    async def probe(self) -> None:
        self.probes += 1
        outcome = await self.outcomes.get()
        if outcome is not None:
            raise outcome

    async def step(self, outcome: BaseException | None) -> None:
        """Let one pause end and its probe bring ``outcome``."""
        probes = self.probes
        self.pace.release()
        self.outcomes.put_nowait(outcome)
        await until(lambda: self.probes > probes and self.outcomes.empty())


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = Rig()
    yield rig
    await rig.breaker.aclose()


async def test_an_outage_opens_it_once_and_lets_everybody_go(rig: Rig) -> None:
    for _ in range(3):
        rig.breaker.note(StoreUnavailableError("gone"))
    assert rig.breaker.is_open
    rig.breaker.skip()
    assert rig.breaker.skipped == 1
    assert [type(error) for error in rig.opened] == [StoreUnavailableError]


@pytest.mark.parametrize(
    ("error", "opens"),
    [
        (StoreUnavailableError("LOADING"), True),
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (StoreError("WRONGTYPE"), False),
        (ValueError("a bug"), False),
    ],
)
async def test_only_outages_open_it(rig: Rig, error: Exception, opens: bool) -> None:
    assert is_outage(error) is opens
    rig.breaker.note(error)
    assert rig.breaker.is_open is opens


async def test_probes_one_at_a_time_with_growing_pauses_until_one_gets_through(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.breaker.note(TimeoutError())
    for _ in range(12):
        await rig.step(StoreUnavailableError("still gone"))
    assert rig.breaker.is_open
    assert rig.pauses[0] <= 0.01
    assert all(0.05 <= pause <= 5.0 for pause in rig.pauses[1:])
    assert max(rig.pauses) > 2.4
    await rig.step(None)
    await until(lambda: not rig.breaker.is_open)
    assert rig.probes == 13
    said = [record.getMessage() for record in caplog.records if record.name == "semcache_async"]
    assert all(words in text for words, text in zip(("out of reach", "is back"), said, strict=True))


async def test_an_answer_of_any_kind_closes_it(rig: Rig) -> None:
    rig.breaker.note(TimeoutError())
    await rig.step(StoreError("NOPERM"))  # it is there, and says so
    await until(lambda: not rig.breaker.is_open)
    rig.breaker.note(TimeoutError())
    assert rig.breaker.is_open
