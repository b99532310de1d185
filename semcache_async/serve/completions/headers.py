"""What an answer's headers say of the cache: ``Cache-Status`` (RFC 9211), ``x-semcache-*``."""

from __future__ import annotations

from semcache_async.serve.bypass import Bypass
from semcache_async.types import Answer, Neighbour, Source

__all__ = ["headers_of", "reason_of"]


def reason_of(planned: Bypass | None, *, unread: bool) -> Bypass:
    """Why the cache was bypassed, where it was; ``planned`` is what the request's plan says."""
    return planned or (Bypass.REQUEST if unread else Bypass.TOO_LONG)


def headers_of(
    source: Source,
    answer: Answer | None,
    *,
    shadow: Neighbour | None,
    reason: Bypass | None,
    unread: bool,
    hide_similarity: bool,
) -> dict[str, str]:
    """What the cache did. ``answer``: None while it is still coming; ``shadow``: the stored answer
    that shadow mode held back; ``unread``: the request itself wanted no stored answer."""
    headers = {"x-semcache-status": source.value}
    if shadow is not None:
        headers["x-semcache-shadow"] = "semantic" if shadow.distance else "exact"
    if source is Source.BYPASSED:
        word = reason_of(reason, unread=unread).value
        headers["x-semcache-reason"] = word
        headers["Cache-Status"] = f"semcache; fwd=bypass; detail={word}"
    elif source is Source.SHARED:
        headers["Cache-Status"] = "semcache; fwd=miss; collapsed"
    elif source is Source.GENERATED:
        stored = "; stored" if answer is not None and answer.entry_id is not None else ""
        headers["Cache-Status"] = f"semcache; fwd={'request' if unread else 'miss'}{stored}"
    else:
        stale = answer is not None and answer.stale
        headers["Cache-Status"] = f"semcache; hit{'; detail=stale' if stale else ''}"
    if answer is None:
        return headers
    if source in (Source.EXACT, Source.SEMANTIC):
        headers["Age"] = str(int(answer.age_s))
    if answer.entry_id is not None:
        headers["x-semcache-entry-id"] = answer.entry_id
    if answer.widened:
        headers["x-semcache-widened"] = "true"
    if answer.distance is not None and not hide_similarity:
        headers["x-semcache-similarity"] = f"{1.0 - answer.distance:.4f}"
        headers["x-semcache-distance"] = f"{answer.distance:.4f}"
    return headers
