"""Streams: byte by byte what the upstream sent, to everybody who stays, whoever leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from semcache_async.serve.apis.chat.replay import DONE
from semcache_async.serve.errors import UpstreamTimedOut
from semcache_async.serve.sse import EventSplitter, data_of
from tests.helpers import check_sums, until
from tests.serve.running import settled
from tests.serve.upstreams import (
    EVENTS,
    LAST,
    PATH,
    STREAM_HEAD,
    WITHOUT_USAGE,
    Piece,
    Scripted,
    Setup,
    answer,
    asks,
    chunk,
    completion,
    event,
    scripted,
    serving,
    told,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

ALL = b"".join(EVENTS)
STREAM: tuple[Piece, ...] = (STREAM_HEAD, chunk(ALL), LAST)
DIRECTIONS = [(leader, follower) for leader in (False, True) for follower in (False, True)]


@asynccontextmanager
async def scene(*pieces: Piece, **options: Any) -> AsyncIterator[tuple[Setup, Scripted]]:
    async with scripted(*(pieces or STREAM)) as (url, script):
        async with serving(url, **options) as setup:
            yield setup, script
            await until(lambda: setup.service.cache.stats().flights == 0)
        check_sums(setup.service.cache)
        await until(lambda: script.open == 0)


def decoded(stream: bytes) -> list[Any]:
    """The chunks of a whole stream."""
    events = EventSplitter().feed(stream)
    assert b"".join(events) == stream
    assert data_of(events[-1]) == b"[DONE]"
    return [msgspec.json.decode(data_of(event) or b"") for event in events[:-1]]


def text_of(stream: bytes) -> str:
    chunks = decoded(stream)
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


class Reader:
    """A client that reads a stream when told to."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.got = b""

    async def have(self, size: int) -> bytes:
        while len(self.got) < size:
            data = await self.response.content.readany()
            assert data, self.got
            self.got += data
        return self.got

    async def rest(self) -> bytes:
        return self.got + await self.response.read()


@asynccontextmanager
async def reading(setup: Setup, body: dict[str, Any]) -> AsyncIterator[Reader]:
    async with setup.client.post(PATH, json=body) as response:
        assert response.status == 200
        yield Reader(response)


@asynccontextmanager
async def begun() -> AsyncIterator[tuple[Setup, Scripted, Reader, asyncio.Event]]:
    """A stream whose reader has its first event; the others wait for the gate."""
    gate = asyncio.Event()
    pieces = (STREAM_HEAD, chunk(EVENTS[0]), gate, chunk(b"".join(EVENTS[1:])), LAST)
    async with (
        scene(*pieces) as (setup, script),
        reading(setup, asks(stream=True)) as leader,
    ):
        await leader.have(len(EVENTS[0]))
        yield setup, script, leader, gate


# -- live


@pytest.mark.parametrize("usage", [False, True])
async def test_a_miss_is_the_upstreams_own_bytes(usage: bool) -> None:
    async with scene() as (setup, script):
        status, headers, body = await told(setup, asks(stream=True, usage=usage))
        assert (status, body) == (200, ALL if usage else WITHOUT_USAGE)
        assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert headers["Cache-Control"] == "no-cache"
        assert headers["Cache-Status"] == "semcache; fwd=miss"
        assert headers["x-semcache-status"] == "generated"
        assert "Content-Encoding" not in headers
        (sent,) = script.bodies
        assert sent["stream"] is True
        assert sent["stream_options"] == {"include_usage": True}


class Refusing:
    """An upstream that knows nothing of ``stream_options``."""

    def __init__(self, *, choosy: bool = False) -> None:
        self.asked: list[bool] = []
        self.choosy = choosy
        """It refuses all else too."""

    async def complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append("stream_options" in body)
        if self.asked[-1] or self.choosy:
            refusal = {"detail": [{"loc": ["body", "stream_options"], "msg": "Not permitted"}]}
            return web.json_response(refusal, status=422)
        return web.Response(body=WITHOUT_USAGE, content_type="text/event-stream")


@asynccontextmanager
async def refusing(upstream: Refusing) -> AsyncIterator[Setup]:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", upstream.complete)
    async with TestServer(app) as server, serving(str(server.make_url("/v1"))) as setup:
        yield setup


async def test_an_upstream_that_refuses_what_nobody_asked_for_is_not_asked_so_again() -> None:
    upstream = Refusing()
    async with refusing(upstream) as setup:
        for prompt in ("pay at 10", "pay at 50"):
            assert (await told(setup, asks(prompt, stream=True)))[::2] == (200, WITHOUT_USAGE)
        assert upstream.asked == [True, False, False]
        status, _, body = await told(setup, asks("pay at 90", stream=True, usage=True))
        assert (status, b"body.stream_options: Not permitted" in body) == (422, True)


async def test_a_refusal_of_all_says_nothing_of_the_usage() -> None:
    upstream = Refusing(choosy=True)
    async with refusing(upstream) as setup:
        for _ in range(2):
            assert (await told(setup, asks(stream=True)))[0] == 422
        assert upstream.asked == [True, False] * 2


async def test_other_stream_options_pass() -> None:
    async with scene() as (setup, script):
        body = asks(stream=True, stream_options={"made_up": 1, "include_usage": False})
        assert (await told(setup, body))[2] == WITHOUT_USAGE
        assert script.bodies[0]["stream_options"] == {"made_up": 1, "include_usage": True}


@pytest.mark.parametrize("usage", [False, True])
async def test_a_hit_is_a_new_stream(usage: bool) -> None:
    async with scene() as (setup, script):
        await told(setup, asks(stream=True))
        await settled(setup.service)
        _, headers, body = await told(setup, asks(stream=True, usage=usage))
        assert headers["Cache-Status"] == "semcache; hit"
        assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
        chunks = decoded(body)
        assert text_of(body) == "Like this."
        assert {chunk["id"] for chunk in chunks} != {"chatcmpl-1"}
        assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
        reasons = [choice["finish_reason"] for part in chunks for choice in part["choices"]]
        assert reasons == [None] * (len(reasons) - 1) + ["stop"]
        used = [part["usage"] for part in chunks if part.get("usage")]
        assert used == ([completion()["usage"]] if usage else [])
        assert len(script.requests) == 1


async def test_a_stream_answers_those_who_want_none() -> None:
    async with scene() as (setup, script):
        await told(setup, asks(stream=True))
        await settled(setup.service)
        _, headers, body = await told(setup, asks())
        assert headers["x-semcache-status"] == "exact"
        made = msgspec.json.decode(body)
        assert made["object"] == "chat.completion"
        assert made["choices"][0]["message"]["content"] == "Like this."
        assert made["usage"] == completion()["usage"]
        assert len(script.requests) == 1


async def test_events_arrive_as_they_are_made() -> None:
    gates = [asyncio.Event() for _ in EVENTS]
    pieces: list[Piece] = [STREAM_HEAD]
    for gate, data in zip(gates, EVENTS, strict=True):
        # cut in the middle of an event: its first half is of no use to anybody
        pieces += [gate, chunk(data[:9]), chunk(data[9:])]
    async with scene(*pieces, LAST) as (setup, _):
        gates[0].set()
        async with reading(setup, asks(stream=True, usage=True)) as reader:
            for n, gate in enumerate(gates):
                gate.set()
                size = sum(map(len, EVENTS[: n + 1]))
                assert await reader.have(size) == b"".join(EVENTS[: n + 1])
            assert await reader.rest() == ALL


@pytest.mark.parametrize(("leader", "follower"), DIRECTIONS)
async def test_followers_see_the_leaders_bytes_late_ones_from_the_start(
    leader: bool, follower: bool
) -> None:
    gates = [asyncio.Event(), asyncio.Event()]
    head, middle = b"".join(EVENTS[:2]), b"".join(EVENTS[2:3])
    pieces = (
        *(STREAM_HEAD, chunk(head), gates[0], chunk(middle), gates[1]),
        *(chunk(b"".join(EVENTS[3:])), LAST),
    )
    wanted = {False: WITHOUT_USAGE, True: ALL}
    async with scene(*pieces) as (setup, script):
        async with reading(setup, asks(stream=True, usage=leader)) as first:
            await first.have(len(head))
            async with (
                reading(setup, asks(stream=True, usage=follower)) as second,
                reading(setup, asks("money at 15", stream=True, usage=follower)) as near,
            ):
                assert await second.have(len(head)) == head
                headers = second.response.headers
                assert headers["Cache-Status"] == "semcache; fwd=miss; collapsed"
                gates[0].set()
                await first.have(len(head + middle))
                async with reading(setup, asks(stream=True, usage=follower)) as late:
                    assert await late.have(len(head + middle)) == head + middle
                    gates[1].set()
                    for reader in (second, near, late):
                        assert await reader.rest() == wanted[follower]
            assert await first.rest() == wanted[leader]
        assert len(script.requests) == 1
        assert setup.service.cache.stats().shared == 3


async def test_a_follower_who_wants_no_stream_gets_the_whole() -> None:
    async with begun() as (setup, script, leader, gate):
        follower = asyncio.create_task(told(setup, asks()))
        await until(lambda: setup.service.cache.stats().waiting == 2)
        gate.set()
        status, headers, body = await follower
        assert (status, headers["x-semcache-status"]) == (200, "shared")
        made = msgspec.json.decode(body)
        assert made["choices"][0]["message"]["content"] == "Like this."
        assert made["usage"] == completion()["usage"]
        assert await leader.rest() == WITHOUT_USAGE
        assert len(script.requests) == 1


@pytest.mark.parametrize("usage", [False, True])
async def test_a_follower_who_wants_a_stream_gets_the_whole_as_one(usage: bool) -> None:
    gate = asyncio.Event()
    async with scene(gate, answer(msgspec.json.encode(completion()))) as (setup, script):
        leader = asyncio.create_task(told(setup, asks()))
        await until(lambda: len(script.requests) == 1)
        follower = asyncio.create_task(told(setup, asks(stream=True, usage=usage)))
        await until(lambda: setup.service.cache.stats().waiting == 2)
        gate.set()
        _, headers, body = await follower
        assert headers["x-semcache-status"] == "shared"
        assert text_of(body) == "Like this."
        assert [part["usage"] for part in decoded(body) if part.get("usage")] == (
            [completion()["usage"]] if usage else []
        )
        await leader


async def test_a_hit_comes_in_the_pieces_that_the_miss_had() -> None:
    words = [f"{n} " for n in range(600)]
    said = [event({"content": word}) for word in words]
    sent = b"".join([EVENTS[0], *said[:7], *EVENTS[3:]])
    async with scene(STREAM_HEAD, chunk(sent), LAST) as (setup, script):
        for status in ("generated", "exact"):
            _, headers, body = await told(setup, asks(stream=True))
            assert headers["x-semcache-status"] == status
            found = [one["choices"][0]["delta"].get("content") for one in decoded(body)]
            assert found == ["", *words[:7], None]
            await settled(setup.service)
        script.pieces = (STREAM_HEAD, chunk(b"".join([*said, *EVENTS[3:]])), LAST)
        await told(setup, asks("cat at 70", stream=True))
        await settled(setup.service)
        _, _, body = await told(setup, asks("cat at 70", stream=True))
        assert text_of(body) == "".join(words)
        assert 128 < len(decoded(body)) < 260
        _, _, whole = await told(setup, asks("cat at 70"))
        assert b"semcache" not in body + whole
        assert msgspec.json.decode(whole)["choices"][0]["message"]["content"] == "".join(words)


async def test_an_upstream_that_does_not_stream() -> None:
    async with scene(answer(msgspec.json.encode(completion()))) as (setup, _):
        for status in ("generated", "exact"):
            _, headers, body = await told(setup, asks(stream=True))
            assert headers["x-semcache-status"] == status
            assert text_of(body) == "Like this."
            await settled(setup.service)


async def test_the_end_is_done_not_the_connections_end() -> None:
    async with scene(STREAM_HEAD, chunk(ALL), "hang") as (setup, _):
        assert (await told(setup, asks(stream=True)))[2] == WITHOUT_USAGE
        await settled(setup.service)
        assert (await told(setup, asks()))[1]["x-semcache-status"] == "exact"


@pytest.mark.parametrize(
    "last",
    [b"", EVENTS[4], DONE.rstrip(), DONE[:-1], b"data:[DONE]", EVENTS[4] + DONE.rstrip()],
)
async def test_a_stream_that_lacks_its_end_after_the_last_word(last: bytes) -> None:
    sent = b"".join(EVENTS[:4]) + last
    async with scene(STREAM_HEAD, chunk(sent), LAST) as (setup, _):
        body = (await told(setup, asks(stream=True, usage=True)))[2]
        assert body.rstrip() == sent.rstrip()
        assert body.endswith(b"\n\n")
        await settled(setup.service)
        assert (await told(setup, asks()))[1]["x-semcache-status"] == "exact"


async def test_an_event_that_was_cut_after_the_last_word_is_left_out_and_nothing_kept() -> None:
    async with scene(STREAM_HEAD, chunk(b"".join(EVENTS[:4]) + EVENTS[4][:20]), LAST) as (setup, _):
        assert (await told(setup, asks(stream=True)))[2] == b"".join(EVENTS[:4])
        await settled(setup.service)
        assert setup.store is not None
        assert len(setup.store) == 0


async def test_an_end_before_the_last_word_is_no_end() -> None:
    async with scene(STREAM_HEAD, chunk(b"".join(EVENTS[:3])), LAST) as (setup, _):
        body = (await told(setup, asks(stream=True)))[2]
        assert msgspec.json.decode(data_of(body[len(b"".join(EVENTS[:3])) :]) or b"")["error"][
            "code"
        ] == ("upstream_broke_off")


async def test_what_comes_after_done_is_nobodys() -> None:
    async with scene(STREAM_HEAD, chunk(ALL + EVENTS[2] + DONE), LAST) as (setup, _):
        assert (await told(setup, asks(stream=True, usage=True)))[2] == ALL


async def test_comments_and_line_ends_stay() -> None:
    spoken = b": hello\n\n" + ALL.replace(b"\n", b"\r\n")
    async with scene(STREAM_HEAD, chunk(spoken), LAST) as (setup, _):
        assert (await told(setup, asks(stream=True, usage=True)))[2] == spoken
        await settled(setup.service)
        assert (await told(setup, asks()))[1]["x-semcache-status"] == "exact"


async def test_a_bypass_streams_too() -> None:
    async with scene() as (setup, script):
        for _ in range(2):
            _, headers, body = await told(setup, asks(stream=True, n=2))
            assert headers["Cache-Status"] == "semcache; fwd=bypass; detail=n"
            assert body == WITHOUT_USAGE
        assert len(script.requests) == 2


# -- what is not kept


@pytest.mark.parametrize(
    "events",
    [
        [*EVENTS[:3], event({}, "length"), DONE],
        [*EVENTS[:3], event({}, "content_filter"), DONE],
        [*EVENTS[:3], DONE],
        [EVENTS[0], event({}, "stop"), DONE],
        [event({"content": "x", "refusal": "no"}), event({}, "stop"), DONE],
        [event({"content": "x", "tool_calls": [{"index": 0}]}), event({}, "stop"), DONE],
        [b'data: {"choices": "strange"}\n\n', *EVENTS],
    ],
)
async def test_unfit_streams_are_delivered_but_not_stored(events: list[bytes]) -> None:
    sent = b"".join(events)
    async with scene(STREAM_HEAD, chunk(sent), LAST) as (setup, script):
        for n in range(2):
            _, _, body = await told(setup, asks(stream=True, usage=True))
            assert body == sent
            assert len(script.requests) == n + 1
        assert setup.store is not None
        assert len(setup.store) == 0


@pytest.mark.parametrize(
    ("piece", "code"),
    [
        (b"data: {nonsense\n\n", "upstream_garbage"),
        (b"data: plain words\n\n", "upstream_garbage"),
        (b"data: [1]\n\n", "upstream_garbage"),
        (b"data: \xff\n\n", "upstream_garbage"),
        (b'data: {"error": {"message": "no", "code": "theirs"}}\n\n', "theirs"),
        (b'data: {"object": "error", "message": "no", "code": "vllms"}\n\n', "vllms"),
    ],
)
@pytest.mark.parametrize("whole", [0, 2])
async def test_a_stream_that_goes_wrong(piece: bytes, code: str, whole: int) -> None:
    sent = b"".join(EVENTS[:whole])
    gate = asyncio.Event()
    async with scene(STREAM_HEAD, gate, chunk(sent + piece + ALL), LAST) as (setup, _):
        stream = asyncio.create_task(told(setup, asks(stream=True)))
        await until(lambda: setup.service.cache.stats().waiting == 1)
        other = asyncio.create_task(told(setup, asks()))
        await until(lambda: setup.service.cache.stats().waiting == 2)
        gate.set()
        status, _, body = await stream
        error = body
        if whole:
            assert body.startswith(sent)
            (last,) = EventSplitter().feed(body[len(sent) :])
            error = data_of(last) or b""
        assert status == (200 if whole else 502)
        assert msgspec.json.decode(error)["error"]["code"] == code
        status, _, body = await other
        assert (status, msgspec.json.decode(body)["error"]["code"]) == (502, code)
        assert setup.store is not None
        assert len(setup.store) == 0


async def test_a_stream_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield EVENTS[0]
        raise UpstreamTimedOut("The upstream did not answer in time.", code="upstream_timeout")

    @asynccontextmanager
    async def hanging(*_asked: Any) -> AsyncIterator[AsyncIterator[bytes]]:
        yield pieces()

    async with scene() as (setup, _):
        monkeypatch.setattr(setup.service.upstreams.of("m"), "stream", hanging)
        status, _, body = await told(setup, asks(stream=True))
        assert status == 200
        error = data_of(body[len(EVENTS[0]) :])
        assert msgspec.json.decode(error or b"")["error"]["code"] == "upstream_timeout"


async def test_an_endless_stream() -> None:
    flood = (chunk(EVENTS[1] * 100),) * 1_000
    async with scene(STREAM_HEAD, *flood, cache={"max_answer_bytes": 1_000}) as (setup, _):
        status, _, body = await told(setup, asks(stream=True))
        assert status == 200
        assert b'"code":"upstream_too_long"' in body[-200:]
        assert len(body) < 200_000


async def test_an_endless_event() -> None:
    flood = (chunk(b"data: " + b"x" * 60_000),) * 200
    async with scene(STREAM_HEAD, chunk(EVENTS[0]), *flood) as (setup, _):
        body = (await told(setup, asks(stream=True)))[2]
        assert body.startswith(EVENTS[0])
        assert b'"error"' in body[-300:]


async def test_a_stream_that_adds_up_to_nothing_fails_those_who_wait_for_the_whole() -> None:
    gate = asyncio.Event()
    sent = [*EVENTS[:3], DONE]
    pieces = (STREAM_HEAD, chunk(sent[0]), gate, chunk(b"".join(sent[1:])), LAST)
    async with scene(*pieces) as (setup, _), reading(setup, asks(stream=True)) as leader:
        await leader.have(len(sent[0]))
        whole = asyncio.create_task(told(setup, asks()))
        await until(lambda: setup.service.cache.stats().waiting == 2)
        gate.set()
        assert (await whole)[0] == 502
        assert await leader.rest() == b"".join(sent)


# -- those who leave


async def test_the_leader_leaves_in_mid_stream() -> None:
    async with begun() as (setup, script, leader, gate):
        follower = asyncio.create_task(told(setup, asks(stream=True)))
        await until(lambda: setup.service.cache.stats().waiting == 2)
        leader.response.close()
        await until(lambda: setup.service.cache.stats().waiting == 1)
        gate.set()
        assert (await follower)[2] == WITHOUT_USAGE
        assert len(script.requests) == 1


async def test_all_leave_and_the_answer_is_kept() -> None:
    async with begun() as (setup, script, leader, gate):
        leader.response.close()
        await until(lambda: setup.service.cache.stats().waiting == 0)
        gate.set()
        await settled(setup.service)
        assert (await told(setup, asks()))[1]["x-semcache-status"] == "exact"
        assert len(script.requests) == 1


async def test_whoever_leaves_a_bypass_ends_it() -> None:
    async with scene(STREAM_HEAD, chunk(EVENTS[0]), "hang") as (setup, script):
        async with reading(setup, asks(stream=True, n=2)) as reader:
            await reader.have(len(EVENTS[0]))
            reader.response.close()
        await until(lambda: script.open == 0)


async def test_a_reader_who_does_not_read_holds_nobody_up() -> None:
    big = [event({"content": "x" * 100_000})] * 200
    sent = b"".join([EVENTS[0], *big, *EVENTS[3:]])
    async with scene(STREAM_HEAD, chunk(sent), LAST, cache={"max_answer_bytes": 2**20}) as (
        setup,
        _,
    ):
        connector = aiohttp.TCPConnector()
        async with aiohttp.ClientSession(connector=connector, read_bufsize=1_024) as session:
            stuck = await session.post(setup.url, json=asks(stream=True))
            status, _, body = await told(setup, asks(stream=True, usage=True))
            assert (status, body) == (200, sent)
            stuck.close()
        await until(lambda: setup.service.cache.stats().waiting == 0)
