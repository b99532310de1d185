"""How errors travel between processes."""

from __future__ import annotations

import msgspec
import pytest

from semcache_async.errors import FlightFailedError
from semcache_async.sharing.letters import (
    Ended,
    Failed,
    _Body,
    encode,
    pack_error,
    read,
    unpack_error,
)
from semcache_async.types import Letter


def test_errors_that_cannot_travel() -> None:
    class LocalError(Exception):
        status = 429

        def __str__(self) -> str:
            return f"{self.args[0].imag}"

    (strange, spoken) = (pack_error(LocalError(object()), 0), pack_error(LocalError(1j), 3))
    for packed in (strange, spoken):
        made = unpack_error(packed)
        assert isinstance(made, FlightFailedError)
        assert "LocalError" in str(made)
        assert made.status == 429
    for name in ("os:system", "builtins:SystemExit", "builtins:print", "no.such:Thing"):
        packed.kind = name
        assert isinstance(unpack_error(packed), FlightFailedError)


def test_letters_of_other_versions() -> None:
    class Older(_Body, tag="ended"):
        text: bytes
        entry_id: str | None
        age_s: float
        count: int

    sent = read(Letter("claim", encode(Older(b"a", "id", 1.5, 2))))
    assert sent == Ended(b"a", "id", 1.5, 2, "")
    told = msgspec.msgpack.decode(encode(Ended(b"a", "id", 1.5, 2, "00-1-2-01")), type=Older)
    assert told == Older(b"a", "id", 1.5, 2)


class Named(str):
    __slots__ = ()


class Numbered(float):
    __slots__ = ()


@pytest.mark.parametrize(
    ("argument", "plain"),
    [
        *((Named("x"), "x"), (Numbered(1.5), 1.5), ([Named("x")], ["x"])),
        *(({Named("x"): Named("y")}, {"x": "y"}), ("half a \ud83d", None)),
        *(({"\ud83d": 1}, None), ({1: 2}, None), (2**70, None), ((1, 2), None)),
    ],
)
def test_every_error_can_be_written(argument: object, plain: object) -> None:
    error = ValueError(argument)
    error.state = argument  # type: ignore[attr-defined]
    sent = read(Letter("claim", encode(pack_error(error, 0))))
    assert isinstance(sent, Failed)
    made = unpack_error(sent)
    if plain is None:
        assert isinstance(made, FlightFailedError)
        assert "ValueError" in str(made)
    else:
        assert (type(made), made.args, vars(made)) == (ValueError, (plain,), {"state": plain})
        assert type(made.args[0]) is type(plain)
