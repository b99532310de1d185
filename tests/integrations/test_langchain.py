"""LangChain's own calls, of models that are none: what the cache answers, and what not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from decimal import Decimal
from itertools import count
from typing import Any

import openai
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from langchain.agents import create_agent
from langchain.agents.middleware import ModelRequest
from langchain.agents.structured_output import ToolStrategy
from langchain_core.callbacks import AsyncCallbackHandler, UsageMetadataCallbackHandler
from langchain_core.language_models import BaseChatModel, FakeListLLM
from langchain_core.load import dumps
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata, add_ai_message_chunks
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, Generation
from langchain_core.prompts import PromptTemplate
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field, SecretStr, ValidationError, create_model

from semcache_async import CacheConfig, Scope, SemanticCache
from semcache_async.errors import StoreUnavailableError, WrongLoopError
from semcache_async.integrations.langchain import SemcacheCache, SemcacheChatModel
from semcache_async.integrations.langchain.agents import SemcacheMiddleware
from semcache_async.simulator import SIMULATOR, make_simulator
from semcache_async.testing import AngleEmbedder, GatedStore
from tests.helpers import until
from tests.simulator.helpers import AT_ONCE

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

CALL = {"name": "refund", "args": {"order": 7}, "id": "call_1", "type": "tool_call"}
TWICE = (
    '[{"lc": 1, "type": "constructor", "id": ["HumanMessage"], "kwargs": {"content": "at 80"}, '
    '"kwargs": {"content": "refund at 10"}}]'
)
"""Of two texts, reading it loses one."""
USAGE: UsageMetadata = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}


class Chat(BaseChatModel):
    """Answers with ``answers``, in order, then with the number of the call."""

    temperature: float = 0.0
    calls: Any = Field(default_factory=lambda: count(1))
    answers: list[AIMessage] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"temperature": self.temperature}

    def _generate(self, messages: list[BaseMessage], *_: Any, **kwargs: Any) -> ChatResult:
        number = next(self.calls)
        answer = self.answers.pop(0) if self.answers else AIMessage(f"answer {number}")
        return ChatResult(generations=[ChatGeneration(message=answer)])


@pytest.fixture
def chat(cache: SemanticCache) -> Chat:
    return Chat(cache=SemcacheCache(cache))


# -- what langchain-tests looks at


async def test_the_contract_of_caches(redis_url: str, name: str) -> None:
    config = CacheConfig(name=name, store_timeout_s=30.0)
    one, more = Generation(text="a", generation_info={"reason": "test"}), Generation(text="b")
    async with SemanticCache.open(redis_url, config=config, embedder=AngleEmbedder()) as cache:
        mine, others = (SemcacheCache(cache, scope=Scope(tenant=t)) for t in ("a", "b"))
        assert await mine.alookup("Sample at 1", "llm") is None
        await mine.aupdate("Sample at 1", "llm", [one])
        assert await mine.alookup("Sample at 1", "llm") == [one]
        assert await mine.alookup("Sample at 1", "another llm") is None
        assert await mine.alookup("Nonexistent at 90", "llm") is None
        await mine.aupdate("Sample at 1", "llm", [one, more])
        assert await mine.alookup("Reworded at 2", "llm") == [one, more]
        await cache.store("Sample at 1", "by hand", scope=Scope(tenant="a"))
        assert await others.alookup("Sample at 1", "llm") is None
        await others.aupdate("Sample at 1", "llm", [more])
        await mine.aclear()
        assert await mine.alookup("Sample at 1", "llm") is None
        assert await others.alookup("Sample at 1", "llm") == [more]
        assert await cache.lookup("Sample at 1", scope=Scope(tenant="a")) is not None


# -- what is served


async def test_repeats_and_other_words(chat: Chat) -> None:
    made = await chat.ainvoke("refund at 10")
    exact, reworded = await chat.ainvoke("refund at 10"), await chat.ainvoke("money back at 15")
    assert made.content == exact.content == reworded.content == "answer 1"
    assert len({made.id, exact.id, reworded.id}) == 3
    assert (await chat.ainvoke("parcel at 90")).content == "answer 2"


async def test_the_last_human_text_is_matched_and_all_else_is_equal(chat: Chat) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    before = [SystemMessage("Be brief."), HumanMessage("hello"), AIMessage("hi")]

    def asked(text: str) -> list[list[BaseMessage]]:
        said = HumanMessage(text)
        called = AIMessage("", tool_calls=[CALL])
        return [
            [said],
            [SystemMessage("Be brief."), said],
            [SystemMessage("Be long."), said],
            [*before, said],
            [*before[:2], AIMessage("hm"), said],
            [said, called, ToolMessage("done", tool_call_id="call_1")],
            [said, called, ToolMessage("failed", tool_call_id="call_1")],
            [HumanMessage([{"type": "text", "text": text}])],
            [HumanMessage([{"type": "text", "text": text}, image])],
            [HumanMessage([{"type": "text", "text": "Of A:"}, {"type": "text", "text": text}])],
            [HumanMessage([{"type": "text", "text": "Of B:"}, {"type": "text", "text": text}])],
            [HumanMessage(text, additional_kwargs={"lang": "de"})],
        ]

    made = [(await chat.ainvoke(messages)).content for messages in asked("refund at 10")]
    assert len(set(made)) == len(made)
    assert [(await chat.ainvoke(m)).content for m in asked("money back at 12")] == made


async def test_another_model_is_another_scope(cache: SemanticCache, chat: Chat) -> None:
    await chat.ainvoke("refund at 10")
    warm = Chat(cache=chat.cache, temperature=1.0, calls=chat.calls)
    assert (await warm.ainvoke("refund at 10")).content == "answer 2"
    assert (await chat.ainvoke("refund at 10", stop=["."])).content == "answer 3"
    tenant = Chat(cache=SemcacheCache(cache, scope=Scope(tenant="b")), calls=chat.calls)
    assert (await tenant.ainvoke("refund at 10")).content == "answer 4"
    told = Chat(cache=SemcacheCache(cache, scope=Scope(parameters={"k": 1})), calls=chat.calls)
    assert (await told.ainvoke("refund at 10")).content == "answer 5"


class Quiet(BaseChatModel):
    """One that tells LangChain's caches of its kind alone, as ChatOllama does."""

    model: str

    @property
    def _llm_type(self) -> str:
        return "quiet"

    def _generate(self, *_: Any, **__: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.model))])


async def test_models_that_tell_nothing_of_themselves(
    cache: SemanticCache, caplog: pytest.LogCaptureFixture
) -> None:
    lang = SemcacheCache(cache)
    for model in ("a", "b"):
        assert (await Quiet(model=model, cache=lang).ainvoke("refund at 10")).content == model
    assert "tells LangChain's caches nothing of itself" in caplog.text
    for model in ("a", "b", "a"):
        quiet = SemcacheChatModel(Quiet(model=model), cache)
        assert (await quiet.ainvoke("money at 11")).content == model
    assert cache.stats().llm_calls == 2


async def test_models_that_are_copied_or_changed_are_others(cache: SemanticCache) -> None:
    class Known(Quiet):
        @classmethod
        def is_lc_serializable(cls) -> bool:
            return True

    known = Known(model="a")
    asked = SemcacheChatModel(known, cache)
    assert (await asked.ainvoke("refund at 10")).content == "a"
    copied = SemcacheChatModel(known.model_copy(update={"model": "b"}), cache)
    assert (await copied.ainvoke("refund at 10")).content == "b"
    known.model = "c"
    assert (await asked.ainvoke("refund at 10")).content == "c"


async def test_what_a_call_says_goes_before_what_its_model_says(
    cache: SemanticCache, chat: Chat
) -> None:
    warm = chat.bind(temperature=1.5)
    assert (await warm.ainvoke("refund at 10")).content == "answer 1"
    assert (await warm.ainvoke("refund at 10")).content == "answer 2"
    schema = chat.bind(response_format={"type": "json_object"}, more="---")
    assert (await schema.ainvoke("refund at 10")).content == "answer 3"
    assert (await schema.ainvoke("refund at 10")).content == "answer 3"
    assert (await schema.ainvoke("refund at 11")).content == "answer 4"


async def test_what_is_told_by_its_repr_alone_is_never_served(chat: Chat) -> None:
    messages = [HumanMessage("refund at 10", additional_kwargs={"a": Decimal(1)})]
    assert (await chat.ainvoke(messages)).content == "answer 1"
    assert (await chat.ainvoke(messages)).content == "answer 2"


@pytest.mark.parametrize(
    "prompt",
    [
        dumps([SystemMessage("refund at 10")]),
        dumps([HumanMessage([{"type": "text", "text": 1, "more": "at 10"}])]),
        json.dumps(["refund at 10"]),
        TWICE,
        '[{"lc": 1, "type": "constructor", "id": ["HumanMessage"], "kwargs": [1]}]',
    ],
)
async def test_what_is_not_read_is_served_to_its_like_alone(
    cache: SemanticCache, prompt: str
) -> None:
    lang = SemcacheCache(cache)
    await lang.aupdate(prompt, "llm", [Generation(text="a")])
    assert await lang.alookup(prompt, "llm") == [Generation(text="a")]
    for other in (prompt.replace("at 10", "at 11"), prompt.replace("at 80", "at 81"), "at 10"):
        assert other == prompt or await lang.alookup(other, "llm") is None


@asynccontextmanager
async def chat_of_openai(
    llm: web.Application, responses: bool, **options: Any
) -> AsyncIterator[ChatOpenAI]:
    async with TestServer(llm) as server, openai.DefaultAsyncHttpxClient() as http:
        yield ChatOpenAI(
            base_url=str(server.make_url("/v1")),
            api_key=SecretStr("k"),
            model="m",
            use_responses_api=responses,
            http_async_client=http,
            **options,
        )


@pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])
async def test_the_models_of_openai(cache: SemanticCache, responses: bool) -> None:
    llm = make_simulator(AT_ONCE)
    async with chat_of_openai(llm, responses, cache=SemcacheCache(cache)) as chat:
        made, hit = await chat.ainvoke("refund at 10"), await chat.ainvoke("money back at 12")
        assert (hit.content, hit.response_metadata) == (made.content, made.response_metadata)
        assert llm[SIMULATOR].stats.calls == 1


async def test_plain_models(cache: SemanticCache) -> None:
    llm = FakeListLLM(responses=["first", "second"], cache=SemcacheCache(cache))
    assert await llm.ainvoke("[INST] refund at 10") == "first"
    assert await llm.ainvoke("[INST] money back at 12") == "first"
    assert await llm.ainvoke("parcel at 90") == "second"


async def test_calls_of_tools_survive_and_serve_their_own_wording_alone(chat: Chat) -> None:
    chat.answers.append(
        AIMessage(
            "",
            tool_calls=[CALL],
            usage_metadata=USAGE,
            additional_kwargs={"reasoning": ["a", {"lc": 1, "type": "secret", "id": ["HOME"]}]},
            response_metadata={"finish_reason": "tool_calls", "model_name": "m"},
        )
    )
    made = await chat.ainvoke("refund at 10")
    hit = await chat.ainvoke("refund at 10")
    assert hit.tool_calls == made.tool_calls == [CALL]
    assert hit.usage_metadata == {**USAGE, "total_cost": 0}
    assert hit.additional_kwargs == made.additional_kwargs
    assert hit.response_metadata == made.response_metadata
    assert (await chat.ainvoke("money back at 12")).content == "answer 2"


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("My e-mail is jo@example.org, refund at 10", AIMessage("a")),
        ("What is the weather right now at 10", AIMessage("a")),
        ("refund at 10", AIMessage("Use card 4111 1111 1111 1111.")),
        ("refund at 10", AIMessage("cut", response_metadata={"finish_reason": "length"})),
        ("refund at 10", AIMessage("cut", response_metadata={"stop_reason": "max_tokens"})),
        ("refund at 10", AIMessage("I won't.", additional_kwargs={"refusal": "I won't."})),
        ("refund at 10", AIMessage("a", additional_kwargs={"parsed": {1: "int"}})),
        ("refund at 10", AIMessage("")),
        (" ", AIMessage("a")),
        ("\ud800", AIMessage("a")),
    ],
)
async def test_what_is_not_kept(
    chat: Chat, store: GatedStore, caplog: pytest.LogCaptureFixture, prompt: str, answer: AIMessage
) -> None:
    chat.answers.append(answer)
    assert (await chat.ainvoke(prompt)).content == answer.content
    assert (await chat.ainvoke(prompt)).content == "answer 2"
    assert "without the cache" not in caplog.text


# -- how it is called


async def test_batches_streams_and_concurrent_callers(chat: Chat) -> None:
    prompts: list[Any] = [f"question at {20 * n}" for n in range(8)]
    made = [answer.content for answer in await chat.abatch(prompts)]
    assert len(set(made)) == 8
    assert [answer.content for answer in await chat.abatch(prompts)] == made
    assert "".join([str(chunk.content) async for chunk in chat.astream(prompts[3])]) == made[3]
    callers = (chat.ainvoke(prompts[n % 8]) for n in range(64))
    assert [answer.content for answer in await asyncio.gather(*callers)] == made * 8


async def test_from_a_thread(cache: SemanticCache, chat: Chat) -> None:
    def work() -> None:
        assert chat.invoke("refund at 10").content == "answer 1"
        assert chat.invoke("money back at 12").content == "answer 1"
        assert [answer.content for answer in chat.batch(["at 10", "at 12"])] == ["answer 1"] * 2
        SemcacheCache(cache).clear()
        assert chat.invoke("refund at 10").content == "answer 2"

    await asyncio.to_thread(work)
    with pytest.raises(WrongLoopError, match="ainvoke"):
        chat.invoke("refund at 10")


async def test_a_closed_loop_and_a_closed_cache_fail_open(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def opened() -> Chat:
        async with SemanticCache.open(store=GatedStore(), embedder=AngleEmbedder()) as cache:
            return Chat(cache=SemcacheCache(cache))

    closed = await opened()
    assert (await closed.ainvoke("refund at 10")).content == "answer 1"
    ended = await asyncio.to_thread(asyncio.run, opened())
    assert (await asyncio.to_thread(ended.invoke, "refund at 10")).content == "answer 1"
    assert "LangChain's lookup went without the cache" in caplog.text
    assert "runs no more" in caplog.text


async def test_a_cache_that_is_down_fails_open(
    chat: Chat, store: GatedStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.fail("put", error=StoreUnavailableError("down"))
    assert (await chat.ainvoke("refund at 10")).content == "answer 1"
    assert "LangChain's update went without the cache: down" in caplog.text
    chat.answers.append(AIMessage("a", additional_kwargs={"parsed": object()}))
    for answer in ("a", "answer 3"):
        assert (await chat.ainvoke("refund at 10")).content == answer


@pytest.mark.parametrize(
    "text",
    [
        "no JSON",
        "[" * 100_000,
        "[]",
        "null",
        dumps(AIMessage("a")),
        dumps([AIMessage("a")]),
        json.dumps([{"lc": 1, "type": "secret", "id": ["HOME"]}]),
        dumps([Generation(text="a", generation_info={"b": PromptTemplate.from_template("{c}")})]),
        dumps([Generation(text="a")]).replace('"text": "a"', '"text": {"b": 1}'),
    ],
)
async def test_hostile_entries_are_misses(
    cache: SemanticCache, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    assert await _read_back(cache, monkeypatch, text) is None


async def test_no_entry_reads_the_environment(
    cache: SemanticCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "s3cret")
    text = dumps([Generation(text="a", generation_info={"key": "K"})])
    text = text.replace('"K"', '{"lc": 1, "type": "secret", "id": ["TOKEN"]}')
    found = await _read_back(cache, monkeypatch, text)
    assert found == [Generation(text="a", generation_info={"key": None})]


async def _read_back(cache: SemanticCache, monkeypatch: pytest.MonkeyPatch, text: str) -> Any:
    """What is made of ``text`` where an answer was stored."""
    lang, keep = SemcacheCache(cache), cache.store
    kept = []

    async def overwritten(prompt: str, _: str, **options: Any) -> str:
        kept.append(await keep(prompt, text, **options))
        return kept[-1]

    monkeypatch.setattr(cache, "store", overwritten)
    await lang.aupdate("refund at 10", "llm", [Generation(text="a")])
    assert kept
    return await lang.alookup("refund at 10", "llm")


# -- the chat model around a chat model


class Streaming(Chat):
    """The same in pieces, with what they cost at their end; calls and pieces wait for ``gate``."""

    model_name: str = "m"
    gate: Any = None

    async def _agenerate(self, messages: list[BaseMessage], *_: Any, **kwargs: Any) -> ChatResult:
        if self.gate:
            await self.gate.wait()
        made = self._generate(messages, **kwargs)
        for one in made.generations:
            if isinstance(one.message, AIMessage):
                one.message.usage_metadata = USAGE
        return made

    def _stream(
        self, messages: list[BaseMessage], *_: Any, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        message = self._generate(messages, **kwargs).generations[0].message
        for word in str(message.content).split(" "):
            yield ChatGenerationChunk(message=AIMessageChunk(content=f"{word} "))
        last = AIMessageChunk(
            content="", usage_metadata=USAGE, response_metadata={"finish_reason": "stop"}
        )
        yield ChatGenerationChunk(message=last)

    async def _astream(
        self, messages: list[BaseMessage], *_: Any, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for piece in self._stream(messages, **kwargs):
            yield piece
            if self.gate:
                await self.gate.wait()

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], **kwargs)


class Refund(BaseModel):
    """What to give back."""

    order: int


CALLS_REFUND = AIMessage("", tool_calls=[{**CALL, "name": "Refund"}])


@pytest.fixture
def llm() -> Streaming:
    return Streaming()


@pytest.fixture
def model(cache: SemanticCache, llm: Streaming) -> SemcacheChatModel:
    return SemcacheChatModel(llm, cache)


async def joined(pieces: AsyncIterator[AIMessageChunk]) -> AIMessageChunk:
    return add_ai_message_chunks(*[piece async for piece in pieces])


async def test_whole_and_streamed_are_one_and_tokens_are_told_once(
    model: SemcacheChatModel, cache: SemanticCache
) -> None:
    tokens = UsageMetadataCallbackHandler()
    told: Any = {"callbacks": [tokens]}
    made = await joined(model.astream("refund at 10", told))
    assert (made.text, made.usage_metadata) == ("answer 1 ", USAGE)
    hit = await model.ainvoke("money back at 12", told)
    again = await joined(model.astream("refund at 11", told))
    assert hit.content == again.content == made.content
    assert hit.usage_metadata is again.usage_metadata is None
    assert hit.response_metadata["finish_reason"] == again.response_metadata["finish_reason"]
    assert len({made.id, hit.id, again.id}) == 3
    whole = await model.ainvoke("parcel at 80")
    assert (whole.content, whole.usage_metadata) == ("answer 2", USAGE)
    assert (await joined(model.astream("parcel at 81"))).usage_metadata is None
    assert cache.stats().llm_calls == 2


async def test_those_who_ask_at_once_share_a_call(
    model: SemcacheChatModel, llm: Streaming, cache: SemanticCache
) -> None:
    llm.gate = asyncio.Event()
    leader = aiter(model.astream("refund at 10"))
    assert (await anext(leader)).content == "answer "
    whole = [asyncio.create_task(model.ainvoke(f"refund at {n}")) for n in (10, 11, 12)]
    late = asyncio.create_task(joined(model.astream("refund at 10")))
    await until(lambda: cache.stats().waiting == 5)
    llm.gate.set()
    assert (await joined(leader)).text == "1 "
    assert (await late).text == "answer 1 "
    assert [(one.text, one.usage_metadata) for one in await asyncio.gather(*whole)] == [
        ("answer 1 ", None)
    ] * 3
    assert cache.stats().llm_calls == 1


async def test_who_leaves_and_what_fails(
    model: SemcacheChatModel, llm: Streaming, cache: SemanticCache
) -> None:
    llm.gate = asyncio.Event()
    async with aclosing(model.astream("refund at 10")) as left:  # type: ignore[type-var]
        await anext(left)
    llm.gate.set()
    await until(lambda: not cache.stats().flights)
    llm.answers.append(7)  # type: ignore[arg-type]
    for asked in (model.ainvoke("parcel at 80"), joined(model.astream("parcel at 81"))):
        llm.answers[:] = [7]  # type: ignore[list-item]
        with pytest.raises(ValidationError):
            await asked
    assert (await model.ainvoke("parcel at 80")).content == "answer 4"


async def test_plain_methods_from_threads(model: SemcacheChatModel, cache: SemanticCache) -> None:
    def work() -> None:
        assert model.invoke("refund at 10").content == "answer 1"
        assert [piece.content for piece in model.stream("refund at 12")] == ["answer 1", ""]
        pieces = model.stream("parcel at 80")
        assert next(pieces).content == "answer "
        assert "".join(piece.text for piece in pieces) == "2 "
        assert [one.text for one in model.batch(["at 11", "at 81"])] == ["answer 1", "answer 2 "]

    await asyncio.to_thread(work)
    assert cache.stats().llm_calls == 2
    for method in (model.invoke, lambda text: next(model.stream(text))):
        with pytest.raises(WrongLoopError, match="ainvoke"):
            method("refund at 10")


async def test_many_threads_that_wait_leave_one_for_the_call(cache: SemanticCache) -> None:
    model = SemcacheChatModel(Chat(), cache)  # of plain methods alone
    with ThreadPoolExecutor(2) as few:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(few)
        asked = [asyncio.to_thread(model.invoke, f"refund at {n}") for n in range(4)]
        assert [one.content for one in await asyncio.gather(*asked)] == ["answer 1"] * 4


async def test_tools_and_structured_answers(
    model: SemcacheChatModel, llm: Streaming, cache: SemanticCache
) -> None:
    llm.answers += [CALLS_REFUND.model_copy() for _ in range(2)]
    bound = model.bind_tools([Refund], tool_choice="any")
    made = [await bound.ainvoke(f"refund at {n}") for n in (10, 10, 11)]
    assert [one.tool_calls[0]["args"] for one in made] == [{"order": 7}] * 3
    assert cache.stats().llm_calls == 2
    for raw in (False, True):
        structured = model.with_structured_output(Refund, include_raw=raw)
        for _ in range(2):
            told: Any = await structured.ainvoke("refund at 10")
            assert (told["parsed"] if raw else told) == Refund(order=7)
    assert cache.stats().llm_calls == 2


async def test_a_class_deep_in_a_call_is_its_schema(model: SemcacheChatModel) -> None:
    made, hit = [await model.ainvoke("at 10", format={"schema": Refund}) for _ in (1, 2)]
    assert made.content == hit.content
    other = create_model("Refund", total=int)
    assert (await model.ainvoke("at 10", format={"schema": other})).content != made.content


async def test_a_parsed_object_is_made_again_of_its_own_schema(
    cache: SemanticCache, model: SemcacheChatModel, llm: Streaming
) -> None:
    parsed = AIMessage('{"order": 7}', additional_kwargs={"parsed": Refund(order=7)})
    llm.answers.append(parsed)
    made, hit = [await model.ainvoke("at 10", response_format=Refund) for _ in (1, 2)]
    assert made.additional_kwargs["parsed"] == Refund(order=7)
    assert hit.additional_kwargs["parsed"] == {"order": 7}
    newer = create_model("Refund", __module__=__name__, order=(int, 0), parcel=(int, 0))
    assert repr(newer) == repr(Refund)
    assert (await model.ainvoke("at 10", response_format=newer)).content == "answer 2"
    chat = Chat(cache=SemcacheCache(cache))  # which is told of a repr
    for n in (1, 2):
        assert (await chat.ainvoke("at 10", response_format=Refund)).content == f"answer {n}"


async def test_a_conversation_goes_on_alike_after_an_answer_and_a_hit(
    model: SemcacheChatModel, chat: Chat, llm: Streaming
) -> None:
    for asked in (model, Chat(cache=chat.cache, answers=[AIMessage("a", usage_metadata=USAGE)])):
        made, hit = [await asked.ainvoke(f"refund at {n}") for n in (10, 11)]
        follow = [
            await asked.ainvoke([HumanMessage("refund at 10"), one, HumanMessage("fee at 80")])
            for one in (made, hit)
        ]
        assert follow[0].content == follow[1].content
    made, hit = [await joined(model.astream(f"parcel at {n}")) for n in (40, 41)]
    told = [made, hit, await model.ainvoke("parcel at 40"), AIMessage(str(made.content))]
    ask = HumanMessage("parcel at 40")
    after = [await model.ainvoke([ask, one, HumanMessage("fee at 80")]) for one in told]
    assert len({one.content for one in after}) == 1


async def test_models_of_their_own_scope(cache: SemanticCache, llm: Streaming) -> None:
    said = [
        (await model.ainvoke("refund at 10")).content
        for _ in range(2)
        for model in (
            SemcacheChatModel(llm, cache),
            SemcacheChatModel(llm, cache).bind(stop=["."]),
            SemcacheChatModel(llm, cache, scope=Scope(tenant="b")),
            SemcacheChatModel(llm.model_copy(update={"temperature": 0.5}), cache),
            SemcacheChatModel(llm.model_copy(update={"temperature": 1.0}), cache),
        )
    ]
    assert said == [f"answer {n}" for n in (1, 2, 3, 4, 5, 1, 2, 3, 4, 6)]


async def test_it_is_as_the_model_is(cache: SemanticCache, llm: Streaming) -> None:
    seen: list[str] = []

    class Seen(AsyncCallbackHandler):
        async def on_chat_model_start(self, *_: Any, **__: Any) -> None:
            seen.append("asked")

    model = SemcacheChatModel(llm.model_copy(update={"callbacks": [Seen()]}), cache)
    twice = SemcacheChatModel(model, cache)
    for _ in range(2):
        assert (await asyncio.wait_for(twice.ainvoke("refund at 10"), 30)).content == "answer 1"
    assert seen == ["asked", "asked"]
    assert (model.model_name, model._llm_type, model.temperature) == ("m", "chat", 0.0)
    with pytest.raises(AttributeError, match="nothing"):
        model.nothing  # noqa: B018


async def test_a_call_that_cannot_be_read_goes_without(
    model: SemcacheChatModel, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise LookupError

    for n in (1, 2):
        assert (await model.ainvoke("refund at 10", odd=Odd())).content == f"answer {n}"
    assert "A call of LangChain's went without the cache: LookupError" in caplog.text


@pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])
async def test_models_of_openai_in_pieces(cache: SemanticCache, responses: bool) -> None:
    llm = make_simulator(AT_ONCE)
    async with chat_of_openai(llm, responses, stream_usage=True) as chat:
        model = SemcacheChatModel(chat, cache)
        made = await joined(model.astream("refund at 10"))
        assert made.usage_metadata
        hit, again = await model.ainvoke("at 12"), await joined(model.astream("at 11"))
        assert made.text == hit.text == again.text != ""
        assert hit.usage_metadata is again.usage_metadata is None
        assert llm[SIMULATOR].stats.calls == 1


# -- agents


async def test_an_agents_steps(cache: SemanticCache, llm: Streaming) -> None:
    done = []

    def refund(order: int) -> str:
        """Give money back."""
        done.append(order)
        return "done"

    llm.answers += [AIMessage("", tool_calls=[CALL]), AIMessage("It is done.")]

    def scope(request: ModelRequest[Any]) -> Scope:
        return Scope(tenant=request.runtime.context["tenant"])

    agent: Any = create_agent(llm, [refund], middleware=[SemcacheMiddleware(cache, scope=scope)])
    asked = {"messages": [{"role": "user", "content": "refund at 10"}]}

    def work() -> Any:
        return agent.invoke(asked, context={"tenant": "a"})

    for answer in (
        await agent.ainvoke(asked, context={"tenant": "a"}),
        await asyncio.to_thread(work),
    ):
        assert answer["messages"][-1].content == "It is done."
    assert (done, cache.stats().llm_calls) == ([7, 7], 2)
    told = await agent.ainvoke(asked, context={"tenant": "b"})
    assert told["messages"][-1].content == "answer 3"


async def test_an_agents_structured_answer(cache: SemanticCache, llm: Streaming) -> None:
    llm.answers.append(CALLS_REFUND)
    agent: Any = create_agent(
        llm, response_format=ToolStrategy(Refund), middleware=[SemcacheMiddleware(cache)]
    )
    for _ in range(2):
        answer = await agent.ainvoke({"messages": [HumanMessage("refund at 10")]})
        assert answer["structured_response"] == Refund(order=7)
    assert cache.stats().llm_calls == 1
