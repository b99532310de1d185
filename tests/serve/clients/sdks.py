"""The vendors' own packages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from anthropic import AsyncAnthropic
from anthropic.types import MessageParam
from openai import AsyncOpenAI

from tests.serve.clients.asking import MODEL, TOKENS, Asking, RefusedError
from tests.serve.clients.helpers import asked

__all__ = ["anthropic_messages", "openai_chat", "openai_responses", "openai_text"]


def _openai(url: str) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)


@asynccontextmanager
async def openai_chat(url: str) -> AsyncIterator[Asking]:
    async with _openai(url) as client:
        create = client.chat.completions.create

        async def ask(prompt: str) -> str:
            answer = await create(**asked(prompt))
            return answer.choices[0].message.content or ""

        async def stream(prompt: str) -> AsyncGenerator[str, None]:
            async with await create(**asked(prompt, stream=True)) as chunks:
                async for chunk in chunks:
                    if chunk.choices and (piece := chunk.choices[0].delta.content):
                        yield piece

        yield Asking(ask, stream)


@asynccontextmanager
async def openai_text(url: str) -> AsyncIterator[Asking]:
    async with _openai(url) as client:
        create = client.completions.create

        async def ask(prompt: str) -> str:
            return (await create(model=MODEL, prompt=prompt)).choices[0].text

        async def stream(prompt: str) -> AsyncGenerator[str, None]:
            async with await create(model=MODEL, prompt=prompt, stream=True) as chunks:
                async for chunk in chunks:
                    if chunk.choices and (piece := chunk.choices[0].text):
                        yield piece

        yield Asking(ask, stream)


@asynccontextmanager
async def openai_responses(url: str) -> AsyncIterator[Asking]:
    async with _openai(url) as client:
        create = client.responses.create

        async def ask(prompt: str) -> str:
            return (await create(model=MODEL, input=prompt)).output_text

        async def stream(prompt: str) -> AsyncGenerator[str, None]:
            last = ""
            async with await create(model=MODEL, input=prompt, stream=True) as events:
                async for event in events:
                    last = event.type
                    if event.type == "response.output_text.delta":
                        yield event.delta
            if last != "response.completed":
                raise RefusedError(f"it ended with {last!r}")

        yield Asking(ask, stream)


@asynccontextmanager
async def anthropic_messages(url: str) -> AsyncIterator[Asking]:
    async with AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as client:

        def messages(prompt: str) -> list[MessageParam]:
            return [{"role": "user", "content": prompt}]

        async def ask(prompt: str) -> str:
            answer = await client.messages.create(
                model=MODEL, max_tokens=TOKENS, messages=messages(prompt)
            )
            return "".join(block.text for block in answer.content if block.type == "text")

        async def stream(prompt: str) -> AsyncGenerator[str, None]:
            async with client.messages.stream(
                model=MODEL, max_tokens=TOKENS, messages=messages(prompt)
            ) as events:
                async for piece in events.text_stream:
                    yield piece
                if (await events.get_final_message()).stop_reason is None:
                    raise RefusedError("it has no end")

        yield Asking(ask, stream)
