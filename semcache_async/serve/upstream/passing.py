"""What of a caller's own headers and query goes upstream with what it asks, and its key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import msgspec

from semcache_async.serve.keys import key_of
from semcache_async.serve.settings import HEADERS, Settings

__all__ = ["NOTHING", "Passed", "Passing"]

_LONGEST = 2_048


@dataclass(frozen=True, slots=True)
class Passed:
    """What one request passes on."""

    headers: tuple[tuple[str, str], ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    scope: str = ""
    """The part that may change the answer."""
    key: str = field(default="", repr=False)
    """The caller's own, in place of the service's; "" where callers have none to bring."""

    def without_key(self) -> Passed:
        """The same with the service's own key."""
        return replace(self, key="")


NOTHING = Passed()


class Passing:
    """What one service passes on."""

    def __init__(self, settings: Settings) -> None:
        self._headers = tuple(map(str.lower, settings.upstream_headers))
        self._query = settings.upstream_query
        self._keys = settings.pass_keys

    def of(self, headers: Mapping[str, str], query: Mapping[str, str]) -> Passed:
        """Of a request with these; ``headers`` know no case."""
        given = tuple(
            (name, value)
            for name in self._headers
            if (value := headers.get(name)) and len(value) <= _LONGEST and _is_sane(value)
        )
        asked = tuple((name, query[name]) for name in self._query if name in query)
        telling = [pair for pair in given if pair[0] not in HEADERS]
        key = key_of(headers) or "" if self._keys else ""
        if not telling and not asked:
            return Passed(given, key=key)
        return Passed(given, asked, msgspec.json.encode([telling, asked]).decode(), key)


def _is_sane(value: str) -> bool:
    return value.isascii() and value.isprintable()
