"""Whatever is sent: an answer in the protocol's own form, never a fault of ours, and nobody else
notices."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import aiohttp
import anyio.to_thread
import pytest
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import CheckFunction
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from semcache_async.serve import apis
from semcache_async.serve.apis.api import Convertible
from semcache_async.serve.app import PROTOCOLS
from semcache_async.serve.completions.keeping import Keeping
from semcache_async.serve.keys import Caller, KeyRing, hash_key
from semcache_async.serve.openapi.describe import describe
from semcache_async.serve.sse import EventSplitter, data_of
from semcache_async.simulator.answer import answer_to
from semcache_async.simulator.apis.chat import ChatBody, chunks_of, completion_of
from semcache_async.simulator.faults import Faults
from tests.serve import responding
from tests.serve.running import Live, live, settled

pytestmark = pytest.mark.anyio

EXAMPLES = 12
"""Of each operation, in each mode."""
AS_DESCRIBED: list[CheckFunction] = [
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
KINDS = {
    kind
    for schema in [describe(PROTOCOLS)["components"]["schemas"]["LangCacheError"]]
    for kind in schema["properties"]["type"]["enum"]
}
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
ASKED = {"model": "m", "messages": [{"role": "user", "content": "a"}]}
BODIES = [
    CHAT,
    MESSAGES,
    f"{MESSAGES}/count_tokens",
    RESPONSES,
    "/v1/embeddings",
    "/v1/caches/shop/entries",
    "/v1/caches/shop/entries/search",
    "/v1/caches/shop/conversations/search",
    "/semantic-cache/answer",
    "/semantic-cache/reviews",
    "/semantic-cache/invalidate",
    "/v1/events",
]


@pytest.fixture
def anyio_backend() -> Any:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture
async def service(redis_url: str, name: str) -> AsyncIterator[Live]:
    async with live(redis_url, name, max_body_bytes=2**20) as running:
        yield running


@pytest.fixture
async def impatient(redis_url: str, name: str) -> AsyncIterator[Live]:
    """One that waits for nobody."""
    async with live(redis_url, name, body_timeout_s=0.3, keepalive_timeout_s=1.0) as running:
        yield running


def check_form(path: str, status: int, body: bytes) -> None:
    """An error as those who speak the protocol expect it."""
    assert 400 <= status < 500, body
    said = json.loads(body)
    if path.startswith("/v1/caches/"):
        assert said["title"]
        assert said["type"] in KINDS
        assert said["status"] == status
        if said["type"] == "/errors/invalid-data":
            assert all(field.keys() == {"field", "rule", "message"} for field in said["fields"])
            assert said["fields"]
    elif path.startswith(MESSAGES):
        assert (said["type"], bool(said["error"]["type"])) == ("error", True)
        assert said["error"]["message"]
    elif path.startswith("/v1/"):
        assert said["error"].keys() == {"message", "type", "param", "code"}
        assert said["error"]["message"]
    else:
        assert said["error"]["message"]
        assert said["error"]["type"]


# -- by its own description


@pytest.mark.parametrize("mode", list(GenerationMode))
async def test_every_operation_as_described(service: Live, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_dict(describe(PROTOCOLS))

    def work() -> None:
        for result in schema.get_all_operations():
            operation = cast("Any", result).ok()
            if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
                continue  # nothing that could be wrong

            @hypothesis_settings(
                max_examples=EXAMPLES,
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def ask(case: Case[Any]) -> None:
                response = case.call(base_url=service.url)
                if response.status_code >= 400:
                    path = response.request.path_url or ""
                    check_form(path, response.status_code, response.content)
                case.validate_response(response, checks=AS_DESCRIBED)

            ask()

    await anyio.to_thread.run_sync(work)
    await check_others(service)


async def test_nothing_without_a_key(redis_url: str, name: str) -> None:
    keys = KeyRing({hash_key("sk-a"): Caller(tenant="a")})
    no_key: list[dict[str, Any]] = [{}]
    refused = 0
    async with live(redis_url, name, keys=keys) as service:
        for path, item in describe(PROTOCOLS)["paths"].items():
            there = path.replace("{cacheId}", "shop").replace("{entryId}", "x").replace("{id}", "x")
            for method in item.keys() & {"get", "post", "delete"}:
                if item[method].get("security") == no_key:
                    continue
                for key in (b"X: y", b"Authorization: Bearer sk-no", b"Authorization: Basic sk-a"):
                    sent = post(there, b"{}", key).replace(b"POST", method.upper().encode(), 1)
                    status, answer = await exchange(service, sent)
                    assert status == 401, (method, path)
                    assert b"sk-" not in answer
                    check_form(there, status, answer)
                    refused += 1
    assert refused > 40


# -- by hand


async def exchange(service: Live, *pieces: bytes, pause_s: float = 0.0) -> tuple[int, bytes]:
    """Send the pieces as they are; the status and body of what comes back, (0, b"") for nothing."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if pause_s:
                await asyncio.sleep(pause_s)
    except ConnectionError:  # it had heard enough
        pass
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").lower().split("\r\n")
        length = next(line for line in lines if line.startswith("content-length:"))
        return int(lines[0].split()[1]), await reader.readexactly(int(length.split(":")[1]))
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, b""
    finally:
        writer.close()


def post(path: str, body: bytes, *headers: bytes) -> bytes:
    lines = (b"Content-Length: %d" % len(body), b"Content-Type: application/json", *headers)
    return head(path, *lines) + body


def head(path: str, *headers: bytes) -> bytes:
    lines = (b"POST %b HTTP/1.1" % path.encode(), b"Host: x", *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n"


async def check_others(service: Live) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "refund at 10"}]}
    status, answer = await exchange(service, post(CHAT, json.dumps(body).encode()))
    assert status == 200
    said = json.loads(answer)["choices"][0]["message"]["content"]
    assert said.startswith("Answer to: refund at 10")


MALFORMED = {
    "nothing": b"",
    "space": b" \r\n",
    "half": b'{"prompt": "a',
    "word": b"nul",
    "list": b"[]",
    "number": b"7",
    "text": b'"prompt"',
    "null": b"null",
    "nan": b'{"prompt": NaN}',
    "infinity": b'{"prompt": -Infinity}',
    "huge integer": b'{"prompt": 1%b}' % (b"0" * 5_000),
    "huge number": b'{"prompt": 1e999999}',
    "two values": b'{"prompt": "a"} {"prompt": "b"}',
    "single quotes": b"{'prompt': 'a'}",
    "comma": b'{"prompt": "a",}',
    "comment": b'{"prompt": "a" /* b */}',
    "bom": b'\xef\xbb\xbf{"prompt": "a"}',
    "utf-16": '{"prompt": "a"}'.encode("utf-16"),
    "latin-1": b'{"prompt": "\xe4"}',
    "overlong": b'{"prompt": "\xc0\x80"}',
    "encoded surrogate": b'{"prompt": "\xed\xa0\x80"}',
    "half a surrogate": b'{"prompt": "\\ud800"}',
    "surrogates swapped": b'{"prompt": "\\udc00\\ud800"}',
    "same key twice": b'{"prompt": "a", "prompt": "b"}',
    "same key twice, written otherwise": b'{"prompt": "a", "\\u0070rompt": "b"}',
    "deep lists": b'{"prompt": %b}' % (b"[" * 100_000),
    "deep lists, closed": b'{"prompt": %b%b}' % (b"[" * 5_000, b"]" * 5_000),
    "deep objects": b'{"a":' * 100_000,
    "raw nul": b'{"prompt": "\x00"}',
    "form": b"prompt=a&response=b",
    "html": b"<html></html>",
}


@pytest.mark.parametrize("path", BODIES)
async def test_what_is_no_json_object(service: Live, path: str) -> None:
    for said, body in MALFORMED.items():
        status, answer = await exchange(service, post(path, body))
        assert status == 400, (said, answer)
        check_form(path, status, answer)
    await check_others(service)


def strange_values() -> Iterator[Any]:
    yield from (None, True, 7, -1, 0.5, 2**63, "", " ", "\0", "a\0b", "\u202e\ufeff", "\ufdd0")
    yield from ("a" * 300_000, "\U0001f600" * 1_000, [], [[]], [{}], [None], {}, {"": ""})
    yield from ({"a": {"b": []}}, ["a"] * 2_000, [1, "a"], "e\u0301" * 100, "*", "a|b", "@x:{y}")


@pytest.mark.parametrize("path", BODIES)
async def test_values_of_any_kind(service: Live, path: str) -> None:
    """Each field of each body, with what does not belong there; some of it may be fine."""
    good: dict[str, dict[str, Any]] = {
        CHAT: {**ASKED, "temperature": 0},
        MESSAGES: {**ASKED, "system": "s", "max_tokens": 9, "tools": [], "metadata": {}},
        f"{MESSAGES}/count_tokens": {**ASKED, "system": "s"},
        RESPONSES: {"model": "m", "input": "a", "instructions": None, "text": None},
        "/v1/embeddings": {"model": "all-MiniLM-L6-v2", "input": "a", "dimensions": None},
        "/v1/caches/shop/entries": {"prompt": "a", "response": "b", "attributes": {"a": "b"}},
        "/v1/caches/shop/entries/search": {"prompt": "a", "searchStrategies": ["exact"]},
        "/v1/caches/shop/conversations/search": {"prompt": "a", "context": ["b"]},
        "/semantic-cache/answer": {"prompt": "a", "tags": ["b"], "max_distance": 0.1},
        "/semantic-cache/reviews": {"id": "1-1", "verdict": "right"},
        "/semantic-cache/invalidate": {"tags": ["a"], "attributes": {"a": "b"}},
        "/v1/events": {"tags": ["a"], "ids": ["b"], "tenants": ["c"], "tenant": None},
    }
    others = ("stream", "cache", "ttlMillis", "similarityThreshold", "\0")
    of_responses = ("tools", "tool_choice", "previous_response_id", "include", "background")
    for field in [*good[path], *others, *(of_responses if path == RESPONSES else ())]:
        for value in strange_values():
            body = json.dumps({**good[path], field: value}).encode()
            status, answer = await exchange(service, post(path, body))
            assert status, (field, body[:200])
            if status not in (200, 201, 204):
                check_form(path, status, answer)
    await check_others(service)


async def test_messages_of_any_kind(service: Live) -> None:
    for value in strange_values():
        for message in (
            value,
            {"role": value, "content": "a"},
            {"role": "user", "content": value},
            {"role": "user", "content": [value]},
            {"role": "user", "content": [{"type": "text", "text": value}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": value}]},
            {"role": "assistant", "content": "a", "tool_calls": value},
            {"role": "assistant", "content": [{"type": "tool_use", "input": value}]},
            {"role": "user", "content": [{"type": "tool_result", "content": value}]},
        ):
            body = json.dumps({"model": "m", "max_tokens": 9, "messages": [message]}).encode()
            for path in (CHAT, MESSAGES):
                status, answer = await exchange(service, post(path, body))
                if status != 200:
                    check_form(path, status, answer)
    await check_others(service)


async def test_items_of_any_kind(service: Live) -> None:
    for value in strange_values():
        for item in (
            value,
            {"role": value, "content": "a"},
            {"role": "user", "content": value},
            {"role": "user", "content": [{"type": "input_text", "text": value}]},
            {"type": value, "id": value},
            {"type": "function_call", "call_id": value, "name": value, "arguments": value},
            {"type": "function_call_output", "call_id": "a", "output": value},
            {"type": "reasoning", "summary": value, "id": value},
        ):
            asked = {"model": "m", "input": [item, {"role": "user", "content": "a"}]}
            status, answer = await exchange(service, post(RESPONSES, json.dumps(asked).encode()))
            if status != 200:
                check_form(RESPONSES, status, answer)
    await check_others(service)


@pytest.mark.parametrize("path", BODIES)
async def test_too_much(service: Live, path: str) -> None:
    large = b'{"prompt": "%b"}' % (b"a" * 10 * 2**20)
    bomb = gzip.compress(large)
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    for said, wanted, pieces in (
        ("as said", 413, [post(path, large)]),
        ("said, not sent", 413, [head(path, b"Content-Length: 10485760")]),
        ("endless chunks", 413, [head(path, b"Transfer-Encoding: chunked"), *[chunk] * 40]),
        ("gzip", 413, [post(path, bomb, b"Content-Encoding: gzip")]),
        ("twice", 400, [post(path, gzip.compress(bomb), b"Content-Encoding: gzip, gzip")]),
        ("deflate", 413, [post(path, zlib.compress(large), b"Content-Encoding: deflate")]),
        ("unknown", 400, [post(path, b"{}", b"Content-Encoding: br")]),
    ):
        status, answer = await exchange(service, *pieces)
        assert status == wanted, (said, answer)
        check_form(path, status, answer)
    await check_others(service)


@pytest.mark.parametrize("path", BODIES)
async def test_too_slow(impatient: Live, path: str) -> None:
    service = impatient
    begun = head(path, b"Content-Length: 100")
    slow = [exchange(service, begun, *[b"{"] * 10, pause_s=0.1) for _ in range(10)]
    slow += [exchange(service, begun + b'{"prompt"') for _ in range(10)]
    answers, _ = await asyncio.gather(asyncio.gather(*slow), check_others(service))
    for status, answer in answers:
        assert status == 408
        check_form(path, status, answer)


async def test_headers_that_never_end(impatient: Live) -> None:
    service = impatient
    first = [f"POST {CHAT} HTTP/1.1\r\nX: ".encode(), *[b"a"] * 15]
    silent = [exchange(service, *first, pause_s=0.1) for _ in range(10)]
    silent += [exchange(service) for _ in range(10)]
    answers, _ = await asyncio.gather(asyncio.gather(*silent), check_others(service))
    assert {status for status, _ in answers} <= {0, 408}


@pytest.mark.parametrize(
    "sent",
    [
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        head(CHAT, b"Content-Length: -1"),
        head(CHAT, b"Content-Length: 1, 2"),
        head(CHAT, b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
        head(CHAT, b"Transfer-Encoding: chunked") + b"zz\r\n{}\r\n",
        head(CHAT, b"Content-Length: 2", b"X: " + b"a" * 100_000) + b"{}",
        head("/" + "a" * 100_000, b"Content-Length: 0"),
        head(CHAT, b"X\0: a", b"Content-Length: 2") + b"{}",
    ],
)
async def test_what_is_no_http(service: Live, sent: bytes) -> None:
    status, _ = await exchange(service, sent)
    assert status == 0 or 400 <= status < 500
    await check_others(service)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions/",
        "/v1/nothing",
        "/v1/messages/nothing",
        "/v1/caches/shop/",
        "/v1/caches/a%00b/flush",
        "/v1/caches/%FF/flush",
        "/v1/caches/..%2F..%2Fetc/flush",
        "/v1/caches/shop%7Cother/flush",
        "/nothing",
        "/..%2f..%2fpyproject.toml",
        "/%00",
        "//",
        "/metrics",
    ],
)
async def test_paths_that_are_not_there(service: Live, path: str) -> None:
    status, answer = await exchange(service, post(path, b"{}"))
    assert status in (400, 404, 405)
    check_form(path, status, answer)


async def test_whoever_leaves_half_way_harms_nobody(service: Live) -> None:
    body = {
        "model": "m",
        "stream": True,
        "x_simulate": "slow_ms=1",
        "messages": [{"role": "user", "content": "x at 90"}],
    }
    whole = post(CHAT, json.dumps(body).encode())
    for end in range(0, len(whole), 9):
        _, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(whole[:end])
        await writer.drain()
        writer.close()
    for _ in range(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(whole)
        await reader.read(100)
        writer.close()
    await check_others(service)


# -- what comes from the other side


PIECES = (
    *(b"", b"\n", b"\n\n", b"\r", b"\0", b"\xff", b'"', b"}", b"null", b": hi\n\n", b"data: "),
    *(b"data: {}\n\n", b"data: [DONE]\n\n", b"event: error\n"),
)


def spoil(stream: bytes, chance: random.Random) -> bytes:
    """A stream with a few things wrong."""
    for _ in range(chance.randint(1, 3)):
        start = chance.randrange(len(stream) + 1)
        end = min(len(stream), start + chance.choice((0, 1, 2, 40, 400)))
        piece = chance.choice([*PIECES, stream[start:end] * 2])
        stream = stream[:start] + piece + stream[end:]
    return stream


def good_stream(api: Convertible) -> bytes:
    body = ChatBody(model="m", messages=[{"role": "user", "content": "a"}])
    good = completion_of(body, answer_to(body.asked(), Faults(), 3))
    good |= {"id": "chatcmpl-1", "created": 7}
    if api is apis.CHAT:
        return b"".join(chunks_of(good, include_usage=True))
    if api is apis.RESPONSES:
        return b"".join(responding.events_of(responding.response()))
    said = apis.CHAT.said(good)
    assert said is not None
    made = api.replayed(json.dumps(api.wrote(said) | {"id": "msg_1"}), include_usage=True)
    assert made is not None
    return made[0]


@pytest.mark.parametrize(
    "api", [apis.CHAT, apis.MESSAGES, apis.RESPONSES], ids=lambda api: api.name
)
async def test_a_broken_upstream(redis_url: str, name: str, api: Convertible) -> None:
    """Its stream ends as one: whole, or with an error. Kept only if it says what it should."""
    keeping, request = Keeping(("stop", "end_turn", "completed")), api.read({})
    chance = random.Random(0)
    whole = good_stream(api)
    path = f"/v1/{api.path}"
    sent = b""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(sent)
        return response

    llm = web.Application()
    llm.router.add_post(path, answer)
    ends, kept = Counter[str](), 0
    async with live(redis_url, name, llm=llm) as service, aiohttp.ClientSession() as session:
        for turn in range(400):
            sent = spoil(whole, chance)
            said = [{"role": "user", "content": f"turn {turn} at 0"}]
            asked = {"model": "m", "input" if api is apis.RESPONSES else "messages": said}
            body_ = {**asked, "user": str(turn), "seed": turn, "stream": True}
            async with session.post(f"{service.url}{path}", json=body_) as response:
                got = await response.read()
                if response.status != 200:
                    assert response.status == 502, got
                    assert json.loads(got)["error"]["message"]
                    ends["refused"] += 1
                    continue
            splitter, assembler = EventSplitter(), api.reader()
            events = splitter.feed(got)
            assert splitter.rest == b""
            for event in events:
                assembler.read(event)
            last = data_of(events[-1]) or b""
            done = assembler.ended
            ends["error" if not done and b"error" in last else "whole"] += 1
            await settled(service.service)
            async with session.post(
                f"{service.url}{path}", json=body_, headers={"Cache-Control": "only-if-cached"}
            ) as again:
                complete = assembler.complete
                fit = complete and await keeping.why_not(assembler.answer(), request) is None
                assert (again.status == 200) <= fit
                assert (again.status == 200) == fit or not done  # what followed may have been cut
                kept += again.status == 200
    assert min(ends.values()) > 10
    assert 10 < kept <= ends["whole"] - (api is apis.CHAT)
