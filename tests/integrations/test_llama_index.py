"""LlamaIndex's own calls, of LLMs that are none: what the cache answers, and what not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest
from llama_index.core import Document, MockEmbedding, Settings, VectorStoreIndex
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    CustomLLM,
    ImageBlock,
    LLMMetadata,
    TextBlock,
)
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, Field

from semcache_async import Scope, SemanticCache
from semcache_async.embed import TextEmbedder
from semcache_async.errors import WrongLoopError
from semcache_async.integrations.llama_index import SemcacheLLM
from semcache_async.testing import MemoryStore
from tests.helpers import until

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]


class Numbered(CustomLLM):
    """Answers with the number of the call."""

    calls: Any = Field(default_factory=lambda: count(1), exclude=True)
    temperature: float = 0.0
    model: str = "m"
    ends: str = "stop"
    says_deltas: bool = Field(default=True, exclude=True)
    fails: bool = Field(default=False, exclude=True)
    gate: Any = Field(default=None, exclude=True)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(context_window=4077, is_chat_model=True, model_name=self.model)

    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> Generator[CompletionResponse, None, None]:
        text = ""
        for word in ("answer ", str(next(self.calls))):
            text += word
            yield CompletionResponse(text=text, delta=word if self.says_deltas else None)
            if self.fails:
                raise LookupError("no more")
        raw = {"choices": [{"finish_reason": self.ends}]}
        usage = {"prompt_tokens": 3, "completion_tokens": 2}
        yield CompletionResponse(text=text, delta="", raw=raw, additional_kwargs=usage)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return [*self.stream_complete(prompt, formatted)][-1]

    async def astream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> AsyncGenerator[CompletionResponse, None]:
        async def pieces() -> AsyncGenerator[CompletionResponse, None]:
            for piece in self.stream_complete(prompt, formatted):
                yield piece
                if self.gate:
                    await self.gate.wait()

        return pieces()


class Refund(BaseModel):
    """What to give back."""

    order: int = 7


class Calling(MockFunctionCallingLLM):
    """Calls what it is offered, which it tells of as JSON."""

    def _prepare_chat_with_tools(self, tools: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        made = super()._prepare_chat_with_tools(tools, *args, **kwargs)
        return {**made, "tools": [tool.metadata.to_openai_tool() for tool in tools]}

    async def achat(self, messages: Any, tools: Any = (), **kwargs: Any) -> ChatResponse:
        offered = [FunctionTool.from_defaults(lambda order=7: order, name="refund")]
        told = super().achat(messages, tools=offered if tools else [], **kwargs)
        return cast("ChatResponse", await told)


@pytest.fixture
def numbered() -> Numbered:
    return Numbered()


@pytest.fixture
def llm(cache: SemanticCache, numbered: Numbered) -> SemcacheLLM:
    return SemcacheLLM(numbered, cache)


def user(text: str) -> list[ChatMessage]:
    return [ChatMessage(text)]


async def all_of(pieces: Any) -> list[Any]:
    return [piece async for piece in await pieces]


async def test_whole_and_streamed_are_one(llm: SemcacheLLM, cache: SemanticCache) -> None:
    made = await all_of(llm.astream_complete("refund at 10"))
    assert [piece.text for piece in made] == ["answer ", "answer 1", "answer 1"]
    assert made[-1].raw is not None
    assert made[-1].additional_kwargs["prompt_tokens"] == 3
    hit = await llm.acomplete("money back at 12")
    assert (hit.text, hit.raw, hit.additional_kwargs) == ("answer 1", None, {})
    again = await all_of(llm.astream_complete("money back at 11"))
    assert [(piece.text, piece.delta) for piece in again] == [("answer 1", "answer 1")]
    chat = await llm.achat(user("refund at 10"))
    assert chat.message.content == "answer 2"
    assert chat.message.additional_kwargs["prompt_tokens"] == 3
    told = await all_of(llm.astream_chat(user("refund at 11")))
    assert [(one.message.content, one.message.additional_kwargs) for one in told] == [
        ("answer 2", {})
    ]
    assert cache.stats().llm_calls == 2


async def test_those_who_ask_at_once_share_a_stream(
    llm: SemcacheLLM, numbered: Numbered, cache: SemanticCache
) -> None:
    numbered.gate = asyncio.Event()
    leader = asyncio.create_task(all_of(llm.astream_complete("refund at 10")))
    await until(lambda: cache.stats().flights == 1)
    late = await llm.astream_complete("money at 12")
    first = await anext(late)
    numbered.gate.set()
    pieces = [first, *[piece async for piece in late]]
    assert (await leader)[-1].raw is not None
    assert [(one.text, one.delta) for one in pieces] == [
        ("answer ", "answer "),
        ("answer 1", "1"),
        ("answer 1", ""),
    ]
    assert (cache.stats().llm_calls, cache.stats().shared) == (1, 1)


async def test_pieces_that_say_not_what_is_new(
    llm: SemcacheLLM, numbered: Numbered, cache: SemanticCache
) -> None:
    numbered.gate, numbered.says_deltas = asyncio.Event(), False
    asking = [asyncio.create_task(all_of(llm.astream_complete("fee at 10"))) for _ in range(2)]
    await until(lambda: cache.stats().waiting == 2)
    numbered.gate.set()
    told = [[piece.text for piece in pieces] for pieces in await asyncio.gather(*asking)]
    assert told == [["answer ", "answer 1", "answer 1"]] * 2
    assert (await llm.acomplete("fee at 11")).text == "answer 1"


async def test_a_conversation_goes_on_alike_after_an_answer_and_a_hit(llm: SemcacheLLM) -> None:
    for _ in range(2):
        told = (await llm.achat(user("refund at 10"))).message
        gone_on = await llm.achat([*user("refund at 10"), told, *user("fee at 80")])
        assert gone_on.message.content == "answer 2"


async def test_who_leaves_and_what_fails(
    llm: SemcacheLLM, numbered: Numbered, cache: SemanticCache
) -> None:
    async with aclosing(await llm.astream_complete("refund at 10")) as left:
        await anext(left)
    await until(lambda: not cache.stats().flights)
    numbered.fails = True
    for asked in (llm.acomplete("fee at 80"), all_of(llm.astream_complete("fee at 80"))):
        with pytest.raises(LookupError):
            await asked
    numbered.fails = False
    assert (await llm.acomplete("fee at 80")).text == "answer 4"


async def test_plain_methods_from_threads(llm: SemcacheLLM, cache: SemanticCache) -> None:
    def work() -> None:
        assert llm.complete("refund at 10").text == "answer 1"
        assert [one.text for one in llm.stream_complete("refund at 12")] == ["answer 1"]
        pieces = llm.stream_chat(user("parcel at 80"))
        assert next(pieces).delta == "answer "
        assert [*pieces][-1].message.content == "answer 2"
        assert llm.chat(user("parcel at 81")).message.content == "answer 2"

    await asyncio.to_thread(work)
    assert cache.stats().llm_calls == 2
    with pytest.raises(WrongLoopError, match="acomplete"):
        llm.complete("refund at 10")


async def test_all_else_is_scope(cache: SemanticCache, numbered: Numbered) -> None:
    llm = SemcacheLLM(numbered, cache)
    warm = numbered.model_copy(update={"temperature": 0.5})
    system = ChatMessage("Be brief.", role="system")
    asked = [
        lambda text: llm.achat(user(text)),
        lambda text: llm.achat([system, *user(text)]),
        lambda text: llm.achat([*user("hi"), *user(text)]),
        lambda text: llm.achat([ChatMessage(text, additional_kwargs={"name": "x"})]),
        lambda text: llm.achat(user(text), stop=["."]),
        lambda text: SemcacheLLM(warm, cache).achat(user(text)),
        lambda text: SemcacheLLM(numbered, cache, scope=Scope(tenant="b")).achat(user(text)),
    ]
    for text in ("refund at 10", "money back at 12"):
        told = [(await ask(text)).message.content for ask in asked]
        assert told == [f"answer {n}" for n in range(1, 8)]


@pytest.mark.parametrize(
    ("prompt", "changes"),
    [
        ("refund at 10", {"ends": "length"}),
        ("refund at 10", {"temperature": 1.0}),
        ("My e-mail is jo@example.org, refund at 10", {}),
        ("What is the weather right now at 10", {}),
        (" ", {}),
        ("\ud800", {}),
    ],
)
async def test_what_is_not_kept(
    cache: SemanticCache, numbered: Numbered, prompt: str, changes: dict[str, Any]
) -> None:
    llm = SemcacheLLM(numbered.model_copy(update=changes), cache)
    assert (await llm.achat(user(prompt))).message.content == "answer 1"
    assert (await all_of(llm.astream_chat(user(prompt))))[-1].message.content == "answer 2"
    await until(lambda: not cache.stats().flights)
    assert (await llm.achat(user(prompt))).message.content == "answer 3"


async def test_what_lies_in_a_file_is_asked_anew(llm: SemcacheLLM, tmp_path: Path) -> None:
    (tmp_path / "frame.png").write_bytes(b"\x89PNG")
    block = ImageBlock(path=tmp_path / "frame.png", image_mimetype="image/png")
    for n in (1, 2):
        asked = ChatMessage(blocks=[block, TextBlock(text="refund at 10")])
        assert (await llm.achat([asked])).message.content == f"answer {n}"


async def test_calls_of_functions(cache: SemanticCache) -> None:
    llm = SemcacheLLM(Calling(), cache)
    refund = FunctionTool.from_defaults(lambda order=7: order, name="refund")
    assert llm.metadata.is_function_calling_model
    told = [
        llm.get_tool_calls_from_response(await llm.achat_with_tools([refund], f"refund at {n}"))
        for n in (10, 10, 11)
    ]
    assert [one[0].tool_kwargs for one in told] == [{"order": 7}] * 3
    assert told[0] == told[1] != told[2]
    with pytest.raises(ValueError, match="Numbered calls no functions"):
        await SemcacheLLM(Numbered(), cache).achat_with_tools([refund], "refund at 10")


async def test_it_is_as_the_llm_is(
    llm: SemcacheLLM, numbered: Numbered, cache: SemanticCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (llm.metadata, llm.model) == (numbered.metadata, "m")
    with pytest.raises(AttributeError, match="nothing"):
        llm.nothing  # noqa: B018
    tokens = TokenCountingHandler(tokenizer=str.split)
    monkeypatch.setattr(Settings, "_callback_manager", CallbackManager([tokens]))
    monkeypatch.setattr(Settings, "_llm", None)
    Settings.llm = SemcacheLLM(llm, cache)
    for n in (10, 10, 11):
        assert (await Settings.llm.acomplete(f"refund at {n}")).text == "answer 1"
    assert len(tokens.llm_token_counts) == 1


async def test_a_query_engine_matches_its_questions(
    text_embedder: TextEmbedder, numbered: Numbered
) -> None:
    async with SemanticCache.open(store=MemoryStore(), embedder=text_embedder) as cache:
        llm = SemcacheLLM(numbered, cache)
        index = VectorStoreIndex.from_documents(
            [Document(text="Items may be returned within 30 days. Cards are taken. " * 20)],
            embed_model=MockEmbedding(8),
        )
        engine = index.as_query_engine(llm=llm)

        async def ask(question: str) -> str:
            return str(await engine.aquery(question))

        assert await ask("How do I return an item?") == "answer 1"
        assert await ask("How can I return an item?") == "answer 1"
        assert await ask("Can I pay by card?") == "answer 2"
        assert await ask("How long may I return an item?") == "answer 3"
        plain = await asyncio.to_thread(engine.query, "How can I return an item?")
        assert str(plain) == "answer 1"
        streaming: Any = index.as_query_engine(llm=llm, streaming=True)
        told = await streaming.aquery("Can I pay by card?")
        assert "".join([text async for text in told.async_response_gen()]) == "answer 2"
        index.insert(Document(text="Items may be returned within 60 days."))
        engine = index.as_query_engine(llm=llm)
        assert await ask("How do I return an item?") == "answer 4"
