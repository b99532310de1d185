"""The packages that only load reports need."""

from __future__ import annotations

import importlib
from types import ModuleType

from semcache_async.errors import SemcacheError

__all__ = ["LoadError", "need"]


class LoadError(SemcacheError):
    """The load run cannot be done as asked."""


def need(module: str) -> ModuleType:
    """``module``, or ``LoadError`` naming the extra that has it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise LoadError(
            f"Load reports need {package}, which is not installed: "
            "pip install 'semcache-async[load]'."
        ) from error
