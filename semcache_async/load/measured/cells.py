"""Figures as tables show them: medians, and their range where there is one."""

from __future__ import annotations

from collections.abc import Callable

from semcache_async.load.measured.figures import Span

__all__ = ["milliseconds", "ms", "rate", "spanned", "times"]


def milliseconds(seconds: float | None) -> str:
    """Three digits or so, without the unit."""
    if seconds is None:
        return "-"
    value = seconds * 1_000
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def spanned(span: Span | None, show: Callable[[float], str]) -> str:
    """Median, and range where there is one."""
    if span is None:
        return "-"
    text = show(span.median)
    return text if span.low == span.high else f"{text} ({show(span.low)}-{show(span.high)})"


def ms(span: Span | None) -> str:
    """Of seconds."""
    return spanned(span, milliseconds)


def rate(span: Span | None) -> str:
    """A second."""
    small = span is not None and span.high < 100
    return spanned(span, lambda value: f"{value:,.1f}" if small else f"{value:,.0f}")


def times(span: Span | None) -> str:
    """A ratio."""
    return spanned(span, lambda value: f"{value:.3g}") + "x"
