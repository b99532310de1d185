"""Each client by each protocol that it speaks, through all that a cache in between can do to it."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace

import pytest

from tests.helpers import SLOW_ON_DEBUG, until
from tests.serve.clients import frameworks, outside, sdks
from tests.serve.clients.asking import Opened, status_of
from tests.serve.clients.helpers import Gate, failure, statuses, whole
from tests.serve.running import AT_ONCE, Live, live, settled

CLIENTS: dict[str, Opened] = {
    "openai-chat": sdks.openai_chat,
    "openai-text": sdks.openai_text,
    "openai-responses": sdks.openai_responses,
    "anthropic-messages": sdks.anthropic_messages,
    "langchain-chat": frameworks.langchain_by(),
    "langchain-responses": frameworks.langchain_by(responses=True),
    "langchain-messages": frameworks.langchain_messages,
    "litellm-chat": frameworks.litellm_by("openai"),
    "litellm-text": frameworks.litellm_text,
    "litellm-responses": frameworks.litellm_responses,
    "litellm-messages": frameworks.litellm_by("anthropic", path=""),
    "agents-chat": frameworks.agents_chat,
    "agents-responses": frameworks.agents_responses,
    "pydantic-ai-chat": frameworks.pydantic_ai_chat,
    "pydantic-ai-responses": frameworks.pydantic_ai_responses,
    "pydantic-ai-messages": frameworks.pydantic_ai_messages,
    "node-openai-chat": outside.node("openai", "chat"),
    "node-openai-text": outside.node("openai", "text"),
    "node-openai-responses": outside.node("openai", "responses"),
    "node-anthropic-messages": outside.node("anthropic", "messages"),
    "node-ai-chat": outside.node("ai", "chat"),
    "node-ai-text": outside.node("ai", "text"),
    "node-ai-responses": outside.node("ai", "responses"),
    "node-ai-compatible": outside.node("ai", "compatible"),
    "curl-chat": outside.curl_chat,
    "curl-text": outside.curl_text,
    "curl-responses": outside.curl_responses,
    "curl-messages": outside.curl_messages,
}

pytestmark = [
    pytest.mark.anyio,
    SLOW_ON_DEBUG,
    pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS.keys()),
]


async def test_a_miss_a_hit_and_one_in_other_words(service: Live, client: Opened) -> None:
    async with client(service.url) as asking:
        made = await asking.ask("refund at 10")
        assert "refund at 10" in made
        assert await asking.ask("refund at 10") == made
        assert await asking.ask("money back at 15") == made
        assert await asking.ask("x at 90") != made
        assert await whole(asking, "refund at 10") == made
    assert statuses(service) == {"generated": 2, "exact": 2, "semantic": 1}
    assert service.simulator.stats.calls == 2


async def test_streams(service: Live, client: Opened) -> None:
    async with client(service.url) as asking:
        made = await whole(asking, "refund at 10")
        await settled(service.service)
        assert "refund at 10" in made
        assert await whole(asking, "refund at 10") == made
        assert await whole(asking, "money back at 15") == made
        assert await asking.ask("refund at 10") == made
    assert statuses(service) == {"generated": 1, "exact": 2, "semantic": 1}
    assert service.simulator.stats.calls == 1


async def test_two_share_a_stream(service: Live, client: Opened, gate: Gate) -> None:
    async with client(service.url) as one, client(service.url) as other:
        first = asyncio.create_task(whole(one, "refund at 10"))
        await until(lambda: gate.reached == 1)
        second = asyncio.create_task(whole(other, "refund at 10"))
        await until(lambda: service.service.cache.stats().waiting == 2)
        gate.open()
        assert await first == await second
    assert statuses(service) == {"generated": 1, "shared": 1}
    assert service.simulator.stats.calls == 1


async def test_who_leaves_in_mid_stream_harms_nobody(
    service: Live, client: Opened, gate: Gate
) -> None:
    if client is frameworks.litellm_text:
        pytest.skip("it closes no stream of texts: what is left ends with the garbage")
    async with client(service.url) as one, client(service.url) as other:
        async with aclosing(one.stream("refund at 10")) as pieces:
            begun = await anext(pieces)
            second = asyncio.create_task(whole(other, "refund at 10"))
            await until(lambda: service.service.cache.stats().waiting == 2)
        await until(lambda: service.service.cache.stats().waiting == 1)
        gate.open()
        made = await second
        assert made.startswith(begun)
        await settled(service.service)
        assert await one.ask("refund at 10") == made
    assert service.simulator.stats.calls == 1


@pytest.mark.parametrize("status", [429, 500])
async def test_the_upstream_refuses(redis_url: str, name: str, client: Opened, status: int) -> None:
    async with refusing(redis_url, name, f"status={status}") as service:
        async with client(service.url) as asking:
            for work in (asking.ask, asking.ask, lambda prompt: whole(asking, prompt)):
                assert status_of(await failure(work("refund at 10"))) == status
        assert service.simulator.stats.calls == 3


@pytest.mark.parametrize("faults", ["error", "cut_after_bytes=900"])
async def test_the_upstream_breaks_off(
    redis_url: str, name: str, client: Opened, faults: str
) -> None:
    async with refusing(redis_url, name, faults) as service:
        async with client(service.url) as asking:
            for _ in range(2):
                assert str(await failure(whole(asking, "refund at 10")))
        assert service.simulator.stats.calls == 2


def refusing(redis_url: str, name: str, faults: str) -> AbstractAsyncContextManager[Live]:
    simulator = replace(AT_ONCE, faults=faults)
    return live(redis_url, name, simulator=simulator, upstream_retry_share=0.0)
