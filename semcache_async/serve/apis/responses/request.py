"""A request for a response: what of it is prompt, conversation and parameters. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from semcache_async.serve.apis.api import Api, Forced, Request
from semcache_async.serve.apis.reading import are_messages, begun, is_known, limit_of
from semcache_async.serve.apis.responses.ids import unmarked
from semcache_async.serve.bypass import Bypass

__all__ = ["read_response"]

_KEPT = ("previous_response_id", "conversation")
"""Fields that name by its id what earlier calls left."""
_OUR_TOOLS = ("function", "custom")
"""Those that the caller runs, by their names."""
_TEXTS = ("input_text", "output_text")
_SAYS_NOTHING = ("id", "status")
"""Fields of an item by which nothing is said to the model."""


class _StrangeError(ValueError):
    """An item of no known shape."""


class _ElsewhereError(ValueError):
    """An item that stands for what the upstream keeps."""


def read_response(body: dict[str, Any], api: Api) -> Request:
    """Raises ``Invalid`` where it cannot be told whether a stream is wanted."""
    request = begun(body, api)
    body = unmarked(request.body)
    refers = _refers(body)
    request = msgspec.structs.replace(request, body=body, refers=refers or request.refers)
    if refers or body.get("prompt") is not None:
        return msgspec.structs.replace(request, reason=Bypass.STATE)
    if body.get("background"):
        return msgspec.structs.replace(request, reason=Bypass.BACKGROUND)
    try:
        messages = list(_messages(body))
    except _ElsewhereError:
        return msgspec.structs.replace(request, reason=Bypass.STATE)
    except _StrangeError:
        messages = []
    if not is_known(body) or not _is_known(body) or not are_messages(messages):
        return msgspec.structs.replace(request, reason=Bypass.SHAPE)
    wants_json, schema = _format(body)
    return msgspec.structs.replace(
        request,
        messages=messages,
        reason=_reason(body),
        limit=limit_of(body),
        offered=tuple(_name_of(tool) for tool in body.get("tools") or ()),
        forced=_forced(body),
        wants_json=wants_json,
        schema=schema,
    )


def _refers(body: dict[str, Any]) -> bool:
    if any(body.get(name) is not None for name in _KEPT):
        return True
    items = body.get("input")
    return isinstance(items, list) and any(map(_stands_for_another, items))


def _stands_for_another(item: Any) -> bool:
    kind = _kind(item)
    return kind == "item_reference" or (kind == "image_generation_call" and not item.get("result"))


def _kind(item: Any) -> Any:
    """What an item is; messages and references need not say it."""
    if not isinstance(item, dict):
        return None
    if (kind := item.get("type")) is None:
        return "message" if "role" in item else "item_reference" if "id" in item else None
    return kind


def _is_known(body: dict[str, Any]) -> bool:
    text = body.get("text")
    if not isinstance(text, dict | None) or not isinstance((text or {}).get("format"), dict | None):
        return False
    return isinstance(body.get("tools"), list | None)


# -- what was said


def _messages(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """In OpenAI's form of a chat."""
    instructions, given = body.get("instructions"), body.get("input")
    if not isinstance(instructions, str | None) or not isinstance(given, str | list) or not given:
        raise _StrangeError
    if instructions:
        yield {"role": "system", "content": instructions}
    if isinstance(given, str):
        yield {"role": "user", "content": given}
        return
    for item in given:
        yield _message(item)


def _message(item: Any) -> dict[str, Any]:
    kind = _kind(item)
    if not isinstance(kind, str):
        raise _StrangeError
    said = {name: value for name, value in item.items() if name not in (*_SAYS_NOTHING, "type")}
    if kind == "message":
        return {**said, "content": _content(said.get("content"))}
    if kind == "function_call":
        return {"role": "assistant", "tool_calls": [said]}
    if kind == "function_call_output":
        output = _content(said.pop("output", None))
        return {**said, "role": "tool", "content": output}
    if kind == "reasoning":  # the upstream may know it by its id alone
        return {"role": "assistant", "reasoning": {**said, "id": item.get("id")}}
    raise _ElsewhereError


def _content(content: Any) -> Any:
    return list(map(_part, content)) if isinstance(content, list) else content


def _part(part: Any) -> Any:
    if not isinstance(part, dict) or part.get("type") not in _TEXTS:
        return part
    told = {name: value for name, value in part.items() if value is not None and value != []}
    told.pop("prompt_cache_breakpoint", None)
    return {**told, "type": "text"}


# -- what is wanted


def _reason(body: dict[str, Any]) -> Bypass | None:
    """Tools that the upstream runs make an answer depend on more than the request."""
    kinds = [tool.get("type") for tool in body.get("tools") or () if isinstance(tool, dict)]
    others = [str(kind) for kind in kinds if kind not in _OUR_TOOLS]
    if any(kind.startswith("web_search") for kind in others):
        return Bypass.WEB_SEARCH
    return Bypass.TOOLS if others else None


def _name_of(tool: Any) -> str:
    name = tool.get("name") if isinstance(tool, dict) else None
    return name if isinstance(name, str) else ""


def _forced(body: dict[str, Any]) -> Forced | None:
    tools: list[Any] = body.get("tools") or []
    choice = body.get("tool_choice")
    if choice == "required" and len(tools) == 1:
        name = _name_of(tools[0])
    elif isinstance(choice, dict) and choice.get("type") == "function":
        name = _name_of(choice)
    else:
        return None
    found = [tool for tool in tools if _name_of(tool) == name] if name else []
    if len(found) != 1 or found[0].get("type") != "function":
        return None
    return Forced(name, found[0].get("parameters"))


def _format(body: dict[str, Any]) -> tuple[bool, Any]:
    """Is JSON wanted, and what has it to fit?"""
    asked = (body.get("text") or {}).get("format") or {}
    if asked.get("type") not in ("json_object", "json_schema"):
        return False, None
    return True, asked.get("schema")
