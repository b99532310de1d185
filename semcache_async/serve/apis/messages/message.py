"""A message, from a stream's events."""

from __future__ import annotations

from typing import Any

import msgspec

from semcache_async.serve.apis.api import MOST_BYTES, UNREADABLE, Reader

__all__ = ["EVENTS", "Assembler"]

EVENTS = frozenset(
    {
        *("message_start", "message_delta", "message_stop"),
        *("content_block_start", "content_block_delta", "content_block_stop"),
    }
)
"""The types of those that tell of a message."""
_OF_THE_EVENT = ("type", "delta", "usage")
_GROW = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "input_json_delta": "partial_json",
}


class _BadEventError(ValueError):
    """It contradicts the ones before."""


class _Block:
    """One block so far."""

    __slots__ = ("fields", "pieces")

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = dict(fields)
        self.pieces: dict[str, list[str]] = {}

    def add(self, delta: dict[str, Any]) -> None:
        kind = delta.get("type")
        if isinstance(kind, str) and (name := _GROW.get(kind)):
            self.pieces.setdefault(name, []).append(_text(delta[name]))
        elif kind == "signature_delta":
            self.fields["signature"] = delta["signature"]
        elif kind == "compaction_delta":
            self.fields |= {name: value for name, value in delta.items() if name != "type"}
        elif kind == "citations_delta":
            self.fields["citations"] = [*(self.fields.get("citations") or ()), delta["citation"]]
        else:
            raise _BadEventError(kind)

    def whole(self) -> dict[str, Any]:
        built = dict(self.fields)
        for name, pieces in self.pieces.items():
            text = "".join(pieces)
            if name != "partial_json":
                built[name] = _text(built.get(name, "")) + text
            elif text:
                built["input"] = msgspec.json.decode(text)
        return built

    def sizes(self) -> list[int]:
        """Characters of the pieces in which its text came."""
        name = str(self.fields.get("type"))
        first = self.fields.get(name)
        began = [first] if isinstance(first, str) else []
        return [len(piece) for piece in [*began, *self.pieces.get(name, ())] if piece]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _BadEventError("text")
    return value


class Assembler(Reader):
    """Ended by ``message_stop``."""

    def __init__(self, max_bytes: int = MOST_BYTES) -> None:
        super().__init__(max_bytes)
        self._stopped = False
        self._message: dict[str, Any] | None = None
        self._blocks: dict[int, _Block] = {}

    def _take(self, told: dict[str, Any], size: int) -> None:
        self._left -= size
        if self._left < 0:
            self._break()
        elif not self._broken:
            try:
                self._add(told)
            except (*UNREADABLE, AttributeError, KeyError, TypeError, ValueError):
                self._break()
        self.ended = self.ended or told.get("type") == "message_stop"

    @property
    def complete(self) -> bool:
        """All of it arrived: its end, or why it ended."""
        if self._broken or self._message is None:
            return False
        return self._stopped or bool(self._message.get("stop_reason"))

    @property
    def sizes(self) -> list[list[int]]:
        """Characters of the pieces in which each block's text came."""
        return [self._blocks[at].sizes() for at in sorted(self._blocks)]

    def answer(self) -> dict[str, Any]:
        """The message so far, as it would have been without streaming."""
        message = self._message or {}
        return {**message, "content": [self._blocks[at].whole() for at in sorted(self._blocks)]}

    def _add(self, told: dict[str, Any]) -> None:
        kind = told.get("type")
        if kind == "error" or (kind is None and told.get("error")):
            self.error = told.get("error", told)
            self._break()
        elif kind == "message_start":
            message = told["message"]
            self._message = {"id": "", "type": "message", "role": "assistant", **message}
            self._message |= {"stop_reason": None, "usage": dict(message.get("usage") or {})}
        elif kind == "content_block_start":
            index, block = told["index"], told["content_block"]
            if type(index) is not int or index in self._blocks or not isinstance(block, dict):
                raise _BadEventError("content_block_start")
            self._check_open()
            self._blocks[index] = _Block(block)
        elif kind == "content_block_delta":
            self._check_open()
            self._blocks[told["index"]].add(told["delta"])
        elif kind == "message_delta":
            self._end(told)
        elif kind == "message_stop":
            self.answer()
            self._stopped = True

    def _check_open(self) -> None:
        if self._message is None or self._message.get("stop_reason"):
            raise _BadEventError("a block before the beginning, or after the end")

    def _end(self, told: dict[str, Any]) -> None:
        message = self._message
        if message is None:
            raise _BadEventError("message_delta")
        more = {name: value for name, value in told.items() if name not in _OF_THE_EVENT}
        message |= {**told["delta"], **more}
        used = told.get("usage") or {}
        message["usage"] |= {name: value for name, value in used.items() if value is not None}
        self.answer()  # of which each block has to add up

    def _break(self) -> None:
        super()._break()
        self._blocks.clear()
