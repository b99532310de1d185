"""How another Search than Redis's is spoken to: what the store says, in its words, and back.

The store speaks Redis Search with RESP3. Valkey's valkey-search answers in flat arrays whatever the
protocol, knows parameters in a KNN's vector alone, and neither ``HYBRID_POLICY`` nor, in all of its
versions, cursors. Written from its documentation; no live server has been tried.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Protocol

from semcache_async.store.wire.line import Command, Reply

__all__ = ["Dialect", "ValkeyDialect", "dialect_of"]

_PAGE = 1_000
_NOBODY = "-@tenant:{none}"
"""What every entry meets: digests are 32 hex digits."""
_PARAMETER = re.compile(r"\{([^}]*)\}")
_POLICY = re.compile(r"HYBRID_POLICY BATCHES BATCH_SIZE \d+ ")


class Dialect(Protocol):
    """Translates commands on the way out and replies on the way in; what has nothing to do with
    Search passes as it is."""

    def command(self, command: Command) -> Command:
        """What is sent instead."""

    def reply(self, command: Command, reply: Reply) -> Reply:
        """What Redis Search would have answered to ``command``."""


def dialect_of(hello: Mapping[bytes, Any]) -> Dialect | None:
    """By what the server says of itself (``HELLO``); None for Redis."""
    return ValkeyDialect() if hello.get(b"server") == b"valkey" else None


class ValkeyDialect:
    """What a cursor goes through is looked for anew, page by page: what was found before has been
    deleted by then. Where it has not, and hides the rest, the result is a partial one."""

    def __init__(self) -> None:
        self._cursors: dict[int, tuple[Command, set[bytes]]] = {}
        self._numbers = count(1)

    def command(self, command: Command) -> Command:
        match command:
            case ("FT.SEARCH", index, str(query), *options):
                return ("FT.SEARCH", index, *_inlined(query, options))
            case ("FT.AGGREGATE", index, str(query), *options):
                query, *_ = _inlined(query, options)
                return ("FT.SEARCH", index, query, "NOCONTENT", "LIMIT", 0, _PAGE, "DIALECT", 2)
            case ("FT.CURSOR", "READ", _, int(number), *_) if number in self._cursors:
                return self._cursors[number][0]
            case ("FT.CURSOR", "DEL", _, int(number), *_):
                self._cursors.pop(number, None)
                return ("PING",)
            case _:
                return command

    def reply(self, command: Command, reply: Reply) -> Reply:
        if isinstance(reply, Exception):
            return reply
        match command:
            case ("FT.SEARCH", *_):
                return _found(reply)
            case ("FT.AGGREGATE", *_):
                return self._page(next(self._numbers), self.command(command), set(), reply)
            case ("FT.CURSOR", "READ", _, int(number), *_) if number in self._cursors:
                return self._page(number, *self._cursors.pop(number), reply)
            case ("FT.INFO", *_):
                return _described(_mapped(reply))
            case _:
                return reply

    def _page(self, number: int, command: Command, seen: set[bytes], reply: Reply) -> Reply:
        total, *keys = reply
        more = total > len(keys)
        stuck = more and seen.issuperset(keys)
        if more and not stuck:
            self._cursors[number] = command, {*seen, *keys}
        rows = [{b"extra_attributes": {b"__key": key}} for key in keys]
        page = {b"results": rows, b"warning": [b"there is more behind"] if stuck else []}
        return [page, number if more and not stuck else 0]


def _inlined(query: str, options: list[Any]) -> Iterator[Any]:
    """The query with the parameters of its tags in it (hex digits, all of them), and the rest."""
    params: dict[str, Any] = {}
    if options[:1] == ["PARAMS"]:
        end = 2 + int(options[1])
        params = dict(zip(options[2:end:2], options[3:end:2], strict=True))
        options = options[end:]

    def value(match: re.Match[str]) -> str:
        names = match[1].split("|")
        return "{" + "|".join(str(params.pop(name.removeprefix("$"), name)) for name in names) + "}"

    query = _PARAMETER.sub(value, _POLICY.sub("", query))
    if "k" in params:
        query = query.replace("$k", str(params.pop("k")))
    yield _NOBODY if query == "*" else query
    if params:
        yield from ("PARAMS", 2 * len(params))
        for name, content in params.items():
            yield from (name, content)
    yield from options


def _found(reply: Any) -> dict[bytes, Any]:
    """An array of the total, and then keys with arrays of fields."""
    total, *rest = reply
    results = [
        {b"id": key, b"extra_attributes": _mapped(fields)}
        for key, fields in zip(rest[::2], rest[1::2], strict=True)
    ]
    return {b"total_results": total, b"results": results}


def _described(info: dict[bytes, Any]) -> dict[bytes, Any]:
    """``FT.INFO`` in Redis's words."""
    attributes = []
    for one in info.get(b"attributes", []):
        attribute = _mapped(one)
        index = _mapped(attribute.get(b"index", []))
        if index:
            attribute |= {
                b"algorithm": _mapped(index.get(b"algorithm", [])).get(b"name", b"?"),
                b"data_type": index.get(b"data_type", b"?"),
                b"dim": index.get(b"dimensions"),
                b"distance_metric": index.get(b"distance_metric", b"?"),
            }
        attributes.append(attribute)
    return info | {
        b"attributes": attributes,
        b"index_definition": _mapped(info.get(b"index_definition", [])),
        b"indexing": int(info.get(b"backfill_in_progress", 0)),
        b"percent_indexed": info.get(b"backfill_complete_percent", 1),
    }


def _mapped(pairs: Any) -> dict[bytes, Any]:
    """An array of names and values, or a map that is one already."""
    if isinstance(pairs, dict):
        return dict(pairs)
    return dict(zip(pairs[::2], pairs[1::2], strict=True))
