"""``instructor``: what it asks for in a stream is another schema, or none."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.helpers import SLOW_ON_DEBUG, until
from tests.serve.clients.asking import status_of
from tests.serve.clients.helpers import Gate, failure, statuses, whole
from tests.serve.clients.outside import instructor_in
from tests.serve.running import AT_ONCE, Live, live, settled

pytestmark = [
    pytest.mark.anyio,
    SLOW_ON_DEBUG,
    pytest.mark.parametrize("mode", ["JSON", "JSON_SCHEMA", "TOOLS"]),
]


@pytest.mark.parametrize("stream", [False, True])
async def test_structured_answers(service: Live, mode: str, stream: bool) -> None:
    async with instructor_in(mode)(service.url) as asking:

        async def answer(prompt: str) -> str:
            said = await (whole(asking, prompt) if stream else asking.ask(prompt))
            await settled(service.service)
            return said

        made = await answer("refund at 10")
        assert made.startswith("Answer to: refund at 10")
        assert await answer("refund at 10") == made
        near = await answer("money back at 15")
    # a function that the request forces is for the same wording alone
    assert (near == made) == (mode != "TOOLS")
    assert service.simulator.stats.calls == (2 if mode == "TOOLS" else 1)
    assert service.service.cache.stats().exact == 1


async def test_two_share_a_stream(service: Live, mode: str, gate: Gate) -> None:
    async with (
        instructor_in(mode)(service.url) as one,
        instructor_in(mode)(service.url) as other,
    ):
        first = asyncio.create_task(whole(one, "refund at 10"))
        await until(lambda: gate.reached == 1)
        second = asyncio.create_task(whole(other, "refund at 10"))
        await until(lambda: service.service.cache.stats().waiting == 2)
        gate.open()
        assert await first == await second
    assert statuses(service)["shared"] == 1
    assert service.simulator.stats.calls == 1


async def test_the_upstream_refuses(redis_url: str, name: str, mode: str) -> None:
    simulator = replace(AT_ONCE, faults="status=429")
    async with (
        live(redis_url, name, simulator=simulator, upstream_retry_share=0.0) as service,
        instructor_in(mode)(service.url) as asking,
    ):
        assert status_of(await failure(asking.ask("refund at 10"))) == 429
        assert status_of(await failure(whole(asking, "refund at 10"))) == 429
