"""POST /v1/chat/completions without streaming, and GET /v1/models."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from semcache_async.serve.keys import Caller, KeyRing, hash_key
from semcache_async.testing import MemoryStore
from semcache_async.types import Record
from tests.helpers import check_sums, until
from tests.serve.running import Clock
from tests.serve.upstreams import (
    PATH,
    Piece,
    Scripted,
    Setup,
    answer,
    asks,
    completion,
    scripted,
    serving,
    simulated,
    told,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

WHOLE = b'{"made_up": 1.50, ' + msgspec.json.encode(completion())[1:]


class SpoilingStore(MemoryStore):
    """Keeps another text than it was given, while it has one."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text: str | None = text

    async def put(self, records: Sequence[Record]) -> list[str | Exception]:
        if self.text is not None:
            records = [msgspec.structs.replace(record, text=self.text) for record in records]
        return await super().put(records)


@asynccontextmanager
async def scene(*pieces: Piece, **options: Any) -> AsyncIterator[tuple[Setup, Scripted]]:
    async with scripted(*(pieces or (answer(WHOLE),))) as (url, script):
        async with serving(url, **options) as setup:
            yield setup, script
        check_sums(setup.service.cache)


async def test_a_miss_then_a_hit() -> None:
    async with scene() as (setup, script):
        status, headers, body = await told(setup, asks())
        assert (status, body) == (200, WHOLE)  # byte by byte what the upstream sent
        assert headers["Content-Type"] == "application/json"
        assert headers["Cache-Status"] == "semcache; fwd=miss; stored"
        assert headers["x-semcache-status"] == "generated"
        stored = headers["x-semcache-entry-id"]
        assert not {"Age", "x-semcache-similarity", "x-semcache-reason"} & set(headers)

        status, headers, body = await told(setup, asks())
        assert status == 200
        assert headers["Cache-Status"] == "semcache; hit"
        assert headers["x-semcache-status"] == "exact"
        assert headers["x-semcache-similarity"] == "1.0000"
        assert headers["x-semcache-distance"] == "0.0000"
        assert headers["x-semcache-entry-id"] == stored
        assert headers["Age"] == "0"
        assert len(script.requests) == 1

        before, again = msgspec.json.decode(WHOLE), msgspec.json.decode(body)
        assert (again.pop("id"), again.pop("created")) != (before.pop("id"), before.pop("created"))
        assert again == before
        assert b'"made_up":1.50' in body


async def test_a_reworded_question() -> None:
    async with scene() as (setup, script):
        await told(setup, asks("pay at 10"))
        _, headers, body = await told(setup, asks("money at 15"))
        assert headers["x-semcache-status"] == "semantic"
        assert headers["x-semcache-similarity"] == "0.9962"
        assert msgspec.json.decode(body)["choices"] == completion()["choices"]
        _, headers, _ = await told(setup, asks("cat at 40"))
        assert headers["x-semcache-status"] == "generated"
        assert len(script.requests) == 2
        ((prompt, hit),) = setup.notes
        assert (prompt, hit.matched_prompt, hit.source) == ("money at 15", "pay at 10", "semantic")


async def test_what_hits_save_is_counted() -> None:
    async with scene() as (setup, _):
        for prompt in ("pay at 10", "pay at 10", "money at 15"):
            await told(setup, asks(prompt))
        await told(setup, asks("pay at 10", stream=True))
        prompt_tokens, completion_tokens, _ = setup.service.metrics.saved()
        assert (prompt_tokens, completion_tokens) == (21, 9)
        by_source = setup.service.metrics.durations("request_seconds")
        assert {s: h.count for s, h in by_source.items() if h.count} == {
            "exact": 2,
            "semantic": 1,
            "generated": 1,
        }


async def test_similarity_can_be_hidden() -> None:
    async with scene(hide_similarity=True) as (setup, _):
        await told(setup, asks())
        _, headers, _ = await told(setup, asks("money at 15"))
        assert headers["x-semcache-status"] == "semantic"
        assert not {"x-semcache-similarity", "x-semcache-distance"} & set(headers)


async def test_callers_who_ask_the_same_share_one_call() -> None:
    gate = asyncio.Event()
    async with scene(gate, answer(WHOLE)) as (setup, script):
        first = asyncio.create_task(told(setup, asks()))
        await until(lambda: len(script.requests) == 1)
        rest = [asyncio.create_task(told(setup, asks("money at 12"))) for _ in range(5)]
        await until(lambda: setup.service.cache.stats().waiting == 6)
        gate.set()
        for task in rest:
            status, headers, body = await task
            assert (status, body) == (200, WHOLE)
            assert headers["Cache-Status"] == "semcache; fwd=miss; collapsed"
            assert headers["x-semcache-status"] == "shared"
            assert headers["x-semcache-similarity"] == "0.9994"
        assert (await first)[1]["x-semcache-status"] == "generated"
        assert len(script.requests) == 1
        assert setup.service.metrics.saved()[:2] == (35, 15)


async def test_a_caller_who_leaves_harms_nobody() -> None:
    gate = asyncio.Event()
    async with scene(gate, answer(WHOLE)) as (setup, script):
        leader = asyncio.create_task(told(setup, asks()))
        await until(lambda: len(script.requests) == 1)
        follower = asyncio.create_task(told(setup, asks()))
        await until(lambda: setup.service.cache.stats().waiting == 2)
        leader.cancel()
        await until(lambda: setup.service.cache.stats().waiting == 1)
        gate.set()
        assert (await follower)[2] == WHOLE


# -- what reaches the upstream


async def test_what_is_sent_upstream() -> None:
    keys = KeyRing({hash_key("k"): Caller("acme")})
    async with scene(keys=keys, upstream_key="sk-ours") as (setup, script):
        asked = asks(made_up={"b": [1, None]}, user="ann", cache={"no-cache": True}, seed=2**63)
        await told(setup, asked, Authorization="Bearer k", X_Secret="x")
        ((headers, _),) = script.requests
        assert headers["Authorization"] == "Bearer sk-ours"
        assert "X-Secret" not in headers
        del asked["cache"]
        assert script.bodies == [asked]


async def test_what_is_no_chat_is_the_upstreams_to_refuse() -> None:
    said = '{"error": {"message": "No messages."}}'
    async with scene(answer(said, status="400 No")) as (setup, script):
        status, _, body = await told(setup, {"model": "m", "messages": "x"})
        assert (status, body) == (400, said.encode())
        assert script.bodies == [{"model": "m", "messages": "x"}]


async def test_without_an_upstream_key_the_clients_own_is_not_sent() -> None:
    async with scene() as (setup, script):
        await told(setup, asks(), Authorization="Bearer client")
        assert "Authorization" not in script.requests[0][0]


async def test_keys_are_asked_for_and_tenants_kept_apart() -> None:
    keys = KeyRing({hash_key("a"): Caller("a"), hash_key("b"): Caller("b")})
    async with scene(keys=keys) as (setup, script):
        assert (await told(setup, asks()))[0] == 401
        assert (await setup.client.get("/v1/models")).status == 401
        for key in ("a", "b", "a", "b"):
            assert (await told(setup, asks(), Authorization=f"Bearer {key}"))[0] == 200
        assert len(script.requests) == 2


# -- what is stored


@pytest.mark.parametrize(
    "fields",
    [
        {"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "length"}]},
        {"choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "content_filter"}]},
        {"choices": [{"index": 0, "message": {"content": "x"}}]},
        {"choices": [{"index": 0, "message": {"content": ""}, "finish_reason": "stop"}]},
        {"choices": [{"index": 0, "message": {"content": None}, "finish_reason": "stop"}]},
        {
            "choices": [
                {"index": 0, "message": {"content": "x", "refusal": "no"}, "finish_reason": "stop"}
            ]
        },
        {
            "choices": [
                {
                    "index": 0,
                    "message": {"content": "x", "tool_calls": [{"id": "1"}]},
                    "finish_reason": "stop",
                }
            ]
        },
        {"choices": []},
        {"choices": ["x"]},
    ],
)
async def test_unfit_answers_are_delivered_but_not_stored(fields: dict[str, Any]) -> None:
    sent = msgspec.json.encode(completion() | fields)
    async with scene(answer(sent)) as (setup, script):
        for n in range(2):
            status, headers, body = await told(setup, asks())
            assert (status, body) == (200, sent)
            assert headers["Cache-Status"] == "semcache; fwd=miss"
            assert "x-semcache-entry-id" not in headers
            assert len(script.requests) == n + 1
        assert setup.store is not None
        assert len(setup.store) == 0


@pytest.mark.parametrize(
    "sent",
    [b"<html>", b"", b"[]", b"{}", b"\xff", b'"x"', b'{"choices": 5}', b"[" * 9_000, b'{"a": NaN}'],
)
async def test_garbage_is_an_error(sent: bytes) -> None:
    async with scene(answer(sent)) as (setup, _):
        for stream in (False, True):
            status, headers, body = await told(setup, asks(stream=stream))
            assert status == 502
            assert headers["Content-Type"] == "application/json"
            assert msgspec.json.decode(body)["error"]["code"] == "upstream_garbage"
        assert setup.store is not None
        assert len(setup.store) == 0


async def test_an_error_under_a_status_of_success() -> None:
    async with scene(answer('{"error": {"message": "no"}}')) as (setup, _):
        status, _, body = await told(setup, asks())
        assert (status, body) == (502, b'{"error": {"message": "no"}}')
    async with scene(answer('{"object": "error", "message": "too long"}')) as (setup, _):
        status, _, body = await told(setup, asks())
        assert (status, msgspec.json.decode(body)["error"]["message"]) == (502, "too long")


@pytest.mark.parametrize("status", [400, 404, 422, 429, 500, 503])
async def test_upstream_errors_pass_to_leader_and_followers(status: int) -> None:
    said = b'{"error": {"message": "slow down", "type": "tokens", "param": null, "code": "x"}}'
    gate = asyncio.Event()
    sent = answer(said, status=f"{status} No", retry_after="7", x_should_retry="true")
    async with scene(gate, sent) as (setup, script):
        tasks = [asyncio.create_task(told(setup, asks(stream=n % 2 == 1))) for n in range(4)]
        await until(lambda: setup.service.cache.stats().waiting == 4)
        gate.set()
        for task in tasks:
            got, headers, body = await task
            assert (got, body) == (status, said)
            assert headers["retry-after"] == "7"
            assert headers["x-should-retry"] == "true"
            assert headers["Content-Type"] == "application/json"
        # A stream that is refused may be so for the usage that only we have asked for.
        assert len(script.requests) <= 1 + (status in (400, 422))
        assert sum(setup.service.metrics.own("http_errors").values()) == 4
        assert setup.service.cache.stats().failed == 4


async def test_the_upstreams_401_is_not_the_clients() -> None:
    async with scene(answer('{"error": {"message": "bad key sk-1"}}', status="401 No")) as (
        setup,
        _,
    ):
        status, headers, body = await told(setup, asks())
        assert (status, headers["x-should-retry"]) == (502, "false")
        assert b"sk-1" not in body
        assert msgspec.json.decode(body)["error"]["code"] == "upstream_key_refused"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "limits", [{"upstream_first_byte_timeout_s": 0.05}, {"cache": {"generate_timeout_s": 0.05}}]
)
async def test_an_upstream_that_never_answers(stream: bool, limits: dict[str, Any]) -> None:
    async with scene("hang", **limits) as (setup, _):
        status, _, body = await told(setup, asks(stream=stream))
        assert status == 504
        assert msgspec.json.decode(body)["error"]["code"] == "upstream_timeout"


# -- bypass


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (asks(tools=[{"type": "function", "function": {"name": "f"}}]), "tools"),
        (asks(n=2), "n"),
        (asks(temperature=1.5), "temperature"),
        (asks("My name is Ann at 10"), "personal"),
        (asks("What is the weather today at 10?"), "time_bound"),
        (asks("  "), "prompt"),
        (asks(cache={"no-cache": True, "no-store": True}), "request"),
        (asks("x" * 70_000), "too_long"),
    ],
)
async def test_what_bypasses_the_cache(body: dict[str, Any], reason: str) -> None:
    async with scene(cache={"max_prompt_bytes": 65_536}) as (setup, script):
        for n in range(2):
            status, headers, got = await told(setup, body)
            assert (status, got) == (200, WHOLE)
            assert headers["Cache-Status"] == f"semcache; fwd=bypass; detail={reason}"
            assert headers["x-semcache-status"] == "bypassed"
            assert headers["x-semcache-reason"] == reason
            assert len(script.requests) == n + 1
        assert setup.store is not None
        assert len(setup.store) == 0
        assert setup.service.cache.stats().bypassed == 2


# -- wishes


async def test_no_cache_replaces_what_is_stored() -> None:
    async with scene() as (setup, script):
        await told(setup, asks())
        script.pieces = (answer(msgspec.json.encode(completion("New."))),)
        _, headers, _ = await told(setup, asks(), Cache_Control="no-cache")
        assert headers["Cache-Status"] == "semcache; fwd=request; stored"
        assert headers["x-semcache-status"] == "generated"
        _, _, body = await told(setup, asks())
        assert b"New." in body
        assert len(script.requests) == 2


async def test_no_store_reads_but_does_not_write() -> None:
    async with scene() as (setup, script):
        for _ in range(2):
            _, headers, _ = await told(setup, asks(cache={"no-store": True}))
            assert headers["Cache-Status"] == "semcache; fwd=miss"
        assert len(script.requests) == 2
        await told(setup, asks())
        _, headers, _ = await told(setup, asks(), Cache_Control="no-store")
        assert headers["x-semcache-status"] == "exact"


async def test_only_if_cached() -> None:
    async with scene() as (setup, script):
        for stream in (False, True):
            status, headers, body = await told(
                setup, asks(stream=stream), Cache_Control="only-if-cached"
            )
            assert (status, headers["x-should-retry"]) == (504, "false")
            assert msgspec.json.decode(body)["error"]["code"] == "only_if_cached"
        assert not script.requests
        await told(setup, asks())
        for wish, expected in (
            ("only-if-cached", 200),
            ("only-if-cached, max-age=60", 200),
            ("only-if-cached, max-age=0", 504),
            ("only-if-cached, no-cache", 504),
        ):
            assert (await told(setup, asks(), Cache_Control=wish))[0] == expected
        tools = asks(tools=[{"type": "function"}])
        assert (await told(setup, tools, Cache_Control="only-if-cached"))[0] == 504
        assert len(script.requests) == 1


async def test_age_and_ttl() -> None:
    clock = Clock()
    async with scene(store=MemoryStore(clock=clock), cache={"ttl_jitter": 0.0}) as (setup, script):
        await told(setup, asks(cache={"ttl": 60}))
        clock.now += 59
        _, headers, _ = await told(setup, asks())
        assert headers["x-semcache-status"] == "exact"
        clock.now += 2
        await told(setup, asks())
        assert len(script.requests) == 2


async def test_a_stale_answer_is_given_and_made_anew() -> None:
    clock = Clock()
    cache = {"ttl_jitter": 0.0, "stale_ttl_s": 600.0, "exact_ttl_s": 60.0}
    async with scene(store=MemoryStore(clock=clock), cache=cache) as (setup, script):
        answering = setup.service.cache._answering
        await told(setup, asks())
        clock.now += 61.5
        for stream in (False, True):
            _, headers, _ = await told(setup, asks(stream=stream))
            assert headers["Cache-Status"] == "semcache; hit; detail=stale"
            assert headers["Age"] == "61"
            await until(lambda: not (answering._renewing or len(answering)))
            assert len(script.requests) == 2 + stream
            clock.now += 61.5
        assert setup.service.cache.stats().renewed == 2


async def test_a_new_version_of_a_namespace_ends_what_it_had() -> None:
    async with scene() as (setup, script):
        await told(setup, asks(), x_semcache_namespace="docs")
        _, headers, _ = await told(setup, asks(cache={"namespace": "docs"}))
        assert headers["x-semcache-status"] == "exact", "a header or the body"
        await setup.service.cache.bump_version("docs")
        _, headers, _ = await told(setup, asks(), x_semcache_namespace="docs")
        assert headers["x-semcache-status"] == "generated"
        status, _, _ = await told(setup, asks(), x_semcache_namespace="d" * 257)
        assert status == 400
        assert len(script.requests) == 2


async def test_an_answer_may_be_too_old_for_a_request() -> None:
    clock = Clock()
    cache = {"exact_ttl_s": 86_400, "semantic_ttl_s": 3_600}
    async with scene(store=MemoryStore(clock=clock), cache=cache) as (setup, _):
        await told(setup, asks())
        clock.now += 3_600.5
        _, headers, _ = await told(setup, asks(cache={"s-maxage": 7_200}))
        assert (headers["x-semcache-status"], headers["Age"]) == ("exact", "3600")
        for body, wish in (
            (asks(cache={"s-maxage": 60}), ""),
            (asks(), "max-age=60"),
        ):
            clock.now += 3_600.5
            _, headers, _ = await told(setup, body, Cache_Control=wish)
            assert headers["x-semcache-status"] == "generated"


async def test_namespaces_and_locales() -> None:
    async with scene() as (setup, script):
        for _ in range(2):
            for body in (asks(), asks(cache={"namespace": "a"}), asks(cache={"namespace": "b"})):
                await told(setup, body)
            await told(setup, asks(), x_semcache_locale="de")
        assert len(script.requests) == 4


async def test_a_threshold_is_tightened_but_never_loosened() -> None:
    async with scene() as (setup, _):
        await told(setup, asks("pay at 10"))
        for value, status in (("0.0001", "generated"), ("2", "generated")):
            _, headers, _ = await told(
                setup, asks("cat at 20"), x_semcache_max_distance=value, Cache_Control="no-store"
            )
            assert headers["x-semcache-status"] == status
        near = asks("money at 15")
        _, headers, _ = await told(
            setup, near, x_semcache_similarity_threshold="0.999", Cache_Control="no-store"
        )
        assert headers["x-semcache-status"] == "generated"
        _, headers, _ = await told(setup, near, x_semcache_similarity_threshold="-1")
        assert headers["x-semcache-status"] == "semantic"


async def test_tags_are_kept() -> None:
    async with scene() as (setup, script):
        await told(setup, asks(), x_semcache_tags="product:42, eu")
        assert await setup.service.cache.invalidate(tags=["eu"]) == 1
        await told(setup, asks())
        assert len(script.requests) == 2


# -- conversations


async def test_earlier_turns_are_exact() -> None:
    def turns(*said: str) -> dict[str, Any]:
        roles = ("user", "assistant")
        body = asks()
        body["messages"] = [{"role": roles[n % 2], "content": text} for n, text in enumerate(said)]
        return body

    async with scene() as (setup, _):
        assert (await told(setup, turns("card at 90", "Which?", "the blue at 10")))[0] == 200
        for said, status in (
            (("card at 90", "Which?", "that blue at 12"), "semantic"),
            (("card at 91", "Which?", "the blue at 10"), "generated"),
            (("card at 90", "Which one?", "the blue at 10"), "generated"),
            (("the blue at 10",), "generated"),
            (("card at 90", "Which?", "the blue at 10", "Ok", "the blue at 10"), "generated"),
        ):
            _, headers, _ = await told(setup, turns(*said), Cache_Control="no-store")
            assert headers["x-semcache-status"] == status


# -- the rest


@pytest.mark.parametrize("name", ["m", "openai/gpt-4o", "a%20b%3Fc", "M:latest"])
async def test_a_model(name: str) -> None:
    async with scene(answer('{"id":  "m"}')) as (setup, script):
        url = URL(str(setup.client.make_url("/")) + f"v1/models/{name}", encoded=True)
        response = await setup.client.session.get(url)
        assert (response.status, await response.read()) == (200, b'{"id":  "m"}')
        assert script.targets == [f"/v1/models/{name}"]
        script.pieces = (answer('{"error": {"message": "no"}}', status="429 No"),)
        assert (await setup.client.session.get(url)).status == 429


async def test_a_model_of_an_upstream_that_only_lists_them() -> None:
    async def listed(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "a"}, {"id": "b/c"}, 5]})

    app = web.Application()
    app.router.add_get("/v1/models", listed)
    async with TestServer(app) as server, serving(str(server.make_url("/v1"))) as setup:
        response = await setup.client.get("/v1/models/b/c")
        assert (response.status, await response.json()) == (200, {"id": "b/c"})
        response = await setup.client.get("/v1/models/d")
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("name", ["..%2Fadmin", "a%2F..%2F..%2Fb", "a//b", "%2e"])
async def test_no_name_leads_to_other_paths_of_the_upstream(name: str) -> None:
    async with scene(answer("{}")) as (setup, script):
        url = URL(str(setup.client.make_url("/")) + f"v1/models/{name}", encoded=True)
        assert (await setup.client.session.get(url)).status == 404
        assert not script.requests


async def test_models() -> None:
    listed = b'{"object": "list",  "data": []}'
    async with scene(answer(listed)) as (setup, script):
        response = await setup.client.get("/v1/models")
        assert (response.status, await response.read()) == (200, listed)
        script.pieces = (answer('{"error": {"message": "no"}}', status="429 No"),)
        assert (await setup.client.get("/v1/models")).status == 429
        for sent in (b"<html>", b"[]"):
            script.pieces = (answer(sent),)
            assert (await setup.client.get("/v1/models")).status == 502


@pytest.mark.parametrize(
    "stored", ["plain words", "{}", "[1]", '{"choices": 5}', '{"choices": []}']
)
async def test_a_corrupt_entry_is_a_miss_and_replaced(stored: str) -> None:
    spoiling = SpoilingStore(stored)
    async with scene(store=spoiling) as (setup, _):
        await told(setup, asks())
        spoiling.text = None
        _, headers, body = await told(setup, asks(stream=True))
        assert headers["x-semcache-status"] == "generated"
        status, headers, body = await told(setup, asks())
        assert (status, headers["x-semcache-status"]) == (200, "exact")
        assert b"Like this." in body


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff", 400),
        (b'{"model": "m", "model": "n"}', 400),
        (b"[" * 100_000, 400),
        (b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}', 400),
        (b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "seed": 1e999}', 400),
        (b'{"model": "m", "messages": "x", "stream": "yes"}', 400),
        (
            b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "cache": {"ttl": 0}}',
            400,
        ),
        (b" " * 5_000, 413),
    ],
)
async def test_bad_requests(raw: bytes, status: int) -> None:
    async with scene(max_body_bytes=200_000 if len(raw) != 5_000 else 1_024) as (setup, script):
        async with setup.client.post(PATH, data=raw) as response:
            assert response.status == status
            error = (await response.json())["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert not script.requests


async def test_with_the_simulated_upstream(redis_url: str, name: str) -> None:
    async with simulated() as (url, simulator):
        cache = {"name": name, "local_answers": 100}
        async with serving(url, redis_url=redis_url, cache=cache) as setup:
            bodies = []
            for _ in range(3):
                status, _, body = await told(setup, asks())
                assert status == 200
                decoded = msgspec.json.decode(body)
                bodies.append((decoded["choices"], decoded["usage"], decoded["model"]))
            assert bodies[0] == bodies[1] == bodies[2]
            assert simulator.stats.calls == 1
            models = await (await setup.client.get("/v1/models")).json()
            assert [model["id"] for model in models["data"]] == ["simulated"]
            check_sums(setup.service.cache)
