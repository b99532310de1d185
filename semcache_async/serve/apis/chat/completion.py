"""A completion, of a chat or a text, from a stream's chunks."""

from __future__ import annotations

from typing import Any, TypeAlias

from semcache_async.serve.apis.api import MOST_BYTES, Reader
from semcache_async.serve.apis.chat.merging import BadChunkError, Message, merge

__all__ = ["Assembler", "Completion"]

Completion: TypeAlias = dict[str, Any]
"""A ``chat.completion`` or ``text_completion`` object as decoded JSON."""


class _Choice:
    """One choice so far."""

    __slots__ = ("fields", "index", "message")

    def __init__(self, index: int) -> None:
        self.index = index
        self.message = Message()
        self.fields: dict[str, Any] = {}

    def add(self, choice: dict[str, Any]) -> None:
        for name, value in choice.items():
            if name == "delta":
                if value is not None:
                    self.message.add(value)
            elif name == "text" and "delta" not in choice:
                self.message.add({"text": value})
            elif name == "logprobs":
                merge(self.fields, {name: value})
            elif value is None:
                self.fields.setdefault(name, None)
            else:
                self.fields[name] = value

    def whole(self) -> dict[str, Any]:
        message = self.message.whole()
        said = {"text": message["text"]} if self.message.is_text else {"message": message}
        built = {"index": self.index, **said, **self.fields}
        built["index"] = self.index
        return built


class Assembler(Reader):
    """Ended by ``[DONE]``."""

    def __init__(self, max_bytes: int = MOST_BYTES) -> None:
        super().__init__(max_bytes)
        self._fields: dict[str, Any] = {}
        self._choices: dict[int, _Choice] = {}

    def _take(self, told: dict[str, Any], size: int) -> None:
        self._left -= size
        if self._left < 0:
            self._break()
        else:
            self.add(told)

    def _is_usage(self, told: dict[str, Any]) -> bool:
        return told.get("choices") == [] and told.get("usage") is not None

    def add(self, chunk: dict[str, Any]) -> None:
        """Take one chunk in."""
        if self._broken:
            return
        if chunk.get("error") is not None or chunk.get("object") == "error":
            self.error = chunk.get("error", chunk)
            self._break()
            return
        try:
            for at, choice in enumerate(chunk.get("choices") or ()):
                self._choice(choice.get("index", at)).add(choice)
        except (BadChunkError, AttributeError, TypeError, RecursionError):
            self._break()
            return
        self._add_fields(chunk)

    @property
    def complete(self) -> bool:
        """All of it arrived: every choice's ``finish_reason``."""
        if self._broken or not self._choices:
            return False
        return all(choice.fields.get("finish_reason") for choice in self._choices.values())

    @property
    def sizes(self) -> list[list[int]]:
        """Characters of the pieces in which each choice's content came."""
        return [self._choices[at].message.sizes() for at in sorted(self._choices)]

    def answer(self) -> Completion:
        """The object so far, as the answer would have been without streaming."""
        built = {"id": "", "object": "", "created": 0, "model": "", **self._fields}
        built["choices"] = [self._choices[index].whole() for index in sorted(self._choices)]
        of_text = self._choices and "text" in built["choices"][0]
        built["object"] = "text_completion" if of_text else "chat.completion"
        return built

    def _choice(self, index: int) -> _Choice:
        if type(index) is not int:
            raise BadChunkError("index")
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice(index)
        return choice

    def _add_fields(self, chunk: dict[str, Any]) -> None:
        fields = self._fields
        for name, value in chunk.items():
            if name in ("choices", "obfuscation") or (name == "usage" and value is None):
                continue  # obfuscation is random padding
            if value is None or name in ("id", "created", "model"):
                fields.setdefault(name, value)
            else:
                fields[name] = value

    def _break(self) -> None:
        super()._break()
        self._choices.clear()
