"""POST /v1/messages without streaming, and /v1/messages/count_tokens."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from anthropic import AuthenticationError

from semcache_async.serve.keys import Caller, KeyRing, hash_key
from tests.helpers import until
from tests.serve.anthropic.helpers import (
    FORCED,
    PATH,
    SCHEMA,
    TOOL,
    WHOLE,
    asks,
    calling,
    error_of,
    message,
    scene,
    sdk,
    told,
)
from tests.serve.upstreams import answer, completion
from tests.serve.upstreams import asks as asks_chat

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

STATUS = "x-semcache-status"


def sent(body: Any, **fields: Any) -> bytes:
    return answer(msgspec.json.encode(body), **fields)


async def test_a_miss_then_hits() -> None:
    async with scene() as (setup, script):
        status, headers, body = await told(setup, asks())
        assert (status, body) == (200, WHOLE)  # byte by byte what the upstream sent
        assert headers["Cache-Status"] == "semcache; fwd=miss; stored"
        assert script.targets == [PATH]
        status, headers, body = await told(setup, asks())
        assert (status, headers["Cache-Status"]) == (200, "semcache; hit")
        assert "x-semcache-api" not in headers
        again = msgspec.json.decode(body)
        assert again["id"] != "msg_1"
        assert again == {**message(), "made_up": 1.5, "id": again["id"]}
        assert b'"made_up":1.50' in body
        _, headers, body = await told(setup, asks("money at 15"))
        assert headers[STATUS] == "semantic"
        assert msgspec.json.decode(body)["content"] == message()["content"]
        assert len(script.requests) == 1
        assert setup.service.metrics.saved()[:2] == (14, 6)


async def test_callers_who_ask_the_same_share_one_call() -> None:
    gate = asyncio.Event()
    async with scene(gate, answer(WHOLE)) as (setup, script):
        tasks = [asyncio.create_task(told(setup, asks())) for _ in range(3)]
        await until(lambda: setup.service.cache.stats().waiting == 3)
        gate.set()
        assert {(await task)[2] for task in tasks} == {WHOLE}
        assert len(script.requests) == 1


async def test_what_is_sent_upstream() -> None:
    keys = KeyRing({hash_key("k"): Caller("acme")})
    async with scene(keys=keys, upstream_key="sk-ours") as (setup, script):
        mark: dict[str, Any] = {"cache_control": {"type": "ephemeral"}}
        asked = asks(system=[{"type": "text", "text": "s", **mark}], made_up=[None], **mark)
        headers = {"anthropic_version": "2023-06-01", "anthropic_beta": "x-2026", "x_other": "y"}
        await told(setup, {**asked, "cache": {"ttl": 5}}, Authorization="Bearer k", **headers)
        ((given, _),) = script.requests
        assert given["Authorization"] == "Bearer sk-ours"
        assert (given["anthropic-version"], given["anthropic-beta"]) == ("2023-06-01", "x-2026")
        assert "x-other" not in given
        assert script.bodies == [asked]


async def test_a_beta_is_another_scope_and_the_usual_version_none() -> None:
    async with scene() as (setup, script):
        await told(setup, asks())
        _, headers, _ = await told(setup, asks(), anthropic_version="2023-06-01")
        assert headers[STATUS] == "exact"
        _, headers, _ = await told(setup, asks(), anthropic_beta="x-2026")
        assert headers[STATUS] == "generated"
        assert len(script.requests) == 2


async def test_betas_on_several_lines_are_all_sent_and_all_scope() -> None:
    async with scene() as (setup, script):
        for last, status in (("b", "generated"), ("c", "generated"), ("b", "exact")):
            given = [("anthropic-beta", "a"), ("anthropic-beta", last)]
            async with setup.client.post(PATH, json=asks(), headers=given) as response:
                assert response.headers["x-semcache-status"] == status
        betas = [headers["anthropic-beta"] for headers, _ in script.requests]
        assert betas == ["a, b", "a, c"]


async def test_a_strange_shape_is_the_upstreams_to_refuse() -> None:
    said = b'{"type":"error","error":{"type":"invalid_request_error","message":"No messages."}}'
    async with scene(answer(said, status="400 No")) as (setup, script):
        asked = {"model": "m", "messages": "x"}
        status, _, body = await told(setup, asked)
        assert (status, body) == (400, said)
        assert script.bodies == [asked]


# -- what is kept


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (message(stop_reason="max_tokens"), "finish_reason"),
        (message(stop_reason="pause_turn"), "finish_reason"),
        (message(stop_reason="model_context_window_exceeded"), "finish_reason"),
        (message(stop_reason=None), "finish_reason"),
        (message(stop_reason="refusal"), "refusal"),
        (calling({}), "tool_calls"),
        (message(None), "empty"),
        (message("  "), "empty"),
        (message(content=["x"]), "shape"),
    ],
)
async def test_unfit_answers_are_delivered_but_not_stored(said: Any, why: str) -> None:
    async with scene(sent(said)) as (setup, script):
        for n in range(2):
            status, headers, body = await told(setup, asks())
            assert (status, msgspec.json.decode(body)) == (200, said)
            assert headers["x-semcache-not-stored"] == why
            assert len(script.requests) == n + 1


async def test_a_stop_sequence_is_an_end() -> None:
    async with scene(sent(message(stop_reason="stop_sequence", stop_sequence="x"))) as (setup, _):
        for status in ("generated", "exact"):
            _, headers, body = await told(setup, asks(stop_sequences=["x"]))
            assert headers[STATUS] == status
            assert msgspec.json.decode(body)["stop_sequence"] == "x"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (calling({"city": "Rome"}), None),
        (calling({"city": 5}), "schema"),
        (calling({"city": "Rome"}, "other"), "tool_calls"),
        (message(content=calling({"city": "a"})["content"] * 2), "tool_calls"),
        (message(), "tool_calls"),
    ],
)
async def test_a_forced_tool_is_kept_for_the_same_wording(said: Any, why: str | None) -> None:
    async with scene(sent(said)) as (setup, script):
        _, headers, _ = await told(setup, asks(**FORCED))
        assert headers.get("x-semcache-not-stored") == why
        _, headers, body = await told(setup, asks(**FORCED))
        assert headers[STATUS] == ("generated" if why else "exact")
        assert msgspec.json.decode(body)["content"] == said["content"]
        if why is None:
            _, headers, _ = await told(setup, asks("money at 15", **FORCED))
            assert headers[STATUS] == "generated"
            assert len(script.requests) == 2


@pytest.mark.parametrize(
    ("said", "why"),
    [('{"city": "Rome"}', None), ('{"city": 5}', "schema"), ("Rome", "format")],
)
async def test_structured_output_has_to_fit(said: str, why: str | None) -> None:
    wanted = {"format": {"type": "json_schema", "schema": SCHEMA}}
    async with scene(sent(message(said))) as (setup, _):
        _, headers, _ = await told(setup, asks(output_config=wanted))
        assert headers.get("x-semcache-not-stored") == why


async def test_tools_bypass_the_cache_unless_they_are_pure() -> None:
    async with scene(sent(calling({"city": "Rome"})), pure_tools=("weather",)) as (setup, _):
        for status in ("generated", "exact"):
            _, headers, _ = await told(setup, asks(tools=[TOOL]))
            assert headers[STATUS] == status
        _, headers, _ = await told(setup, asks(tools=[TOOL, {"name": "other"}]))
        assert headers["x-semcache-reason"] == "tools"


async def test_a_container_is_state() -> None:
    async with scene() as (setup, script):
        for n in range(2):
            _, headers, body = await told(setup, asks(container="c"))
            assert headers["Cache-Status"] == "semcache; fwd=bypass; detail=state"
            assert (body, len(script.requests)) == (WHOLE, n + 1)


# -- errors


FORM = b'{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}'


@pytest.mark.parametrize(
    ("said", "status", "kind"),
    [
        (FORM, 429, "rate_limit_error"),
        (b'{"error": {"message": "slow down", "type": "tokens", "code": "x"}}', 429, None),
        (b'{"error": {"message": "no such model", "type": "invalid_request_error"}}', 400, None),
        (b'{"detail": "Overloaded"}', 529, "overloaded_error"),
        (b"<html>", 500, "api_error"),
        (b"", 503, "overloaded_error"),
        (b'{"message": "too large"}', 413, "request_too_large"),
    ],
)
async def test_upstream_errors(said: bytes, status: int, kind: str | None) -> None:
    kind = kind or {429: "rate_limit_error", 400: "invalid_request_error"}[status]
    sent = answer(said, status=f"{status} No", retry_after="7")
    async with scene(sent, upstream_retry_share=0.0) as (setup, script):
        for stream in (False, True):
            got, headers, body = await told(setup, asks(stream=stream))
            assert (got, headers["retry-after"]) == (status, "7")
            assert error_of(body)["type"] == kind
            assert (body == said) == (said == FORM)
        assert len(script.requests) == 2


async def test_an_error_under_a_status_of_success() -> None:
    async with scene(answer(FORM)) as (setup, _):
        assert (await told(setup, asks()))[::2] == (502, FORM)


@pytest.mark.parametrize("garbage", [b"<html>", b"[]", b"{}", b'{"type":"message"}', b"\xff"])
async def test_garbage_is_an_error(garbage: bytes) -> None:
    async with scene(answer(garbage)) as (setup, _):
        for stream in (False, True):
            status, _, body = await told(setup, asks(stream=stream))
            assert (status, error_of(body)["type"]) == (502, "api_error")


@pytest.mark.parametrize(
    ("body", "headers", "status", "kind"),
    [
        ({**asks(), "stream": "yes"}, {}, 400, "invalid_request_error"),
        (asks(cache={"ttl": 0}), {}, 400, "invalid_request_error"),
        (asks("x" * 5_000), {}, 413, "request_too_large"),
        (asks(), {"Authorization": "Bearer no"}, 401, "authentication_error"),
        (asks(), {"Cache_Control": "only-if-cached"}, 504, "timeout_error"),
    ],
)
async def test_our_own_errors(
    body: dict[str, Any], headers: dict[str, str], status: int, kind: str
) -> None:
    keys = KeyRing({hash_key("k"): Caller("acme")})
    async with scene(keys=keys, max_body_bytes=4_096) as (setup, script):
        headers = {"Authorization": "Bearer k", "X_Request_Id": "r-1", **headers}
        got, _, said = await told(setup, body, **headers)
        assert (got, error_of(said)["type"]) == (status, kind)
        assert msgspec.json.decode(said)["request_id"] == "r-1"
        assert not script.requests


async def test_the_sdk_shows_its_key_and_reads_our_errors() -> None:
    keys = KeyRing({hash_key("k"): Caller("acme")})
    async with scene(keys=keys) as (setup, _), sdk(str(setup.client.make_url("/"))) as client:
        made = await client.messages.create(**asks())
        assert made.content[0].to_dict() == message()["content"][0]
        with pytest.raises(AuthenticationError) as caught:
            await client.with_options(api_key="no").messages.create(**asks())
        assert caught.value.type == "authentication_error"


async def test_a_path_that_is_not_there() -> None:
    async with scene() as (setup, _):
        status, _, body = await told(setup, asks(), f"{PATH}/batches")
        assert (status, error_of(body)["type"]) == (404, "not_found_error")


# -- counting


COUNT = f"{PATH}/count_tokens"


async def test_tokens_are_the_upstreams_to_count() -> None:
    async with scene(answer(b'{"input_tokens":  14}')) as (setup, script):
        for _ in range(2):
            status, _, body = await told(setup, asks(), COUNT, anthropic_beta="x-2026")
            assert (status, body) == (200, b'{"input_tokens":  14}')
        assert script.targets == [COUNT] * 2
        assert script.bodies[0] == asks()
        assert script.requests[0][0]["anthropic-beta"] == "x-2026"


async def test_an_upstream_that_counts_nothing() -> None:
    async with scene(answer(b'{"detail": "Not Found"}', status="404 No")) as (setup, _):
        status, _, body = await told(setup, asks(), COUNT)
        assert (status, error_of(body)["type"]) == (404, "not_found_error")
        assert "does not count" in error_of(body)["message"]
    said = b'{"type":"error","error":{"type":"not_found_error","message":"model: m"}}'
    async with scene(answer(said, status="404 No")) as (setup, _):
        assert (await told(setup, asks(), COUNT))[::2] == (404, said)


# -- across APIs


async def test_one_answer_for_both_apis_where_that_is_wanted() -> None:
    async with scene(across_apis=True) as (setup, script):
        await told(setup, asks())
        _, headers, body = await told(setup, asks_chat(), "/v1/chat/completions")
        assert (headers[STATUS], headers["x-semcache-api"]) == ("exact", "messages")
        made = msgspec.json.decode(body)
        assert made["choices"][0]["message"]["content"] == "Like this."
        assert made["choices"][0]["finish_reason"] == "stop"
        assert made["usage"] == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        assert len(script.requests) == 1
        script.pieces = (sent(completion("So.")),)
        await told(setup, asks_chat("cat at 50"), "/v1/chat/completions")
        _, headers, body = await told(setup, asks("cat at 50"))
        assert (headers[STATUS], headers["x-semcache-api"]) == ("exact", "chat")
        assert msgspec.json.decode(body)["content"] == [{"type": "text", "text": "So."}]
        script.pieces = (answer(WHOLE),)
        _, headers, _ = await told(setup, asks("cat at 50", max_tokens=2))
        assert headers[STATUS] == "generated"  # the stored one is longer
