"""An upstream of OpenAI's responses, which keeps what it answered."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.serve.upstreams import Setup, serving

PATH = "/v1/responses"
USED = {
    "input_tokens": 7,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 3,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 10,
}


def text_part(text: str = "Like this.", **fields: Any) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": [], **fields}


def message(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": list(parts) or [text_part()],
        **fields,
    }


def called(arguments: str = '{"a":1}', name: str = "f", **fields: Any) -> dict[str, Any]:
    return {
        "id": "fc_1",
        "type": "function_call",
        "status": "completed",
        "call_id": "call_1",
        "name": name,
        "arguments": arguments,
        **fields,
    }


def thought(**fields: Any) -> dict[str, Any]:
    summary = [{"type": "summary_text", "text": "First this, then that."}]
    return {
        "id": "rs_1",
        "type": "reasoning",
        "summary": summary,
        "encrypted_content": "x" * 20_000,
        **fields,
    }


def response(*output: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": "completed",
        "background": False,
        "completed_at": 2,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "model": "m-2026",
        "output": list(output) or [message()],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": USED,
        "user": None,
        **fields,
    }


def event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (
        kind.encode(),
        msgspec.json.encode({"type": kind, **fields}),
    )


def events_of(told: dict[str, Any]) -> list[bytes]:
    """The stream of a response of messages, as OpenAI sends it."""
    begun = {**told, "status": "in_progress", "output": [], "usage": None, "completed_at": None}
    said: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": begun}),
        ("response.in_progress", {"response": begun}),
    ]
    for at, item in enumerate(told["output"]):
        opened = {**item, "status": "in_progress", "content": []}
        said.append(("response.output_item.added", {"output_index": at, "item": opened}))
        for n, part in enumerate(item["content"]):
            place = {"item_id": item["id"], "output_index": at, "content_index": n}
            said.append(("response.content_part.added", {**place, "part": {**part, "text": ""}}))
            words = part["text"].split(" ")
            for word in [f"{word} " for word in words[:-1]] + words[-1:]:
                fields = {**place, "delta": word, "logprobs": [], "obfuscation": "xyz"}
                said.append(("response.output_text.delta", fields))
            done = {**place, "text": part["text"], "logprobs": []}
            said.append(("response.output_text.done", done))
            said.append(("response.content_part.done", {**place, "part": part}))
        said.append(("response.output_item.done", {"output_index": at, "item": item}))
    said.append((f"response.{told['status']}", {"response": told}))
    return [event(kind, **fields, sequence_number=n) for n, (kind, fields) in enumerate(said)]


class Responder:
    """It answers every request with ``said``, under new ids."""

    def __init__(self, said: dict[str, Any] | None = None) -> None:
        self.said = said or response()
        self.asked: list[dict[str, Any]] = []
        self.targets: list[str] = []
        """Methods and paths with their queries, of all else."""
        self.kept: dict[str, dict[str, Any]] = {}

    def _refused(self, name: str) -> web.Response:
        error = {
            "message": f"Response with id '{name}' not found.",
            "type": "invalid_request_error",
        }
        return web.json_response({"error": {**error, "param": None, "code": None}}, status=404)

    async def create(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append(body)
        before = body.get("previous_response_id")
        if before is not None and before not in self.kept:
            return self._refused(before)
        told = copy.deepcopy(self.said)
        for item in (told, *told["output"]):
            item["id"] = f"{item['id']}{len(self.asked):08x}"
        told["previous_response_id"] = before
        told |= {name: body[name] for name in ("instructions", "metadata", "user") if name in body}
        self.kept[told["id"]] = told
        if body.get("stream"):
            return web.Response(body=b"".join(events_of(told)), content_type="text/event-stream")
        return web.json_response(told)

    async def named(self, request: web.Request) -> web.Response:
        self.targets.append(f"{request.method} {request.path_qs}")
        name = request.match_info["id"]
        if name not in self.kept:
            return self._refused(name)
        if request.method == "DELETE":
            del self.kept[name]
            return web.json_response({"id": name, "object": "response", "deleted": True})
        if request.query.get("stream") == "true":
            events = events_of(self.kept[name])
            return web.Response(body=b"".join(events), content_type="text/event-stream")
        return web.json_response(self.kept[name])

    async def items(self, request: web.Request) -> web.Response:
        self.targets.append(f"{request.method} {request.path_qs}")
        item = {"id": "msg_0", "type": "message", "role": "user", "content": []}
        return web.json_response({"object": "list", "data": [item], "has_more": False})


@asynccontextmanager
async def answering(
    said: dict[str, Any] | None = None,
) -> AsyncIterator[tuple[str, Responder]]:
    """One's base URL, and itself."""
    upstream = Responder(said)
    app = web.Application()
    app.router.add_post(PATH, upstream.create)
    app.router.add_route("*", f"{PATH}/{{id}}", upstream.named)
    app.router.add_post(f"{PATH}/{{id}}/cancel", upstream.named)
    app.router.add_get(f"{PATH}/{{id}}/input_items", upstream.items)
    async with TestServer(app) as server:
        yield str(server.make_url("/v1")), upstream


@asynccontextmanager
async def responding(
    said: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[tuple[Setup, Responder]]:
    """The service in front of one; ``options`` as of ``serving``."""
    async with answering(said) as (url, upstream), serving(url, **options) as setup:
        yield setup, upstream


def asks(prompt: str = "pay at 10", **fields: Any) -> dict[str, Any]:
    """A request's body."""
    return {"model": "m", "input": prompt, **fields}
