"""Tools whose calls depend on the conversation alone, as the operator says."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from fnmatch import translate

__all__ = ["PureTools"]


class PureTools:
    """Those whose names fit one of some shell patterns."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._fit = re.compile("|".join(map(translate, patterns)) or r"(?!)").match

    def all_of(self, names: Collection[str]) -> bool:
        """Are there some, and pure ones alone?"""
        return bool(names) and all(name and self._fit(name) for name in names)
