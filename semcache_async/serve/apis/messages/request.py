"""A request for a message: what of it is prompt, conversation and parameters. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from semcache_async.serve.apis.api import Api, Forced, Request
from semcache_async.serve.apis.messages.canonical import format_of, without_marks
from semcache_async.serve.apis.reading import begun, is_known, limit_of
from semcache_async.serve.bypass import Bypass

__all__ = ["THOUGHTS", "read"]

THOUGHTS = ("thinking", "redacted_thinking")
"""Blocks of what the model thought."""
_SHAPES: dict[str, Any] = {
    "system": str | list,
    "tools": list,
    "tool_choice": dict,
    "metadata": dict,
    "output_config": dict,
    "output_format": dict,
}
_NAMES = {"text": ("text",), "tool_use": ("id", "name"), "tool_result": ("tool_use_id",)}
"""The texts that a block has to have."""
_CALL = {"type", "id", "name", "input"}
_SEARCHES = ("web_search", "web_fetch")
_KEPT = ("code_execution", "mcp_")


def read(body: dict[str, Any], api: Api) -> Request:
    """Raises ``Invalid`` where it cannot be told whether a stream is wanted."""
    request = begun(body, api)
    body = request.body
    if not is_known(body) or not _is_known(body):
        return msgspec.structs.replace(request, reason=Bypass.SHAPE)
    asked = format_of(body)
    tools = [tool if isinstance(tool, dict) else {} for tool in body.get("tools") or ()]
    names = [tool.get("name") for tool in tools]
    return msgspec.structs.replace(
        request,
        messages=_chat_of(body),
        reason=_reason(body, tools),
        limit=limit_of(body),
        offered=tuple(name if isinstance(name, str) else "" for name in names),
        forced=_forced(body.get("tool_choice") or {}, tools),
        wants_json=asked.get("type") == "json_schema",
        schema=asked.get("schema"),
        user=str((body.get("metadata") or {}).get("user_id")),
    )


def _is_known(body: Mapping[str, Any]) -> bool:
    if not all(isinstance(body.get(name), kind | None) for name, kind in _SHAPES.items()):
        return False
    if not isinstance(format_of(body), dict):
        return False
    system, messages = body.get("system"), body.get("messages")
    if system is not None and not _is_content(system):
        return False
    return isinstance(messages, list) and bool(messages) and all(map(_is_message, messages))


def _is_message(message: object) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return False
    return _is_content(message.get("content"))


def _is_content(content: object) -> bool:
    return isinstance(content, str) or (isinstance(content, list) and all(map(_is_block, content)))


def _is_block(block: object) -> bool:
    if not isinstance(block, dict) or not isinstance(kind := block.get("type"), str):
        return False
    if not all(isinstance(block.get(name), str) for name in _NAMES.get(kind, ())):
        return False
    if kind == "tool_result":
        return block.get("content") is None or _is_content(block["content"])
    return kind != "tool_use" or isinstance(block.get("input"), dict)


def _reason(body: Mapping[str, Any], tools: list[dict[str, Any]]) -> Bypass | None:
    if body.get("container") is not None or body.get("mcp_servers"):
        return Bypass.STATE
    kinds = [str(tool.get("type")) for tool in tools]
    if any(kind.startswith(_KEPT) for kind in kinds):
        return Bypass.STATE
    return Bypass.WEB_SEARCH if any(kind.startswith(_SEARCHES) for kind in kinds) else None


def _forced(choice: Mapping[str, Any], tools: list[dict[str, Any]]) -> Forced | None:
    name = choice.get("name") if choice.get("type") == "tool" else None
    if choice.get("type") == "any" and len(tools) == 1:
        name = tools[0].get("name")
    found = [tool for tool in tools if tool.get("name") == name]
    if not isinstance(name, str) or len(found) != 1:
        return None
    return Forced(name, found[0].get("input_schema"))


def _chat_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Its messages in a chat's form, with all that may tell requests apart."""
    chat: list[dict[str, Any]] = []
    if system := body.get("system"):
        chat.append({"role": "system", "content": _content(system)})
    for message in body["messages"]:
        chat += _turns(message)
    return chat


def _turns(message: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What comes of one message: the results of tools are messages of their own."""
    content = message["content"]
    if isinstance(content, str):
        yield message
    elif message["role"] == "assistant":
        yield _said(message)
    else:
        blocks: list[dict[str, Any]] = []
        for block in content:
            if block["type"] != "tool_result":
                blocks.append(without_marks(block))
                continue
            if blocks:
                yield {**message, "content": blocks}
                blocks = []
            yield _result(message, block)
        if blocks or not content:
            yield {**message, "content": blocks}


def _said(message: dict[str, Any]) -> dict[str, Any]:
    """What the model said before. ``blocks`` are there where a chat's form does not tell all."""
    blocks = [without_marks(block) for block in message["content"]]
    calls = [block for block in blocks if block["type"] == "tool_use"]
    others = [block for block in blocks if block["type"] not in ("tool_use", *THOUGHTS)]
    said = {**message, "content": others}
    if calls:
        said["tool_calls"] = [_call(block) for block in calls]
    if blocks != [*others, *calls] or any(block.keys() != _CALL for block in calls):
        said["blocks"] = blocks
    return said


def _call(block: dict[str, Any]) -> dict[str, Any]:
    arguments = msgspec.json.encode(block["input"]).decode()
    function = {"name": block["name"], "arguments": arguments}
    return {"id": block["id"], "type": "function", "function": function}


def _result(message: dict[str, Any], block: dict[str, Any]) -> dict[str, Any]:
    told = without_marks(block)
    del told["type"]
    made = {**message, "role": "tool", "tool_call_id": told.pop("tool_use_id")}
    return {**made, **told, "content": _content(told.get("content") or "")}


def _content(content: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    return content if isinstance(content, str) else [without_marks(block) for block in content]
