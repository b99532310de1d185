"""The vendors' own packages."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from openai import AsyncOpenAI

from tests.serve.clients.asking import MODEL, Asking
from tests.serve.clients.helpers import asked

__all__ = ["openai_chat", "openai_text"]


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
