"""Pydantic AI's agents over models that are none: what the cache answers, and what not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic_ai import Agent, ModelHTTPError
from pydantic_ai.messages import (
    ImageUrl,
    ModelMessage,
    ModelResponse,
    PartDeltaEvent,
    PartStartEvent,
    TextContent,
    TextPart,
    ToolCallPart,
    UserContent,
)
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import AgentInfo, DeltaToolCall, FunctionModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.settings import ModelSettings

from semcache_async import Scope, SemanticCache
from semcache_async.integrations.pydantic_ai import SemcacheModel
from tests.helpers import until
from tests.integrations.conftest import Printed

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


class LLM:
    """Answers with ``parts`` or the number of the call, in ``finish_reason``, behind ``gate``."""

    def __init__(self) -> None:
        self.calls, self.finish_reason = 0, "stop"
        self.parts: list[Any] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.model = FunctionModel(self.whole, stream_function=self.pieces, model_name="m")

    def parts_of_a_call(self) -> list[Any]:
        self.calls += 1
        if self.error:
            raise self.error
        return self.parts or [TextPart(f"answer {self.calls}")]

    async def whole(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        parts = self.parts_of_a_call()
        await self.gate.wait()
        return ModelResponse(parts, finish_reason=self.finish_reason)  # type: ignore[arg-type]

    async def pieces(self, messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[Any]:
        for part in self.parts_of_a_call():
            if isinstance(part, ToolCallPart):
                yield {0: DeltaToolCall(name=part.tool_name, json_args=part.args_as_json_str())}
                continue
            for word in part.content.split():
                yield f"{word} "
                await self.gate.wait()


@pytest.fixture
def llm() -> LLM:
    return LLM()


@pytest.fixture
def agent(cache: SemanticCache, llm: LLM) -> Agent:
    return Agent(SemcacheModel(llm.model, cache))


async def said(agent: Agent, prompt: str) -> str:
    """By its stream."""
    async with agent.run_stream(prompt) as stream:
        return "".join([text async for text in stream.stream_text(delta=True, debounce_by=None)])


async def test_repeats_and_other_words(agent: Agent, llm: LLM) -> None:
    made, exact = [await agent.run("refund at 10") for _ in range(2)]
    reworded = await agent.run("money back at 12")
    assert made.output == exact.output == reworded.output == "answer 1"
    assert (made.usage.output_tokens, reworded.usage.output_tokens) == (2, 0)
    assert (made.response.timestamp, made.response.run_id) < (
        exact.response.timestamp,
        exact.response.run_id,
    )
    assert (await agent.run("parcel at 90")).output == "answer 2"


async def test_streams_and_whole_responses_are_one(agent: Agent, llm: LLM) -> None:
    assert await said(agent, "refund at 10") == "answer 1 "
    assert await said(agent, "money back at 12") == "answer 1 "
    assert (await agent.run("refund at 11")).output == "answer 1 "
    async with agent.run_stream("refund at 10") as hit:
        assert await hit.get_output() == "answer 1 "
        assert not hit.usage.output_tokens
        assert hit.response.state == "complete"
        assert hit.response.model_name == "m"
    async with agent.run_stream("parcel at 90") as made:
        await made.get_output()
        assert made.usage.output_tokens == 2
    assert llm.calls == 2


async def test_callers_share_a_stream(agent: Agent, llm: LLM) -> None:
    llm.gate.clear()
    async with agent.run_stream("refund at 10") as leading:
        words = leading.stream_text(delta=True, debounce_by=None)
        assert await anext(words) == "answer "
        late = asyncio.create_task(said(agent, "money back at 12"))
        whole = asyncio.create_task(agent.run("refund at 11"))
        await until(lambda: agent.model._cache.stats().waiting == 3)  # type: ignore[union-attr]
        llm.gate.set()
        assert [word async for word in words] == ["1 "]
    assert (await late, (await whole).output) == ("answer 1 ", "answer 1 ")
    assert llm.calls == 1


async def test_a_stream_that_is_cancelled_leaves_the_others(agent: Agent, llm: LLM) -> None:
    llm.gate.clear()
    async with agent.run_stream("refund at 10") as leading:
        words = leading.stream_text(delta=True, debounce_by=None)
        assert await anext(words) == "answer "
        other = asyncio.create_task(agent.run("refund at 11"))
        await until(lambda: agent.model._cache.stats().waiting == 2)  # type: ignore[union-attr]
        await leading.cancel()
        assert [word async for word in words] == []
        assert leading.response.state == "interrupted"
    llm.gate.set()
    assert ((await other).output, llm.calls) == ("answer 1 ", 1)


async def test_the_last_user_text_is_matched_and_all_else_is_equal(
    cache: SemanticCache, llm: LLM
) -> None:
    model = SemcacheModel(llm.model, cache)
    plain = Agent(model)
    history = (await plain.run("hello at 50")).all_messages()
    image = ImageUrl("https://example.org/a.png")

    async def answers(text: str) -> list[str]:
        contents: list[str | list[UserContent]] = [text, ["of A", text], ["of B", text]]
        contents.append([image, text])
        agents = [
            plain,
            Agent(model, instructions="Be brief."),
            Agent(model, system_prompt="Be brief."),
            Agent(model, model_settings=ModelSettings(temperature=0.5)),
            Agent(SemcacheModel(llm.model, cache, scope=Scope(tenant="b"))),
            Agent(SemcacheModel(FunctionModel(llm.whole, model_name="n"), cache)),
            Agent(
                SemcacheModel(
                    FunctionModel(llm.whole, model_name="m", settings=ModelSettings(seed=1)), cache
                )
            ),
        ]
        runs = [await one.run(text) for one in agents]
        runs += [await plain.run(content) for content in contents[1:]]
        runs += [await plain.run(text, message_history=history)]
        return [run.output for run in runs]

    made = await answers("refund at 10")
    assert len(set(made)) == len(made) == llm.calls - 1
    assert await answers("money back at 12") == made
    again = (await plain.run("hello at 50")).all_messages()
    assert (await plain.run("refund at 10", message_history=again)).output == made[-1]


async def test_texts_with_metadata_are_texts(agent: Agent, llm: LLM) -> None:
    for n in (10, 11):
        await agent.run(["Be brief.", TextContent(f"refund at {n}", metadata=n)])
    assert llm.calls == 1
    for _ in range(2):
        await agent.run(["Be brief.", TextContent("What is the weather right now")])
    assert llm.calls == 3


async def test_of_models_that_fall_back_each_counts(cache: SemanticCache, llm: LLM) -> None:
    for seed in (1, 2):
        second = FunctionModel(llm.whole, model_name="n", settings=ModelSettings(seed=seed))
        falls = FallbackModel(FunctionModel(llm.whole, model_name="m"), second)
        await Agent(SemcacheModel(falls, cache)).run("refund at 10")
    assert llm.calls == 2


async def test_tools_serve_their_own_wording_alone(cache: SemanticCache) -> None:
    asked = []
    agent = Agent(SemcacheModel(TestModel(), cache))

    @agent.tool_plain
    def price(item: str) -> int:
        asked.append(item)
        return 7

    first, again = [await agent.run("price at 10") for _ in range(2)]
    assert first.output == again.output == '{"price":7}'
    assert len(asked) == 2
    assert cache.stats().exact == 2
    streamed = await said(agent, "price at 10")
    assert (streamed, cache.stats().exact) == ('{"price":7}', 4)
    await agent.run("price at 11")
    assert cache.stats().llm_calls == 4


async def test_structured_output_serves_its_own_wording_alone(cache: SemanticCache) -> None:
    agent = Agent(SemcacheModel(TestModel(custom_output_args={"chairs": 2}), cache))
    for prompt in ("chairs at 10", "chairs at 10", "chairs at 11"):
        assert (await agent.run(prompt, output_type=dict[str, int])).output == {"chairs": 2}
    async with agent.run_stream("chairs at 10", output_type=dict[str, int]) as stream:
        assert await stream.get_output() == {"chairs": 2}
    assert cache.stats().llm_calls == 2
    await agent.run("chairs at 10", output_type=dict[str, float])
    assert cache.stats().llm_calls == 3


@pytest.mark.parametrize(
    ("prompt", "parts", "finish_reason"),
    [
        ("My e-mail is jo@example.org, refund at 10", [], "stop"),
        ("refund at 10", [TextPart("Use card 4111 1111 1111 1111.")], "stop"),
        ("refund at 10", [TextPart("cut")], "length"),
        ("refund at 10", [TextPart("b"), TextPart("c", provider_details={"d": object()})], "stop"),
    ],
)
async def test_what_is_not_kept(
    agent: Agent, llm: LLM, prompt: str, parts: list[Any], finish_reason: str
) -> None:
    llm.parts, llm.finish_reason = parts, finish_reason
    for calls in (1, 2):
        assert (await agent.run(prompt)).output
        assert llm.calls == calls


@pytest.mark.parametrize(
    "settings",
    [{"temperature": 1.0}, {"openai_previous_response_id": "auto"}, {"extra_body": object()}],
)
async def test_what_goes_past_the_cache(agent: Agent, llm: LLM, settings: Any) -> None:
    for calls in (1, 2):
        await agent.run("refund at 10", model_settings=settings)
        assert llm.calls == calls


async def test_an_llm_that_fails_does_so_at_once(cache: SemanticCache, llm: LLM) -> None:
    broken = LLM()
    broken.error = ModelHTTPError(429, "m")
    agent = Agent(FallbackModel(SemcacheModel(broken.model, cache), llm.model))
    assert await said(agent, "refund at 10") == "answer 1 "
    assert (await agent.run("refund at 10")).output == "answer 2"
    assert broken.calls == 2


async def test_the_events_of_a_hit_build_its_parts(agent: Agent, llm: LLM) -> None:
    llm.parts = [TextPart("it is \ud83d")]
    for _ in range(2):
        text = ""
        async with agent.run_stream_events("refund at 10") as events:
            async for event in events:
                if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
                    text += event.part.content
                elif isinstance(event, PartDeltaEvent):
                    text += event.delta.content_delta  # type: ignore[union-attr, operator]
        assert text == "it is \ud83d "
    assert llm.calls == 1


async def test_the_page(printed: Printed) -> None:
    answer = "Within 30 days."
    assert await printed("pydantic_ai.md") == [f"{answer} 4", f"{answer} 0", answer]
