"""One form for requests that mean the same, so that they have one scope. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["parameters_of"]

_NOT_OF_THE_ANSWER = frozenset(
    {
        *("input", "instructions", "model", "temperature", "stream", "stream_options", "user"),
        *("metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
        *("prompt_cache_options", "service_tier", "background", "background_options"),
    }
)
"""Fields that have their own place, or no influence on what is answered."""
_DEFAULTS: dict[str, Any] = {
    "top_p": 1,
    "top_logprobs": 0,
    "truncation": "disabled",
    "parallel_tool_calls": True,
    "store": True,
    "tools": [],
    "include": [],
    "text": {},
    "reasoning": {},
}
"""What it means to leave a field out."""
_TEXT = {"format": {"type": "text"}, "verbosity": "medium"}
_OF_OTHER_ITEMS = (
    *("file_search_call.", "web_search_call.", "code_interpreter_call."),
    *("computer_call_output.", "message.input_image."),
)
"""What ``include`` may name of items that no answer has which may be kept."""
_MOST_NAMES = 64


def parameters_of(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every field that has no place of its own and may influence the answer; null and the default
    are the same as none. Who continues a response by its id continues a system message and no
    instructions, so that the two are told apart where the upstream keeps it."""
    choice = "auto" if body.get("tools") else "none"
    for name, given in body.items():
        if given is None or name in _NOT_OF_THE_ANSWER:
            continue
        value = _plain(name, given)
        if _is_default(name, value) or (name == "tool_choice" and value in (choice, "auto")):
            continue
        yield name, value
    if body.get("instructions") and body.get("store") is not False:
        yield "instructed", True


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if name == "include" and isinstance(value, list):
        if len(value) > _MOST_NAMES:
            return value
        named = {one for one in value if isinstance(one, str)}
        return sorted(one for one in named if not one.startswith(_OF_OTHER_ITEMS))
    if name in ("text", "reasoning") and isinstance(value, dict):
        said = {key: one for key, one in value.items() if one is not None}
        usual = _TEXT if name == "text" else {}
        return {key: one for key, one in said.items() if usual.get(key) != one}
    return value


def _is_default(name: str, value: Any) -> bool:
    default = _DEFAULTS.get(name)
    return bool(value == default) and isinstance(value, bool) == isinstance(default, bool)
