"""A request for a completion: what of it is prompt, conversation and parameters. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from semcache_async.serve.apis.api import Api, Forced, Request
from semcache_async.serve.apis.reading import are_messages, begun, is_known, is_number, limit_of
from semcache_async.serve.bypass import Bypass

__all__ = ["read_chat", "read_text"]


def read_chat(body: dict[str, Any], api: Api) -> Request:
    """Raises ``Invalid`` where it cannot be told whether a stream is wanted."""
    request = begun(body, api)
    body = request.body
    if not is_known(body) or not _is_known(body) or not are_messages(body.get("messages")):
        return msgspec.structs.replace(request, reason=Bypass.SHAPE)
    wants_json, schema = _format(body.get("response_format") or {})
    return msgspec.structs.replace(
        _filled(request),
        messages=body["messages"],
        reason=Bypass.WEB_SEARCH if body.get("web_search_options") is not None else None,
        offered=tuple(_name_of(one) for one in _offered(body)),
        speech="audio" in (body.get("modalities") or ()) or bool(body.get("audio")),
        forced=_forced(body),
        wants_json=wants_json,
        schema=schema,
    )


def read_text(body: dict[str, Any], api: Api) -> Request:
    """A request for the completion of a text. Raises as ``read_chat`` does."""
    request = begun(body, api)
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        (prompt,) = prompt
    if not is_known(body) or not _is_known(body) or not isinstance(prompt, str):
        return msgspec.structs.replace(request, reason=Bypass.SHAPE)
    return msgspec.structs.replace(
        _filled(request),
        messages=[{"role": "user", "content": prompt}],
        echo=bool(body.get("echo")),
    )


def _filled(request: Request) -> Request:
    """With what both kinds of completions have."""
    body = request.body
    return msgspec.structs.replace(request, limit=limit_of(body), several=(body.get("n") or 1) > 1)


def _is_known(body: dict[str, Any]) -> bool:
    if not is_number(body.get("n")):
        return False
    if not isinstance(body.get("response_format"), dict | None):
        return False
    lists = (body.get(name) for name in ("tools", "functions", "modalities"))
    return all(isinstance(value, list | None) for value in lists)


def _offered(body: dict[str, Any]) -> list[Any]:
    """The functions; None for a tool that is none."""
    tools = body.get("tools") or ()
    wrapped = [tool.get("function") if isinstance(tool, dict) else None for tool in tools]
    return [*wrapped, *(body.get("functions") or ())]


def _name_of(function: Any) -> str:
    name = function.get("name") if isinstance(function, dict) else None
    return name if isinstance(name, str) else ""


def _forced(body: dict[str, Any]) -> Forced | None:
    offered = [one for one in _offered(body) if isinstance(one, dict)]
    choice = body.get("tool_choice") or body.get("function_call")
    if choice in ("required", "any"):
        name = offered[0].get("name") if len(offered) == 1 else None
    else:
        function = choice.get("function", choice) if isinstance(choice, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
    found = [one for one in offered if one.get("name") == name]
    if not isinstance(name, str) or len(found) != 1:
        return None
    return Forced(name, found[0].get("parameters"))


def _format(asked: dict[str, Any]) -> tuple[bool, Any]:
    """Is JSON wanted, and what has it to fit? OpenAI's form, llama.cpp's and TGI's."""
    kind, given = asked.get("type"), asked.get("json_schema")
    if kind not in ("json", "json_object", "json_schema"):
        return False, None
    schema = given.get("schema") if isinstance(given, dict) else None
    return True, schema or asked.get("schema") or asked.get("value")
