"""Agents of OpenAI's SDK over models that are none: what the cache answers, and what not."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from agents import (
    Agent,
    ModelSettings,
    OpenAIProvider,
    RunConfig,
    Runner,
    RunResultStreaming,
    Usage,
    WebSearchTool,
    function_tool,
)
from agents.testing import ModelCall, ModelStep, ScriptedModel, assistant_message, function_call
from aiohttp.test_utils import TestServer

from semcache_async import Scope, SemanticCache
from semcache_async.errors import ConfigError
from semcache_async.integrations.openai_agents import SemcacheModel, SemcacheProvider
from semcache_async.simulator import SIMULATOR, make_simulator
from tests.helpers import until
from tests.integrations.conftest import Printed
from tests.simulator.helpers import AT_ONCE

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]
QUIET = RunConfig(tracing_disabled=True)
CUT_OFF = assistant_message("It is")
CUT_OFF.status = "incomplete"  # type: ignore[union-attr]
SPENT = Usage(requests=1, input_tokens=3, output_tokens=5, total_tokens=8)


class LLM:
    """Answers with ``outputs``, in order, then with the number of the call, behind ``gate``."""

    def __init__(self) -> None:
        self.outputs: list[list[Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.model = ScriptedModel([ModelStep.respond(self.answer) for _ in range(40)])

    @property
    def calls(self) -> int:
        return len(self.model.calls)

    async def answer(self, call: ModelCall) -> ModelStep:
        text = f"answer {self.calls}"
        output = self.outputs.pop(0) if self.outputs else [assistant_message(text)]
        await self.gate.wait()
        return ModelStep(output, usage=SPENT)


@pytest.fixture
def llm() -> LLM:
    return LLM()


@pytest.fixture
def model(cache: SemanticCache, llm: LLM) -> SemcacheModel:
    return SemcacheModel(llm.model, cache, name="m")


@pytest.fixture
def agent(model: SemcacheModel) -> Agent:
    return Agent("helper", model=model)


async def ran(agent: Agent, said: Any, **options: Any) -> Any:
    return (await Runner.run(agent, said, run_config=QUIET, **options)).final_output


async def words_of(run: RunResultStreaming) -> str:
    """What its deltas say."""
    return "".join(
        [
            event.data.delta
            async for event in run.stream_events()
            if event.type == "raw_response_event"
            and event.data.type == "response.output_text.delta"
        ]
    )


async def test_repeats_and_other_words(agent: Agent, llm: LLM) -> None:
    made = await Runner.run(agent, "refund at 10", run_config=QUIET)
    hit = await Runner.run(agent, "money back at 12", run_config=QUIET)
    assert made.final_output == hit.final_output == await ran(agent, "refund at 10") == "answer 1"
    assert made.context_wrapper.usage.total_tokens == 8
    assert (hit.context_wrapper.usage.requests, hit.context_wrapper.usage.total_tokens) == (0, 0)
    assert hit.last_response_id == made.last_response_id == "resp-789"
    assert await ran(agent, "parcel at 90") == "answer 2"


async def test_streams_and_whole_responses_are_one(agent: Agent, llm: LLM) -> None:
    made = Runner.run_streamed(agent, "refund at 10", run_config=QUIET)
    hit = Runner.run_streamed(agent, "money back at 12", run_config=QUIET)
    assert await words_of(made) == await words_of(hit) == "answer 1"
    assert made.final_output == hit.final_output == await ran(agent, "refund at 11") == "answer 1"
    assert made.context_wrapper.usage.total_tokens == 8
    assert (hit.context_wrapper.usage.requests, hit.context_wrapper.usage.total_tokens) == (0, 0)
    assert await ran(agent, "parcel at 90") == "answer 2"
    assert await words_of(Runner.run_streamed(agent, "it at 91", run_config=QUIET)) == "answer 2"
    assert llm.calls == 2


async def test_callers_share_a_call(agent: Agent, llm: LLM, cache: SemanticCache) -> None:
    llm.gate.clear()
    streamed = Runner.run_streamed(agent, "refund at 10", run_config=QUIET)
    other = Runner.run_streamed(agent, "refund at 11", run_config=QUIET)
    whole = asyncio.create_task(ran(agent, "money back at 12"))
    await until(lambda: cache.stats().waiting == 3)
    llm.gate.set()
    assert [await words_of(streamed), await words_of(other), await whole] == ["answer 1"] * 3
    assert llm.calls == 1
    usages = [run.context_wrapper.usage.total_tokens for run in (streamed, other)]
    assert sorted(usages) in ([0, 0], [0, 8])


async def test_the_last_user_text_is_matched_and_all_else_is_equal(
    cache: SemanticCache, llm: LLM, model: SemcacheModel
) -> None:
    image = {"type": "input_image", "image_url": "data:,", "detail": "auto"}

    async def answers(text: str) -> list[str]:
        part = {"type": "input_text", "text": text}
        plain = Agent("helper", model=model)
        history = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
        said: list[Any] = [text, [*history, {"role": "user", "content": text}]]
        said += [[{"role": "user", "content": [image, part]}]]
        agents = [
            Agent("helper", model=model, instructions="Be brief."),
            Agent("helper", model=model, model_settings=ModelSettings(temperature=0.5)),
            Agent("helper", model=SemcacheModel(llm.model, cache, name="n")),
            Agent(
                "helper", model=SemcacheModel(llm.model, cache, name="m", scope=Scope(tenant="b"))
            ),
        ]
        runs = [await ran(plain, one) for one in said]
        return runs + [await ran(one, text) for one in agents]

    made = await answers("refund at 10")
    assert len(set(made)) == len(made) == llm.calls
    assert await answers("money back at 12") == made


async def test_tools_and_handoffs_serve_their_own_wording_alone(
    model: SemcacheModel, llm: LLM
) -> None:
    asked = []

    @function_tool
    def price(item: str) -> str:
        asked.append(item)
        return "7"

    pricing = Agent("pricing", model=model, tools=[price])
    desk = Agent("desk", model=model, handoffs=[pricing])
    for times in (1, 2):
        if times == 1:
            llm.outputs = [
                [function_call("transfer_to_pricing", {}, call_id="c1")],
                [function_call("price", {"item": "pen"}, call_id="c2")],
            ]
        assert await ran(desk, "price at 10") == "answer 3"
        assert (asked, llm.calls) == (["pen"] * times, 3)
    run = Runner.run_streamed(desk, "price at 10", run_config=QUIET)
    assert (await words_of(run), run.last_agent.name, llm.calls) == ("answer 3", "pricing", 3)
    assert await ran(desk, "price at 11") == "answer 4"


async def test_structured_output_serves_its_own_wording_alone(
    model: SemcacheModel, llm: LLM
) -> None:
    agent = Agent("counter", model=model, output_type=list[int])
    llm.outputs = [
        [assistant_message('{"response": [2]}')],
        [assistant_message('{"response": [3]}')],
    ]
    found = [await ran(agent, text) for text in ("chairs at 10", "chairs at 10", "chairs at 11")]
    assert found == [[2], [2], [3]]
    assert await ran(Agent("counter", model=model), "chairs at 10") == "answer 3"


@pytest.mark.parametrize(
    "options", [{"previous_response_id": "resp_1"}, {"conversation_id": "conv_1"}]
)
async def test_what_the_provider_keeps_goes_past_the_cache(
    agent: Agent, llm: LLM, options: dict[str, str]
) -> None:
    for calls in (1, 2):
        await ran(agent, "refund at 10", **options)
        assert llm.calls == calls


@pytest.mark.parametrize(
    "settings",
    [
        ModelSettings(temperature=1.0),
        ModelSettings(extra_args={"previous_response_id": "resp_1"}),
        ModelSettings(extra_body={"a": object()}),
    ],
)
async def test_settings_that_leave_the_cache_out(
    model: SemcacheModel, llm: LLM, settings: ModelSettings
) -> None:
    agent = Agent("helper", model=model, model_settings=settings)
    for calls in (1, 2):
        await ran(agent, "refund at 10")
        assert llm.calls == calls


async def test_tools_of_the_provider_leave_the_cache_out(model: SemcacheModel, llm: LLM) -> None:
    agent = Agent("helper", model=model, tools=[WebSearchTool()])
    for calls in (1, 2):
        await ran(agent, "refund at 10")
        assert llm.calls == calls


@pytest.mark.parametrize(
    ("prompt", "output"),
    [
        ("My e-mail is jo@example.org, refund at 10", assistant_message("a")),
        ("refund at 10", assistant_message("Use card 4111 1111 1111 1111.")),
        ("refund at 10", CUT_OFF),
    ],
)
async def test_what_is_not_kept(agent: Agent, llm: LLM, prompt: str, output: Any) -> None:
    llm.outputs = [[output], [output]]
    for calls in (1, 2):
        run = Runner.run_streamed(agent, prompt, run_config=QUIET)
        await words_of(run)
        assert llm.calls == calls


async def test_a_model_without_a_name_needs_one(cache: SemanticCache) -> None:
    with pytest.raises(ConfigError, match="give a name"):
        SemcacheModel(ScriptedModel(), cache)


async def test_models_of_other_urls_are_others(cache: SemanticCache, llm: LLM) -> None:
    for number, url in enumerate(("http://a", "http://b"), 1):
        model: Any = llm.model
        model.model, model.base_url = "m", url  # as LiteLLM's have them
        agent = Agent("helper", model=SemcacheModel(model, cache))
        assert await ran(agent, "refund at 10") == f"answer {number}"


@pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])
async def test_the_models_of_openai(cache: SemanticCache, responses: bool) -> None:
    llm = make_simulator(AT_ONCE)
    async with (
        TestServer(llm) as server,
        openai.AsyncOpenAI(base_url=str(server.make_url("/v1")), api_key="k") as client,
    ):
        real = OpenAIProvider(openai_client=client, use_responses=responses)
        provider = SemcacheProvider(cache, real)
        config = RunConfig(model_provider=provider, tracing_disabled=True)
        agent = Agent("helper", model="m")
        made = Runner.run_streamed(agent, "refund at 10", run_config=config)
        text = await words_of(made)
        assert text == made.final_output
        hit = await Runner.run(agent, "money back at 12", run_config=config)
        again = Runner.run_streamed(agent, "refund at 11", run_config=config)
        assert [hit.final_output, await words_of(again), llm[SIMULATOR].stats.calls] == [
            text,
            text,
            1,
        ]
        other = await Runner.run(Agent("helper", model="n"), "refund at 10", run_config=config)
        assert (bool(other.final_output), llm[SIMULATOR].stats.calls) == (True, 2)
        await provider.aclose()


async def test_the_page(printed: Printed) -> None:
    assert await printed("openai_agents.md") == ["Within 30 days."] * 2
