"""What requests of every API have.

What values and shapes a model takes is for the upstream to say: a request of a shape that is not
known here goes there as it is, and past the cache.
"""

from __future__ import annotations

from typing import Any

from semcache_async.serve.apis.api import Api, Request
from semcache_async.serve.errors import Invalid

__all__ = ["are_messages", "begun", "is_known", "is_number"]


def begun(body: dict[str, Any], api: Api) -> Request:
    """What a request of any API has."""
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise Invalid(
            "Invalid type for 'stream': expected a boolean.", param="stream", code="invalid_type"
        )
    cache = body.get("cache")
    if "cache" in body and isinstance(cache, dict | None):
        body = {name: value for name, value in body.items() if name != "cache"}
    options = body.get("stream_options")
    model, temperature = body.get("model"), body.get("temperature")
    return Request(
        api=api,
        body=body,
        cache=cache if isinstance(cache, dict) else {},
        stream=bool(stream),
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        model=model if isinstance(model, str) else "",
        temperature=temperature if isinstance(temperature, int | float) else None,
        user=str(body.get("user")),
        refers=body.get("container") is not None or _names_files(body),
    )


def _names_files(body: dict[str, Any]) -> bool:
    """Does a message have a file that the upstream keeps, by its id?"""
    for name in ("messages", "input"):
        turns = body.get(name)
        for turn in turns if isinstance(turns, list) else ():
            if isinstance(turn, dict) and _has_files(turn.get("content")):
                return True
    return False


def _has_files(parts: object) -> bool:
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, dict):
            places = (part, part.get("file"), part.get("source"))
            if any("file_id" in place for place in places if isinstance(place, dict)):
                return True
            if _has_files(part.get("content")):  # a tool's result
                return True
    return False


def is_known(body: dict[str, Any]) -> bool:
    """Are the fields that every API has of a known shape?"""
    model = body.get("model")
    return isinstance(model, str) and bool(model.strip()) and is_number(body.get("temperature"))


def is_number(value: Any) -> bool:
    """Or none at all."""
    return isinstance(value, int | float | None) and not isinstance(value, bool)


def are_messages(messages: object) -> bool:
    """Are they messages of a chat in a known shape?"""
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
