"""When the upstream is asked once more: what for, how often, how soon, and never too late."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import AsyncExitStack
from email.utils import formatdate
from typing import Any

import pytest
from yarl import URL

from semcache_async.client.retries import Retries
from semcache_async.serve.errors import UpstreamAnswered, UpstreamFailed, UpstreamUnreached
from semcache_async.serve.metrics.counters import OWN
from semcache_async.serve.settings import Settings
from semcache_async.serve.upstream.answered import asked_again
from semcache_async.serve.upstream.client import open_upstream
from tests.serve.upstreams import LAST, STREAM_HEAD, answer, chunk, scripted, simulated

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

UNREACHED = UpstreamUnreached("gone", code="upstream_unreachable")
STALE = UpstreamUnreached("gone", code="upstream_broke_off", at_once=True)


def said(status: int, **headers: str) -> UpstreamAnswered:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return UpstreamAnswered(status, b"{}", "no", named)


class Rig:
    """Retries on a clock of their own, on which only pauses take time."""

    def __init__(self, share: float = 1.0, *, draw: float = 0.5) -> None:
        self.now = 0.0
        self.pauses: list[float] = []
        self.counted: Counter[tuple[str, str]] = Counter()
        self.calls = 0
        self.retries = Retries(
            share,
            again=asked_again,
            count=self.count,
            sleep=self.sleep,
            clock=lambda: self.now,
            draw=lambda: draw,
        )

    def count(self, name: str, label: str) -> None:
        self.counted[name, label] += 1

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    async def ask(self, *errors: Exception, end_s: float = 600.0) -> str:
        """A call that fails so, one after the other, and then is answered."""
        left = list(errors)

        async def call() -> str:
            self.calls += 1
            if left:
                raise left.pop(0)
            return "answer"

        return await self.retries.calling(call, end_s)


@pytest.mark.parametrize(
    ("error", "pause_s", "reason"),
    [
        (UNREACHED, 0.1875, "unreached"),
        (STALE, 0.0, "unreached"),
        *[(said(status), 0.1875, str(status)) for status in (429, 502, 503, 529)],
        (said(429, Retry_After="2"), 2.125, "429"),
        (said(429, retry_after="0"), 0.125, "429"),
        (said(429, retry_after="2", retry_after_ms="1500"), 1.625, "429"),
        (said(503, retry_after="nonsense"), 0.1875, "503"),
        (said(503, retry_after="-1"), 0.1875, "503"),
        (said(503, retry_after="nan"), 0.1875, "503"),
        (said(503, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"), 0.125, "503"),
        (said(503, x_should_retry="true"), 0.1875, "503"),
    ],
)
async def test_what_is_asked_again_and_when(error: Exception, pause_s: float, reason: str) -> None:
    rig = Rig()
    assert await rig.ask(error) == "answer"
    assert (rig.calls, rig.pauses) == (2, [pause_s])
    assert rig.counted == {("upstream_retries", reason): 1}


@pytest.mark.parametrize(
    "error",
    [
        UpstreamFailed("broke off", code="upstream_broke_off"),
        *[said(status) for status in (400, 404, 408, 422, 500, 501, 504)],
        said(429, retry_after="6"),
        said(429, retry_after="inf"),
        said(503, retry_after=formatdate(time.time() + 3_600, usegmt=True)),
        said(503, x_should_retry="false"),
        ValueError("a bug"),
    ],
)
async def test_what_is_not(error: Exception) -> None:
    rig = Rig()
    with pytest.raises(type(error)) as caught:
        await rig.ask(error)
    assert caught.value is error
    assert (rig.calls, rig.pauses, rig.counted) == (1, [], {})


async def test_a_call_is_retried_twice_at_most() -> None:
    rig = Rig()
    errors = [said(503), said(502), said(429), said(529)]
    with pytest.raises(UpstreamAnswered) as caught:
        await rig.ask(*errors)
    assert caught.value is errors[2]
    assert rig.pauses == [0.1875, 0.75]


@pytest.mark.parametrize(("draw", "pauses"), [(0.0, [0.125, 0.5]), (1.0, [0.25, 1.0])])
async def test_pauses_differ(draw: float, pauses: list[float]) -> None:
    rig = Rig(draw=draw)
    await rig.ask(UNREACHED, UNREACHED)
    assert rig.pauses == pauses


async def test_there_is_one_budget_for_all_calls() -> None:
    """An upstream that is down gets the calls, what was saved, and the share."""
    rig = Rig(0.1)
    for _ in range(1_000):
        with pytest.raises(UpstreamUnreached):
            await rig.ask(STALE, STALE, STALE)
    assert 1_000 + 10 + 99 <= rig.calls <= 1_000 + 10 + 100
    assert rig.counted["upstream_retries_refused", "budget"] >= 800


async def test_time_alone_earns_a_few_and_no_more_than_can_be_saved() -> None:
    rig = Rig(0.001)
    for _ in range(5):
        await rig.ask(STALE, STALE)
    with pytest.raises(UpstreamUnreached):
        await rig.ask(STALE)
    rig.now += 10.0
    await rig.ask(STALE)
    rig.now += 1e6
    for _ in range(5):
        await rig.ask(STALE, STALE)
    with pytest.raises(UpstreamUnreached):
        await rig.ask(STALE)


async def test_a_share_of_nothing_is_no_retry_at_all() -> None:
    rig = Rig(0.0)
    rig.now += 1e6
    with pytest.raises(UpstreamUnreached):
        await rig.ask(STALE)
    assert (rig.calls, rig.counted) == (1, {})


async def test_no_retry_that_would_begin_too_late() -> None:
    rig = Rig()
    with pytest.raises(UpstreamAnswered):
        await rig.ask(said(429, retry_after="2"), end_s=2.0)
    assert rig.calls == 1
    assert rig.counted == {("upstream_retries_refused", "time"): 1}


async def test_whoever_leaves_meanwhile_is_not_asked_for() -> None:
    calls = 0

    async def call() -> None:
        nonlocal calls
        calls += 1
        raise UNREACHED

    pausing = asyncio.Event()

    async def sleep(_: float) -> None:
        pausing.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(Retries(1.0, again=asked_again, sleep=sleep).calling(call, 60.0))
    await pausing.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert calls == 1


# -- by HTTP


async def gather(upstream: Any) -> bytes:
    async with upstream.stream({"stream": True}) as pieces:
        return pieces if isinstance(pieces, bytes) else b"".join([piece async for piece in pieces])


@pytest.mark.parametrize("stream", [False, True])
async def test_a_connection_that_was_closed_meanwhile(stream: bool) -> None:
    """The second request meets an upstream that ends the connection instead of answering; only on
    a new one that is a failure."""
    async with (
        scripted(answer("{}")) as (url, script),
        open_upstream(url, Settings()) as upstream,
    ):
        ask = (lambda: gather(upstream)) if stream else (lambda: upstream.complete({}))
        assert await ask() == b"{}"
        script.closing = 1
        assert await ask() == b"{}"
        assert len(script.requests) == 3
        script.closing = 2
        with pytest.raises(UpstreamFailed, match="broke off"):
            await ask()
        assert len(script.requests) == 5


async def test_nobody_there_at_first() -> None:
    """By the time of the retry the upstream listens."""
    async with scripted(answer("{}")) as (url, _):
        pass
    port = URL(url).port
    assert port
    async with open_upstream(url, Settings()) as upstream, AsyncExitStack() as stack:

        async def start(_: float) -> None:
            await stack.enter_async_context(scripted(answer("{}"), port=port))

        upstream.retries = Retries(1.0, again=asked_again, sleep=start)
        assert await upstream.complete({}) == b"{}"


async def test_after_a_byte_of_the_answer_nothing_is_asked_again() -> None:
    sent = chunk(b'data: {"choices": []}\n\n')
    async with (
        scripted(STREAM_HEAD, sent, None) as (url, script),
        open_upstream(url, Settings(upstream_retry_share=1)) as upstream,
    ):
        for pieces in ((STREAM_HEAD, sent, None), (STREAM_HEAD, None), (b"HTTP/1.1 2", None)):
            script.pieces = pieces
            before = len(script.requests)
            with pytest.raises(UpstreamFailed):
                await gather(upstream)
            assert len(script.requests) == before + 1
        script.pieces = (STREAM_HEAD, sent, LAST)
        assert await gather(upstream)


async def test_half_a_head_on_a_used_connection_is_an_answer() -> None:
    async with (
        scripted(answer("{}")) as (url, script),
        open_upstream(url, Settings()) as upstream,
    ):
        await upstream.complete({})
        script.pieces = (b"HTTP/1.1 200 OK\r\nContent-Ty", None)
        with pytest.raises(UpstreamFailed, match="broke off"):
            await upstream.complete({})
        assert len(script.requests) == 2


@pytest.mark.parametrize("status", [429, 503])
async def test_what_is_counted_is_there_to_count(status: int) -> None:
    rig = Rig()
    async with (
        simulated(faults=f"status={status}, retry_after=0, first=1") as (url, simulator),
        open_upstream(url, Settings()) as upstream,
    ):
        upstream.retries = rig.retries
        body = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
        assert b"Answer to" in await upstream.complete(body)
        assert simulator.stats.calls == 2
    known = {family.name: family.values for family in OWN}
    assert all(label in known[name] for name, label in rig.counted)
    assert rig.counted.total() == 1
