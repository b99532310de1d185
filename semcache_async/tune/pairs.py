"""Labelled pairs from a file: what ``semcache calibrate`` reads.

One JSON object a line (``.gz`` too): ``text_a``, ``text_b`` and ``label``, 1 where one answer
serves both prompts and 0 where it does not; optionally ``scope``, ``kind`` (texts) and ``weight``
(over 0). What ``GET /semantic-cache/reviews.jsonl`` exports is such a file.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from semcache_async.errors import SemcacheError
from semcache_async.text.prompt import normalise

__all__ = ["CalibrationError", "Pair", "Pairs", "halves", "read_pairs", "tidy_pairs"]

_LABELS = {0: False, 1: True}
_LONGEST = 1_000_000


class CalibrationError(SemcacheError):
    """The pairs cannot be read, or the result cannot be written."""


class Pair(NamedTuple):
    """Two prompts, and whether one answer serves both."""

    text_a: str
    text_b: str
    right: bool
    scope: str = ""
    kind: str = ""
    weight: float = 1.0


class Pairs(NamedTuple):
    """What is left to calibrate with, and what was left out."""

    kept: list[Pair]
    identical: int = 0
    """Both prompts are the same to the exact tier, which no distance is asked for."""
    repeated: int = 0
    """Said before of the same two prompts in the same scope; one pair is one sample."""
    contradicted: int = 0
    """Labelled both ways: taken for wrong."""


def read_pairs(path: Path) -> list[Pair]:
    """The pairs of a file. Raises ``CalibrationError`` that names the first bad line."""
    try:
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except (OSError, EOFError) as error:
        raise CalibrationError(f"{path} cannot be read: {error}.") from error
    pairs = [
        _pair(f"{path}, line {number}", line)
        for number, line in enumerate(raw.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1)
        if line.strip()
    ]
    if not pairs:
        raise CalibrationError(f"{path} holds no pairs.")
    return pairs


def tidy_pairs(pairs: Iterable[Pair]) -> Pairs:
    """Each two prompts of a scope once, none of them the same to the exact tier."""
    kept: dict[tuple[str, str, str], Pair] = {}
    identical = repeated = 0
    contradicted = set()
    for pair in pairs:
        one, other = sorted((normalise(pair.text_a), normalise(pair.text_b)))
        if one == other:
            identical += 1
            continue
        key = (pair.scope, one, other)
        known = kept.get(key)
        if known is None:
            kept[key] = pair
            continue
        repeated += 1
        if known.right != pair.right:
            contradicted.add(key)
            kept[key] = known._replace(right=False)
    return Pairs(list(kept.values()), identical, repeated, len(contradicted))


def halves(pairs: Sequence[Pair], share: float) -> list[bool]:
    """Which pairs belong to the first part, about ``share`` of them: the same ones each time.

    Pairs that share a prompt stay together, directly or through others, unless that binds most of
    the file into one group.
    """
    groups = _groups(pairs)
    sizes: dict[str, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    if max(sizes.values(), default=0) > len(pairs) / 4:
        groups = ["\x1f".join(sorted(pair[:2])) for pair in pairs]
    return [_draw(group) < share for group in groups]


def _groups(pairs: Sequence[Pair]) -> list[str]:
    """Each pair's group: the smallest prompt that it is joined with."""
    parent: dict[str, str] = {}

    def root(text: str) -> str:
        while parent.setdefault(text, text) != text:
            parent[text] = text = parent[parent[text]]
        return text

    for pair in pairs:
        one, other = sorted((root(pair.text_a), root(pair.text_b)))
        parent[other] = one
    return [root(pair.text_a) for pair in pairs]


def _draw(text: str) -> float:
    digest = blake2b(text.encode(), digest_size=8, person=b"calibrate").digest()
    return int.from_bytes(digest, "big") / 2.0**64


def _pair(where: str, line: bytes) -> Pair:
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CalibrationError(f"{where}: not valid JSON ({error}).") from error
    if not isinstance(row, dict):
        raise CalibrationError(f"{where}: must be an object with text_a, text_b and label.")
    label = row.get("label")
    if label is None:
        raise CalibrationError(f"{where}: label is missing; 1 is right, 0 is wrong.")
    if not isinstance(label, int | float) or label not in _LABELS:
        raise CalibrationError(f"{where}: label={label!r} must be 1 (right) or 0 (wrong).")
    weight = row.get("weight", 1.0)
    if (
        isinstance(weight, bool)
        or not isinstance(weight, int | float)
        or not 0.0 < weight < math.inf
    ):
        raise CalibrationError(f"{where}: weight={weight!r} must be a number over 0.")
    return Pair(
        _text(where, row, "text_a"),
        _text(where, row, "text_b"),
        _LABELS[int(label)],
        _text(where, row, "scope", ""),
        _text(where, row, "kind", ""),
        float(weight),
    )


def _text(where: str, row: dict[str, Any], name: str, default: str | None = None) -> str:
    text = row.get(name, default)
    if text is None and default is None:
        raise CalibrationError(f"{where}: {name} is missing.")
    if text is None:
        return ""
    if not isinstance(text, str) or len(text) > _LONGEST:
        raise CalibrationError(f"{where}: {name} must be a text.")
    if default is None and not text.strip():
        raise CalibrationError(f"{where}: {name} is empty.")
    return text
