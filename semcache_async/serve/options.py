"""An option is one row: its field with type, default, meaning and range. Flag, environment variable
and key in the file come from it, and are read here."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from semcache_async.errors import ConfigError

__all__ = [
    "ENV",
    "Option",
    "Patterns",
    "Row",
    "check_ranges",
    "convert",
    "ended",
    "flag_of",
    "option",
    "read_file",
    "rows_of",
    "variable_of",
]

Patterns = bool | tuple[str, ...]
"""True: the built-in wordings; False: none; else regular expressions in their place."""
ENV = "SEMCACHE_"
_OPTION = "option"
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    int | None: "a whole number",
    float | None: "a number",
    str: "text",
    str | None: "text",
    Path | None: "a path",
    tuple[str, ...]: "a list of texts",
    Patterns: "true, false or a list of regular expressions",
}
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What an option means, and what it may be."""

    help: str
    group: str = ""
    """What ``--help`` lists it under."""
    low: float | None = None
    high: float | None = None
    """Both ends are allowed."""
    shown: str | None = None
    """The default in words."""


class Row(NamedTuple):
    """One option."""

    name: str
    kind: Any
    default: Any
    option: Option | None
    """None for one that has no flag."""
    secret: bool = False
    """Never shown: the field is kept out of its dataclass's ``repr``."""


def option(
    default: T,
    help: str,  # noqa: A002 - as typer calls it
    *,
    group: str = "",
    low: float | None = None,
    high: float | None = None,
    shown: str | None = None,
    secret: bool = False,
) -> T:
    """A dataclass field that is an option; ``secret``: its value is never shown."""
    row = Option(help=help, group=group, low=low, high=high, shown=shown)
    made: T = field(default=default, repr=not secret, metadata={_OPTION: row})
    return made


def rows_of(cls: Any, known: Mapping[str, Option] | None = None) -> dict[str, Row]:
    """Every field of a dataclass, by name. ``known``: options of fields that do not say them."""
    hints = get_type_hints(cls)
    return {
        part.name: Row(
            part.name,
            hints[part.name],
            None if part.default is MISSING else part.default,
            part.metadata.get(_OPTION) or (known or {}).get(part.name),
            not part.repr,
        )
        for part in fields(cls)
    }


def check_ranges(settings: Any) -> None:
    """Raises ``ConfigError`` for an option of a dataclass that is out of its range."""
    for part in fields(settings):
        row: Option | None = part.metadata.get(_OPTION)
        if row is None or row.low is None or row.high is None:
            continue
        value = getattr(settings, part.name)
        if isinstance(value, bool) or not row.low <= value <= row.high:
            raise ConfigError(
                f"{part.name}={value!r}: must be {_figure(row.low)} to {_figure(row.high)}."
            )


def flag_of(name: str) -> str:
    """``--max-distance``"""
    return f"--{name.replace('_', '-')}"


def variable_of(name: str) -> str:
    """``SEMCACHE_MAX_DISTANCE``"""
    return f"{ENV}{name.upper()}"


def read_file(
    path: Path, tables: Mapping[str, Mapping[str, Row]], *, refused: Mapping[str, str]
) -> dict[str, dict[str, Any]]:
    """What a TOML file says, by table; the table ``""`` is what stands above all others.
    ``refused``: keys that belong elsewhere, and what to say of each. Raises ``ConfigError``."""
    try:
        with path.open("rb") as file:
            told = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}.") from error
    parts: dict[str, Any] = {name: told.pop(name, {}) for name in tables if name}
    for name, part in parts.items():
        if not isinstance(part, dict):
            raise ConfigError(f"{path}: {name} must be a table, [{name}].")
    parts[""] = told
    for key, why in refused.items():
        if any(key in part for part in parts.values()):
            raise ConfigError(f"{path}: {why}")
    return {
        name: {
            key: convert(f"{path}: {_path(name, key)}", value, _row(path, tables, name, key))
            for key, value in part.items()
        }
        for name, part in parts.items()
    }


def _row(path: Path, tables: Mapping[str, Mapping[str, Row]], table: str, key: str) -> Row:
    rows = tables[table]
    if key in rows:
        return rows[key]
    for other, others in tables.items():
        if key in others:
            where = f"under [{other}]" if other else f"above [{table}]"
            raise ConfigError(f"{path}: {_path(table, key)} belongs {where}.")
    meant = ended([_path(table, near) for near in difflib.get_close_matches(key, rows, n=1)])
    raise ConfigError(f"{path}: there is no option {_path(table, key)}{meant}")


def ended(near: Sequence[str]) -> str:
    """The end of a sentence about a name that nobody knows, ``near`` being those most like it."""
    return f"; did you mean {near[0]}?" if near else "."


def _path(table: str, key: str) -> str:
    return f"{table}.{key}" if table else key


def convert(shown: str, value: Any, row: Row) -> Any:
    """``value``, which may be text, as what the option holds; tables are JSON as a text. Raises
    ``ConfigError``, in which ``shown`` names the option."""
    kind = row.kind
    if (table := _table_of(kind)) is not None:
        return _tables(shown, value, kind, table)
    if isinstance(value, Path) and kind == Path | None:
        return value
    if isinstance(value, str):
        if kind is bool or kind == Patterns:
            value = {"on": True, "yes": True, "off": False, "no": False}.get(value.lower(), value)
        elif kind == tuple[str, ...]:
            value = [part.strip() for part in value.split(",") if part.strip()]
        elif kind == Path | None:
            return Path(value).expanduser()
    try:
        return msgspec.convert(value, kind, strict=not isinstance(value, str))
    except msgspec.ValidationError:
        given = shown if row.secret else f"{shown}={value!r}"
        raise ConfigError(f"{given}: must be {_words(kind)}.") from None


def _table_of(kind: Any) -> type[msgspec.Struct] | None:
    """What an option of several tables holds one of each."""
    part = next(iter(get_args(kind)), None)
    return part if isinstance(part, type) and issubclass(part, msgspec.Struct) else None


def _tables(shown: str, value: Any, kind: Any, table: type[msgspec.Struct]) -> Any:
    """The error tells no values: somebody may have put a secret where its name belongs."""
    try:
        return msgspec.convert(
            msgspec.json.decode(value) if isinstance(value, str) else value, kind
        )
    except msgspec.DecodeError as error:
        fields = ", ".join(table.__struct_fields__)
        raise ConfigError(f"{shown}: must be a list of tables of {fields} ({error}).") from None


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(get_args(kind))}"
    return _WORDS[kind]


def _figure(number: float) -> str:
    return f"{number:.12g}"
