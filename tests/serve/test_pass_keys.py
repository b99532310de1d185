"""Callers who bring keys of their own: each key is a tenant, and goes to its upstream alone."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from semcache_async import CacheConfig
from semcache_async.errors import ConfigError
from semcache_async.serve.keys import KeyRing
from semcache_async.serve.settings import Settings, UpstreamTable
from tests.helpers import until
from tests.serve.upstreams import (
    EVENTS,
    LAST,
    PATH,
    STREAM_HEAD,
    Piece,
    Scripted,
    Setup,
    answer,
    asks,
    chunk,
    completion,
    scripted,
    serving,
    told,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

ANSWER = answer(json.dumps(completion()))
ANN, BOB, OURS = "sk-ann-0123456789", "sk-bob-0123456789", "sk-ours-0123456789"
SECRET = {"secret": "s3cret"}


@asynccontextmanager
async def scene(*pieces: Piece, **options: Any) -> AsyncIterator[tuple[Setup, Scripted]]:
    options = {"cache": SECRET, "upstream_key": OURS, **options}
    async with (
        scripted(*(pieces or (ANSWER,))) as (url, script),
        serving(url, pass_keys=True, **options) as setup,
    ):
        yield setup, script


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def shown(script: Scripted) -> list[str | None]:
    return [headers.get("Authorization") for headers, _ in script.requests]


def tenant(key: str, secret: str = "s3cret") -> str:
    settings = Settings(pass_keys=True, cache=CacheConfig(secret=secret))
    return KeyRing.of(settings).caller(bearer(key)).tenant


# -- whose key goes where


@pytest.mark.parametrize(
    "headers",
    [
        bearer(ANN),
        {"x-api-key": ANN},
        {"api-key": ANN},
        {**bearer(ANN), "x-api-key": BOB, "api-key": BOB},
        {"x-api-key": ANN, "api-key": BOB},
    ],
)
async def test_the_callers_key_goes_in_place_of_ours(headers: dict[str, str]) -> None:
    async with scene() as (setup, script):
        for asked in (asks(), asks("hours at 90", n=2), asks("cash at 130", stream=True)):
            assert (await told(setup, asked, **headers))[0] == 200
        vectors = {"model": "other", "input": "x"}
        async with setup.client.post("/v1/embeddings", json=vectors, headers=headers) as response:
            assert response.status == 200
        plain = {"model": "m", "prompt": "tea at 170"}
        async with setup.client.post(
            "/semantic-cache/answer", json=plain, headers=headers
        ) as response:
            assert response.status == 200
        async with setup.client.get("/v1/models", headers=headers) as response:
            assert response.status == 200
        assert shown(script) == [f"Bearer {ANN}"] * 6


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer "}, {"x-api-key": "\xe4"}],
)
async def test_without_a_key_there_is_no_answer(headers: dict[str, str]) -> None:
    async with scene() as (setup, script):
        status, sent, _ = await told(setup, asks(), **headers)
        assert (status, sent["WWW-Authenticate"]) == (401, "Bearer")
        for path in ("/v1/models", "/semantic-cache/config"):
            assert (await setup.client.get(path, headers=headers)).status == 401
        assert not script.requests


async def test_of_several_upstreams_only_the_models_own_sees_it() -> None:
    models = answer('{"data": [{"id": "a-1"}, {"id": "b-1"}]}')
    async with scripted(ANSWER) as (a_url, a), scripted(ANSWER) as (b_url, b):
        tables = (
            UpstreamTable(name="a", url=a_url, models=("a-*",), key_env="A"),
            UpstreamTable(name="b", url=b_url, models=("b-*",)),
        )
        options: dict[str, Any] = {"upstreams": tables, "upstream_keys": {"A": OURS}}
        async with serving(None, pass_keys=True, cache=SECRET, **options) as setup:
            await told(setup, asks(model="b-1"), **bearer(ANN))
            a.pieces = b.pieces = (models,)
            async with setup.client.get("/v1/models", headers=bearer(ANN)) as response:
                assert [one["id"] for one in (await response.json())["data"]] == ["a-1", "b-1"]
            assert shown(a) == [f"Bearer {OURS}"]
            assert shown(b) == [f"Bearer {ANN}", None]


async def test_a_retry_shows_the_same_key() -> None:
    async with scene(upstream_retry_share=1.0) as (setup, script):
        await told(setup, asks(), **bearer(ANN))
        script.closing = 1
        assert (await told(setup, asks("tea at 90"), **bearer(BOB)))[0] == 200
        assert shown(script) == [f"Bearer {key}" for key in (ANN, BOB, BOB)]


async def test_the_judge_asks_with_our_own() -> None:
    learning = {"target_precision": 0.9, "judge_rate": None, "audit_share": 1.0, **SECRET}
    async with scene(cache=learning, judge_model="judge") as (setup, script):
        await told(setup, asks("pay at 10"), **bearer(ANN))
        await told(setup, asks("payment at 12"), **bearer(ANN))
        await until(lambda: any(body["model"] == "judge" for body in script.bodies))
        by_model = [body["model"] for body in script.bodies]
        assert shown(script)[by_model.index("judge")] == f"Bearer {OURS}"


# -- each key is a tenant


async def test_keys_share_no_answers() -> None:
    async with scene() as (setup, script):
        for key, status in ((ANN, "generated"), (ANN, "exact"), (BOB, "generated"), (BOB, "exact")):
            assert (await told(setup, asks(), **bearer(key)))[1]["x-semcache-status"] == status
        assert (await told(setup, asks(), x_api_key=ANN))[1]["x-semcache-status"] == "exact"
        near = asks("payment at 12")
        assert (await told(setup, near, **bearer(ANN)))[1]["x-semcache-status"] == "semantic"
        assert (await told(setup, near, **bearer("sk-new")))[1]["x-semcache-status"] == "generated"
        assert len(script.requests) == 3


@pytest.mark.parametrize("stream", [False, True])
async def test_keys_share_no_flights(stream: bool) -> None:
    gate = asyncio.Event()
    pieces: tuple[Piece, ...] = (gate, ANSWER)
    if stream:
        pieces = (gate, STREAM_HEAD, *map(chunk, EVENTS), LAST)
    async with scene(*pieces) as (setup, script):
        tasks = [
            asyncio.create_task(told(setup, asks(stream=stream), **bearer(key)))
            for key in (ANN, BOB, ANN)
        ]
        await until(lambda: setup.service.cache.stats().waiting == 3)
        await until(lambda: len(script.requests) == 2)
        gate.set()
        statuses = [(await task)[1]["x-semcache-status"] for task in tasks]
        assert sorted(statuses) == ["generated", "generated", "shared"]
        assert sorted(map(str, shown(script))) == [f"Bearer {ANN}", f"Bearer {BOB}"]


async def test_a_tenant_is_its_keys_everywhere_and_tells_nothing_of_it() -> None:
    assert tenant(ANN) == tenant(ANN) != tenant(BOB)
    assert tenant(ANN) != tenant(ANN, "another")
    assert tenant(ANN) == "key-0ed0c45453576ae62ec139befae6b5cb"  # and always will be
    assert not any(ANN[n : n + 4] in tenant(ANN) for n in range(3, len(ANN) - 3))


async def test_what_no_upstream_vouches_for_is_refused() -> None:
    async with scene() as (setup, script):
        entry = {"prompt": "pay at 10", "response": "Like this."}
        for method, path, body in (
            ("POST", "/v1/caches/c/entries", entry),
            ("POST", "/v1/caches/c/entries/search", {"prompt": "pay at 10"}),
            ("GET", "/semantic-cache/entries", None),
            ("POST", "/semantic-cache/invalidate", {"tenant": ""}),
            ("POST", "/v1/events", {"tenants": [""]}),
        ):
            async with setup.client.request(
                method, path, json=body, headers=bearer(ANN)
            ) as response:
                assert response.status == 403, path
        assert not script.requests


# -- what the upstream says of a key


@pytest.mark.parametrize(("said", "status"), [("401", 401), ("403", 403), ("407", 502)])
async def test_what_is_wrong_with_a_callers_key_is_the_callers_to_see(
    said: str, status: int
) -> None:
    refusal = json.dumps({"error": {"message": f"{ANN} was revoked.", "code": "revoked"}})
    async with scene(answer(refusal, status=f"{said} No")) as (setup, _):
        for stream in (False, True):
            got, headers, body = await told(setup, asks(stream=stream), **bearer(ANN))
            assert got == status
            assert ANN not in body.decode() + repr(headers)
            if status < 500:
                assert headers["WWW-Authenticate"] == "Bearer"
                error = {"message": "(the caller's key) was revoked.", "code": "revoked"}
                assert json.loads(body)["error"] == error
        plain = {"prompt": "pay at 10"}
        async with setup.client.post(
            "/semantic-cache/answer", json=plain, headers=bearer(ANN)
        ) as response:
            assert response.status == status


async def test_a_key_that_was_withdrawn_reads_what_it_had_and_makes_nothing() -> None:
    async with scene() as (setup, script):
        await told(setup, asks(), **bearer(ANN))
        script.pieces = (answer("{}", status="401 No"),)
        assert (await told(setup, asks(), **bearer(ANN)))[1]["x-semcache-status"] == "exact"
        assert (await told(setup, asks("hours at 90"), **bearer(ANN)))[0] == 401
        assert (await told(setup, asks(), **bearer(BOB)))[0] == 401


# -- options


async def test_without_a_secret_or_beside_a_keys_file_it_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="SEMCACHE_SECRET"):
        Settings(pass_keys=True)
    with pytest.raises(ConfigError, match="not both"):
        Settings(pass_keys=True, api_keys_file=tmp_path, cache=CacheConfig(secret="s"))


async def test_where_it_is_off_no_key_of_a_caller_goes_upstream() -> None:
    async with scripted(ANSWER) as (url, script), serving(url, upstream_key=OURS) as setup:
        headers = {**bearer(ANN), "x-api-key": ANN, "api-key": ANN}
        async with setup.client.post(PATH, json=asks(), headers=headers) as response:
            assert response.status == 200
        ((sent, _),) = script.requests
        assert sent["Authorization"] == f"Bearer {OURS}"
        assert ANN not in repr(sent)
