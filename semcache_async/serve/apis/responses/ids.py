"""Ids of what is given out again: the upstream's own with a mark behind, new to whoever gets them,
and yet leading to what the upstream keeps. Pure, but for chance."""

from __future__ import annotations

import random
import re
from typing import Any

__all__ = ["new_mark", "parted", "unmarked"]

_MARKED = re.compile(r"(.+)(-semcache-[0-9a-f]{10})", re.DOTALL)


def new_mark() -> str:
    """What no other answer has."""
    return f"-semcache-{random.getrandbits(40):010x}"


def parted(given: str) -> tuple[str, str]:
    """The upstream's own id, and the mark behind it; "" where there is none."""
    found = _MARKED.fullmatch(given)
    return (found[1], found[2]) if found else (given, "")


def unmarked(body: dict[str, Any]) -> dict[str, Any]:
    """A request with the ids that the upstream knows."""
    made = dict(body)
    if "previous_response_id" in made:
        made["previous_response_id"] = _own(made["previous_response_id"])
    if isinstance(items := made.get("input"), list):
        made["input"] = [
            {**item, "id": _own(item["id"])} if isinstance(item, dict) and "id" in item else item
            for item in items
        ]
    return made


def _own(given: Any) -> Any:
    return parted(given)[0] if isinstance(given, str) else given
