"""The kinds of completions that OpenAI's API knows: of chats, and the older ones of texts."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["CHAT", "TEXT", "Kind", "kind_of"]


class Kind(NamedTuple):
    """One of them."""

    name: str
    path: str
    """Below the base URL."""
    whole: str
    """What its answer calls itself, and below what a stream's chunk does."""
    chunk: str
    id: str
    """How ids begin."""


CHAT = Kind("chat", "chat/completions", "chat.completion", "chat.completion.chunk", "chatcmpl-")
TEXT = Kind("completions", "completions", "text_completion", "text_completion", "cmpl-")


def kind_of(choice: dict[str, Any]) -> Kind:
    """Of which kind a whole answer's choice is."""
    return TEXT if "text" in choice and "message" not in choice else CHAT
