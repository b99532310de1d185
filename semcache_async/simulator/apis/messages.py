"""Anthropic's messages."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from semcache_async.simulator.answer import Answer, Asked, Said, Tool, answer_to, tokens_of
from semcache_async.simulator.apis.api import Api, Call, RefusedError, Route, event, new_id
from semcache_async.simulator.faults import NO_FAULTS

__all__ = ["messages_api"]

_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
"""By chats' words."""
_ERRORS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_FORCED = ("any", "tool")


class _Counted(msgspec.Struct, kw_only=True, gc=False):
    """What has tokens."""

    model: str
    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    system: str | list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    output_format: dict[str, Any] | None = None
    """Where ``output_config.format`` was before."""

    def asked(self) -> Asked:
        choice = self.tool_choice or {}
        forced = choice.get("type") in _FORCED
        wanted = (self.output_config or {}).get("format") or self.output_format or {}
        return Asked(
            model=self.model,
            messages=_chat_of(self.system, self.messages),
            schema=wanted.get("schema") if wanted.get("type") == "json_schema" else None,
            tool=Tool.chosen(self.tools or (), "input_schema", choice.get("name"))
            if forced
            else None,
            thinks=(self.thinking or {}).get("type") in ("enabled", "adaptive"),
        )


class _Body(_Counted, kw_only=True, gc=False):
    max_tokens: Annotated[int, Meta(ge=1)]
    stop_sequences: list[str] | None = None
    stream: bool | None = None
    x_simulate: str = ""

    def asked(self) -> Asked:
        asked = super().asked()
        asked.limit, asked.stops = self.max_tokens, self.stop_sequences or ()
        asked.stream, asked.x_simulate = self.stream is True, self.x_simulate
        return asked


_decode = msgspec.json.Decoder(_Body).decode
_decode_counted = msgspec.json.Decoder(_Counted).decode


def messages_api() -> Api:
    return Api(
        path="/v1/messages",
        read=_read,
        error=_error,
        broken=lambda _: event(
            "error", error={"type": "overloaded_error", "message": "Overloaded"}
        ),
        id_header="request-id",
        key_header="x-api-key",
        others=(Route("POST", "/v1/messages/count_tokens", _count),),
    )


def _read(raw: bytes) -> Call:
    body = _decode(raw)
    return Call(body.asked(), partial(_message, body), partial(_events, body))


async def _count(request: web.Request) -> dict[str, Any]:
    asked = _decode_counted(await request.read()).asked()
    return {"input_tokens": answer_to(asked, NO_FAULTS, 0).prompt_tokens}


def _error(refused: RefusedError, request_id: str) -> dict[str, Any]:
    other = "api_error" if refused.status >= 500 else "invalid_request_error"
    error = {"type": _ERRORS.get(refused.status, other), "message": str(refused)}
    return {"type": "error", "error": error, "request_id": request_id}


def _message(body: _Body, answer: Answer) -> dict[str, Any]:
    said = answer.choices[0]
    message: dict[str, Any] = {
        "id": new_id("msg_01"),
        "type": "message",
        "role": "assistant",
        "model": body.model,
        "content": _blocks(said),
        "stop_reason": _reason(said),
        "stop_sequence": said.stop,
    }
    if answer.tells_usage:
        message["usage"] = {
            "input_tokens": answer.prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": said.tokens + len(tokens_of(said.thought)),
            "service_tier": "standard",
        }
    return message


def _reason(said: Said) -> str:
    if said.refusal is not None:
        return "refusal"
    return "stop_sequence" if said.stop else _REASONS.get(said.reason, said.reason)


def _blocks(said: Said) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if said.thought:
        signature = hashlib.blake2b(said.thought.encode()).hexdigest()
        blocks.append({"type": "thinking", "thinking": said.thought, "signature": signature})
    if text := said.text or said.refusal:
        blocks.append({"type": "text", "text": text})
    for name, arguments in said.calls:
        given = msgspec.json.decode(arguments)
        blocks.append({"type": "tool_use", "id": new_id("toolu_01"), "name": name, "input": given})
    return blocks


def _events(body: _Body, answer: Answer) -> list[bytes]:
    message = _message(body, answer)
    usage = message.get("usage")
    begun = {**message, "content": [], "stop_reason": None, "stop_sequence": None}
    if usage is not None:
        begun["usage"] = {**usage, "output_tokens": 1}
    events = [event("message_start", message=begun), event("ping")]
    for index, block in enumerate(message["content"]):
        opened, deltas = _opened(block), _deltas(block)
        events.append(event("content_block_start", index=index, content_block=opened))
        events += [event("content_block_delta", index=index, delta=delta) for delta in deltas]
        events.append(event("content_block_stop", index=index))
    ended = {name: message[name] for name in ("stop_reason", "stop_sequence")}
    counted = {} if usage is None else {"usage": {"output_tokens": usage["output_tokens"]}}
    return [*events, event("message_delta", delta=ended, **counted), event("message_stop")]


def _opened(block: dict[str, Any]) -> dict[str, Any]:
    empty: dict[str, dict[str, Any]] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
    }
    return {**block, **empty[block["type"]]}


def _deltas(block: dict[str, Any]) -> list[dict[str, str]]:
    if block["type"] == "text":
        return [{"type": "text_delta", "text": piece} for piece in tokens_of(block["text"])]
    if block["type"] == "thinking":
        pieces = tokens_of(block["thinking"])
        thoughts = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
        return [*thoughts, {"type": "signature_delta", "signature": block["signature"]}]
    pieces = ["", *tokens_of(msgspec.json.encode(block["input"]).decode())]
    return [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]


def _chat_of(
    system: str | list[dict[str, Any]] | None, messages: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The messages as a chat's."""
    chat: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    for message in messages:
        if not isinstance(message.get("content"), list):
            chat.append(message)
            continue
        rest: list[Any] = []
        calls: list[dict[str, Any]] = []
        for block in message["content"]:
            kind = block.get("type") if isinstance(block, dict) else None
            if kind == "tool_result":
                told = {"tool_call_id": block.get("tool_use_id"), "content": block.get("content")}
                chat.append({"role": "tool", **told})
            elif kind == "tool_use":
                arguments = msgspec.json.encode(block.get("input")).decode()
                function = {"name": block.get("name"), "arguments": arguments}
                calls.append({"id": block.get("id"), "type": "function", "function": function})
            elif kind not in ("thinking", "redacted_thinking"):
                rest.append(block)
        if rest or calls:
            called = {"tool_calls": calls} if calls else {}
            chat.append({"role": message.get("role"), "content": rest or None, **called})
    return chat or [{"role": "user", "content": None}]
