"""What requests of every API have.

What values and shapes a model takes is for the upstream to say: a request of a shape that is not
known here goes there as it is, and past the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from semcache_async.serve.apis.api import Api, Request
from semcache_async.serve.errors import Invalid

__all__ = ["are_messages", "begun", "is_known", "is_number", "limit_of", "names_kept"]

_LIMITS = ("max_completion_tokens", "max_tokens", "max_output_tokens")

_IDS = ("file_id", "file_ids", "container_id")
_PLACES = frozenset(
    {
        *("content", "output", "source", "file", "tools"),
        *("container", "environment", "input_image_mask"),
    }
)
"""Where ids may be within messages, items and tools; what a function is called with is none."""


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
        refers=names_kept(body),
    )


def names_kept(body: Mapping[str, Any]) -> bool:
    """Does a request name by its id a file, a container or a sound that the upstream keeps?"""
    if body.get("container") is not None:
        return True
    return any(_has_ids(body.get(name)) for name in ("messages", "input", "tools"))


def _has_ids(value: object) -> bool:
    if isinstance(value, list):
        return any(map(_has_ids, value))
    if not isinstance(value, dict):
        return False
    sound = value.get("audio")
    if any(value.get(name) for name in _IDS) or isinstance(value.get("container"), str):
        return True
    if isinstance(sound, dict) and sound.get("id"):
        return True
    return any(_has_ids(value[name]) for name in _PLACES & value.keys())


def is_known(body: dict[str, Any]) -> bool:
    """Are the fields that every API has of a known shape?"""
    model = body.get("model")
    numbers = (body.get(name) for name in ("temperature", *_LIMITS))
    return isinstance(model, str) and bool(model.strip()) and all(map(is_number, numbers))


def limit_of(body: Mapping[str, Any]) -> int | None:
    """Of the answer's tokens, in a known shape."""
    given = (body.get(name) for name in _LIMITS)
    return next((int(limit) for limit in given if limit is not None), None)


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
