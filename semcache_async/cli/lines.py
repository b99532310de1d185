"""The file that ``semcache import`` reads: one JSON object a line, ``prompt`` (or ``question``) and
``answer``, optionally ``tags``, ``ttl_s`` and any field of a scope."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from semcache_async.config import CacheConfig, check_ttl
from semcache_async.errors import ConfigError, PromptError, SemcacheError
from semcache_async.query import check_answer, check_tags, is_oversize
from semcache_async.text.prompt import check_text, normalise
from semcache_async.types import EntryKey, Scope

__all__ = ["Kept", "LineError", "read_lines"]


class LineError(SemcacheError):
    """The file cannot be read, or one of its lines cannot be kept as it stands."""


class Kept(NamedTuple):
    """What a line gives to keep."""

    key: EntryKey
    prompt: str
    text: str
    tags: tuple[str, ...]
    ttl_s: float | None


class _Row(msgspec.Struct, forbid_unknown_fields=True):
    answer: str
    prompt: str | None = None
    question: str | None = None
    tags: list[str] | None = None
    ttl_s: float | None = None
    tenant: str | None = None
    locale: str | None = None
    model: str | None = None
    system_prompt: str | None = None
    temperature: float | None = None
    parameters: dict[str, Any] | None = None
    corpus_version: str | None = None
    namespace: str | None = None
    attributes: dict[str, str] | None = None


_decode = msgspec.json.Decoder(_Row).decode


def read_lines(
    path: Path,
    config: CacheConfig,
    *,
    scope: Mapping[str, Any],
    tags: Collection[str] = (),
    ttl_s: float | None = None,
) -> Iterator[Kept | LineError]:
    """What each line gives, or what is wrong with it, blank lines left out. ``scope``: fields that
    all lines share, which none may contradict; ``tags`` are added to a line's own; ``ttl_s`` is for
    lines without one. Raises ``LineError`` for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                raw = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
                if not raw.strip():
                    continue
                try:
                    yield _kept(_decode(raw), config, scope, tags, ttl_s)
                except (msgspec.DecodeError, UnicodeDecodeError, PromptError, ConfigError) as error:
                    yield LineError(f"{path}, line {number}: {error}")
    except OSError as error:
        raise LineError(f"{path} cannot be read: {error.strerror}.") from error


def _kept(
    row: _Row,
    config: CacheConfig,
    shared: Mapping[str, Any],
    tags: Collection[str],
    ttl_s: float | None,
) -> Kept:
    if (row.prompt is None) == (row.question is None):
        raise PromptError("Needs a prompt, or a question, and not both.")
    prompt = check_text("prompt", row.question if row.prompt is None else row.prompt)
    if is_oversize(prompt, config):
        raise PromptError(f"The prompt is longer than max_prompt_bytes={config.max_prompt_bytes}.")
    names = set(Scope.__struct_fields__) & set(row.__struct_fields__)
    named = {name: getattr(row, name) for name in names}
    own = {name: value for name, value in named.items() if value is not None}
    for name, value in shared.items():
        if own.setdefault(name, value) != value:
            raise ConfigError(f"Its {name} is {own[name]!r}, and not {value!r} as for all lines.")
    if row.ttl_s is not None:
        ttl_s = check_ttl("ttl_s", row.ttl_s)
    return Kept(
        EntryKey(Scope(**own), normalise(prompt)),
        prompt,
        check_answer(row.answer, config),
        check_tags([*(row.tags or ()), *tags]),
        ttl_s,
    )
