"""Why the cache does not help with a request, and why an answer is not kept: every reason, with
what it means."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

__all__ = ["Bypass", "Unkept"]


class _Reason(StrEnum):
    """A new one is one line here, and the place that finds it."""

    meaning: str

    def __new__(cls, word: str, meaning: str) -> Self:
        reason = str.__new__(cls, word)
        reason._value_ = word
        reason.meaning = meaning
        return reason


class Bypass(_Reason):
    """Of a request, as ``x-semcache-reason`` names it."""

    SHAPE = "shape", "It has a shape that is not known here."
    TOOLS = "tools", "It offers tools, and does not force a single one (bypass_tools)."
    N = "n", "It wants several choices (bypass_n)."
    WEB_SEARCH = "web_search", "Its answer comes from a web search."
    STATE = (
        "state",
        (
            "Its answer depends on what the upstream keeps: an earlier response, a conversation, "
            "a container."
        ),
    )
    BACKGROUND = "background", "It is answered later."
    AUDIO = "audio", "It sends or wants audio (bypass_images)."
    IMAGES = "images", "It has images (bypass_images)."
    FILES = "files", "It has files (bypass_images)."
    CONTENT = "content", "It has content of a kind that is not known here (bypass_images)."
    TOOL_MESSAGE = "tool_message", "Its last message is a tool's."
    LAST_MESSAGE = "last_message", "Its last message is not the user's."
    TEMPERATURE = "temperature", "Its temperature is over max_temperature."
    PROMPT = "prompt", "Its prompt cannot be looked up: blank, or with characters that nothing has."
    TOO_LONG = "too_long", "Its prompt is over max_prompt_bytes."
    PERSONAL = "personal", "It is about the asker's own person or things (bypass_personal)."
    TIME_BOUND = "time_bound", "Its right answer changes with time (bypass_time_bound)."
    ANEW = "anew", "It asks for something new each time (bypass_anew)."
    REQUEST = "request", "It says so itself: no-cache and no-store."


class Unkept(_Reason):
    """Of an answer, as ``x-semcache-not-stored`` names it."""

    FINISH_REASON = "finish_reason", "It did not end by itself (finish_reasons)."
    REFUSAL = "refusal", "It refuses to answer."
    TOOL_CALLS = "tool_calls", "It calls tools, or not the one that the request forces."
    EMPTY = "empty", "It says nothing."
    FORMAT = "format", "It is not the JSON that the request asks for."
    SCHEMA = "schema", "It does not fit the request's JSON Schema, as far as that can be checked."
    SHAPE = "shape", "It has no choices of a shape that is known here."
    PERSONAL = (
        "personal",
        "It has a card, account or social security number or a secret in it (refuse_personal).",
    )
    CHEAP = "cheap", "It cost less than min_answer_usd."
    INCOMPLETE = "incomplete", "Its stream does not add up to a completion."
