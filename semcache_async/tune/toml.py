"""Setting one number in somebody's TOML file, and leaving all else as it is."""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semcache_async.tune.pairs import CalibrationError

__all__ = ["set_max_distance", "with_max_distance"]

_HEADER = re.compile(r"[ \t]*\[[ \t]*(?:cache|\"cache\"|'cache')[ \t]*\][ \t]*(?:#.*)?\r?")
_TABLE = re.compile(r"[ \t]*\[")
_KEY = re.compile(r"([ \t]*max_distance[ \t]*=[ \t]*)([^#\r]*?)([ \t]*(?:#.*)?\r?)")
_DOTTED = re.compile(
    r"([ \t]*cache[ \t]*\.[ \t]*max_distance[ \t]*=[ \t]*)([^#\r]*?)([ \t]*(?:#.*)?\r?)"
)


def set_max_distance(path: Path, value: float) -> None:
    """Write ``max_distance`` under ``[cache]`` of the file that ``semcache serve --config`` reads;
    a file that is not there is made. Raises ``CalibrationError``, and then nothing is changed.
    """
    try:
        text = path.read_bytes().decode() if path.exists() else ""
        changed = with_max_distance(text, value)
        mode = path.stat().st_mode & 0o7777 if path.exists() else 0o644
        path = path.resolve()
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(changed.encode())
            Path(name).chmod(mode)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"{path} cannot be written: {error}.") from error
    except ValueError as error:
        raise CalibrationError(f"{path}: {error}") from error


def with_max_distance(text: str, value: float) -> str:
    """``text`` with ``cache.max_distance`` set. Raises ``ValueError`` where it is not valid TOML,
    or is written in a way that this does not understand."""
    try:
        wanted = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not valid TOML ({error}).") from error
    cache = wanted.setdefault("cache", {})
    if not isinstance(cache, dict):
        raise ValueError("cache must be a table, [cache].")
    cache["max_distance"] = value
    for change in (_replaced, _dotted, _inserted, _appended):
        for changed in change(text, f"{value:g}"):
            if _means(changed, wanted):
                return changed
    raise ValueError(f"this file is not understood; set max_distance = {value:g} under [cache].")


def _means(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False


def _replaced(text: str, value: str) -> Iterator[str]:
    """Each way to change a line that sets it below a ``[cache]``."""
    lines, inside = text.split("\n"), False
    for place, line in enumerate(lines):
        if _TABLE.match(line):
            inside = _HEADER.fullmatch(line) is not None
        elif inside and (found := _KEY.fullmatch(line)):
            yield _with_line(lines, place, f"{found[1]}{value}{found[3]}")


def _dotted(text: str, value: str) -> Iterator[str]:
    lines = text.split("\n")
    for place, line in enumerate(lines):
        if found := _DOTTED.fullmatch(line):
            yield _with_line(lines, place, f"{found[1]}{value}{found[3]}")


def _inserted(text: str, value: str) -> Iterator[str]:
    """Each way to add it right below a ``[cache]``."""
    lines = text.split("\n")
    for place, line in enumerate(lines):
        if _HEADER.fullmatch(line):
            end = "\r" if line.endswith("\r") else ""
            yield _with_line(lines, place, f"{line}\nmax_distance = {value}{end}")


def _appended(text: str, value: str) -> Iterator[str]:
    end = "\r\n" if "\r\n" in text else "\n"
    gap = "" if not text else end if text.endswith("\n") else end * 2
    yield f"{text}{gap}[cache]{end}max_distance = {value}{end}"


def _with_line(lines: list[str], place: int, line: str) -> str:
    return "\n".join([*lines[:place], line, *lines[place + 1 :]])
