"""One helper for error sentences."""

from __future__ import annotations

__all__ = ["brief"]


def brief(error: BaseException) -> str:
    """What ``error`` says, on one line of at most 200 characters; its type where it is mute."""
    return " ".join(str(error).split())[:200] or type(error).__name__
