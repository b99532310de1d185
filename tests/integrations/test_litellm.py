"""LiteLLM's own calls, of an upstream that is none: what the cache answers, and what not."""

from __future__ import annotations

import asyncio
import gc
import os
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from aiohttp.test_utils import TestServer

from semcache_async import Scope, SemanticCache
from semcache_async.errors import StoreUnavailableError
from semcache_async.simulator import SIMULATOR, Simulator, make_simulator
from semcache_async.testing import GatedStore
from tests.integrations.conftest import Printed
from tests.simulator.helpers import AT_ONCE

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
import litellm

from semcache_async.integrations.litellm import SemcacheCache

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", ["asyncio"]),
    pytest.mark.filterwarnings("ignore:Item.* on TypedDict class:UserWarning"),  # LiteLLM's own
]
Ask = Callable[..., Any]


@pytest.fixture
async def cache(cache: SemanticCache, monkeypatch: pytest.MonkeyPatch) -> SemanticCache:
    monkeypatch.setattr(litellm, "cache", SemcacheCache(cache))
    return cache


@pytest.fixture(autouse=True)
async def left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """LiteLLM keeps clients, and each of its caches enters itself into its lists of callbacks."""
    for name in ("input_callback", "success_callback", "_async_success_callback"):
        monkeypatch.setattr(litellm, name, [*getattr(litellm, name)])
    yield
    await litellm.close_litellm_async_clients()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it does not close
        litellm.in_memory_llm_clients_cache.flush_cache()
        gc.collect()


@pytest.fixture
async def upstream() -> AsyncIterator[TestServer]:
    async with TestServer(make_simulator(AT_ONCE)) as server:
        yield cast(TestServer, server)


@pytest.fixture
def simulator(upstream: TestServer) -> Simulator:
    return upstream.app[SIMULATOR]


@pytest.fixture
async def ask(upstream: TestServer, cache: SemanticCache) -> Ask:
    """``acompletion``, and what it stores stored."""

    async def ask(said: str | list[Any], **options: Any) -> str:
        response = await litellm.acompletion(**{**call(upstream, said), **options})
        if options.get("stream"):
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in response])
            await stored()
            return text
        await stored()
        return str(response.choices[0].message.content)

    return ask


def call(upstream: TestServer, said: str | list[Any]) -> dict[str, Any]:
    messages = [{"role": "user", "content": said}] if isinstance(said, str) else said
    url = str(upstream.make_url("/v1"))
    return {"model": "openai/m", "messages": messages, "api_base": url, "api_key": "k"}


async def stored() -> None:
    """Once LiteLLM's tasks that write are done."""
    writes = [task for task in asyncio.all_tasks() if "cache_write" in repr(task.get_coro())]
    await asyncio.gather(*writes)


async def test_repeats_and_other_words(ask: Ask, simulator: Simulator) -> None:
    made = await ask("refund at 10")
    assert await ask("refund at 10") == await ask("money back at 12") == made
    assert await ask("refund at 11", stream=True) == made
    assert simulator.stats.calls == 1
    streamed = await ask("parcel at 90", stream=True)
    assert await ask("it at 91") == streamed
    assert simulator.stats.calls == 2


async def test_the_last_user_text_is_matched_and_all_else_is_equal(
    ask: Ask, simulator: Simulator, upstream: TestServer, cache: SemanticCache
) -> None:
    async def asked(text: str) -> None:
        said = {"role": "user", "content": text}
        litellm.cache = SemcacheCache(cache)
        for messages in (
            [said],
            [{"role": "system", "content": "Be brief."}, said],
            [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}, said],
        ):
            await ask(messages)
        for options in (
            {"temperature": 0.5},
            {"top_k": 5},
            {"model": "openai/n"},
            {"api_key": "other"},
            {"metadata": {"user_api_key": "a"}},
            {"metadata": {"user_api_key": "b"}},
            {"metadata": {"user_api_key": "b", "user_api_key_team_id": "t"}},
            {"cache": {"namespace": "n"}},
            {"prompt_id": "a"},
            {"prompt_id": "a", "prompt_variables": {"whose": "b"}},
        ):
            await ask([said], **options)
        litellm.cache = SemcacheCache(cache, semantic_cache_scope="end_user")
        for user in ("u", "v"):
            await ask([said], metadata={"user_api_key": "a", "user_api_key_end_user_id": user})
        litellm.cache = SemcacheCache(cache, scope=Scope(tenant="a"))
        await ask([said])

    await asked("refund at 10")
    assert simulator.stats.calls == 16
    await asked("money back at 12")
    assert simulator.stats.calls == 16


async def test_a_history_of_responses_is_one(ask: Ask, simulator: Simulator) -> None:
    hello = {"role": "assistant", "content": "Hello."}
    for said in (litellm.Message(**hello), litellm.Message(**hello), hello):
        for asked in ("refund at 10", "money back at 12"):
            await ask([{"role": "user", "content": "hi"}, said, {"role": "user", "content": asked}])
    assert simulator.stats.calls == 1


async def test_what_is_not_understood_is_not_the_caches(
    ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(litellm.APIConnectionError):
        await ask([None])
    assert "was not understood by the cache: TypeError" in caplog.text


TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    "options", [{"tools": [TOOL]}, {"response_format": {"type": "json_object"}}]
)
async def test_some_serve_their_own_wording_alone(
    ask: Ask, simulator: Simulator, options: dict[str, Any]
) -> None:
    for prompt in ("refund at 10", "refund at 10", "refund at 11"):
        await ask(prompt, **options)
    assert simulator.stats.calls == 2


@pytest.mark.parametrize(
    ("prompt", "options"),
    [
        ("My e-mail is jo@example.org, refund at 10", {}),
        ("What is the weather right now at 10", {}),
        ("Tell me a joke", {}),
        ("refund at 10", {"temperature": 1.0}),
        ("refund at 10", {"extra_headers": {"x-simulate": "finish_reason=length"}}),
        ("refund at 10", {"cache": {"no-store": True}}),
    ],
)
async def test_what_is_not_kept(
    ask: Ask, simulator: Simulator, prompt: str, options: dict[str, Any]
) -> None:
    for calls in (1, 2):
        await ask(prompt, **options)
        assert simulator.stats.calls == calls


async def test_the_deployments_of_a_router_are_one(
    cache: SemanticCache, simulator: Simulator, upstream: TestServer
) -> None:
    params = call(upstream, "")
    del params["messages"]
    router = litellm.Router(
        [
            {"model_name": "chat", "litellm_params": {**params, "api_key": key}}
            for key in ("one", "two")
        ],
        cache_responses=True,
    )
    for prompt in ("refund at 10", "refund at 11", "money back at 12", "refund at 9"):
        await router.acompletion("chat", [{"role": "user", "content": prompt}])
        await stored()
    assert simulator.stats.calls == 1


async def test_from_a_thread_and_in_the_loop(
    cache: SemanticCache,
    simulator: Simulator,
    upstream: TestServer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def work() -> None:
        for prompt in ("refund at 10", "money back at 12"):
            litellm.completion(**call(upstream, prompt))

    await asyncio.to_thread(work)
    assert simulator.stats.calls == 1
    litellm.completion(**call(upstream, "refund at 10"), mock_response="mocked")
    assert "LiteLLM's lookup went without the cache: The event loop" in caplog.text


async def test_a_cache_that_is_down_fails_open(
    ask: Ask, simulator: Simulator, store: GatedStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.fail("put", error=StoreUnavailableError("down"))
    assert await ask("refund at 10")
    assert "LiteLLM's storing went without the cache: down" in caplog.text


async def test_the_page(
    printed: Printed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(litellm, "cache", None)
    caplog.set_level("WARNING", "LiteLLM")  # which logs to the standard output
    cached, again, served, shared = await printed("litellm.md")
    assert cached == again == "An answer to: How do I return an item?"
    assert served == shared
