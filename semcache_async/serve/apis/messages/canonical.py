"""One form for requests that mean the same, so that they have one scope. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["format_of", "parameters_of", "without_marks"]

_NOT_OF_THE_ANSWER = frozenset(
    {
        *("messages", "system", "model", "temperature", "stream", "metadata", "cache_control"),
        *("service_tier", "user_profile_id"),
    }
)
"""Fields that have their own place, or no influence on what is answered."""
_DEFAULTS: dict[str, Any] = {"top_p": 1, "stop_sequences": [], "tools": [], "mcp_servers": []}
"""What it means to leave a field out."""
_FORMAT = ("output_format", "output_config")


def parameters_of(body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every field that has no place of its own and may influence the answer; null and the default
    are the same as none."""
    choice = "auto" if body.get("tools") else "none"
    for name, value in body.items():
        if value is None or name in _NOT_OF_THE_ANSWER or name in _FORMAT:
            continue
        if _is_default(name, value):
            continue
        if name == "tools" and isinstance(value, list):
            yield name, [_tool(one) for one in value]
        elif name == "tool_choice" and isinstance(value, dict):
            made = {field: one for field, one in value.items() if one not in (None, False)}
            if made not in ({"type": choice}, {"type": "auto"}):
                yield name, made
        elif isinstance(value, float) and value.is_integer():
            yield name, int(value)
        else:
            yield name, value
    config = body.get("output_config")
    told = {name: one for name, one in config.items() if one} if isinstance(config, dict) else {}
    if wanted := format_of(body):
        told["format"] = wanted
    if told:
        yield "output_config", told


def format_of(body: Mapping[str, Any]) -> Any:
    """In what form the answer is wanted; ``output_format`` is where it was before."""
    config = body.get("output_config")
    wanted = config.get("format") if isinstance(config, dict) else None
    return wanted or body.get("output_format") or {}


def without_marks(block: dict[str, Any]) -> dict[str, Any]:
    """Without ``cache_control``, which concerns the upstream's own cache, and what says nothing."""
    return {
        name: value
        for name, value in block.items()
        if name != "cache_control" and value is not None
    }


def _tool(tool: Any) -> Any:
    if not isinstance(tool, dict):
        return tool
    made = without_marks(tool)
    if made.get("type") == "custom":
        del made["type"]
    return made


def _is_default(name: str, value: Any) -> bool:
    default = _DEFAULTS.get(name)
    return bool(value == default) and isinstance(value, bool) == isinstance(default, bool)
