"""What processes write to each other about a flight, and how errors travel."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

import msgspec

from semcache_async.complaints import status_of
from semcache_async.errors import FlightFailedError
from semcache_async.types import Letter

__all__ = [
    "Body",
    "Chunks",
    "Ended",
    "Failed",
    "Gone",
    "Join",
    "Leave",
    "Seen",
    "WINDOW",
    "chunk_reader",
    "encode",
    "from_bytes",
    "pack_chunk",
    "pack_error",
    "read",
    "to_bytes",
    "unpack_error",
]


class _Body(msgspec.Struct, array_like=True, tag_field="is"):
    pass


class Join(_Body, tag="join"):
    """A follower asks a leader for what it has emitted from ``seen`` on, and for what is to come.
    It may ask again, whatever it has got."""

    inbox: str
    seen: int
    tags: tuple[str, ...]


class Seen(_Body, tag="seen"):
    """The follower has read so many chunks, and takes more."""

    inbox: str
    seen: int


class Leave(_Body, tag="leave"):
    """The follower wants no more."""

    inbox: str


class Chunks(_Body, tag="chunks"):
    """What the LLM call emitted, from the chunk number ``start`` on."""

    start: int
    chunks: list[msgspec.Raw]


class Ended(_Body, tag="ended"):
    """The flight brought an answer, after ``count`` chunks."""

    text: bytes
    """See ``to_bytes``."""
    entry_id: str | None
    age_s: float
    count: int
    traceparent: str = ""
    """Of the flight, where it is recorded."""


class Failed(_Body, tag="failed"):
    """The flight raised, after ``count`` chunks."""

    kind: str
    """``module:Qualified.Name`` of the error's class."""
    args: list[Any]
    state: dict[str, Any]
    message: str
    status: int | None
    count: int
    traceparent: str = ""


class Gone(_Body, tag="gone"):
    """There is nothing to follow here: look again."""


Body: TypeAlias = Join | Seen | Leave | Chunks | Ended | Failed | Gone

encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Body).decode

WINDOW = 16
"""Letters with chunks that may be under way to one follower: what a process that stands still
leaves lying in the store is bounded."""
_TEXT = 1
"""Marks a chunk of text, which is never mistaken for bytes."""
_DEEPEST = 4


def read(letter: Letter) -> Body:
    """What a letter says; ``Gone`` for one that another version of this wrote."""
    try:
        body: Body = _decode(letter.body)
        return body
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Gone()


def to_bytes(text: str) -> bytes:
    """A text as it travels: whole, with what no UTF-8 may hold, too, such as half of a character
    that an LLM sent in two pieces."""
    return str.__str__(text).encode("utf-8", "surrogatepass")


def from_bytes(data: bytes) -> str:
    """The text that ``to_bytes`` made this of."""
    return data.decode("utf-8", "surrogatepass")


def pack_chunk(chunk: object) -> msgspec.Raw:
    """A chunk as it travels. Raises what an encoder may raise, where it cannot."""
    if isinstance(chunk, str):
        return msgspec.Raw(encode(msgspec.msgpack.Ext(_TEXT, to_bytes(chunk))))
    return msgspec.Raw(encode(chunk))


def chunk_reader(emits: Any) -> Callable[[msgspec.Raw], Any]:
    """Reads chunks of that type; the reader raises ``ValueError`` for any other."""
    if emits is not str:
        return msgspec.msgpack.Decoder(emits).decode
    extension = msgspec.msgpack.Decoder(msgspec.msgpack.Ext).decode
    return lambda chunk: from_bytes(bytes(extension(chunk).data))


def pack_error(error: BaseException, count: int, traceparent: str = "") -> Failed:
    """An error as it travels: its class by name, and what of it is plain data."""
    kind = f"{type(error).__module__}:{type(error).__qualname__}"
    args, state = [], {}
    with suppress(TypeError, ValueError):
        args = [_plain(arg) for arg in error.args]
    for name, value in vars(error).items():
        with suppress(TypeError, ValueError):
            state[_name(name)] = _plain(value)
    message = (_said(error) or "").encode(errors="replace").decode()
    return Failed(kind, args, state, message, status_of(error), count, traceparent)


def unpack_error(failed: Failed) -> Exception:
    """The same error, where this process has its class loaded already and plain data makes one that
    can speak for itself; else a ``FlightFailedError``. No constructor is run."""
    kind = _exception(failed.kind)
    if kind is not None:
        try:
            error: Exception = kind.__new__(kind, *failed.args)
            error.args = tuple(failed.args)
            error.__dict__.update(failed.state)
        except Exception:  # a class of its own kind
            error = FlightFailedError()
        if _said(error) == failed.message:
            return error
    name = failed.kind.rpartition(":")[2]
    strange = FlightFailedError(f"The LLM call of another process raised {name}: {failed.message}")
    strange.status = failed.status
    return strange


def _exception(name: str) -> type[Exception] | None:
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _said(error: BaseException) -> str | None:
    try:
        return str(error)
    except Exception:  # what its text is made of did not travel
        return None


def _plain(value: object, depth: int = 0) -> Any:
    """``value`` as plain data that comes back equal, whatever subclasses it is made of. Raises
    ``TypeError`` where there is none."""
    if value is None or type(value) in (bool, bytes):
        return value
    if isinstance(value, str):
        text = str.__str__(value)
        return text.encode().decode()  # raises for half a character, which is a ValueError
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return int(value)
    if isinstance(value, dict) and depth < _DEEPEST:
        return {_name(name): _plain(one, depth + 1) for name, one in value.items()}
    if isinstance(value, list) and depth < _DEEPEST:
        return [_plain(one, depth + 1) for one in value]
    raise TypeError


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError
    return str(_plain(name))
