"""The upstream's client against raw bytes."""

from __future__ import annotations

import gzip
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from unittest.mock import ANY

import aiohttp
import msgspec
import pytest

from semcache_async import CacheConfig
from semcache_async.serve.errors import (
    UpstreamAnswered,
    UpstreamFailed,
    UpstreamTimedOut,
    UpstreamUnreached,
)
from semcache_async.serve.settings import Settings
from semcache_async.serve.upstream.answered import translated
from semcache_async.serve.upstream.client import (
    Upstream,
    identity_of,
    open_upstream,
)
from tests.helpers import until
from tests.serve.upstreams import (
    EVENTS,
    LAST,
    STREAM_HEAD,
    Piece,
    Scripted,
    answer,
    chunk,
    scripted,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]


@asynccontextmanager
async def opened(*pieces: Piece, **options: Any) -> AsyncIterator[tuple[Upstream, Scripted]]:
    async with (
        scripted(*pieces) as (url, script),
        open_upstream(url, Settings(**options)) as upstream,
    ):
        yield upstream, script


async def gather(upstream: Upstream) -> bytes:
    async with upstream.stream({"stream": True}) as pieces:
        if isinstance(pieces, bytes):
            return b"whole:" + pieces
        return b"".join([piece async for piece in pieces])


async def test_what_is_sent() -> None:
    async with opened(answer("{}"), upstream_key="sk-1") as (upstream, script):
        assert await upstream.complete({"model": "m", "made_up": [1.5, None]}) == b"{}"
        assert await upstream.models() == b"{}"
    (headers, _), (_, nothing) = script.requests
    assert script.bodies == [{"model": "m", "made_up": [1.5, None]}]
    assert not nothing
    assert headers["Authorization"] == "Bearer sk-1"
    assert headers["Accept-Encoding"] == "identity"
    assert headers["Content-Type"] == "application/json"
    assert "Cookie" not in headers


async def test_no_key_no_authorization() -> None:
    async with opened(answer("{}", Set_Cookie="a=b")) as (upstream, script):
        await upstream.complete({})
        await upstream.complete({})
    assert all(not {"Authorization", "Cookie"} & set(headers) for headers, _ in script.requests)


async def test_a_connection_is_used_again_after_a_stream() -> None:
    pieces = (STREAM_HEAD, chunk(b"".join(EVENTS)), LAST)
    async with opened(*pieces) as (upstream, script):
        for _ in range(3):
            async with upstream.stream({}) as events:
                assert not isinstance(events, bytes)
                assert await anext(events)
            await until(lambda: not upstream.lingering)
        assert (script.open, len(script.requests)) == (1, 3)


async def test_a_stream_that_stays_open_after_its_end_holds_nobody_up() -> None:
    async with opened(STREAM_HEAD, chunk(EVENTS[-1]), "hang") as (upstream, _):
        async with upstream.stream({}) as events:
            assert not isinstance(events, bytes)
            assert await anext(events) == EVENTS[-1]
        assert len(upstream.lingering) == 1
    assert not upstream.lingering


async def test_a_stream_left_early_by_an_error_is_closed() -> None:
    async with opened(STREAM_HEAD, chunk(EVENTS[0]), "hang") as (upstream, _):
        with suppress(KeyError):
            async with upstream.stream({}) as events:
                assert not isinstance(events, bytes)
                await anext(events)
                raise KeyError
        assert not upstream.lingering


async def test_a_whole_body_instead_of_a_stream() -> None:
    async with opened(answer('{"a": 1}')) as (upstream, _):
        assert await gather(upstream) == b'whole:{"a": 1}'


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", ""])
async def test_the_kind_of_an_answer_is_seen_by_its_beginning(kind: str) -> None:
    head = STREAM_HEAD.replace(b"text/event-stream", kind.encode())
    if not kind:
        head = head.replace(b"Content-Type: \r\n", b"")
    for whole in EVENTS, [b": hello\n\n", *EVENTS], [b"\r\n", b"event: a\n", EVENTS[0]]:
        sent = b"".join(whole)
        pieces = [chunk(bytes((byte,))) for byte in sent[:12]] + [chunk(sent[12:])]
        async with opened(head, *pieces, LAST) as (upstream, _):
            assert await gather(upstream) == sent
    async with opened(head, chunk(b' {"a": 1}'), LAST) as (upstream, _):
        assert await gather(upstream) == b'whole: {"a": 1}'
    async with opened(head, chunk(b"<html>"), LAST) as (upstream, _):
        with pytest.raises(UpstreamFailed, match="no stream of events"):
            await gather(upstream)


@pytest.mark.parametrize(
    "status", ["400 Bad Request", "404 Not Found", "429 Slow", "500 Oh", "503 No", "599 X"]
)
async def test_errors_are_kept_as_they_are(status: str) -> None:
    said = b'{"error":  {"message": "no", "type": "t", "code": "c", "extra": 1}}'
    sent = answer(
        said,
        status=status,
        retry_after="2",
        retry_after_ms="1500",
        X_RateLimit_Remaining="0",
        X_Request_Id="req_1",
        Server="secret",
        Set_Cookie="a=b",
    )
    async with opened(sent, upstream_retry_share=0) as (upstream, _):
        with pytest.raises(UpstreamAnswered) as caught:
            await upstream.complete({})
        with pytest.raises(UpstreamAnswered):
            await gather(upstream)
        with pytest.raises(UpstreamAnswered):
            await upstream.models()
    assert caught.value.status == int(status[:3])
    assert caught.value.body == said
    assert {name.lower(): value for name, value in caught.value.headers.items()} == {
        "retry-after": "2",
        "retry-after-ms": "1500",
        "x-ratelimit-remaining": "0",
        "x-upstream-request-id": "req_1",
    }


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>oops", b"The upstream answered 500."),
        (b'{"error": "plain words"}', b"plain words"),
        (b'{"message": "x"}', b"x"),
        (b'{"detail": "Model not loaded"}', b"Model not loaded"),
        (
            b'{"object": "error", "message": {"detail": [{"msg": "Not permitted"}]}}',
            b"Not permitted",
        ),
        (b'{"errors": [{"message": "bad"}, "worse"], "success": false}', b"bad; worse"),
        (b'{"detail": [{"loc": ["body", "n", 0], "msg": "Too many"}]}', b"body.n.0: Too many"),
        (b'{"error": true, "message": "x"}', b"x"),
        (b"overloaded, loading the model\n", b"overloaded, loading the model"),
        (b"<html><TITLE>502 Bad Gateway</TITLE>", b"502 Bad Gateway"),
        (b"{}", b"The upstream answered 500."),
        (b'{"detail":' * 100 + b'"x"' + b"}" * 100, b"The upstream answered 500."),
        (b"\xff", b"The upstream answered 500."),
        (b"", b"The upstream answered 500."),
        (b"[" * 5_000, b"The upstream answered 500."),
        (b'{"error": {"message": "' + b"x" * 100_000, b"The upstream answered 500."),
    ],
)
async def test_errors_in_no_form_are_put_into_it(body: bytes, said: bytes) -> None:
    async with opened(answer(body, status="500 Oh")) as (upstream, _):
        with pytest.raises(UpstreamAnswered) as caught:
            await upstream.complete({})
    assert caught.value.body == (
        b'{"error":{"message":"' + said + b'","type":"upstream_error","param":null,"code":null}}'
    )


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (
            b'{"message":"Too long.","type":"BadRequestError","param":"n","code":400}',
            {"message": "Too long.", "type": "BadRequestError", "param": "n", "code": 400},
        ),
        (
            b'[{"error": {"code": 400, "message": "Not valid.", "status": "INVALID_ARGUMENT"}}]',
            {"message": "Not valid.", "type": "INVALID_ARGUMENT", "param": None, "code": 400},
        ),
        (
            b'{"error": "Input is too long", "error_type": "validation"}',
            {
                "message": "Input is too long",
                "type": "validation",
                "param": None,
                "code": None,
            },
        ),
    ],
)
async def test_what_an_error_says_of_its_kind_is_kept(body: bytes, error: dict[str, Any]) -> None:
    async with opened(answer(body, status="400 No")) as (upstream, _):
        with pytest.raises(UpstreamAnswered) as caught:
            await upstream.complete({})
    assert (caught.value.status, caught.value.message) == (400, error["message"])
    assert msgspec.json.decode(caught.value.body) == {"error": error}


@pytest.mark.parametrize("status", ["401 No", "403 No", "407 No"])
async def test_our_own_key_is_not_the_clients_affair(status: str) -> None:
    sent = answer('{"error": {"message": "Incorrect API key sk-secret"}}', status=status)
    async with opened(sent, upstream_key="sk-secret") as (upstream, _):
        with pytest.raises(UpstreamFailed) as caught:
            await upstream.complete({})
    assert (caught.value.status, caught.value.code) == (502, "upstream_key_refused")
    assert caught.value.headers == {"x-should-retry": "false"}
    assert "sk-secret" not in str(caught.value)


async def test_our_own_key_is_not_repeated_to_anybody() -> None:
    said = '{"error": {"message": "The key sk-secret has no credit."}}'
    async with opened(answer(said, status="402 No"), upstream_key="sk-secret") as (upstream, _):
        with pytest.raises(UpstreamAnswered) as caught:
            await upstream.complete({})
    assert caught.value.body == said.replace("sk-secret", "(the service's key)").encode()


@pytest.mark.parametrize("status", ["301 There", "307 There", "201 Made"])
async def test_redirects_and_other_statuses_are_refused(status: str) -> None:
    async with scripted(answer("{}")) as (elsewhere, other):
        sent = answer("{}", status=status, Location=f"{elsewhere}/chat/completions")
        async with opened(sent, upstream_key="sk-1") as (upstream, _):
            with pytest.raises(UpstreamFailed, match=status[:3]):
                await upstream.complete({})
    assert not other.requests


@pytest.mark.parametrize(
    "pieces",
    [
        (None,),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Type: application/json\r\n\r\n{", None),
        (STREAM_HEAD, chunk(EVENTS[0]), None),
        (STREAM_HEAD, b"zz\r\n", None),
        (b"SSH-2.0-OpenSSH\r\n\r\n", None),
        (answer("<html>", kind="text/html"),),
        (answer("nope", kind="text/event-stream", Content_Encoding="gzip"),),
    ],
)
async def test_broken_http(pieces: tuple[Piece, ...]) -> None:
    async with opened(*pieces) as (upstream, _):
        with pytest.raises(UpstreamFailed) as caught:
            await gather(upstream)
    assert caught.value.status == 502
    assert "127.0.0.1" not in str(caught.value)


async def test_nobody_there() -> None:
    async with scripted() as (url, _):
        pass
    async with open_upstream(url, Settings()) as upstream:
        with pytest.raises(UpstreamFailed) as caught:
            await upstream.models()
    assert (caught.value.status, caught.value.code) == (502, "upstream_unreachable")


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (aiohttp.ConnectionTimeoutError(), UpstreamUnreached, 504),
        (aiohttp.ClientConnectorError(ANY, OSError(111, "refused")), UpstreamUnreached, 502),
        (aiohttp.ClientConnectorDNSError(ANY, OSError(-2, "unknown")), UpstreamUnreached, 502),
        (aiohttp.ClientConnectorCertificateError(ANY, ssl.SSLError("old")), UpstreamFailed, 502),
        (aiohttp.ClientConnectorSSLError(ANY, ssl.SSLError("no TLS")), UpstreamFailed, 502),
        (aiohttp.ServerDisconnectedError(), UpstreamFailed, 502),
        (TimeoutError(), UpstreamTimedOut, 504),
        (ValueError("nonsense"), UpstreamFailed, 502),
    ],
)
async def test_only_who_was_not_reached_may_be_asked_again(
    error: Exception, kind: type[UpstreamFailed], status: int
) -> None:
    with pytest.raises(UpstreamFailed) as caught, translated():
        raise error
    assert (type(caught.value), caught.value.status) == (kind, status)


BEGUN = (STREAM_HEAD, chunk(EVENTS[0]))
HEAD = (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Type: application/json\r\n\r\n",)


@pytest.mark.parametrize(
    ("pieces", "limit", "says"),
    [
        ((), "first_byte", "did not begin"),
        ((STREAM_HEAD,), "first_byte", "did not begin"),
        (HEAD, "first_byte", "did not begin"),
        (BEGUN, "idle", "0.1 s in mid-answer"),
        ((*HEAD, b"{"), "idle", "0.1 s in mid-answer"),
        (
            (answer(b"{", status="500 Oh").replace(b"Length: 1", b"Length: 9"),),
            "idle",
            "mid-answer",
        ),
        ((), "", "longer than 0.1 s"),
        (BEGUN, "", "longer than 0.1 s"),
        ((*HEAD, b"{"), "", "longer than 0.1 s"),
    ],
)
async def test_an_upstream_that_hangs(pieces: tuple[Piece, ...], limit: str, says: str) -> None:
    option = f"upstream_{limit}_timeout_s".replace("__", "_")
    async with opened(*pieces, "hang", **{option: 0.1}) as (upstream, script):
        with pytest.raises(UpstreamTimedOut, match=says) as caught:
            await gather(upstream)
        await until(lambda: not script.open)
    assert (caught.value.status, caught.value.code) == (504, "upstream_timeout")


async def test_endless_answers_are_bounded() -> None:
    cache = CacheConfig(max_answer_bytes=1_000)
    flood = [chunk(b"x" * 60_000)] * 100
    async with opened(STREAM_HEAD, *flood, cache=cache) as (upstream, script):
        with pytest.raises(UpstreamFailed, match="too long"):
            await gather(upstream)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
        script.pieces = (head + b"\r\n\r\n", *flood)
        with pytest.raises(UpstreamFailed, match="too long"):
            await upstream.complete({})


async def test_compressed_though_asked_not_to() -> None:
    packed = gzip.compress(b'{"a": 1}')
    async with opened(answer(packed, Content_Encoding="gzip")) as (upstream, _):
        assert await upstream.complete({}) == b'{"a": 1}'


async def test_a_compressed_bomb_is_bounded() -> None:
    cache = CacheConfig(max_answer_bytes=1_000)
    packed = gzip.compress(b"x" * 50_000_000)
    async with opened(answer(packed, Content_Encoding="gzip"), cache=cache) as (upstream, _):
        with pytest.raises(UpstreamFailed):
            await upstream.complete({})


@pytest.mark.parametrize(
    ("url", "identity"),
    [
        ("https://API.example.com/v1", "https://api.example.com/v1"),
        ("https://api.example.com:443/v1/", "https://api.example.com/v1"),
        ("HTTP://user:pass@api.example.com:8080/v1?key=canary#x", "http://api.example.com:8080/v1"),
        ("https://api.example.com", "https://api.example.com"),
        ("http://[::1]:11434/V1", "http://[::1]:11434/V1"),
    ],
)
async def test_the_identity_of_an_upstream(url: str, identity: str) -> None:
    assert identity_of(url) == identity
