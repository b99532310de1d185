"""What of a caller's own headers and query goes upstream with what it asks, and its key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import msgspec

from semcache_async.serve.keys import key_of
from semcache_async.serve.settings import HEADERS, Settings

__all__ = ["NOTHING", "Headers", "Passed", "Passing"]

Headers: TypeAlias = tuple[tuple[str, str], ...]

_LONGEST = 2_048
_USUAL = frozenset([("anthropic-version", "2023-06-01")])
"""What every client says: the form of the API that is spoken here."""


@dataclass(frozen=True, slots=True)
class Passed:
    """What one request passes on."""

    headers: Headers = ()
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

    def of(
        self, headers: Mapping[str, str], query: Mapping[str, str], wanted: Iterable[str] = ()
    ) -> Passed:
        """Of a request with these; ``headers`` know no case. ``wanted``: headers of its API."""
        given = [(name, headers[name]) for name in self._headers if name in headers]
        given += [(name, _joined(headers, name)) for name in wanted if name in headers]
        asked = tuple((name, query[name]) for name in self._query if name in query)
        key = key_of(headers) or "" if self._keys else ""
        if not given and not asked:
            return Passed(key=key) if key else NOTHING
        sane = tuple(pair for pair in given if _is_sane(pair[1]))
        telling = [pair for pair in sane if pair[0] not in HEADERS and pair not in _USUAL]
        if not telling and not asked:
            return Passed(sane, key=key)
        return Passed(sane, asked, msgspec.json.encode([telling, asked]).decode(), key)


def _joined(headers: Mapping[str, str], name: str) -> str:
    """What several headers of one name say together."""
    return ", ".join(value for given, value in headers.items() if given.lower() == name)


def _is_sane(value: str) -> bool:
    return 0 < len(value) <= _LONGEST and value.isascii() and value.isprintable()
