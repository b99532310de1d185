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

__all__ = ["set_number", "with_number", "write_whole"]

_HEADER = re.compile(r"[ \t]*\[[ \t]*(?:cache|\"cache\"|'cache')[ \t]*\][ \t]*(?:#.*)?\r?")
_TABLE = re.compile(r"[ \t]*\[")
_VALUE = r"[ \t]*=[ \t]*)([^#\r]*?)([ \t]*(?:#.*)?\r?)"


def set_number(path: Path, name: str, value: float) -> None:
    """Write an option under ``[cache]`` of the file that ``semcache serve --config`` reads;
    a file that is not there is made. Raises ``CalibrationError``, and then nothing is changed.
    """
    try:
        text = path.read_bytes().decode() if path.exists() else ""
        write_whole(path, with_number(text, name, value))
    except (OSError, UnicodeDecodeError) as error:
        raise CalibrationError(f"{path} cannot be written: {error}.") from error
    except ValueError as error:
        raise CalibrationError(f"{path}: {error}") from error


def write_whole(path: Path, text: str, *, mode: int | None = None) -> None:
    """``path``, which appears whole or stays as it is. ``mode``: None for the one that it has."""
    if mode is None:
        mode = path.stat().st_mode & 0o7777 if path.exists() else 0o644
    path = path.resolve()
    handle, draft = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
        Path(draft).chmod(mode)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def with_number(text: str, name: str, value: float) -> str:
    """``text`` with that option of ``cache`` set. Raises ``ValueError`` where it is not valid TOML,
    or is written in a way that this does not understand."""
    try:
        wanted = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"not valid TOML ({error}).") from error
    cache = wanted.setdefault("cache", {})
    if not isinstance(cache, dict):
        raise ValueError("cache must be a table, [cache].")
    cache[name] = value
    for change in (_replaced, _dotted, _inserted, _appended):
        for changed in change(text, name, f"{value:.9g}"):
            if _means(changed, wanted):
                return changed
    raise ValueError(f"this file is not understood; set {name} = {value:.9g} under [cache].")


def _means(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False


def _replaced(text: str, name: str, value: str) -> Iterator[str]:
    """Each way to change a line that sets it below a ``[cache]``."""
    lines, inside = text.split("\n"), False
    key = re.compile(rf"([ \t]*{name}{_VALUE}")
    for place, line in enumerate(lines):
        if _TABLE.match(line):
            inside = _HEADER.fullmatch(line) is not None
        elif inside and (found := key.fullmatch(line)):
            yield _with_line(lines, place, f"{found[1]}{value}{found[3]}")


def _dotted(text: str, name: str, value: str) -> Iterator[str]:
    lines = text.split("\n")
    key = re.compile(rf"([ \t]*cache[ \t]*\.[ \t]*{name}{_VALUE}")
    for place, line in enumerate(lines):
        if found := key.fullmatch(line):
            yield _with_line(lines, place, f"{found[1]}{value}{found[3]}")


def _inserted(text: str, name: str, value: str) -> Iterator[str]:
    """Each way to add it right below a ``[cache]``."""
    lines = text.split("\n")
    for place, line in enumerate(lines):
        if _HEADER.fullmatch(line):
            end = "\r" if line.endswith("\r") else ""
            yield _with_line(lines, place, f"{line}\n{name} = {value}{end}")


def _appended(text: str, name: str, value: str) -> Iterator[str]:
    end = "\r\n" if "\r\n" in text else "\n"
    gap = "" if not text else end if text.endswith("\n") else end * 2
    yield f"{text}{gap}[cache]{end}{name} = {value}{end}"


def _with_line(lines: list[str], place: int, line: str) -> str:
    return "\n".join([*lines[:place], line, *lines[place + 1 :]])
