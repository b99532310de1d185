"""Real questions for the demo, tests and benchmarks: BANKING77, CC BY 4.0 (see NOTICE.md)."""

from __future__ import annotations

import gzip
from importlib.resources import files
from typing import Literal, NamedTuple

import msgspec

__all__ = ["Question", "banking77"]


class Question(NamedTuple):
    """A customer's question and which of 77 intents its asker had."""

    text: str
    intent: str


def banking77(part: Literal["train", "test"]) -> list[Question]:
    """10,003 (train) or 3,080 (test) questions in the order of the source."""
    raw = gzip.decompress((files(__name__) / f"banking77_{part}.jsonl.gz").read_bytes())
    rows = [msgspec.json.decode(line) for line in raw.splitlines()]
    return [Question(row["text"], row["intent"]) for row in rows]
