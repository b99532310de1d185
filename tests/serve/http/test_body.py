"""Bodies: whatever is sent, a clear refusal or an object."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
import zstandard
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from semcache_async.serve.errors import Invalid, Problem
from semcache_async.serve.http.body import MAX_CONTAINERS, MAX_DEPTH, parse_object, read_json
from semcache_async.serve.http.encodings import decompressed
from semcache_async.serve.service import Service
from semcache_async.serve.settings import Settings

LIMIT = 4_096


def refused(raw: bytes) -> Invalid:
    with pytest.raises(Invalid) as caught:
        parse_object(raw)
    return caught.value


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "invalid_json"),
        (b" \n", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"a":1} x', "invalid_json"),
        (b"{'a':1}", "invalid_json"),
        (b'{"a":NaN}', "invalid_json"),
        (b'{"a":Infinity}', "invalid_json"),
        (b'\xef\xbb\xbf{"a":1}', "invalid_json"),
        (b'{"a":"\\ud800"}', "invalid_json"),
        (b'{"a":"\x00"}', "invalid_json"),
        (b'{"a":"\xff"}', "invalid_utf8"),
        (b'{"a":"\xed\xa0\x80"}', "invalid_utf8"),
        (b'{"a":1e999}', "number_out_of_range"),
        (b'{"a":18446744073709551616}', "number_out_of_range"),
        (b'{"a":[-9223372036854775809]}', "number_out_of_range"),
        (b'{"a":' + b"9" * 10_000 + b"}", "number_out_of_range"),
        (b"[]", "not_an_object"),
        (b'"text"', "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"a":1,"a":2}', "duplicate_key"),
        (b'{"a":1,"\\u0061":1}', "duplicate_key"),
        (b'{"x":[{"b":"\\\\\\"","a":{},"b":0}]}', "duplicate_key"),
        (b'{"":1,"":1}', "duplicate_key"),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "too_deep"),
        (b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "too_deep"),
        (b"[" * 50_000, "too_deep"),
        (b'{"a":[' + b"[]," * MAX_CONTAINERS + b"[]]}", "too_many_values"),
    ],
)
def test_what_is_refused(raw: bytes, code: str) -> None:
    error = refused(raw)
    assert (error.code, error.status) == (code, 400)
    assert error.message.endswith((".", "object."))


@pytest.mark.parametrize(
    "raw",
    [
        b'{"a":18446744073709551615,"b":-9223372036854775808,"c":1e300}',
        b'{"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}",
        b'{"a":[' + b",".join([b"{}"] * 1_000) + b"]}",
        b'{"a":"\\u0000\\ud83d\\ude00\\\\\\"{[","\\"":"\\u0022\\\\"}',
        b'{"a":"' + b"[{" * MAX_CONTAINERS + b'"}',
        b'{"a":["\\\\",' + b'"[[[",' * MAX_DEPTH + b'"\\\\\\""]}',
        b"{}",
    ],
)
def test_what_is_taken(raw: bytes) -> None:
    assert parse_object(raw) == json.loads(raw)


def test_a_duplicate_key_is_named_if_it_can_be() -> None:
    assert refused(b'{"m":{"model":1,"model":2}}').param == "model"
    assert refused(b'{"\\n":1,"\\n":2}').param is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON, max_size=4), st.booleans())
def test_every_object_is_read_as_json_reads_it(value: dict[str, Any], ascii_only: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert parse_object(raw) == value


@given(st.binary(max_size=64))
def test_bytes_of_any_kind_are_read_or_refused(raw: bytes) -> None:
    try:
        parse_object(raw)
    except Invalid:
        return
    assert isinstance(json.loads(raw), dict)


# -- over a connection


@asynccontextmanager
async def reading(**settings: Any) -> AsyncIterator[tuple[int, list[int]]]:
    """A server's port, and how much its handlers left unread of the requests they refused."""
    service = cast("Service", SimpleNamespace(settings=Settings(max_body_bytes=LIMIT, **settings)))

    async def handle(request: web.Request) -> web.Response:
        try:
            body = await read_json(request, service)
        except Problem as problem:
            taken.append(request.content.total_bytes)
            response = web.json_response({"code": problem.code}, status=problem.status)
            response.force_close()
            return response
        return web.json_response(body)

    taken: list[int] = []
    app = web.Application()
    app.router.add_post("/", handle)
    runner = web.AppRunner(app, lingering_time=0.0, auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield runner.addresses[0][1], taken
    finally:
        await runner.cleanup()


async def send(port: int, head: str, *parts: bytes) -> tuple[int, dict[str, Any]]:
    """Send what is given, no end to it, and read the whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n\r\n".encode())
        for part in parts:
            writer.write(part)
        await writer.drain()
        status = int((await reader.readline()).split()[1])
        while (await reader.readline()).strip():
            pass
        return status, json.loads(await reader.read())
    finally:
        writer.close()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


@pytest.mark.anyio
async def test_a_body_in_pieces() -> None:
    async with reading() as (port, _):
        pieces = [chunk(b'{"a"'), chunk(b':"\xc3'), chunk(b'\xa9"}'), b"0\r\n\r\n"]
        assert await send(port, "Transfer-Encoding: chunked", *pieces) == (200, {"a": "é"})


@pytest.mark.anyio
async def test_too_long_by_its_own_word_is_refused_unread() -> None:
    async with reading() as (port, taken):
        assert await send(port, f"Content-Length: {10_000_000}") == (
            413,
            {"code": "body_too_large"},
        )
        assert taken == [0]


@pytest.mark.anyio
async def test_an_endless_body_is_refused_at_the_limit() -> None:
    async with reading() as (port, taken):
        parts = [chunk(b" " * 1_024)] * 8
        assert await send(port, "Transfer-Encoding: chunked", *parts) == (
            413,
            {"code": "body_too_large"},
        )
        assert LIMIT < taken[0] <= 8 * 1_024


@pytest.mark.anyio
async def test_exactly_the_limit_is_taken() -> None:
    raw = b'{"a":"' + b"x" * (LIMIT - 8) + b'"}'
    async with reading() as (port, _):
        status, _ = await send(port, f"Content-Length: {LIMIT}", raw)
        assert status == 200
        status, _ = await send(port, f"Content-Length: {LIMIT + 1}", raw + b" ")
        assert status == 413


@pytest.mark.anyio
async def test_a_body_that_dawdles_is_refused() -> None:
    async with reading(body_timeout_s=0.05) as (port, _):
        assert await send(port, "Content-Length: 10", b'{"a"') == (408, {"code": "body_timeout"})


COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": lambda raw: gzip.compress(raw[:3]) + gzip.compress(raw[3:]),
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
}


@pytest.mark.anyio
@pytest.mark.parametrize("encoding", COMPRESSED)
async def test_compressed_bodies_are_read_and_bounded(encoding: str) -> None:
    compress = COMPRESSED[encoding]
    async with reading() as (port, _):

        async def sent(raw: bytes) -> tuple[int, Any]:
            head = f"Content-Encoding: {encoding}\r\nContent-Length: {len(raw)}"
            return await send(port, head, raw)

        assert await sent(compress(b'{"a": 1}')) == (200, {"a": 1})
        assert (await sent(compress(b'{"a":"' + b"x" * (LIMIT - 8) + b'"}')))[0] == 200
        for size in (LIMIT + 1, 1_000_000):
            assert await sent(compress(b"0" * size)) == (413, {"code": "body_too_large"})
        for broken in (b"{}", compress(b'{"a": 1}' * 50)[:-6]):
            status, said = await sent(broken)
            assert (status, said["code"] in ("content_encoding", "invalid_json")) == (400, True)


@pytest.mark.anyio
async def test_encodings_that_are_not_known() -> None:
    async with reading() as (port, _):
        for encoding in ("br", "gzip, gzip", "x-unknown"):
            head = f"Content-Encoding: {encoding}\r\nContent-Length: 2"
            assert await send(port, head, b"{}") == (400, {"code": "content_encoding"})
        assert (await send(port, "Content-Encoding: Identity\r\nContent-Length: 2", b"{}"))[
            0
        ] == 200


@pytest.mark.anyio
async def test_without_its_extra_zstd_is_refused_with_a_way_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(Invalid, match=r"semcache-async\[zstd\]; send gzip"):
        decompressed(zstandard.compress(b"{}"), "zstd", LIMIT)


@pytest.mark.anyio
async def test_prompts_are_logged_only_if_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "semcache_async")
    raw = b'{"a":"canary"}'
    for wanted in (False, True):
        async with reading(log_prompts=wanted) as (port, _):
            await send(port, f"Content-Length: {len(raw)}", raw)
        assert any("canary" in str(vars(record)) for record in caplog.records) is wanted
