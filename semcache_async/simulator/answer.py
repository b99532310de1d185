"""What a simulated upstream says, by whichever API: always the same to the same messages."""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from semcache_async.simulator.faults import Faults
from semcache_async.simulator.fitting import fitting

__all__ = ["ANY_JSON", "Answer", "Asked", "Said", "Tool", "answer_to", "tokens_of", "user_text"]

_TOKEN = re.compile(r"\s*\S+|\s+$")
_TEXT = (
    "the answer is that account and card can be found in settings under your name where "
    "you may also change it at any time with a code we send to phone or mail within one day "
    "unless somebody has asked before then please try again later by chat if this did not help"
)
_WORDS = _TEXT.split()
_VERDICT, _NO = "yes or no.", 0.05
"""How a judge's orders end, and the share that is told no."""
ANY_JSON = {"type": "object", "properties": {"answer": {"type": "string"}}}
"""The schema where an object is asked for, and no more is said of it."""


class Tool(msgspec.Struct, frozen=True):
    """One that must be called."""

    name: str
    parameters: Any
    """Their JSON Schema."""

    @classmethod
    def chosen(
        cls, tools: Iterable[Mapping[str, Any]], parameters: str, name: str | None = None
    ) -> Tool | None:
        """The tool of that name, or the first; its schema is in the field ``parameters``."""
        for tool in tools:
            if name in (None, tool.get("name")):
                return cls(str(tool.get("name")), tool.get(parameters) or {"type": "object"})
        return None


class Asked(msgspec.Struct, kw_only=True):
    """What a request asks for."""

    model: str
    messages: list[dict[str, Any]]
    """As chats have them."""
    stream: bool = False
    choices: int = 1
    limit: int | None = None
    """Tokens of the text."""
    stops: Sequence[str] = ()
    schema: Any = None
    """JSON that the text must fit; None: prose."""
    tool: Tool | None = None
    thinks: bool = False
    after: str = ""
    """The question before, where the upstream itself remembers it."""
    at_once: bool = False
    """It is answered later; the caller only hears that it was asked."""
    x_simulate: str = ""
    """As the header of that name."""


class Said(msgspec.Struct, kw_only=True):
    """One choice."""

    text: str | None
    """None where a tool is called, or the request refused."""
    reason: str
    """Why it ended, in chats' words, or in the faults'."""
    stop: str | None = None
    """The stop that ended it."""
    calls: Sequence[tuple[str, str]] = ()
    """Names and arguments."""
    thought: str = ""
    refusal: str | None = None

    @property
    def tokens(self) -> int:
        spoken = (self.text or self.refusal or "", *(arguments for _, arguments in self.calls))
        return sum(len(tokens_of(text)) for text in spoken)


class Answer(msgspec.Struct, kw_only=True):
    """To one request."""

    choices: list[Said]
    prompt_tokens: int
    tells_usage: bool = True

    @property
    def tokens(self) -> int:
        return sum(said.tokens for said in self.choices)


def answer_to(asked: Asked, faults: Faults, tokens: int) -> Answer:
    """``tokens``: how much each choice says beyond the question."""
    messages = [_plain(message) for message in asked.messages]
    seed = msgspec.json.encode(messages)
    return Answer(
        choices=[
            _choice(asked, messages, faults, seed + b"#%d" % at, tokens)
            for at in range(asked.choices)
        ],
        prompt_tokens=len(seed) // 4 + 3,
        tells_usage=not faults.no_usage,
    )


def user_text(messages: list[dict[str, Any]]) -> str:
    """The last user message, or the last message of all."""
    asked = [message for message in messages if message.get("role") == "user"]
    return _text_of((asked or messages)[-1].get("content"))


def tokens_of(text: str) -> list[str]:
    """Words with the white space before them. Joined they are the text."""
    return _TOKEN.findall(text)


def _choice(
    asked: Asked, messages: list[dict[str, Any]], faults: Faults, seed: bytes, tokens: int
) -> Said:
    text = _words(asked, messages, seed, tokens)
    calls: list[tuple[str, str]] = []
    if asked.tool is not None:
        arguments = msgspec.json.encode(fitting(asked.tool.parameters, text)).decode()
        calls = [(asked.tool.name, arguments)]
    if faults.tool_calls:
        calls = [("look_up", '{"query":"simulated"}')]
    text, reason, stop = _cut(text, asked)
    said = Said(text="" if faults.empty else text, reason=reason, stop=stop, calls=calls)
    if asked.thinks or faults.reasoning:
        said.thought = f"The user asks: {user_text(messages)}"
    if faults.refusal:
        said.text, said.refusal = None, "I cannot help with that."
    if calls:
        said.text, said.reason, said.stop = None, "tool_calls", None
    if faults.finish_reason:
        said.reason, said.stop = faults.finish_reason, None
    return said


def _words(asked: Asked, messages: list[dict[str, Any]], seed: bytes, tokens: int) -> str:
    words = (_WORDS[byte % len(_WORDS)] for byte in hashlib.shake_128(seed).digest(tokens))
    before = [f"(after: {asked.after})"] if asked.after else []
    text = " ".join((f"Answer to: {user_text(messages)}", *before, *words)) + "."
    if _text_of(messages[0]["content"]).endswith(_VERDICT):
        text = "no" if hashlib.blake2b(seed).digest()[0] < 256 * _NO else "yes"
    if asked.schema is None:
        return text
    return msgspec.json.encode(fitting(asked.schema, text)).decode()


def _cut(text: str, asked: Asked) -> tuple[str, str, str | None]:
    """As much of the text as is wanted, why it ends there, and the stop that ended it."""
    reason, found = "stop", None
    pieces = tokens_of(text)
    if len(pieces) > (limit := asked.limit or sys.maxsize):
        text, reason = "".join(pieces[:limit]), "length"
    for stop in filter(None, asked.stops):
        if stop in text:
            text, reason, found = text[: text.index(stop)], "stop", stop
    return text, reason, found


def _plain(message: dict[str, Any]) -> dict[str, Any]:
    """A message in the one form that all APIs' messages are brought to."""
    role, content = message.get("role"), message.get("content")
    if isinstance(content, list):
        others = [part for part in content if not _has_text(part)]
        text = _text_of(content)
        content = [{"type": "text", "text": text}, *others] if others else text
    role = "system" if role == "developer" else role
    rest = {name: value for name, value in message.items() if name not in ("role", "content")}
    return {"role": role, "content": content, **rest}


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(part["text"] for part in content if _has_text(part))
    return content if isinstance(content, str) else ""


def _has_text(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)
