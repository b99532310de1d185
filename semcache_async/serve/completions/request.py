"""A request for a completion: what of it is prompt, conversation and parameters.

Pure. What values and shapes a model takes is for the upstream to say: a request of a shape that is
not known here goes there as it is, and past the cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from semcache_async.serve.errors import Invalid
from semcache_async.serve.upstream.kinds import CHAT, TEXT, Kind

__all__ = ["ChatRequest", "Forced", "read_chat", "read_text"]


class Forced(NamedTuple):
    """The one function that the answer has to call."""

    name: str
    schema: Any
    """Of its arguments, where the request gives one."""


class ChatRequest(msgspec.Struct, frozen=True, gc=False):
    """What was asked, a text as a chat of one message. ``body`` is what goes upstream: all of it
    but ``cache``."""

    body: dict[str, Any]
    cache: dict[str, Any]
    """LiteLLM's object, not yet looked into."""
    stream: bool = False
    include_usage: bool = False
    strange: bool = False
    """Of a shape that is not known here; nothing below is said then."""
    model: str = ""
    messages: list[dict[str, Any]] = []
    forced: Forced | None = None
    wants_json: bool = False
    schema: Any = None
    """What that JSON has to fit, where the request gives one."""
    kind: Kind = CHAT

    @property
    def exact(self) -> bool:
        """Is the answer for one wording alone? Arguments are for a program, and an echo repeats
        the prompt."""
        return self.forced is not None or bool(self.body.get("echo"))


def read_chat(body: dict[str, Any]) -> ChatRequest:
    """Raises ``Invalid`` where it cannot be told whether a stream is wanted."""
    request = _read(body, CHAT)
    body = request.body
    if not _is_known(body) or not _are_messages(body.get("messages")):
        return msgspec.structs.replace(request, strange=True)
    wants_json, schema = _format(body.get("response_format") or {})
    return msgspec.structs.replace(
        request,
        model=body["model"],
        messages=body["messages"],
        forced=_forced(body),
        wants_json=wants_json,
        schema=schema,
    )


def read_text(body: dict[str, Any]) -> ChatRequest:
    """A request for the completion of a text. Raises as ``read_chat`` does."""
    request = _read(body, TEXT)
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        (prompt,) = prompt
    if not _is_known(body) or not isinstance(prompt, str):
        return msgspec.structs.replace(request, strange=True)
    messages = [{"role": "user", "content": prompt}]
    return msgspec.structs.replace(request, model=body["model"], messages=messages)


def _read(body: dict[str, Any], kind: Kind) -> ChatRequest:
    """What any kind has."""
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise Invalid(
            "Invalid type for 'stream': expected a boolean.", param="stream", code="invalid_type"
        )
    cache = body.get("cache")
    if "cache" in body and isinstance(cache, dict | None):
        body = {name: value for name, value in body.items() if name != "cache"}
    options = body.get("stream_options")
    usage = isinstance(options, dict) and options.get("include_usage") is True
    cache = cache if isinstance(cache, dict) else {}
    return ChatRequest(body, cache, bool(stream), usage, kind=kind)


def _is_known(body: dict[str, Any]) -> bool:
    model = body.get("model")
    if not isinstance(model, str) or not model.strip():
        return False
    numbers = [body.get(name) for name in ("temperature", "n")]
    if any(isinstance(one, bool) or not isinstance(one, int | float | None) for one in numbers):
        return False
    if not isinstance(body.get("response_format"), dict | None):
        return False
    lists = (body.get(name) for name in ("tools", "functions", "modalities"))
    return all(isinstance(value, list | None) for value in lists)


def _are_messages(messages: object) -> bool:
    return isinstance(messages, list) and bool(messages) and all(map(_is_message, messages))


def _is_message(message: object) -> bool:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        return False
    content = message.get("content")
    if isinstance(content, list):
        return all(map(_is_part, content))
    return isinstance(content, str | None)


def _is_part(part: object) -> bool:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        return False
    return part["type"] != "text" or isinstance(part.get("text"), str)


def _forced(body: dict[str, Any]) -> Forced | None:
    wrapped = [tool.get("function") for tool in body.get("tools") or () if isinstance(tool, dict)]
    offered = [one for one in (*wrapped, *(body.get("functions") or ())) if isinstance(one, dict)]
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
