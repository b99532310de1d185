"""A value in parts that add up to it as a stream's do (``upstream.merging``), each short enough for
clients that read no long lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from semcache_async.serve.apis.chat.merging import WHOLE

__all__ = ["LONGEST", "cut_object", "cut_text"]

LONGEST = 6_000
"""Bytes of a part, as JSON; two of them and what goes around them are within 16 KiB."""
_CHARACTERS = LONGEST // 6
"""Of a text: each is six bytes at most."""
_OF_EACH = ("index", "type")
"""What every part of a list's element repeats: by it the parts are known to belong together."""
_encode = msgspec.json.encode


def cut_text(text: str, sizes: Sequence[int] = ()) -> Iterator[str]:
    """``text`` in pieces of ``sizes`` characters, the rest and what is too long as it has to be."""
    at = 0
    for size in (*sizes, len(text)):
        end = min(at + size, len(text))
        for start in range(at, end, _CHARACTERS):
            yield text[start : min(start + _CHARACTERS, end)]
        at = end


def cut_object(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """``value`` as objects that merge to it; one at least."""
    part: dict[str, Any] = {}
    size = 0
    for name, inner in value.items():
        for n, piece in enumerate(_cut(name, inner)):
            length = len(_encode(piece)) + len(name)
            if part and (n or size + length > LONGEST):
                yield part
                part, size = {}, 0
            part[name] = piece
            size += length
    yield part


def _cut(name: str, value: Any) -> Iterator[Any]:
    if isinstance(value, str) and len(value) > _CHARACTERS and name not in WHOLE:
        yield from cut_text(value)
    elif isinstance(value, list):
        yield from _cut_list(value)
    elif isinstance(value, dict):
        yield from cut_object(value)
    else:
        yield value


def _cut_list(value: list[Any]) -> Iterator[list[Any]]:
    part: list[Any] = []
    size = 0
    for element in value:
        length = len(_encode(element))
        elements = [element]
        if length > LONGEST and isinstance(element, dict):
            known = {name: element[name] for name in _OF_EACH if name in element}
            elements = [{**known, **piece} for piece in cut_object(element)]
        for one in elements:
            length = length if one is element else len(_encode(one))
            if part and size + length > LONGEST:
                yield part
                part, size = [], 0
            part.append(one)
            size += length
    yield part
