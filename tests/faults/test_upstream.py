"""An LLM's service that fails: every follower is told what happened, and nothing of it is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from semcache_async.client.retries import Retries
from semcache_async.serve.apis import content_of
from semcache_async.serve.apis.chat.replay import DONE
from semcache_async.serve.errors import UpstreamFailed
from semcache_async.serve.settings import Settings
from semcache_async.serve.sse import EventSplitter, data_of
from semcache_async.serve.upstream.answered import asked_again
from semcache_async.serve.upstream.client import open_upstream
from semcache_async.simulator import Simulator
from tests.faults.proxy import proxied
from tests.helpers import SLOW_ON_DEBUG, check_sums, until
from tests.serve.running import settled
from tests.serve.upstreams import (
    EVENTS,
    LAST,
    STREAM_HEAD,
    Piece,
    Scripted,
    Setup,
    answer,
    asks,
    chunk,
    scripted,
    serving,
    simulated,
    told,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

SHORT = [
    b'data: {"choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n',
    b'data: {"choices":[{"index":0,"finish_reason":"stop"}]}\n\n',
    DONE,
]
BOTH = pytest.mark.parametrize("leads", [False, True], ids=["whole", "stream"])
Told = tuple[int, Any, bytes]


@asynccontextmanager
async def scene(*pieces: Piece, **options: Any) -> AsyncIterator[tuple[Setup, Scripted]]:
    async with scripted(*pieces) as (url, script):
        async with serving(url, **options) as setup:
            yield setup, script
            await settled(setup.service)
        check_sums(setup.service.cache)
        await until(lambda: script.open == 0)


async def all_told(setup: Setup, leads: bool, gate: asyncio.Event | None = None) -> list[Told]:
    """What a leader, who wants a stream or not, and two followers are told, one of either kind."""
    tasks: list[asyncio.Task[Told]] = []
    for stream in (leads, False, True):
        tasks.append(asyncio.create_task(told(setup, asks(stream=stream))))
        if gate is not None:
            await until(lambda: setup.service.cache.stats().waiting == len(tasks))
    if gate is not None:
        gate.set()
    return await asyncio.gather(*tasks)


def error_in(what: Told, delivered: bytes = b"") -> dict[str, Any]:
    """The error that a caller was told, after ``delivered`` if that is what it had."""
    status, _, body = what
    if status == 200:
        assert body.startswith(delivered)
        (last,) = EventSplitter().feed(body[len(delivered) :])
        body = data_of(last) or b""
    error: dict[str, Any] = msgspec.json.decode(body)["error"]
    return error


def kept(setup: Setup) -> int:
    assert setup.store is not None
    return len(setup.store)


# -- broken off


async def cut_everywhere(leads: bool, sent: bytes, whole: Sequence[Piece]) -> None:
    """Let the upstream break off after each number of bytes; then let it be."""
    gate = asyncio.Event()
    ends = [sum(map(len, SHORT[: n + 1])) for n in range(len(SHORT))]
    async with scene() as (setup, script):
        for cut in range(len(sent)):
            gate.clear()
            part = sent[:cut]
            streamed = ((STREAM_HEAD, *((chunk(part),) if cut else ())), (part,))
            script.pieces = (gate, *streamed[0 if leads else 1], None)
            for n, what in enumerate(await all_told(setup, leads, gate)):
                before = max((end for end in ends if end <= cut), default=0) if leads else 0
                status = 200 if before and n != 1 else 502
                assert what[0] == status
                error = error_in(what, sent[:before])
                assert error["code"] == "upstream_broke_off"
            assert kept(setup) == 0
        assert setup.service.cache.stats().failed == 3 * len(sent)
        script.pieces = whole
        assert (await told(setup, asks(stream=leads)))[0] == 200
        await settled(setup.service)
        assert kept(setup) == 1


@SLOW_ON_DEBUG
async def test_a_stream_cut_at_every_byte() -> None:
    sent = b"".join(SHORT)
    await cut_everywhere(True, sent, (STREAM_HEAD, chunk(sent), LAST))


@SLOW_ON_DEBUG
async def test_an_answer_cut_at_every_byte() -> None:
    whole = {"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
    sent = answer(msgspec.json.encode(whole))
    await cut_everywhere(False, sent, (sent,))


@asynccontextmanager
async def spoiled(faults: str, **options: Any) -> AsyncIterator[tuple[Setup, Simulator]]:
    """A service in front of a simulated upstream that meets ``faults``."""
    async with simulated(faults=faults, tokens=3) as (url, simulator):
        async with serving(url, **options) as setup:
            yield setup, simulator
            await settled(setup.service)
        check_sums(setup.service.cache)
        await until(lambda: simulator.stats.under_way == 0)


@BOTH
@pytest.mark.parametrize("after", [0, 40, 200])
async def test_a_connection_that_is_reset(leads: bool, after: int) -> None:
    async with spoiled(f"reset_after_bytes={after}") as (setup, simulator):
        for what in await all_told(setup, leads):
            assert b'"code":"upstream_broke_off"' in what[2][-200:]
        assert kept(setup) == 0
        assert simulator.stats.calls <= 3  # of whoever came too late to follow


@SLOW_ON_DEBUG
async def test_a_used_connection_reset_at_every_byte() -> None:
    """Before the answer it is asked again; from the answer's body on it never is."""
    body = asks()
    async with (
        simulated(tokens=3) as (url, simulator),
        proxied(url) as (proxy, through),
        open_upstream(through, Settings(upstream_retry_share=1.0)) as upstream,
    ):
        said = content_of(await upstream.complete(body))
        before = proxy.passed["replies"]
        length = len(await upstream.complete(body))
        size = proxy.passed["replies"] - before
        for count in range(size):
            calls = simulator.stats.calls
            proxy.reset_after("replies", count)
            try:
                assert content_of(await upstream.complete(body)) == said
            except UpstreamFailed:
                assert count > 0
                assert simulator.stats.calls == calls + 1
                await upstream.complete(body)
            else:
                assert count < size - length
                assert simulator.stats.calls == calls + 2
        assert proxy.resets == size


# -- hung


@BOTH
async def test_an_upstream_that_never_begins(leads: bool) -> None:
    async with spoiled("hang", upstream_first_byte_timeout_s=0.05) as (setup, _):
        for what in await all_told(setup, leads):
            assert what[0] == 504
            assert error_in(what)["code"] == "upstream_timeout"
            assert "did not begin" in error_in(what)["message"]
            assert what[1]["x-should-retry"] == "false"  # or the SDKs would have it paid twice
        assert kept(setup) == 0


async def test_a_stream_that_falls_silent() -> None:
    gate = asyncio.Event()
    pieces: list[Piece] = [gate, STREAM_HEAD, chunk(EVENTS[0]), "hang"]
    async with scene(*pieces, upstream_idle_timeout_s=0.05) as (setup, _):
        streamed, whole, late = await all_told(setup, True, gate)
        for what in (streamed, late):
            assert what[0] == 200
            assert "in mid-answer" in error_in(what, EVENTS[0])["message"]
        assert whole[0] == 504
        assert "in mid-answer" in error_in(whole)["message"]
        assert kept(setup) == 0


@BOTH
async def test_an_answer_that_trickles_has_an_end(leads: bool) -> None:
    """Each byte comes in time, and all of them too late."""
    async with spoiled("trickle_ms=5", upstream_timeout_s=0.2) as (setup, _):
        for what in await all_told(setup, leads):
            error = error_in(what, what[2][: what[2].rfind(b"data: ")])
            assert error["message"] == "The upstream took longer than 0.2 s."
        assert kept(setup) == 0


async def test_comments_are_signs_of_life_and_no_answer() -> None:
    comments = [chunk(b": at work\n\n")] * 3
    pieces: list[Piece] = [STREAM_HEAD, *comments, "hang"]
    async with scene(*pieces, upstream_timeout_s=0.1) as (setup, _):
        for what in await all_told(setup, True):
            assert b"took longer than 0.1 s" in what[2]
        assert kept(setup) == 0


# -- asked again


class Pause:
    """The pauses before retries, which end when told."""

    def __init__(self, setup: Setup, share: float = 1.0) -> None:
        self.begun = 0
        self.gate = asyncio.Event()
        count = setup.service.metrics.count
        setup.service.upstreams.of("m").retries = Retries(
            share, again=asked_again, count=count, sleep=self._sleep
        )

    async def _sleep(self, _: float) -> None:
        self.begun += 1
        await self.gate.wait()


@BOTH
async def test_a_refusal_and_then_an_answer_is_one_answer(leads: bool) -> None:
    async with spoiled("status=429, retry_after=2, first=1") as (setup, simulator):
        pause = Pause(setup)
        tasks = [asyncio.create_task(told(setup, asks(stream=leads)))]
        await until(lambda: pause.begun == 1)
        tasks += [asyncio.create_task(told(setup, asks(stream=n % 2 == 0))) for n in range(3)]
        await until(lambda: setup.service.cache.stats().waiting == 4)
        pause.gate.set()
        statuses = [
            (status, headers["x-semcache-status"])
            for status, headers, _ in await asyncio.gather(*tasks)
        ]
        assert statuses == [(200, "generated"), *[(200, "shared")] * 3]
        await settled(setup.service)
        assert (await told(setup, asks()))[1]["x-semcache-status"] == "exact"
        assert kept(setup) == 1
        stats = setup.service.cache.stats()
        assert (simulator.stats.calls, stats.llm_calls, stats.llm_errors) == (2, 1, 0)
        retried = setup.service.metrics.summary()["upstream_retries"]
        assert retried == {"429": 1}


@BOTH
async def test_what_fails_to_the_end_is_the_upstreams_own_word_to_all(leads: bool) -> None:
    async with spoiled("status=503, retry_after=1, first=3") as (setup, simulator):
        pause = Pause(setup)
        for status, headers, body in await all_told(setup, leads, pause.gate):
            assert (status, headers["retry-after"]) == (503, "1")
            assert b"Simulated failure." in body
        assert kept(setup) == 0
        assert simulator.stats.calls == 3


async def test_nobody_is_asked_for_callers_who_have_left() -> None:
    options: dict[str, Any] = {"cache": {"finish_abandoned": False}}
    async with spoiled("status=503, retry_after=1", **options) as (setup, simulator):
        pause = Pause(setup)
        task = asyncio.create_task(told(setup, asks()))
        await until(lambda: pause.begun == 1)
        task.cancel()
        await asyncio.wait([task])
        await until(lambda: setup.service.cache.stats().flights == 0)
        assert simulator.stats.calls == 1


async def test_the_budget_is_the_services_and_its_end_is_counted() -> None:
    async with spoiled("status=503, retry_after=0") as (setup, simulator):
        Pause(setup, share=0.001).gate.set()
        for n in range(12):
            assert (await told(setup, asks(f"pay at {n * 30}")))[0] == 503
        metrics = setup.service.metrics.summary()
        assert metrics["upstream_retries"] == {"503": simulator.stats.calls - 12}
        assert simulator.stats.calls <= 12 + 10 + 1
        assert metrics["upstream_retries_refused"]["budget"] >= 6
