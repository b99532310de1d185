"""The simulated upstream, over the wire and as a command."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from typing import Any, cast

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from typer.testing import CliRunner

from semcache_async.cli import app as command
from semcache_async.errors import ConfigError
from semcache_async.serve.apis.chat.completion import Assembler
from semcache_async.serve.sse import EventSplitter, data_of
from semcache_async.simulator import SimulatorOptions, make_simulator
from semcache_async.simulator.answer import tokens_of, user_text
from semcache_async.simulator.apis.chat import ChatBody
from semcache_async.simulator.faults import NoSuchFaultError, read_faults
from semcache_async.simulator.pace import send
from tests.helpers import until
from tests.simulator.helpers import AT_ONCE, Upstream, asked

pytestmark = pytest.mark.anyio


def assembled(stream: bytes) -> Assembler:
    splitter, assembler = EventSplitter(), Assembler()
    for event in splitter.feed(stream):
        assembler.read(event)
    return assembler


def said(completion: dict[str, Any]) -> str:
    content: str = completion["choices"][0]["message"]["content"]
    return content


async def test_the_same_messages_get_the_same_answer(upstream: Upstream) -> None:
    one, again, other = [await upstream.whole(prompt) for prompt in ("one", "one", "other")]
    assert said(one) == said(again)
    assert said(one) != said(other)
    assert "one" in said(one)
    assert one["id"] != again["id"]
    before = [{"role": "system", "content": "Be brief."}]
    messages = [*before, *asked("one")["messages"]]
    assert said(await upstream.whole(messages=messages)) != said(one)


async def test_a_completion_has_openais_form(upstream: Upstream) -> None:
    completion = await upstream.whole("one")
    choice = completion.pop("choices")[0]
    usage = completion.pop("usage")
    assert completion.pop("id").startswith("chatcmpl-")
    assert completion.pop("created") > 1_700_000_000
    assert completion == {
        "object": "chat.completion",
        "model": "m",
        "service_tier": "default",
        "system_fingerprint": "fp_simulated",
    }
    message = choice.pop("message")
    assert choice == {"index": 0, "logprobs": None, "finish_reason": "stop"}
    assert (message["role"], message["refusal"]) == ("assistant", None)
    assert usage["completion_tokens"] == len(tokens_of(message["content"])) == 8
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


@pytest.mark.parametrize(
    ("faults", "fields"),
    [
        ("", {}),
        ("", {"n": 3}),
        ("", {"logprobs": True}),
        ("reasoning", {}),
        ("refusal", {}),
        ("tool_calls", {}),
        ("empty, finish_reason=content_filter", {}),
        ("keepalive, crlf", {}),
    ],
)
async def test_a_stream_says_the_same(
    upstream: Upstream, faults: str, fields: dict[str, Any]
) -> None:
    whole = await upstream.whole(faults=faults, **fields)
    stream = await upstream.stream(faults=faults, stream_options={"include_usage": True}, **fields)
    assembler = assembled(stream)
    assert assembler.complete
    streamed = assembler.answer()
    for completion in (whole, streamed):
        del completion["id"], completion["created"]
        if faults == "refusal":  # a stream cannot take back the empty content it began with
            completion["choices"][0]["message"]["content"] = None
        if faults == "tool_calls":
            completion["choices"][0]["message"]["content"] = None
    assert streamed == whole


@pytest.mark.parametrize("wanted", [True, False])
async def test_usage_only_if_asked(upstream: Upstream, wanted: bool) -> None:
    stream = await upstream.stream(stream_options={"include_usage": wanted})
    chunks = [
        json.loads(data)
        for event in EventSplitter().feed(stream)
        if (data := data_of(event)) not in (None, b"[DONE]")
    ]
    assert [chunk.get("usage", 0) for chunk in chunks[:-1]] == [None if wanted else 0] * (
        len(chunks) - 1
    )
    assert (chunks[-1]["choices"] == []) is wanted
    assert stream.endswith(b"data: [DONE]\n\n")


async def test_limits_and_stops(upstream: Upstream) -> None:
    short = await upstream.whole("one two three", max_tokens=3)
    assert (said(short), short["choices"][0]["finish_reason"]) == ("Answer to: one", "length")
    stopped = await upstream.whole("one two three", stop=["", " two"])
    assert (said(stopped), stopped["choices"][0]["finish_reason"]) == ("Answer to: one", "stop")
    assert said(await upstream.whole("one two", stop=" two")) == "Answer to: one"
    formed = await upstream.whole("one", response_format={"type": "json_object"})
    assert json.loads(said(formed))["answer"].startswith("Answer to: one")


async def test_choices_differ(upstream: Upstream) -> None:
    several = await upstream.whole(n=3)
    texts = {choice["message"]["content"] for choice in several["choices"]}
    assert len(texts) == 3


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("hi", "hi"),
        ([{"type": "text", "text": "a"}, {"type": "image_url"}, 7, {"text": "b"}], "a b"),
        (None, ""),
        (7, ""),
    ],
)
def test_the_users_text(content: Any, text: str) -> None:
    message = {"role": "user", "content": content}
    assert user_text([message, {"role": "assistant", "content": "no"}]) == text


def test_without_a_user_the_last_message_counts() -> None:
    assert user_text([{"role": "system", "content": "a"}, {"content": "b"}]) == "b"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        {"model": "m"},
        {"model": "m", "messages": []},
        {"model": "m", "messages": ["a"]},
        {"model": 7, "messages": [{}]},
        asked("a", n=0),
        asked("a", stream="yes"),
        asked("a", max_tokens=0),
        asked("a", x_simulate="nonsense"),
    ],
)
async def test_a_bad_request_is_refused(upstream: Upstream, body: Any) -> None:
    async with upstream.post(body) as response:
        assert response.status == 400
        error = (await response.json())["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"]


@pytest.mark.parametrize(
    ("faults", "status", "code", "retry_after"),
    [
        ("status=429", 429, "rate_limit_exceeded", "1"),
        ("status=429; retry_after=0.5", 429, "rate_limit_exceeded", "0.5"),
        ("status=500", 500, None, None),
        ("status=503, retry_after=2", 503, None, "2"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_failures(
    upstream: Upstream,
    faults: str,
    status: int,
    code: str | None,
    retry_after: str | None,
    stream: bool,
) -> None:
    async with upstream.post(asked("a", stream=stream, x_simulate=faults)) as response:
        assert response.status == status
        assert response.headers.get("retry-after") == retry_after
        assert response.headers["x-request-id"].startswith("req_")
        assert (await response.json())["error"]["code"] == code
    assert upstream.simulator.stats.failed == 1


async def test_a_stream_cut_at_any_byte(upstream: Upstream) -> None:
    whole = await upstream.stream(max_tokens=1)
    for count in (0, 1, 10, len(whole) // 2, len(whole) - 1):
        got = await upstream.stream(max_tokens=1, faults=f"cut_after_bytes={count}")
        assert len(got) == count
        assert assembled(got).complete is (count == len(whole) - 1)


async def test_an_answer_cut_short(upstream: Upstream) -> None:
    async with upstream.post(asked("a"), "cut_after_bytes=9") as response:
        assert response.content_length is not None
        assert response.content_length > 100
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


@pytest.mark.parametrize("faults", ["error", "garbage", "no_done"])
async def test_a_spoiled_stream(upstream: Upstream, faults: str) -> None:
    assembler = assembled(await upstream.stream(faults=faults))
    assert assembler.complete is (faults == "no_done")
    assert (assembler.error is not None) is (faults == "error")


async def test_a_spoiled_answer(upstream: Upstream) -> None:
    async with upstream.post(asked("a"), "garbage") as response:
        assert await response.read() == b"<html>"
    assert "usage" not in await upstream.whole(faults="no_usage")


@pytest.mark.parametrize(
    ("faults", "stream"), [("hang", False), ("hang", True), ("hang_after_bytes=50", True)]
)
async def test_a_caller_who_leaves_is_noticed(
    upstream: Upstream, faults: str, stream: bool
) -> None:
    stats = upstream.simulator.stats
    call = asyncio.create_task(upstream.stream(faults=faults))
    await until(lambda: stats.under_way == 1)
    call.cancel()
    await asyncio.wait([call])
    await until(lambda: stats.under_way == 0)
    assert (stats.calls, stats.left) == (1, 1)


async def test_whoever_hangs_is_let_go_at_the_end() -> None:
    async with aiohttp.ClientSession() as session:
        async with TestServer(make_simulator(AT_ONCE)) as server:
            upstream = Upstream(server, session)
            calls = [
                asyncio.create_task(upstream.stream(faults=faults))
                for faults in ("hang", "hang_after_bytes=50")
            ]
            await until(lambda: upstream.simulator.stats.under_way == 2)
        await asyncio.wait(calls)


@pytest.mark.parametrize("step_s", [0.0001, 1 / 3_000, 0.02])
async def test_tokens_come_at_their_pace(step_s: float) -> None:
    written: list[bytes] = []
    slept: list[float] = []

    class Response:
        async def write(self, data: bytes) -> None:
            written.append(data)

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    pieces = [b"%03d" % n for n in range(100)]
    await send(cast("web.StreamResponse", Response()), pieces, step_s, sleep=sleep)
    assert b"".join(written) == b"".join(pieces)
    assert len(slept) == len(written) - 1
    assert sum(slept) == pytest.approx(100 * step_s, rel=0.25)


@pytest.mark.parametrize(
    "options", [SimulatorOptions(median_ms=0.1, tokens_per_s=3_000.0, tokens=20)]
)
async def test_a_stream_comes_in_pieces(upstream: Upstream) -> None:
    pieces = 0
    async with upstream.post(asked("a", stream=True)) as response:
        async for _ in response.content.iter_any():
            pieces += 1
    assert pieces > 1


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_is_reset(upstream: Upstream, stream: bool) -> None:
    faults = "reset_after_bytes=9"
    with pytest.raises(aiohttp.ClientError):
        async with upstream.post(asked("a", stream=stream, x_simulate=faults)) as response:
            await response.read()


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_trickles_is_whole(upstream: Upstream, stream: bool) -> None:
    body = asked("a", stream=stream, max_tokens=1, x_simulate="trickle_ms=0.001")
    async with upstream.post(body) as response:
        got = await response.read()
    assert assembled(got).complete if stream else said(json.loads(got)) == "Answer"


async def test_faults_that_have_an_end(upstream: Upstream) -> None:
    statuses = []
    for prompt in ("a", "a", "b", "a"):
        async with upstream.post(asked(prompt), "status=503, first=2") as response:
            statuses.append(response.status)
    assert statuses == [503, 503, 503, 200]


async def test_slow_streams(upstream: Upstream) -> None:
    assert assembled(await upstream.stream(faults="slow_ms=2, delay_ms=1")).complete


@pytest.mark.parametrize(
    "options",
    [SimulatorOptions(median_ms=0, tokens_per_s=0, fail_rate=0.3, fail_status=429, seed=7)],
)
async def test_a_share_of_the_calls_fails(upstream: Upstream) -> None:
    statuses = []
    for _ in range(100):
        async with upstream.post(asked("a")) as response:
            statuses.append(response.status)
    assert set(statuses) == {200, 429}
    assert upstream.simulator.stats.failed == statuses.count(429)
    assert 15 < statuses.count(429) < 45


@pytest.mark.parametrize("options", [SimulatorOptions(median_ms=0, api_key="s3cret")])
async def test_the_key_is_checked(upstream: Upstream) -> None:
    url = upstream.server.make_url("/v1/models")
    for key, status in (("", 401), ("wrong", 401), ("s3cret\xff", 401)):
        async with upstream.post(asked("a"), key=key) as response:
            assert response.status == status
            assert (await response.json())["error"]["code"] == "invalid_api_key"
    async with upstream.session.get(url) as response:
        assert response.status == 401
    async with upstream.post(asked("a", max_tokens=1), key="s3cret") as response:
        assert response.status == 200


@pytest.mark.parametrize("options", [SimulatorOptions(median_ms=0, models=("big", "small"))])
async def test_models(upstream: Upstream) -> None:
    async with upstream.session.get(upstream.server.make_url("/v1/models")) as response:
        listed = await response.json()
    assert listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["big", "small"]
    async with upstream.post(asked("a")) as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "model_not_found"


async def test_calls_are_counted(upstream: Upstream) -> None:
    await upstream.whole(unheard_of={"x": 1})
    await upstream.stream()
    await upstream.stream(faults="cut_after_bytes=9")
    async with upstream.post(b"{}"):
        pass
    async with upstream.session.get(upstream.server.make_url("/simulator/stats")) as response:
        told = await response.json()
    expected = {"calls": 4, "streams": 2, "answered": 3, "failed": 1, "left": 0, "under_way": 0}
    assert told.items() >= expected.items()
    assert told["prompt_tokens"] > 0
    assert told["completion_tokens"] > 0
    assert json.loads(upstream.simulator.bodies[0])["unheard_of"] == {"x": 1}


@pytest.mark.parametrize("written", ["nonsense", "status", "status=99", "hang=perhaps", "a,,b"])
def test_no_such_fault(written: str) -> None:
    with pytest.raises(NoSuchFaultError, match="There are: status"):
        read_faults(written)
    with pytest.raises(ConfigError, match="faults"):
        SimulatorOptions(faults=written)


@pytest.mark.parametrize(
    "nonsense",
    [
        {"median_ms": -1.0},
        {"median_ms": float("nan")},
        {"sigma": 6.0},
        {"tokens_per_s": float("inf")},
        {"tokens": -1},
        {"fail_rate": 1.1},
        {"fail_status": 200},
    ],
)
def test_nonsense_is_refused(nonsense: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(nonsense))):
        SimulatorOptions(**nonsense)


def test_what_a_body_may_leave_out() -> None:
    assert ChatBody(model="m", messages=[{}]).x_simulate == ""


COMMAND = [sys.executable, "-c", "from semcache_async.cli import main; main()", "simulate-llm"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_where_it_is_and_ends_when_told(how: signal.Signals) -> None:
    with subprocess.Popen([*COMMAND, "--port", "0", "--median-ms", "0"], stdout=-1) as process:
        assert process.stdout is not None
        ready = process.stdout.readline().decode()
        assert ready.startswith("Simulated LLM at http://127.0.0.1:")
        assert ":0/" not in ready
        process.send_signal(how)
        assert process.wait(timeout=30) == 0
        assert process.stdout.read() == b""


def test_an_address_that_is_taken_is_one_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = CliRunner().invoke(command, ["simulate-llm", "--port", str(port)])
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert f"127.0.0.1:{port}" in result.stderr


@pytest.mark.parametrize(("flag", "first"), [("--faults", "status"), ("--api", "chat")])
def test_what_there_is_not_is_one_sentence(flag: str, first: str) -> None:
    result = CliRunner().invoke(command, ["simulate-llm", flag, "nonsense"])
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert f"There are: {first}" in result.stderr
