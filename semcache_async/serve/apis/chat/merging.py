"""How the deltas of a stream add up to a message."""

from __future__ import annotations

from typing import Any

__all__ = ["WHOLE", "BadChunkError", "Message", "merge"]

WHOLE = frozenset(("id", "name", "role", "type"))
"""Strings that come at once; some servers repeat them in every chunk."""


class BadChunkError(ValueError):
    """A chunk that contradicts the ones before, or is of no known shape."""


class Message:
    """One choice's message so far. Text grows, lists grow, objects merge, other values replace,
    null changes nothing; tool calls are told apart by their ``index``."""

    __slots__ = ("_calls", "_fields", "_texts")

    def __init__(self) -> None:
        self._fields: dict[str, Any] = {}
        self._texts: dict[str, list[str]] = {}
        self._calls: dict[int, dict[str, Any]] = {}

    def add(self, delta: dict[str, Any]) -> None:
        """Raises ``BadChunkError``, or ``AttributeError`` or ``TypeError`` for a strange shape."""
        texts = self._texts
        for name, value in delta.items():
            if isinstance(value, str) and name not in WHOLE:
                if name in texts:
                    texts[name].append(value)
                elif self._fields.pop(name, None) is None:
                    texts[name] = [value]
                else:
                    raise BadChunkError(name)
            elif name in texts:
                if value is not None:
                    raise BadChunkError(name)
            elif name == "tool_calls" and value:
                self._fields.pop(name, None)
                self._add_calls(value)
            else:
                merge(self._fields, {name: value})

    def whole(self) -> dict[str, Any]:
        built: dict[str, Any] = {"role": "assistant", "content": None, **self._fields}
        for name, pieces in self._texts.items():
            built[name] = "".join(pieces)
        if self._calls:
            built["tool_calls"] = [self._calls[index] for index in sorted(self._calls)]
        return built

    @property
    def is_text(self) -> bool:
        """Is it no message but a completion's text alone?"""
        return self._texts.keys() == {"text"} and not self._fields

    def sizes(self) -> list[int]:
        """Characters of the pieces in which what it says came."""
        pieces = self._texts.get("text" if self.is_text else "content", ())
        return [len(piece) for piece in pieces if piece]

    def _add_calls(self, calls: list[dict[str, Any]]) -> None:
        for call in calls:
            index = call.get("index", len(self._calls))
            if type(index) is not int:
                raise BadChunkError("index")
            merge(
                self._calls.setdefault(index, {}),
                {name: value for name, value in call.items() if name != "index"},
            )


def merge(into: dict[str, Any], new: dict[str, Any]) -> None:
    """Add ``new``'s fields to ``into``'s, leaving ``new`` alone."""
    for name, value in new.items():
        old = into.get(name)
        if value is None:
            into.setdefault(name, None)
        elif isinstance(value, dict):
            if old is None:
                old = into[name] = {}
            merge(_of_type(old, dict, name), value)
        elif isinstance(value, list):
            into[name] = [*_of_type([] if old is None else old, list, name), *value]
        elif isinstance(value, str):
            before = _of_type("" if old is None else old, str, name)
            into[name] = (before or value) if name in WHOLE else before + value
        else:
            into[name] = value


def _of_type(value: Any, kind: type, name: str) -> Any:
    if not isinstance(value, kind):
        raise BadChunkError(name)
    return value
