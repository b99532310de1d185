"""One form for requests that mean the same, so that they have one scope. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["message_of", "parameters_of"]

_NOT_OF_THE_ANSWER = frozenset(
    {
        *("messages", "model", "temperature", "stream", "stream_options", "user", "metadata"),
        *("store", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
        *("service_tier", "cache_prompt", "id_slot", "keep_alive"),
    }
)
"""Fields that have their own place, or no influence on what is answered."""
_DEFAULTS: dict[str, Any] = {
    "top_p": 1,
    "n": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logprobs": False,
    "parallel_tool_calls": True,
    "stop": [],
    "tools": [],
    "functions": [],
    "logit_bias": {},
    "modalities": ["text"],
    "response_format": {"type": "text"},
    "echo": False,
    "best_of": 1,
}
"""What it means to leave a field out."""


def parameters_of(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every field that has no place of its own and may influence the answer; null and the default
    are the same as none."""
    choice = "auto" if body.get("tools") else "none"
    for name, value in body.items():
        if value is None or name in _NOT_OF_THE_ANSWER or _is_default(name, value):
            continue
        if name == "tool_choice" and value in (choice, "auto"):
            continue
        if name == "stop" and isinstance(value, str):
            yield name, [value]
        elif isinstance(value, float) and value.is_integer():
            yield name, int(value)
        else:
            yield name, value


def _is_default(name: str, value: Any) -> bool:
    default = _DEFAULTS.get(name)
    return bool(value == default) and isinstance(value, bool) == isinstance(default, bool)


def message_of(message: dict[str, Any], mask: Callable[[str], str]) -> dict[str, Any]:
    """The message with its texts masked, without what says nothing."""
    made = {name: value for name, value in message.items() if value is not None and value != []}
    content = made.get("content")
    if isinstance(content, str):
        made["content"] = mask(content)
    elif isinstance(content, list):
        parts = [_part(part, mask) for part in content]
        plain = len(parts) == 1 and parts[0].keys() == {"type", "text"}
        made["content"] = parts[0]["text"] if plain else parts
    return made


def _part(part: dict[str, Any], mask: Callable[[str], str]) -> dict[str, Any]:
    """Without ``cache_control``, which concerns the upstream's own cache."""
    made = {name: value for name, value in part.items() if name != "cache_control"}
    if made["type"] == "text":
        made["text"] = mask(made["text"])
    return made
