"""Figures as tables show them: medians, and their range where there is one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from semcache_async.load.figures import Span
from semcache_async.load.tables import milliseconds, spanned

__all__ = ["ms", "of", "rate", "spread", "times"]


def ms(span: Span | None) -> str:
    """Of seconds."""
    return "-" if span is None else spanned(span, milliseconds)


def rate(span: Span | None) -> str:
    """A second."""
    if span is None:
        return "-"
    return spanned(span, lambda value: f"{value:,.1f}" if span.high < 100 else f"{value:,.0f}")


def spread(values: Sequence[float], show: Callable[[float], str]) -> str:
    """Median and range."""
    return spanned(Span.of(values), show) if values else "-"


def of(rows: Sequence[dict[str, Any]], key: str, show: Callable[[float], str]) -> str:
    """The same of a field."""
    return spread([row[key] for row in rows], show)


def times(span: Span | None) -> str:
    """A ratio."""
    return "-" if span is None else spanned(span, lambda value: f"{value:.3g}") + "x"
