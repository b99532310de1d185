"""How errors travel between processes."""

from __future__ import annotations

from semcache_async.errors import FlightFailedError
from semcache_async.sharing.letters import pack_error, unpack_error


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
