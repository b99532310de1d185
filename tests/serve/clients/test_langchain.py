"""``langchain-openai``, unchanged but for the URL."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.serve.clients.helpers import in_thread
from tests.serve.running import Live

pytestmark = pytest.mark.anyio


async def test_langchain(service: Live) -> None:
    def work() -> None:
        with openai.DefaultHttpxClient() as http:
            chat = langchain(service, http_client=http)
            made = chat.invoke("refund at 10")
            assert str(made.content).startswith("Answer to: refund at 10")
            assert chat.invoke("money back at 15").content == made.content
            first, *chunks = chat.stream("money back at 15")
            whole = sum(chunks, first)
            assert whole.content == made.content
            assert whole.usage_metadata == made.usage_metadata
            assert whole.response_metadata["finish_reason"] == "stop"

    await in_thread(work)
    assert service.simulator.stats.calls == 1


async def test_langchain_by_responses(service: Live) -> None:
    def work() -> None:
        with openai.DefaultHttpxClient() as http:
            chat = langchain(service, http_client=http, use_responses_api=True)
            made = chat.invoke("refund at 10")
            hit = chat.invoke("money back at 15")
            assert hit.text == made.text
            assert hit.text.startswith("Answer to: refund at 10")
            first, *chunks = chat.stream("money back at 15")
            whole = sum(chunks, first)
            assert (whole.text, whole.usage_metadata) == (made.text, made.usage_metadata)
            name = hit.response_metadata["id"]
            assert name != made.response_metadata["id"]
            more = chat.invoke("And then?", previous_response_id=name)
            assert more.text.startswith("Answer to: And then?")

    await in_thread(work)
    assert service.simulator.stats.calls == 2


async def test_langchain_async(service: Live) -> None:
    async with openai.DefaultAsyncHttpxClient() as http:
        chat = langchain(service, http_async_client=http)
        pieces = [str(chunk.content) async for chunk in chat.astream("refund at 10")]
        assert len(pieces) > 3
        answer = await chat.ainvoke("refund at 10")
    assert answer.content == "".join(pieces)
    assert service.simulator.stats.calls == 1


def langchain(service: Live, **client: Any) -> ChatOpenAI:
    """``client``: its own, for those it makes by itself outlive the event loop."""
    return ChatOpenAI(
        base_url=f"{service.url}/v1",
        api_key=SecretStr("k"),
        model="m",
        stream_usage=True,
        max_retries=0,
        **client,
    )
