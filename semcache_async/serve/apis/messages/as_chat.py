"""A request for a message as one for a chat completion. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semcache_async.serve.apis.api import Request
from semcache_async.serve.apis.messages.canonical import format_of
from semcache_async.serve.bypass import Bypass
from semcache_async.serve.errors import Invalid

__all__ = ["as_chat"]

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_TRANSLATED = frozenset(
    {
        *("messages", "system", "stop_sequences", "metadata", "tools", "tool_choice"),
        *("output_config", "output_format"),
    }
)
_DROPPED = frozenset(
    {
        *("cache_control", "thinking", "context_management", "service_tier", "speed"),
        *("inference_geo", "diagnostics", "user_profile_id"),
    }
)
"""How the answer is to come about, which a chat cannot say and is answered without."""
_OF_A_FUNCTION = {
    "name": "name",
    "description": "description",
    "input_schema": "parameters",
    "strict": "strict",
}


def as_chat(request: Request) -> dict[str, Any]:
    """Fields that are not known here stay as they are. Raises ``Invalid`` for what a chat cannot
    say."""
    body = request.body
    if request.reason is Bypass.SHAPE:
        raise _cannot("a request of a shape that is not known here", None)
    for name in ("container", "mcp_servers"):
        if body.get(name):
            raise _cannot(f"'{name}'", name)
    left_out = _TRANSLATED | _DROPPED
    made = {name: value for name, value in body.items() if name not in left_out}
    made["messages"] = [_message(message) for message in request.messages]
    if stop := body.get("stop_sequences"):
        made["stop"] = stop
    if isinstance(user := (body.get("metadata") or {}).get("user_id"), str):
        made["user"] = user
    if tools := body.get("tools"):
        made["tools"] = [_function(at, tool) for at, tool in enumerate(tools)]
        made |= _choice(body.get("tool_choice") or {})
    if request.wants_json:
        given = {"name": "answer", "schema": format_of(body).get("schema")}
        made["response_format"] = {"type": "json_schema", "json_schema": given}
    return made


def _function(at: int, tool: Any) -> dict[str, Any]:
    kind = tool.get("type") if isinstance(tool, dict) else ""
    if kind not in (None, "custom"):
        raise _cannot(f"a tool of the upstream's own ({kind!r})", f"tools[{at}].type")
    named = {ours: tool[theirs] for theirs, ours in _OF_A_FUNCTION.items() if theirs in tool}
    return {"type": "function", "function": named}


def _choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    kind, made = choice.get("type"), dict[str, Any]()
    if kind == "tool":
        made["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif isinstance(kind, str) and kind in _CHOICES:
        made["tool_choice"] = _CHOICES[kind]
    elif kind is not None:
        raise _cannot(f"the choice {kind!r}", "tool_choice.type")
    if choice.get("disable_parallel_tool_use") is True:
        made["parallel_tool_calls"] = False
    return made


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    role, content = message["role"], message["content"]
    parts = content if isinstance(content, str) else [_part(block) for block in content]
    if not isinstance(parts, str) and all(part["type"] == "text" for part in parts):
        parts = "\n".join(part["text"] for part in parts)
    if role == "tool":
        if not isinstance(parts, str):
            raise _cannot("a tool's result that is no text", "messages")
        return {"role": role, "tool_call_id": message["tool_call_id"], "content": parts}
    if "tool_calls" in message:
        return {"role": role, "content": parts or None, "tool_calls": message["tool_calls"]}
    return {"role": role, "content": parts}


def _part(block: Mapping[str, Any]) -> dict[str, Any]:
    kind, source = block["type"], block.get("source")
    if kind == "text":
        return {"type": "text", "text": block["text"]}
    given = source if isinstance(source, dict) else {}
    by, data = given.get("type"), given.get("data")
    if kind == "document" and by == "text" and isinstance(data, str):
        return {"type": "text", "text": data}
    url = f"data:{given.get('media_type')};base64,{data}" if by == "base64" else given.get("url")
    if kind == "image" and by in ("base64", "url"):
        return {"type": "image_url", "image_url": {"url": url}}
    raise _cannot(f"a block {kind!r}" + (f" by {by!r}" if by else ""), "messages")


def _cannot(what: str, param: str | None) -> Invalid:
    return Invalid(
        f"The upstream answers chat completions only, which cannot say {what}.",
        param=param,
        code="not_in_chat",
    )
