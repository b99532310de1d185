"""A chat completions request: is it one, and what of it is prompt, conversation and parameters.

Pure. Only shapes are checked, in OpenAI's wording: what values a model takes is for the upstream
to say.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import msgspec

from semcache_async.serve.errors import Invalid

__all__ = ["ChatRequest", "read_chat"]

ROLES = ("system", "developer", "user", "assistant", "tool", "function")

NOT_OF_THE_ANSWER = frozenset(
    {
        *("messages", "model", "temperature", "stream", "stream_options", "user", "metadata"),
        *("store", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
        *("service_tier", "cache"),
    }
)
"""Fields that have their own place, or no influence on what is answered."""

_KINDS: dict[str, tuple[str, tuple[type, ...]]] = {
    "stream": ("a boolean", (bool,)),
    "stream_options": ("an object", (dict,)),
    "temperature": ("a decimal", (int, float)),
    "top_p": ("a decimal", (int, float)),
    "presence_penalty": ("a decimal", (int, float)),
    "frequency_penalty": ("a decimal", (int, float)),
    "n": ("an integer", (int,)),
    "seed": ("an integer", (int,)),
    "max_tokens": ("an integer", (int,)),
    "max_completion_tokens": ("an integer", (int,)),
    "top_logprobs": ("an integer", (int,)),
    "logprobs": ("a boolean", (bool,)),
    "parallel_tool_calls": ("a boolean", (bool,)),
    "store": ("a boolean", (bool,)),
    "stop": ("a string or an array of strings", (str, list)),
    "tools": ("an array of objects", (list,)),
    "functions": ("an array of objects", (list,)),
    "modalities": ("an array of strings", (list,)),
    "tool_choice": ("a string or an object", (str, dict)),
    "function_call": ("a string or an object", (str, dict)),
    "response_format": ("an object", (dict,)),
    "logit_bias": ("an object", (dict,)),
    "metadata": ("an object", (dict,)),
    "audio": ("an object", (dict,)),
    "user": ("a string", (str,)),
    "reasoning_effort": ("a string", (str,)),
    "cache": ("an object", (dict,)),
}
_NAMES: dict[type, str] = {
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    str: "a string",
    dict: "an object",
    list: "an array",
    type(None): "null",
}


class ChatRequest(msgspec.Struct, frozen=True, gc=False):
    """What was asked, checked. ``body`` is what goes upstream: all of it but ``cache``."""

    body: dict[str, Any]
    model: str
    messages: list[dict[str, Any]]
    cache: dict[str, Any]
    """LiteLLM's object, not yet looked into."""
    stream: bool
    include_usage: bool

    @property
    def parameters(self) -> Iterator[tuple[str, Any]]:
        """Every other field that may influence the answer; null is the same as none."""
        for name, value in self.body.items():
            if value is not None and name not in NOT_OF_THE_ANSWER:
                yield name, value


def read_chat(body: dict[str, Any]) -> ChatRequest:
    """Raises ``Invalid`` for what is no chat completions request."""
    model = body.get("model")
    if model is None:
        _missing("model")
    if not isinstance(model, str):
        _wrong_type("model", "a string", model)
    if not model.strip():
        raise Invalid("Invalid 'model': empty string.", param="model", code="invalid_value")
    for name, (expected, kinds) in _KINDS.items():
        value = body.get(name)
        if value is not None and type(value) not in kinds:
            _wrong_type(name, expected, value)
    _check_values(body)
    messages = _messages(body)
    options = body.get("stream_options") or {}
    include_usage = options.get("include_usage")
    if include_usage is not None and not isinstance(include_usage, bool):
        _wrong_type("stream_options.include_usage", "a boolean", include_usage)
    stream = body.get("stream") or False
    if options and not stream:
        raise Invalid(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
            code="invalid_value",
        )
    cache = body.get("cache") or {}
    if "cache" in body:
        body = {name: value for name, value in body.items() if name != "cache"}
    return ChatRequest(body, model, messages, cache, stream, bool(include_usage))


def _check_values(body: dict[str, Any]) -> None:
    n = body.get("n")
    if n is not None and n < 1:
        raise Invalid(
            "Invalid 'n': integer below minimum value. Expected a value >= 1, but got "
            f"{n} instead.",
            param="n",
            code="integer_below_min_value",
        )
    for name, kind, expected in (
        ("stop", str, "a string"),
        ("modalities", str, "a string"),
        ("tools", dict, "an object"),
        ("functions", dict, "an object"),
    ):
        value = body.get(name)
        for index, item in enumerate(value if isinstance(value, list) else ()):
            if not isinstance(item, kind):
                _wrong_type(f"{name}[{index}]", expected, item)


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    messages = body.get("messages")
    if messages is None:
        _missing("messages")
    if not isinstance(messages, list):
        _wrong_type("messages", "an array of objects", messages)
    if not messages:
        raise Invalid(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an "
            "empty array instead.",
            param="messages",
            code="empty_array",
        )
    for index, message in enumerate(messages):
        _check_message(f"messages[{index}]", message)
    return messages


def _check_message(path: str, message: object) -> None:
    if not isinstance(message, dict):
        _wrong_type(path, "an object", message)
    role, content = message.get("role"), message.get("content")
    if role is None:
        _missing(f"{path}.role")
    if not isinstance(role, str):
        _wrong_type(f"{path}.role", f"one of {_listed(ROLES)}", role)
    if role not in ROLES:
        raise Invalid(
            f"Invalid value for '{path}.role'. Supported values are: {_listed(ROLES)}.",
            param=f"{path}.role",
            code="invalid_value",
        )
    name = message.get("name")
    if name is not None and not isinstance(name, str):
        _wrong_type(f"{path}.name", "a string", name)
    if isinstance(content, str):
        return
    if content is None:
        if role not in ("assistant", "function"):
            _missing(f"{path}.content")
        return
    expected = "a string or an array of objects"
    if not isinstance(content, list):
        _wrong_type(f"{path}.content", expected, content)
    if not content:
        raise Invalid(
            f"Invalid '{path}.content': empty array. Expected an array with minimum length 1, but "
            "got an empty array instead.",
            param=f"{path}.content",
            code="empty_array",
        )
    for index, part in enumerate(content):
        _check_part(f"{path}.content[{index}]", part)


def _check_part(path: str, part: object) -> None:
    if not isinstance(part, dict):
        _wrong_type(path, "an object", part)
    kind = part.get("type")
    if kind is None:
        _missing(f"{path}.type")
    if not isinstance(kind, str):
        _wrong_type(f"{path}.type", "a string", kind)
    if kind == "text" and not isinstance(part.get("text"), str):
        if part.get("text") is None:
            _missing(f"{path}.text")
        _wrong_type(f"{path}.text", "a string", part["text"])


def _listed(values: tuple[str, ...]) -> str:
    return ", ".join(f"'{value}'" for value in values)


def _missing(path: str) -> NoReturn:
    raise Invalid(
        f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter"
    )


def _wrong_type(path: str, expected: str, value: object) -> NoReturn:
    raise Invalid(
        f"Invalid type for '{path}': expected {expected}, but got "
        f"{_NAMES.get(type(value), 'something else')} instead.",
        param=path,
        code="invalid_type",
    )
