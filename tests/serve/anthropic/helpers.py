"""What the tests of messages over HTTP share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from anthropic import AsyncAnthropic
from multidict import CIMultiDict

from semcache_async.serve.apis.messages.saying import event
from tests.helpers import check_sums, until
from tests.serve.upstreams import (
    LAST,
    STREAM_HEAD,
    Piece,
    Scripted,
    Setup,
    answer,
    chunk,
    scripted,
    serving,
)

PATH = "/v1/messages"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
TOOL = {"name": "weather", "input_schema": SCHEMA}
FORCED: dict[str, Any] = {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "weather"}}


def message(said: str | None = "Like this.", **fields: Any) -> dict[str, Any]:
    return {
        "model": "m-2026",
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [] if said is None else [{"type": "text", "text": said}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 3},
        **fields,
    }


def calling(given: Any, name: str = "weather") -> dict[str, Any]:
    """A message that calls a tool."""
    block = {"type": "tool_use", "id": "toolu_1", "name": name, "input": given}
    return message(content=[block], stop_reason="tool_use")


def started(**fields: Any) -> bytes:
    return event("message_start", message=message(None, stop_reason=None, **fields))


def delta(kind: str, index: int = 0, **fields: str) -> bytes:
    return event("content_block_delta", index=index, delta={"type": kind, **fields})


def opened(index: int = 0, **block: Any) -> bytes:
    return event("content_block_start", index=index, content_block=block)


def closed(index: int = 0) -> bytes:
    return event("content_block_stop", index=index)


def ended(reason: str = "end_turn", tokens: int = 3) -> bytes:
    told = {"stop_reason": reason, "stop_sequence": None}
    return event("message_delta", delta=told, usage={"output_tokens": tokens})


STOP = event("message_stop")
EVENTS = [
    started(),
    event("ping"),
    opened(type="text", text=""),
    delta("text_delta", text="Like "),
    delta("text_delta", text="this."),
    closed(),
    ended(),
    STOP,
]
ALL = b"".join(EVENTS)
WHOLE = b'{"made_up": 1.50, ' + msgspec.json.encode(message())[1:]


def streaming(*events: bytes) -> tuple[Piece, ...]:
    """An upstream that sends so, or a good stream."""
    return (STREAM_HEAD, chunk(b"".join(events) or ALL), LAST)


@asynccontextmanager
async def scene(*pieces: Piece, **options: Any) -> AsyncIterator[tuple[Setup, Scripted]]:
    async with scripted(*(pieces or (answer(WHOLE),))) as (url, script):
        async with serving(url, **options) as setup:
            yield setup, script
            await until(lambda: setup.service.cache.stats().flights == 0)
        check_sums(setup.service.cache)
        await until(lambda: script.open == 0)


def asks(prompt: str = "pay at 10", *, stream: bool = False, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    body = {"model": "m", "max_tokens": 64, "messages": messages, **fields}
    return {**body, "stream": True} if stream else body


async def told(
    setup: Setup, body: Any, path: str = PATH, **headers: str
) -> tuple[int, CIMultiDict[str], bytes]:
    """Status, headers and body of one answer."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    async with setup.client.post(path, json=body, headers=given) as response:
        return response.status, CIMultiDict(response.headers), await response.read()


def error_of(body: bytes) -> dict[str, Any]:
    """The error in Anthropic's form."""
    said = msgspec.json.decode(body)
    assert said["type"] == "error"
    error: dict[str, Any] = said["error"]
    assert error["message"]
    return error


@asynccontextmanager
async def sdk(url: str) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as client:
        yield client


async def streamed(client: AsyncAnthropic, **fields: Any) -> dict[str, Any]:
    """The message to which a stream adds up, as Anthropic's SDK reads it."""
    async with client.messages.stream(**asks(**fields)) as stream:
        return (await stream.get_final_message()).to_dict()
