"""What of a caller's own headers and query goes upstream with what it asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from semcache_async.serve.settings import HEADERS, Settings

__all__ = ["NOTHING", "Passed", "Passing"]

_LONGEST = 2_048
_USUAL = frozenset([("anthropic-version", "2023-06-01")])
"""What every client says: the form of the API that is spoken here."""


class Passed(NamedTuple):
    """What one request passes on."""

    headers: tuple[tuple[str, str], ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    scope: str = ""
    """The part that may change the answer."""


NOTHING = Passed()


class Passing:
    """What one service passes on."""

    def __init__(self, settings: Settings) -> None:
        self._headers = tuple(map(str.lower, settings.upstream_headers))
        self._query = settings.upstream_query

    def of(
        self, headers: Mapping[str, str], query: Mapping[str, str], wanted: Iterable[str] = ()
    ) -> Passed:
        """Of a request with these; ``headers`` know no case. ``wanted``: headers of its API."""
        given = tuple(
            (name, value)
            for name in (*self._headers, *wanted)
            if (value := headers.get(name)) and len(value) <= _LONGEST and _is_sane(value)
        )
        asked = tuple((name, query[name]) for name in self._query if name in query)
        telling = [pair for pair in given if pair[0] not in HEADERS and pair not in _USUAL]
        if not telling and not asked:
            return Passed(given)
        return Passed(given, asked, msgspec.json.encode([telling, asked]).decode())


def _is_sane(value: str) -> bool:
    return value.isascii() and value.isprintable()
