"""One chat completion through the cache, whatever protocol asks; and from which upstream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from semcache_async.serve.apis.api import NO_USAGE
from semcache_async.serve.apis.chat import CHAT
from semcache_async.serve.completions.control import Control
from semcache_async.serve.completions.flow import Completed
from semcache_async.serve.errors import UpstreamAnswered
from semcache_async.serve.service import Service
from semcache_async.testing import MemoryStore
from semcache_async.types import Source
from tests.helpers import check_sums, until
from tests.serve.running import service_for
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
    completion,
    scripted,
    serving,
    told,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

WHOLE = msgspec.json.encode(completion())


@asynccontextmanager
async def scene(*pieces: Piece) -> AsyncIterator[tuple[Setup, Scripted]]:
    async with scripted(*(pieces or (answer(WHOLE),))) as (url, script):
        async with serving(url) as setup:
            yield setup, script
        check_sums(setup.service.cache)


async def whole(
    service: Service, body: dict[str, Any], locale: str = "", **control: Any
) -> Completed:
    plan = service.completions.planner.plan(CHAT.read(body), "acme", locale)
    return await service.completions.whole(plan, Control(locale=locale, **control))


async def test_whatever_asks_gets_the_completion_and_how_it_came_by_it() -> None:
    async with scene() as (setup, script):
        service = setup.service
        first = await whole(service, asks(), tags=("t",))
        assert msgspec.json.decode(first.body) == completion()
        assert first.answer.source is Source.GENERATED
        near = await whole(service, asks("money at 15"))
        assert (near.answer.source, near.answer.matched_prompt) == (Source.SEMANTIC, "pay at 10")
        assert msgspec.json.decode(near.body)["choices"] == completion()["choices"]
        for far in (
            await whole(service, asks("cash at 16"), max_distance=0.0),
            await whole(service, asks(), locale="de"),
        ):
            assert far.answer.source is Source.GENERATED
        bypassing = await whole(service, asks(n=2))
        assert bypassing.answer.source is Source.BYPASSED
        assert bypassing.headers["x-semcache-reason"] == "n"
        assert service.metrics.own("bypass_reasons")["n"] == 1
        assert await service.cache.invalidate(tags=["t"]) == 1
        script.pieces = (
            answer('{"error": {"message": "slow"}}', status="429 No", retry_after="3"),
        )
        with pytest.raises(UpstreamAnswered) as caught:
            await whole(service, asks(), max_distance=0.0)
        assert (caught.value.status, caught.value.message) == (429, "slow")
        assert caught.value.headers == {"Retry-After": "3"}
        assert "slow" not in str(caught.value)  # what is logged


async def test_it_shares_calls_with_streams() -> None:
    gate = asyncio.Event()
    pieces = (STREAM_HEAD, chunk(EVENTS[0]), gate, chunk(b"".join(EVENTS[1:])), LAST)
    async with scene(*pieces) as (setup, script):
        stream = asyncio.create_task(told(setup, asks(stream=True)))
        await until(lambda: len(script.requests) == 1)
        # The same tenant as an open service's callers.
        plan = setup.service.completions.planner.plan(CHAT.read(asks()), "", "")
        asked = asyncio.create_task(setup.service.completions.whole(plan, Control()))
        await until(lambda: setup.service.cache.stats().waiting == 2)
        gate.set()
        made = msgspec.json.decode((await asked).body)
        assert made["choices"][0]["message"]["content"] == "Like this."
        await stream


async def test_a_stored_completion_has_an_identity_of_its_own_each_time() -> None:
    found = [CHAT.reissued(WHOLE.decode()) for _ in range(2)]
    bodies = []
    for one in found:
        assert one is not None
        bodies.append(msgspec.json.decode(one[0]))
        assert one[1] != NO_USAGE
    ids = {body.pop("id") for body in bodies}
    assert len(ids) == 2
    assert "chatcmpl-1" not in ids
    expected = completion()
    for body in bodies:
        assert body.pop("created") > 1
        assert body == {k: v for k, v in expected.items() if k not in ("id", "created")}
    assert CHAT.reissued("plain words") is None


# -- the upstream is part of the scope


async def test_a_simulated_answer_is_never_served_as_the_real_models() -> None:
    store = MemoryStore()
    real = msgspec.json.encode(completion("Real."))
    async with scripted(answer(WHOLE)) as (simulated, _), scripted(answer(real)) as (url, script):
        async with service_for(store=store, upstream_url=simulated, simulate_llm=True) as service:
            assert service.upstreams.identity_of("m") == "simulated"
            await whole(service, asks())
        async with service_for(store=store, upstream_url=url) as service:
            found = await whole(service, asks())
            assert (found.answer.source, found.body) == (Source.GENERATED, real)
            assert (await whole(service, asks())).answer.source is Source.EXACT
        async with service_for(store=store, upstream_url=simulated, simulate_llm=True) as service:
            again = await whole(service, asks())
            assert again.answer.source is Source.EXACT
            assert b"Like this." in again.body
        assert len(script.requests) == 1


async def test_two_upstreams_with_models_of_one_name_share_nothing() -> None:
    store = MemoryStore()
    async with scripted(answer(WHOLE)) as (one, _), scripted(answer(WHOLE)) as (other, _):
        for url in (one, other):
            async with service_for(store=store, upstream_url=url) as service:
                for expected in (Source.GENERATED, Source.EXACT):
                    assert (await whole(service, asks())).answer.source is expected
