"""A file of rules: what records of other systems mean as events. Templates name dotted paths of a
record, and nothing in the file is ever evaluated."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from semcache_async.errors import ConfigError
from semcache_async.worker.events import Event, read_event

__all__ = ["Rules", "read_rules"]

_PART = re.compile(r"\{([^{}]*)\}")
_EXAMPLE = (
    '[[rules]] where = {"source.table" = "products"} tags = ["product:{after.id}"] '
    'namespaces = ["products"]'
)
_LISTS = ("tags", "namespaces", "tenants", "ids")
_MISSING = object()


class _Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As the file has it."""

    where: dict[str, Any] = {}
    tags: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    tenant: str | None = None

    def __post_init__(self) -> None:
        if not (self.tags or self.namespaces or self.tenants or self.ids):
            raise ValueError("a rule names tags, namespaces, tenants or ids")
        if self.tenant is not None and not self.tags:
            raise ValueError("tenant narrows tags, and this rule has none")


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: tuple[_Rule, ...]


class Rules:
    """Every rule that a record meets counts."""

    def __init__(self, rules: tuple[_Rule, ...]) -> None:
        self._rules = [_Compiled(rule) for rule in rules]

    def events(self, record: Mapping[str, Any]) -> list[Event]:
        """What ``record`` means; nothing where it meets no rule. Raises ``EventError`` for values
        that cannot be named."""
        found = [rule.event(record) for rule in self._rules if rule.is_met_by(record)]
        return [event for event in found if event is not None]


def read_rules(path: Path) -> Rules:
    """Raises ``ConfigError``, which says what is wrong where."""
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
        file = msgspec.convert(said, _File)
        if not file.rules:
            raise ValueError("there are no rules")
        return Rules(file.rules)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: {error}. A rule looks like this: {_EXAMPLE}") from error


class _Compiled:
    def __init__(self, rule: _Rule) -> None:
        self._where = dict(_conditions(rule.where))
        self._templates = {
            name: [_Template(text) for text in getattr(rule, name)]
            for name in _LISTS
            if getattr(rule, name)
        }
        self._tenant = None if rule.tenant is None else _Template(rule.tenant)

    def is_met_by(self, record: Mapping[str, Any]) -> bool:
        for path, wanted in self._where.items():
            value = _value(record, path)
            if not any(type(value) is type(one) and value == one for one in wanted):
                return False
        return True

    def event(self, record: Mapping[str, Any]) -> Event | None:
        named: dict[str, Any] = {
            name: [text for one in templates if (text := one.fill(record)) is not None]
            for name, templates in self._templates.items()
        }
        if self._tenant is not None:
            named["tenant"] = self._tenant.fill(record)
            if named["tenant"] is None:  # without it the tags would be everybody's
                del named["tenant"], named["tags"]
        if not any(named.values()):
            return None
        return read_event(named)


class _Template:
    """Text with ``{dotted.paths}``."""

    def __init__(self, text: str) -> None:
        *pieces, end = _PART.split(text)
        self._pieces = [(pieces[n], _path(pieces[n + 1], text)) for n in range(0, len(pieces), 2)]
        self._end = end
        literals = [literal for literal, _ in self._pieces] + [end]
        if any(brace in literal for literal in literals for brace in "{}"):
            raise ValueError(f"{text!r}: a brace is open; write {{dotted.path}}")
        if not text.strip():
            raise ValueError("a template is empty")

    def fill(self, record: Mapping[str, Any]) -> str | None:
        """None where a path leads to nothing that can be written."""
        filled: list[str] = []
        for literal, path in self._pieces:
            text = _text(_value(record, path))
            if text is None:
                return None
            filled += (literal, text)
        return "".join([*filled, self._end])


def _conditions(where: Mapping[str, Any], above: str = "") -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each path with the values that it may lead to."""
    for name, value in where.items():
        path = f"{above}{name}"
        if isinstance(value, Mapping):
            yield from _conditions(value, f"{path}.")
            continue
        wanted = value if isinstance(value, list) else [value]
        if not wanted or not all(isinstance(one, str | int | bool) for one in wanted):
            raise ValueError(f"where: {path} takes text, a whole number, true, false, or a list")
        yield _path(path, f"where: {path}"), wanted


def _path(text: str, where: str) -> tuple[str, ...]:
    path = tuple(text.split("."))
    if not all(part and part == part.strip() for part in path):
        raise ValueError(f"{where!r}: {text!r} is no path; write names with dots between them")
    return path


def _value(record: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(record, Mapping):
            return _MISSING
        record = record.get(name, _MISSING)
    return record


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return value if isinstance(value, str) and value.strip() else None
