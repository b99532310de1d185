"""What responses and their events say, out of their form and into it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from semcache_async.serve.apis.api import (
    NO_USAGE,
    UNREADABLE,
    Began,
    Call,
    Choice,
    Delta,
    Ended,
    Part,
    Said,
    Usage,
    ended_as,
)

__all__ = [
    "ENDS",
    "begun_response",
    "call_of",
    "deltas_of",
    "ended_response",
    "message_of",
    "response_of",
    "said_in",
    "usage_in",
]

ENDS = ("response.completed", "response.incomplete", "response.failed")
"""Events after which nothing comes."""
_CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why a response is incomplete, by chats' words."""
_UNKNOWN = Call("", "")


class _Tokens(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0


class _Response(msgspec.Struct):
    usage: _Tokens | None = None


class _Told(_Response):
    response: _Response | None = None


_told = msgspec.json.Decoder(_Told).decode


def usage_in(data: bytes | str) -> Usage:
    """What a response, or the one in an event, says was used; nothing where it does not say."""
    try:
        told = _told(data)
    except UNREADABLE:
        return NO_USAGE
    return _used(told.usage or (told.response and told.response.usage) or None)


def said_in(response: Mapping[str, Any]) -> Said | None:
    """None for a response of a strange shape. Items that are neither messages, thoughts nor calls
    of functions count as calls that cannot be read."""
    output, model = response.get("output"), response.get("model")
    if not isinstance(output, list) or not all(isinstance(item, dict) for item in output):
        return None
    texts: list[Any] = []
    calls: list[Call] = []
    refused = False
    for item in output:
        kind = item.get("type")
        if kind == "message":
            parts = item.get("content")
            if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
                return None
            refused = refused or any(part.get("type") == "refusal" for part in parts)
            texts += (part.get("text") for part in parts if part.get("type") == "output_text")
        elif kind != "reasoning":
            calls.append(_called(item) if kind == "function_call" else _UNKNOWN)
    if not all(isinstance(text, str) for text in texts):
        return None
    finish = _finish(response, calls)
    choice = Choice(finish, "".join(texts) if texts else None, tuple(calls), refused)
    try:
        used = msgspec.convert(response.get("usage"), _Tokens | None)
    except msgspec.ValidationError:
        used = None
    return Said(model if isinstance(model, str) else "", (choice,), _used(used))


def _finish(response: Mapping[str, Any], calls: Sequence[Call]) -> str:
    if response.get("status") == "completed":
        return "tool_calls" if calls else "completed"
    details = response.get("incomplete_details")
    why = details.get("reason") if isinstance(details, dict) else None
    return str(why or response.get("status"))


def _called(item: Mapping[str, Any]) -> Call:
    name, arguments = item.get("name"), item.get("arguments")
    if isinstance(name, str) and isinstance(arguments, str):
        return Call(name, arguments, str(item.get("call_id") or ""))
    return _UNKNOWN


def _used(told: _Tokens | None) -> Usage:
    return Usage(told.input_tokens, told.output_tokens) if told else NO_USAGE


# -- of streams


def deltas_of(event: Mapping[str, Any]) -> Sequence[Delta]:
    """What an event says; nothing where it is of a strange shape."""
    try:
        return list(_deltas(event))
    except (AttributeError, KeyError, TypeError):
        return ()


def _deltas(event: Mapping[str, Any]) -> Iterator[Delta]:
    kind = event.get("type")
    if kind == "response.created":
        yield Began(str(event["response"].get("model") or ""))
    elif kind == "response.output_text.delta":
        yield Part(event["delta"])
    elif kind == "response.output_item.added" and event["item"].get("type") == "function_call":
        call = event["item"]
        yield Part("", event["output_index"], call["name"], call["call_id"])
    elif kind == "response.function_call_arguments.delta":
        yield Part(event["delta"], event["output_index"])
    elif kind in ENDS and (said := said_in(event["response"])):
        yield Ended(said.choices[0].finish, said.usage)


# -- into it


def response_of(said: Said) -> dict[str, Any]:
    """The response that says so. The upstream keeps none such."""
    choice = said.choices[0]
    output = [] if choice.text is None else [message_of(choice.text)]
    output += map(call_of, choice.calls)
    return ended_response(begun_response(said.model), choice.finish, output, said.usage)


def begun_response(model: str) -> dict[str, Any]:
    """One that says nothing yet."""
    return {
        "id": _new_id("resp_"),
        "object": "response",
        "created_at": int(time.time()),
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": model,
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "store": False,
        "temperature": None,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "truncation": "disabled",
        "usage": None,
    }


def ended_response(
    response: Mapping[str, Any], finish: str, output: list[dict[str, Any]], usage: Usage
) -> dict[str, Any]:
    """The same at its end. ``finish``: in any API's word."""
    cut = _CUT.get(ended_as(finish))
    asked, said = usage.prompt_tokens, usage.completion_tokens
    return {
        **response,
        "status": "incomplete" if cut else "completed",
        "incomplete_details": {"reason": cut} if cut else None,
        "output": output,
        "usage": {
            "input_tokens": asked,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": said,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked + said,
        },
    }


def message_of(text: str) -> dict[str, Any]:
    return {
        "id": _new_id("msg_"),
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }


def call_of(call: Call) -> dict[str, Any]:
    return {
        "id": _new_id("fc_"),
        "type": "function_call",
        "status": "completed",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def _new_id(beginning: str) -> str:
    return f"{beginning}{random.getrandbits(192):048x}"
