"""What is built on the vendors' packages, or instead of them. Each is imported where it is used:
some take seconds."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic import SecretStr

from tests.serve.clients.asking import MODEL, TOKENS, Asking, Opened, RefusedError
from tests.serve.clients.helpers import asked

if TYPE_CHECKING:
    from agents import Model
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessageChunk
    from pydantic_ai.models import Model as PydanticModel

__all__ = [
    "agents_chat",
    "agents_responses",
    "langchain_by",
    "langchain_messages",
    "litellm_by",
    "litellm_responses",
    "litellm_text",
    "pydantic_ai_chat",
    "pydantic_ai_messages",
    "pydantic_ai_responses",
]


def langchain_by(*, responses: bool = False) -> Opened:
    """``responses``: instead of chats."""

    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Asking]:
        from langchain_openai import ChatOpenAI

        async with DefaultAsyncHttpxClient() as http:
            chat = ChatOpenAI(
                base_url=f"{url}/v1",
                api_key=SecretStr("k"),
                model=MODEL,
                max_retries=0,
                http_async_client=http,
                use_responses_api=responses,
            )
            yield _langchain(chat)

    return opened


@asynccontextmanager
async def langchain_messages(url: str) -> AsyncIterator[Asking]:
    from langchain_anthropic import ChatAnthropic

    chat = ChatAnthropic(
        base_url=url,
        api_key=SecretStr("k"),
        model_name=MODEL,
        max_tokens_to_sample=TOKENS,
        max_retries=0,
        timeout=None,
        stop=None,
    )
    yield _langchain(chat)
    await chat._async_client.close()


def _langchain(chat: BaseChatModel) -> Asking:
    async def ask(prompt: str) -> str:
        return (await chat.ainvoke(prompt)).text

    async def stream(prompt: str) -> AsyncGenerator[str, None]:
        chunks = cast("AsyncGenerator[AIMessageChunk, None]", chat.astream(prompt))
        async with aclosing(chunks):
            async for chunk in chunks:
                if piece := chunk.text:
                    yield piece

    return Asking(ask, stream)


def litellm_by(provider: str, path: str = "/v1") -> Opened:
    """Chats, translated to a ``provider``'s protocol."""

    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Asking]:
        litellm = _litellm()
        known: dict[str, Any] = {"api_base": f"{url}{path}", "api_key": "k", "max_retries": 0}
        known["model"] = f"{provider}/{MODEL}"

        async def ask(prompt: str) -> str:
            answer = await litellm.acompletion(**{**asked(prompt), **known})
            return str(answer.choices[0].message.content)

        async def stream(prompt: str) -> AsyncGenerator[str, None]:
            chunks = await litellm.acompletion(**{**asked(prompt), **known}, stream=True)
            async with aclosing(chunks):
                async for chunk in chunks:
                    if piece := chunk.choices[0].delta.content:
                        yield piece

        yield Asking(ask, stream)
        await litellm.close_litellm_async_clients()

    return opened


@asynccontextmanager
async def litellm_text(url: str) -> AsyncIterator[Asking]:
    litellm = _litellm()
    async with AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client:
        known = {"model": f"text-completion-openai/{MODEL}", "client": client, "max_retries": 0}

        async def ask(prompt: str) -> str:
            answer = await litellm.atext_completion(prompt=prompt, **known)
            return str(answer.choices[0].text)

        async def stream(prompt: str) -> AsyncGenerator[str, None]:
            chunks = await litellm.atext_completion(prompt=prompt, stream=True, **known)
            async for chunk in chunks:
                if piece := chunk.choices[0].text:
                    yield piece

        yield Asking(ask, stream)


@asynccontextmanager
async def litellm_responses(url: str) -> AsyncIterator[Asking]:
    litellm = _litellm()
    streaming = {"litellm_provider": "openai", "supports_native_streaming": True}
    litellm.register_model({MODEL: streaming})  # else it would ask for a whole, and cut it up
    known: dict[str, Any] = {"api_base": f"{url}/v1", "api_key": "k", "max_retries": 0}
    known["model"] = f"openai/{MODEL}"

    async def ask(prompt: str) -> str:
        return str((await litellm.aresponses(input=prompt, **known)).output_text)

    async def stream(prompt: str) -> AsyncGenerator[str, None]:
        last = ""
        events = await litellm.aresponses(input=prompt, stream=True, **known)
        try:
            async for event in events:
                last = event.type
                if last == "response.output_text.delta":
                    yield event.delta
        finally:
            await events.response.aclose()
        if last != "response.completed":
            raise RefusedError(f"it ended with {last!r}")

    yield Asking(ask, stream)
    await litellm.close_litellm_async_clients()


def _openai(url: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)


def _litellm() -> Any:
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it asks for it at github.com
    import litellm

    litellm.in_memory_llm_clients_cache.flush_cache()  # of another event loop
    return litellm


@asynccontextmanager
async def agents_chat(url: str) -> AsyncIterator[Asking]:
    from agents import OpenAIChatCompletionsModel

    async with _openai(url) as client:
        yield _agent(OpenAIChatCompletionsModel(MODEL, client))


@asynccontextmanager
async def agents_responses(url: str) -> AsyncIterator[Asking]:
    from agents import OpenAIResponsesModel

    async with _openai(url) as client:
        yield _agent(OpenAIResponsesModel(MODEL, client))


def _agent(model: Model) -> Asking:
    from agents import Agent, RunConfig, Runner
    from openai.types.responses import ResponseTextDeltaEvent

    agent = Agent(name="Clerk", instructions="You help.", model=model)
    config = RunConfig(tracing_disabled=True)

    async def ask(prompt: str) -> str:
        return str((await Runner.run(agent, prompt, run_config=config)).final_output)

    async def stream(prompt: str) -> AsyncGenerator[str, None]:
        run = Runner.run_streamed(agent, prompt, run_config=config)
        try:
            async for event in run.stream_events():
                if event.type == "raw_response_event" and isinstance(
                    event.data, ResponseTextDeltaEvent
                ):
                    yield event.data.delta
        finally:
            run.cancel()

    return Asking(ask, stream)


@asynccontextmanager
async def pydantic_ai_chat(url: str) -> AsyncIterator[Asking]:
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async with _openai(url) as client:
        yield _pydantic_ai(OpenAIChatModel(MODEL, provider=OpenAIProvider(openai_client=client)))


@asynccontextmanager
async def pydantic_ai_responses(url: str) -> AsyncIterator[Asking]:
    from pydantic_ai.models.openai import OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    async with _openai(url) as client:
        provider = OpenAIProvider(openai_client=client)
        yield _pydantic_ai(OpenAIResponsesModel(MODEL, provider=provider))


@asynccontextmanager
async def pydantic_ai_messages(url: str) -> AsyncIterator[Asking]:
    from anthropic import AsyncAnthropic
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    async with AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as client:
        provider = AnthropicProvider(anthropic_client=client)
        yield _pydantic_ai(AnthropicModel(MODEL, provider=provider))


def _pydantic_ai(model: PydanticModel) -> Asking:
    from pydantic_ai import Agent

    agent = Agent(model, instructions="You help.")

    async def ask(prompt: str) -> str:
        return (await agent.run(prompt)).output

    async def stream(prompt: str) -> AsyncGenerator[str, None]:
        async with agent.run_stream(prompt) as run:
            async for piece in run.stream_text(delta=True, debounce_by=None):
                yield piece

    return Asking(ask, stream)
