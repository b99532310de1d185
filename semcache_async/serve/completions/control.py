"""What a caller asks of the cache itself: LiteLLM's ``cache`` object and request headers. Pure.

A caller may want less of the cache, and more only where the operator lets it (``widenable``):
thresholds and ages only tighten.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import msgspec

from semcache_async.config import MAX_TTL_S
from semcache_async.serve.errors import Invalid
from semcache_async.serve.upstream.passing import NOTHING, Passed
from semcache_async.types import WIDENABLE

__all__ = ["NO_WISHES", "Control", "read_control"]

_CACHE_FIELDS = ("no-cache", "no-store", "ttl", "s-maxage", "namespace")
_TAKEN = frozenset((*_CACHE_FIELDS, "s-max-age", "use-cache"))
"""LiteLLM knows a second name for one, and a field that turns on what is on here."""
_LONGEST = 256
_MOST_TAGS = 32
# Possessive: what was taken is not given back, so that the cost stays linear.
_DIRECTIVE = re.compile(
    r'\s*+([^\s=,;"]++)\s*+(?:=\s*+("(?:[^"\\]|\\.)*+"|[^\s,;"]*+))?+\s*+(?:,|$)'
)


class Control(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One request's wishes."""

    read: bool = True
    write: bool = True
    only_if_cached: bool = False
    ttl_s: float | None = None
    max_age_s: float | None = None
    """Older answers are no hit."""
    max_distance: float | None = None
    namespace: str = ""
    locale: str = ""
    tags: tuple[str, ...] = ()
    widen: tuple[str, ...] = ()
    """Fields of the scope that a stored answer may differ in."""
    asker: str = ""
    """Whose key it is."""
    passed: Passed = NOTHING
    """What goes upstream besides."""


NO_WISHES = Control()
_HEADERS = (
    *("Cache-Control", "x-semcache-max-distance", "x-semcache-similarity-threshold"),
    *("x-semcache-locale", "x-semcache-namespace", "x-semcache-tags", "x-semcache-widen"),
)


def read_control(cache: Mapping[str, Any], headers: Mapping[str, str]) -> Control:
    """Raises ``Invalid`` for wishes that make no sense."""
    asked = {name: headers[name] for name in _HEADERS if name in headers}
    if not cache and not asked:
        return NO_WISHES
    no_cache, no_store, namespace, ttl_s, max_age_s = _of_body(cache)
    directives = dict(_directives(asked.get("Cache-Control", "")))
    ages = [max_age_s] if max_age_s is not None else []
    if "max-age" in directives:
        ages.append(_delta_seconds("max-age", directives["max-age"]))
    distances = []
    if (text := asked.get("x-semcache-max-distance")) is not None:
        distances.append(_number("x-semcache-max-distance", text, 0.0, 2.0))
    if (text := asked.get("x-semcache-similarity-threshold")) is not None:
        distances.append(1.0 - _number("x-semcache-similarity-threshold", text, -1.0, 1.0))
    no_cache = no_cache or "no-cache" in directives or 0.0 in ages
    only_if_cached = "only-if-cached" in directives
    return Control(
        read=not no_cache,
        write=not (no_store or "no-store" in directives),
        only_if_cached=only_if_cached,
        ttl_s=ttl_s,
        max_age_s=min(ages) if ages and not no_cache else None,
        max_distance=min(distances) if distances else None,
        namespace=namespace or _namespace(asked.get("x-semcache-namespace", "")),
        locale=_locale(asked.get("x-semcache-locale", "")),
        tags=_tags(asked.get("x-semcache-tags", "")),
        widen=_fields(asked.get("x-semcache-widen", "")),
    )


def _of_body(
    cache: Mapping[str, Any],
) -> tuple[bool, bool, str, float | None, float | None]:
    for name in cache:
        if name not in _TAKEN:
            shown = name if len(name) <= 64 and name.isprintable() else "..."
            _refuse(f"cache.{shown}", f"is none of {', '.join(_CACHE_FIELDS)}")
    flags = []
    for name in ("no-cache", "no-store"):
        value = cache.get(name)
        if value is not None and not isinstance(value, bool):
            _refuse(f"cache.{name}", "must be true or false")
        flags.append(bool(value))
    namespace = cache.get("namespace")
    if namespace is not None and (not isinstance(namespace, str) or len(namespace) > _LONGEST):
        _refuse("cache.namespace", f"must be a string of at most {_LONGEST} characters")
    age = "s-maxage" if "s-maxage" in cache else "s-max-age"
    ttl_s, max_age_s = (_seconds(f"cache.{name}", cache.get(name)) for name in ("ttl", age))
    if ttl_s is not None and ttl_s < 0.001:
        _refuse("cache.ttl", "must be at least 0.001 s; not to store an answer, say no-store")
    return flags[0], flags[1], namespace or "", ttl_s, max_age_s


def _seconds(field: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        _refuse(field, "must be a number of seconds")
    if not 0 <= value <= MAX_TTL_S:
        _refuse(field, f"must be 0 to {MAX_TTL_S:.0f} seconds")
    return float(value)


def _number(header: str, text: str, low: float, high: float) -> float:
    try:
        value = float(text) if len(text) <= 32 and text.isascii() else math.nan
    except ValueError:
        value = math.nan
    if not low <= value <= high:  # so neither is NaN
        _refuse(header, f"must be a number from {low:g} to {high:g}")
    return value


def _directives(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        found = _DIRECTIVE.match(text, at)
        if found is None:
            if text[at:].strip(" \t,"):
                _refuse("Cache-Control", "is not a list of directives")
            return
        yield found[1].lower(), (found[2] or "").strip('"')
        at = found.end()


def _delta_seconds(directive: str, text: str) -> float:
    """RFC 9111, section 1.2.2: digits; more than can be represented is the most that can be."""
    if not text.isascii() or not text.isdigit():
        _refuse("Cache-Control", f"says {directive} without a number of seconds")
    return min(float(text[:20]), MAX_TTL_S)


def _locale(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z0-9]{1,16}(?:[-_.@][A-Za-z0-9]{1,16}){0,4}", text):
        _refuse("x-semcache-locale", "must be a locale such as de-CH")
    return text


def _namespace(text: str) -> str:
    if len(text) > _LONGEST or not (text.isprintable() and text.isascii()):
        _refuse("x-semcache-namespace", f"must be printable ASCII of at most {_LONGEST} characters")
    return text


def _tags(text: str) -> tuple[str, ...]:
    tags = tuple(dict.fromkeys(tag for part in text.split(",") if (tag := part.strip())))
    if len(tags) > _MOST_TAGS or any(len(tag) > _LONGEST for tag in tags):
        _refuse(
            "x-semcache-tags",
            f"must be at most {_MOST_TAGS} tags of at most {_LONGEST} characters each",
        )
    if not all(tag.isprintable() and tag.isascii() for tag in tags):
        _refuse("x-semcache-tags", "must be printable ASCII")
    return tags


def _fields(text: str) -> tuple[str, ...]:
    fields = tuple(name for part in text.split(",") if (name := part.strip()))
    if not set(fields) <= set(WIDENABLE):
        _refuse("x-semcache-widen", f"must name fields of {', '.join(WIDENABLE)}")
    return fields


def _refuse(field: str, why: str) -> NoReturn:
    raise Invalid(f"{field} {why}.", param=field, code="invalid_value")
