"""OpenAI's responses."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from semcache_async.simulator.answer import (
    ANY_JSON,
    Answer,
    Asked,
    Said,
    Tool,
    tokens_of,
    user_text,
)
from semcache_async.simulator.apis.api import Api, Call, RefusedError, Route, event, new_id
from semcache_async.simulator.apis.response_events import events_of, unfinished

__all__ = ["responses_api"]

_MOST_KEPT = 4_096
_PATH = "/v1/responses"
_ECHOED: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response repeats of its request, and what it says of what was left out."""
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""By chats' words."""
_FAILED = {"code": "server_error", "message": "The server had an error"}


class _Body(msgspec.Struct, kw_only=True, gc=False):
    """The fields of a request that make a difference here, other than to be repeated."""

    model: str
    input: str | list[dict[str, Any]] = []
    instructions: str | None = None
    previous_response_id: str | None = None
    stream: bool | None = None
    store: bool | None = None
    background: bool | None = None
    include: list[str] | None = None
    max_output_tokens: Annotated[int, Meta(ge=1)] | None = None
    text: dict[str, Any] | None = None
    reasoning: dict[str, Any] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: Any = None
    x_simulate: str = ""

    @property
    def items(self) -> list[dict[str, Any]]:
        if isinstance(self.input, str):
            return [{"role": "user", "content": self.input}]
        return self.input

    @property
    def effort(self) -> dict[str, Any]:
        return {"effort": None, "summary": None, **(self.reasoning or {})}

    def asked(self, before: list[dict[str, Any]]) -> Asked:
        """``before``: the items of the conversation that goes on here."""
        orders = [{"role": "system", "content": self.instructions}] if self.instructions else []
        messages = [*orders, *_chat_of([*before, *self.items])]
        if not messages:
            raise RefusedError(400, "Input is missing.", "missing_required_parameter", "input")
        effort, summary = self.effort["effort"], self.effort["summary"]
        return Asked(
            model=self.model,
            messages=messages,
            stream=self.stream is True,
            limit=self.max_output_tokens,
            schema=self._schema(),
            tool=self._tool(),
            thinks=effort != "none" and bool(effort or summary),
            after=user_text(_chat_of(before)) if before else "",
            at_once=self.background is True and not self.stream,
            x_simulate=self.x_simulate,
        )

    def _schema(self) -> Any:
        wanted = (self.text or {}).get("format") or {}
        if wanted.get("type") not in ("json_object", "json_schema"):
            return None
        return wanted.get("schema", ANY_JSON)

    def _tool(self) -> Tool | None:
        functions = [tool for tool in self.tools or () if tool.get("type") == "function"]
        if isinstance(choice := self.tool_choice, dict):
            return Tool.chosen(functions, "parameters", choice.get("name", ""))
        return Tool.chosen(functions, "parameters") if choice == "required" else None


@dataclass(slots=True)
class _Kept:
    """A stored response, and what it was made of."""

    response: dict[str, Any]
    input: list[dict[str, Any]]
    before: list[dict[str, Any]]
    queued: bool
    """Nobody has looked since it was asked for."""

    @property
    def conversation(self) -> list[dict[str, Any]]:
        return [*self.before, *self.input, *self.response["output"]]


def responses_api() -> Api:
    kept = _Responses()
    one = f"{_PATH}/{{id}}"
    return Api(
        path=_PATH,
        read=kept.read,
        broken=lambda said: event(
            "error",
            sequence_number=said,
            code="server_error",
            message=_FAILED["message"],
            param=None,
        ),
        others=(
            Route("GET", one, kept.get),
            Route("DELETE", one, kept.delete),
            Route("POST", f"{one}/cancel", kept.cancel),
            Route("GET", f"{one}/input_items", kept.input_items),
        ),
    )


class _Responses:
    """The latest, by id."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def read(self, raw: bytes) -> Call:
        fields = msgspec.json.decode(raw)
        body = msgspec.convert(fields, _Body)
        before: list[dict[str, Any]] = []
        if (previous := body.previous_response_id) is not None:
            if previous not in self._kept:
                said = f"Previous response with id '{previous}' not found."
                raise RefusedError(400, said, "previous_response_not_found", "previous_response_id")
            before = self._kept[previous].conversation
        asked = body.asked(before)

        def whole(answer: Answer) -> dict[str, Any]:
            response = _response(fields, body, answer)
            if body.store is not False:
                self._keep(_Kept(response, _identified(body.items), before, asked.at_once))
            return unfinished(response, "queued") if asked.at_once else response

        return Call(asked, whole, lambda answer: events_of(whole(answer)))

    async def get(self, request: web.Request) -> dict[str, Any]:
        kept = self._find(request)
        kept.queued = False
        return kept.response

    async def delete(self, request: web.Request) -> dict[str, Any]:
        name = self._find(request).response["id"]
        del self._kept[name]
        return {"id": name, "object": "response.deleted", "deleted": True}

    async def cancel(self, request: web.Request) -> dict[str, Any]:
        kept = self._find(request)
        if not kept.response["background"]:
            raise RefusedError(400, "Cannot cancel a synchronous response.")
        if kept.queued:
            kept.queued = False
            kept.response = unfinished(kept.response, "cancelled")
        return kept.response

    async def input_items(self, request: web.Request) -> dict[str, Any]:
        """The latest first, unless asked otherwise."""
        items = self._find(request).input[:: 1 if request.query.get("order") == "asc" else -1]
        names = [item["id"] for item in items]
        if (after := request.query.get("after")) in names:
            items = items[names.index(after) + 1 :]
        limit = request.query.get("limit", "20")
        page = items[: int(limit) if limit.isdecimal() else 20]
        return {
            "object": "list",
            "data": page,
            "first_id": page[0]["id"] if page else None,
            "last_id": page[-1]["id"] if page else None,
            "has_more": len(page) < len(items),
        }

    def _keep(self, kept: _Kept) -> None:
        self._kept[kept.response["id"]] = kept
        if len(self._kept) > _MOST_KEPT:
            del self._kept[next(iter(self._kept))]

    def _find(self, request: web.Request) -> _Kept:
        name = request.match_info["id"]
        if name not in self._kept:
            raise RefusedError(404, f"Response with id '{name}' not found.")
        return self._kept[name]


def _response(fields: dict[str, Any], body: _Body, answer: Answer) -> dict[str, Any]:
    said = answer.choices[0]
    now = int(time.time())
    status, reason = "completed", _INCOMPLETE.get(said.reason)
    if reason is not None:
        status = "incomplete"
    elif said.reason == "failed":
        status = "failed"
    given = {name: value for name, value in fields.items() if value is not None}
    return {
        "id": new_id("resp_"),
        "object": "response",
        "created_at": now,
        "completed_at": now if status == "completed" else None,
        "status": status,
        "error": _FAILED if status == "failed" else None,
        "incomplete_details": None if reason is None else {"reason": reason},
        "model": body.model,
        "output": [] if status == "failed" else _output(body, said, status),
        **{name: given.get(name, default) for name, default in _ECHOED.items()},
        "reasoning": body.effort,
        "service_tier": "default",
        "text": {"format": {"type": "text"}, "verbosity": "medium", **(body.text or {})},
        "usage": _usage(answer, said) if answer.tells_usage else None,
    }


def _output(body: _Body, said: Said, status: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    if said.thought:
        summary = [{"type": "summary_text", "text": said.thought}] if body.effort["summary"] else []
        thought = {"id": new_id("rs_"), "type": "reasoning", "summary": summary}
        if "reasoning.encrypted_content" in (body.include or ()):
            thought["encrypted_content"] = new_id("gAAAA")
        items.append(thought)
    for at, (name, arguments) in enumerate(said.calls):
        made = {"call_id": f"call_simulated_{at}", "name": name, "arguments": arguments}
        call = {"id": new_id("fc_"), "type": "function_call", "status": status, **made}
        items.append(call)
    if not said.calls:
        part: dict[str, Any] = {
            "type": "output_text",
            "text": said.text,
            "annotations": [],
            "logprobs": [],
        }
        if said.refusal is not None:
            part = {"type": "refusal", "refusal": said.refusal}
        message = {"id": new_id("msg_"), "type": "message", "role": "assistant", "status": status}
        items.append({**message, "content": [part]})
    return items


def _usage(answer: Answer, said: Said) -> dict[str, Any]:
    thought = len(tokens_of(said.thought))
    return {
        "input_tokens": answer.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": said.tokens + thought,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": answer.prompt_tokens + said.tokens + thought,
    }


def _identified(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Input items as they are listed later."""
    listed = []
    for item in items:
        given = {"id": new_id("msg_"), "type": "message", "status": "completed", **item}
        if given["type"] == "message" and isinstance(item.get("content"), str):
            given["content"] = [{"type": "input_text", "text": item["content"]}]
        listed.append(given)
    return listed


def _chat_of(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items as a chat's messages."""
    chat: list[dict[str, Any]] = []
    for item in items:
        kind = item.get("type", "message")
        if kind == "message":
            chat.append({"role": item.get("role"), "content": item.get("content")})
        elif kind == "function_call":
            function = {"name": item.get("name"), "arguments": item.get("arguments")}
            call = {"id": item.get("call_id"), "type": "function", "function": function}
            if chat and "tool_calls" in chat[-1]:
                chat[-1]["tool_calls"].append(call)
            else:
                chat.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif kind == "function_call_output":
            told = {"tool_call_id": item.get("call_id"), "content": item.get("output")}
            chat.append({"role": "tool", **told})
    return chat
