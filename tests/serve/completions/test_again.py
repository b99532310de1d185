"""The same request again, soon after its answer."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from semcache_async.serve.completions.again import Again
from semcache_async.serve.keys import Caller, KeyRing, hash_key
from tests.helpers import until
from tests.serve.completions.helpers import USER, body, planned
from tests.serve.running import Clock, settled
from tests.serve.upstreams import answer, asks, completion, scripted, serving, told

pytestmark = pytest.mark.anyio

ANSWER = answer(msgspec.json.encode(completion()))


def test_it_is_the_same_asker_conversation_and_time() -> None:
    clock = Clock(100.0)
    again = Again(10.0, clock)
    plan = planned(body())
    assert not again.asked(plan, "ann")
    again.answered(plan, "ann")
    assert again.asked(planned(body()), "ann")
    assert not again.asked(plan, "bob")
    assert not again.asked(planned(body(user="u")), "ann")
    assert not again.asked(planned(body({**USER, "content": "How?"})), "ann")
    assert not again.asked(planned(body(model="m2")), "ann")
    clock.now += 10.0
    assert again.asked(plan, "ann")
    clock.now += 0.1
    assert not again.asked(plan, "ann")


async def test_the_second_answer_is_a_new_one_and_replaces_the_first() -> None:
    async with (
        scripted(ANSWER) as (url, script),
        serving(url, regenerate_s=3_600.0) as setup,
    ):
        for stream in (False, True):
            status, headers, _ = await told(setup, asks(stream=stream))
            assert (status, headers["x-semcache-status"]) == (200, "generated")
            await settled(setup.service)
        assert headers["Cache-Status"].startswith("semcache; fwd=request")
        assert len(script.requests) == 2
        _, headers, _ = await told(setup, asks("money at 15"))
        assert headers["x-semcache-status"] == "semantic"
        _, headers, _ = await told(setup, asks(), Cache_Control="only-if-cached")
        assert headers["x-semcache-status"] == "exact"


async def test_others_and_those_who_ask_at_the_same_time_share() -> None:
    keys = KeyRing({hash_key(key): Caller(author=key) for key in "ab"})
    gate = asyncio.Event()
    async with (
        scripted(gate, ANSWER) as (url, script),
        serving(url, keys=keys, regenerate_s=3_600.0) as setup,
    ):
        one, two = (
            asyncio.create_task(told(setup, asks(), Authorization="Bearer a")) for _ in range(2)
        )
        await until(lambda: setup.service.cache.stats().waiting == 2)
        gate.set()
        assert {(await task)[1]["x-semcache-status"] for task in (one, two)} == {
            "generated",
            "shared",
        }
        _, headers, _ = await told(setup, asks(), Authorization="Bearer b")
        assert headers["x-semcache-status"] == "exact"
        assert len(script.requests) == 1


async def test_unless_it_is_asked_for_nothing_is_remembered() -> None:
    async with scripted(ANSWER) as (url, script), serving(url) as setup:
        for status in ("generated", "exact", "exact"):
            assert (await told(setup, asks()))[1]["x-semcache-status"] == status
        assert len(script.requests) == 1
