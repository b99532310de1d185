"""What an API is in which LLMs are asked: how it writes requests, answers and streams.

The cache, the upstream and the handlers know no API but by this; one more is a folder beside
``chat``, and its line in ``apis.APIS``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias

import msgspec

from semcache_async.serve.bypass import Bypass
from semcache_async.serve.sse import data_of

__all__ = [
    "MOST_BYTES",
    "NO_USAGE",
    "UNREADABLE",
    "Api",
    "Began",
    "Call",
    "Choice",
    "Convertible",
    "Delta",
    "Ended",
    "Forced",
    "Frame",
    "Part",
    "Reader",
    "Request",
    "Said",
    "Usage",
    "Writer",
    "ended_as",
]

_decode = msgspec.json.Decoder(dict[str, Any]).decode
UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What decoding JSON that others wrote may raise."""


# -- what was asked


class Forced(NamedTuple):
    """The one function that the answer has to call."""

    name: str
    schema: Any
    """Of its arguments, where the request gives one."""


class Request(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What was asked, as a chat of messages in OpenAI's form. ``body`` is what goes upstream: all
    of it but ``cache``."""

    api: Api
    body: dict[str, Any]
    cache: dict[str, Any]
    """LiteLLM's object, not yet looked into."""
    stream: bool = False
    include_usage: bool = False
    """Does a stream's usage come in an event of its own, to be sent to this caller?"""
    reason: Bypass | None = None
    """Why no setting lets the cache help: a shape that is not known here (nothing below is said
    then), or an answer that depends on more than the request."""
    model: str = ""
    messages: list[dict[str, Any]] = []
    temperature: float | None = None
    limit: int | None = None
    """Of the answer's tokens."""
    offered: tuple[str, ...] = ()
    """Names of the tools, "" for one that has none."""
    several: bool = False
    """More choices than one."""
    speech: bool = False
    """Audio is wanted."""
    forced: Forced | None = None
    wants_json: bool = False
    schema: Any = None
    """What that JSON has to fit, where the request gives one."""
    echo: bool = False
    """The answer repeats the prompt."""
    refers: bool = False
    """It names by its id what the upstream keeps of earlier calls."""
    user: str = ""
    """On whose behalf."""


# -- what was answered


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one LLM call."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


NO_USAGE = Usage()


class Call(NamedTuple):
    """A call of a function."""

    name: str
    arguments: str
    """As JSON."""
    id: str = ""


class Choice(NamedTuple):
    """One of the choices of an answer."""

    finish: str
    """By what it ended, in its API's own word."""
    text: str | None = None
    calls: tuple[Call, ...] = ()
    refused: bool = False


class Said(NamedTuple):
    """What an answer says, in no API's form."""

    model: str
    choices: tuple[Choice, ...]
    usage: Usage = NO_USAGE


class Frame(NamedTuple):
    """One event of a stream, as received."""

    raw: bytes
    is_usage: bool = False
    """The one event that only those get who asked for ``include_usage``."""


class Began(NamedTuple):
    """A stream begins."""

    model: str
    usage: Usage = NO_USAGE


class Part(NamedTuple):
    """Some more of its first choice."""

    text: str = ""
    """Of what it says; of a call, of its arguments."""
    call: int | None = None
    """Which call it is of."""
    name: str = ""
    """The called function's; it comes once, with ``id``, before any argument."""
    id: str = ""


class Ended(NamedTuple):
    """Its first choice is all there, in the API's own word; usage, where it is known."""

    finish: str = ""
    usage: Usage = NO_USAGE


Delta: TypeAlias = Began | Part | Ended
"""What an event of a stream says, in no API's form. ``Ended`` may come twice: usage after the
end."""


MOST_BYTES = 8 * 1024 * 1024
"""Of a stream's data that are read."""


class Reader(ABC):
    """Reads one stream's events in order. Never raises: a stream it cannot follow, or one with more
    than ``max_bytes`` of data, is just never ``complete``."""

    def __init__(self, max_bytes: int = MOST_BYTES) -> None:
        self.error: Any = None
        """The stream's own error, if it sent one."""
        self.garbage = False
        """An event's data was no JSON object."""
        self.ended = False
        """The last event has come, or ``[DONE]``."""
        self._left = max_bytes
        self._broken = False

    def read(self, event: bytes) -> Frame:
        """Take one whole event in."""
        data = data_of(event)
        if data is None or data == b"[DONE]":
            self.ended = self.ended or data is not None
            return Frame(event)
        try:
            told = _decode(data)
        except UNREADABLE:
            self.garbage = True
            self._break()
            return Frame(event)
        self._take(told, len(data))
        return Frame(event, self._is_usage(told))

    @property
    @abstractmethod
    def complete(self) -> bool:
        """All of the answer arrived."""

    @property
    @abstractmethod
    def sizes(self) -> list[list[int]]:
        """Characters of the pieces in which each of its texts came."""

    @abstractmethod
    def answer(self) -> dict[str, Any]:
        """The answer as it would have been without streaming."""

    @abstractmethod
    def _take(self, told: dict[str, Any], size: int) -> None:
        """Take the data of one event in, ``size`` bytes."""

    def _is_usage(self, told: dict[str, Any]) -> bool:
        """Is it the event that only those get who asked for ``include_usage``?"""
        return False

    def _break(self) -> None:
        """It cannot be followed any more."""
        self._broken = True


class Writer(Protocol):
    """Writes one stream."""

    def write(self, deltas: Iterable[Delta]) -> bytes:
        """The events that say so."""
        ...

    def end(self) -> bytes:
        """The events after the last delta."""
        ...


_WORDS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "completed": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "refusal": "content_filter",
}


def ended_as(finish: str) -> str:
    """The word of OpenAI's chat completions for what another API calls ``finish``."""
    return _WORDS.get(finish, finish)


class Api(ABC):
    """One API."""

    name: ClassVar[str]
    """In scopes and metrics."""
    path: ClassVar[str]
    """Below the base URL."""
    asks_usage: ClassVar[bool] = False
    """Does a stream say its usage only if ``stream_options`` ask for it?"""
    crosses: ClassVar[bool] = False
    """May an upstream answer in chat completions instead?"""
    headers: ClassVar[tuple[str, ...]] = ()
    """A caller's headers that go upstream too, in lower case; part of the scope."""

    # -- requests

    @abstractmethod
    def read(self, body: dict[str, Any]) -> Request:
        """Raises ``Invalid`` where it cannot be told whether a stream is wanted: what values and
        shapes a model takes is for the upstream to say."""

    @abstractmethod
    def parameters(self, body: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        """Every field that has no place of its own in a ``Request`` and may influence the answer,
        in one form for requests that mean the same."""

    def neutral(self, request: Request) -> dict[str, Any] | None:
        """The parameters of a request that any API could make, under the names of OpenAI's chat
        completions and without ``limit``; None for one that wants more than text."""
        return None

    def in_chat(self, request: Request) -> Request | None:
        """The same as a chat completion, for an upstream that knows those only; None where an
        upstream's own word is wanted. Raises ``Invalid`` for what a chat cannot say."""
        return None

    def is_error(self, body: bytes) -> bool:
        """Is it an error in a form that this API alone has, so that whoever sent it knows it?"""
        return False

    # -- whole answers

    @abstractmethod
    def is_answer(self, value: Mapping[str, Any]) -> bool:
        """Is it a whole answer of this API?"""

    @abstractmethod
    def said(self, answer: Mapping[str, Any]) -> Said | None:
        """None for an answer of a strange shape."""

    @abstractmethod
    def usage_in(self, data: bytes | str) -> Usage:
        """What an answer, or an event's data, says was used; nothing where it does not say."""

    @abstractmethod
    def reissued(self, text: str) -> tuple[bytes, Usage] | None:
        """A stored answer as a new one, and what it used; None for what is none."""

    @abstractmethod
    def replayed(self, text: str, *, include_usage: bool) -> tuple[bytes, Usage] | None:
        """A stored answer as a new one's stream, likewise."""

    # -- streams

    @abstractmethod
    def reader(self) -> Reader:
        """What follows one stream."""


class Convertible(Api):
    """One whose answers can be told in another, and another's in it."""

    @abstractmethod
    def wrote(self, said: Said) -> dict[str, Any]:
        """The answer that says so."""

    def deltas(self, data: bytes) -> Sequence[Delta]:
        """What an event with ``data`` says; nothing for what is no news."""
        try:
            return self._deltas(_decode(data))
        except UNREADABLE:
            return ()

    @abstractmethod
    def _deltas(self, told: Mapping[str, Any]) -> Sequence[Delta]:
        """What an event's decoded data says."""

    @abstractmethod
    def writer(self) -> Writer:
        """What writes one stream, usage included."""
