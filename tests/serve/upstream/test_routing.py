"""Several upstreams: which one serves a model, and what they have in common and apart."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from semcache_async.errors import ConfigError
from semcache_async.serve.settings import Settings, UpstreamTable
from semcache_async.serve.upstream.credentials import shown_key, standing_headers
from semcache_async.serve.upstream.judge import judge_of
from semcache_async.serve.upstream.routing import open_upstreams
from semcache_async.testing import MemoryStore
from semcache_async.types import Case, Scope
from tests.serve.running import NOWHERE
from tests.serve.upstreams import (
    Scripted,
    Setup,
    answer,
    asks,
    completion,
    scripted,
    serving,
    told,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

ANSWER = answer(json.dumps(completion()))
KEYS = {"A_KEY": "sk-of-a-1234", "B_KEY": "sk-of-b-1234"}


def table(name: str, url: str, *models: str, **fields: Any) -> UpstreamTable:
    return UpstreamTable(name=name, url=url, models=models or (f"{name}-*",), **fields)


@asynccontextmanager
async def two(
    default: str | None = None, **options: Any
) -> AsyncIterator[tuple[Setup, Scripted, Scripted]]:
    """In front of ``a``, which serves a-* and both-*, and ``b``, which serves b-* and both-*."""
    async with scripted(ANSWER) as (a_url, a), scripted(ANSWER) as (b_url, b):
        tables = (
            table("a", a_url, "a-*", "both-*", key_env="A_KEY"),
            table("b", b_url, "b-*", "both-*", key_env="B_KEY"),
        )
        options = {"upstreams": tables, "upstream_keys": KEYS, **options}
        async with serving(default, **options) as setup:
            yield setup, a, b


def models_of(*names: str) -> bytes:
    return answer(json.dumps({"object": "list", "data": [{"id": name} for name in names]}))


async def listed(setup: Setup) -> tuple[int, Any]:
    async with setup.client.get("/v1/models") as response:
        return response.status, await response.json()


# -- where a request goes


async def test_a_models_name_says_where_it_goes() -> None:
    async with two() as (setup, a, b):
        for model in ("a-1", "b-1", "both-1"):
            assert (await told(setup, asks(model=model)))[0] == 200
        assert [body["model"] for body in a.bodies] == ["a-1", "both-1"]  # the first match
        assert [body["model"] for body in b.bodies] == ["b-1"]
        for script, name in ((a, "A_KEY"), (b, "B_KEY")):
            sent = {headers["Authorization"] for headers, _ in script.requests}
            assert sent == {f"Bearer {KEYS[name]}"}


async def test_other_models_are_the_defaults_or_nobodys() -> None:
    async with scripted(ANSWER) as (url, script), two(url, upstream_key="sk-ours") as (setup, *_):
        assert (await told(setup, asks(model="c")))[0] == 200
        assert (await told(setup, asks(model="A-1")))[0] == 200
        assert [body["model"] for body in script.bodies] == ["c", "A-1"]
        assert script.requests[0][0]["Authorization"] == "Bearer sk-ours"
    async with two() as (setup, a, b):
        for asked in (asks(model="c"), asks(model="c", n=2), asks(model="c", stream=True)):
            status, _, body = await told(setup, asked)
            error = json.loads(body)["error"]
            assert (status, error["code"], error["param"]) == (404, "model_not_found", "model")
            assert "/v1/models" in error["message"]
        assert not a.requests
        assert not b.requests


async def test_whatever_names_a_model_is_routed() -> None:
    vectors = answer('{"object": "list", "data": []}')
    async with two() as (setup, a, b):
        b.pieces = (vectors,)
        async with setup.client.post(
            "/v1/embeddings", json={"model": "b-embed", "input": "x"}
        ) as response:
            assert response.status == 200
        async with setup.client.post(
            "/v1/embeddings", json={"model": "c-embed", "input": "x"}
        ) as response:
            assert response.status == 404
        plain = {"prompt": "pay at 10", "model": "a-1"}
        async with setup.client.post("/semantic-cache/answer", json=plain) as response:
            assert response.status == 200
        del plain["model"]
        async with setup.client.post("/semantic-cache/answer", json=plain) as response:
            assert response.status == 400
        a.pieces = (answer('{"id": "a-1"}'),)
        async with setup.client.get("/v1/models/a-1") as response:
            assert await response.json() == {"id": "a-1"}
        async with setup.client.get("/v1/models/c") as response:
            assert response.status == 404
        assert b.targets == ["/v1/embeddings"]
        assert a.targets == ["/v1/chat/completions", "/v1/models/a-1"]


async def test_the_same_model_elsewhere_has_other_answers() -> None:
    store = MemoryStore()
    async with scripted(ANSWER) as (one, _), scripted(ANSWER) as (other, _):
        for url, status in ((one, "generated"), (other, "generated"), (one, "exact")):
            tables = (table("m", url, "m"),)
            async with serving(None, upstreams=tables, store=store) as setup:
                assert (await told(setup, asks()))[1]["x-semcache-status"] == status


async def test_each_has_its_own_connections_and_retries() -> None:
    async with two() as (setup, a, _):
        first, second = setup.service.upstreams
        assert first.retries is not second.retries
        assert (first.name, first.apis) == ("a", ())
        a.pieces = (answer("{}", status="400 No"),)
        assert (await told(setup, asks(model="a-1")))[0] == 400
        assert (await told(setup, asks(model="b-1")))[0] == 200


async def test_the_judge_is_the_one_that_serves_its_model() -> None:
    case = Case(
        prompt="a?",
        matched_prompt="b?",
        stored_text=json.dumps(completion("x")),
        fresh_text=None,
        distance=0.1,
        scope=Scope(),
    )
    async with scripted(answer(json.dumps(completion("yes")))) as (url, script):
        settings = Settings(upstreams=(table("a", NOWHERE), table("j", url)), judge_model="j-1")
        async with open_upstreams(None, settings) as upstreams:
            judge = judge_of(settings, upstreams)
            assert judge is not None
            assert await judge(case) == 1.0
            assert script.bodies[0]["model"] == "j-1"
            with pytest.raises(ConfigError, match="judge_model: no upstream serves 'x'"):
                judge_of(Settings(judge_model="x"), upstreams)


# -- the models of all


async def test_models_are_listed_where_they_are_served_from() -> None:
    async with two() as (setup, a, b):
        a.pieces = (models_of("a-1", "both-1", "b-2", "other"),)
        b.pieces = (models_of("b-1", "both-1", "a-2"),)
        status, body = await listed(setup)
        assert status == 200
        assert body["object"] == "list"
        assert [model["id"] for model in body["data"]] == ["a-1", "both-1", "b-1"]


async def test_one_that_is_down_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    async with two(upstream_retry_share=0.0) as (setup, a, b):
        b.pieces = (models_of("b-1"),)
        for broken in (answer("<html>"), answer("{}", status="500 No"), None):
            a.pieces = (broken,)
            with caplog.at_level(logging.WARNING):
                status, body = await listed(setup)
            assert (status, [model["id"] for model in body["data"]]) == (200, ["b-1"])
        assert any("The models of a are left out" in line for line in caplog.messages)
        calls = setup.service.metrics.table("upstream_calls")
        assert (calls["b"]["ok"], calls["a"]["error"], calls["a"]["broken"]) == (3, 1, 1)
        b.pieces = (answer('{"error": {"message": "busy"}}', status="429 No"),)
        assert (await listed(setup))[0] == 502  # the first one's


# -- how a key is shown


@pytest.mark.parametrize(
    ("host", "headers"),
    [
        ("llm.example", {"Authorization": "Bearer k"}),
        ("me.openai.azure.com", {"Authorization": "Bearer k", "api-key": "k"}),
        ("api.anthropic.com", {"x-api-key": "k"}),
        ("notanthropic.com", {"Authorization": "Bearer k"}),
        ("anthropic.com.example", {"Authorization": "Bearer k"}),
    ],
)
async def test_keys_are_shown_as_each_reads_them(host: str, headers: dict[str, str]) -> None:
    assert shown_key(host, "k") == headers
    assert shown_key(host, "") == {}
    assert ("anthropic-version" in standing_headers(host)) == ("x-api-key" in headers)
