"""The file that ``semcache import`` reads: answers in the forms that people have them in.

A line is a JSON object: ``prompt`` (or ``question``) and ``answer``, optionally ``tags``, ``ttl_s``
and any field of a scope; a chat of OpenAI's, ``messages`` and ``response``; or what ``semcache
export`` wrote. A file named ``.csv`` has a row for each and names for its columns.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from semcache_async.config import CacheConfig, check_ttl
from semcache_async.errors import ConfigError, PromptError, SemcacheError
from semcache_async.request.query import check_answer, check_tags, is_oversize
from semcache_async.text.prompt import check_text, normalise
from semcache_async.types import EntryKey, Scope

if TYPE_CHECKING:
    from semcache_async.store.portable import Exported

__all__ = ["Fields", "Kept", "LineError", "read_lines"]


class LineError(SemcacheError):
    """The file cannot be read, or one of its lines cannot be kept as it stands."""


class Kept(NamedTuple):
    """What a line gives to keep."""

    key: EntryKey
    prompt: str
    text: str
    tags: tuple[str, ...]
    ttl_s: float | None


class Fields(NamedTuple):
    """Where in a line of any form prompt and answer are: names and places in lists, between dots.
    The rest of such a line says nothing."""

    prompt: str
    answer: str


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


class _Part(msgspec.Struct):
    type: str
    text: str = ""


class _Message(msgspec.Struct):
    role: str
    content: str | list[_Part] | None = None
    tool_calls: list[Any] | None = None

    @property
    def text(self) -> str:
        if self.tool_calls or self.content is None:
            raise PromptError(f"A message of the {self.role} is more than a text.")
        if isinstance(self.content, str):
            return self.content
        if any(part.type != "text" for part in self.content):
            raise PromptError(f"A message of the {self.role} is more than a text.")
        return "".join(part.text for part in self.content)


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: str | None = None


class _Response(msgspec.Struct):
    choices: list[_Choice]


class _Chat(msgspec.Struct):
    """What else a log has of a call is passed over."""

    messages: list[_Message]
    response: _Response | str
    model: str | None = None
    temperature: float | None = None
    tags: list[str] | None = None
    tenant: str | None = None
    locale: str | None = None
    corpus_version: str | None = None
    attributes: dict[str, str] | None = None

    def row(self) -> _Row:
        *before, last = self.messages or [_Message("nobody")]
        if last.role != "user" or any(one.role not in ("system", "developer") for one in before):
            raise PromptError("A chat of more than one question means what was said before.")
        if isinstance(self.response, str):
            answer = self.response
        else:
            if len(self.response.choices) != 1 or self.response.choices[0].finish_reason != "stop":
                raise PromptError("Its response is not one whole answer.")
            answer = self.response.choices[0].message.text
        return _Row(
            answer=answer,
            prompt=last.text,
            system_prompt="\n\n".join(one.text for one in before) or None,
            **{name: getattr(self, name) for name in _CHAT_FIELDS},
        )


_CHAT_FIELDS = ("tags", "model", "temperature", "tenant", "locale", "corpus_version", "attributes")


def read_lines(
    path: Path,
    config: CacheConfig,
    *,
    scope: Mapping[str, Any],
    tags: Collection[str] = (),
    ttl_s: float | None = None,
    fields: Fields | None = None,
) -> Iterator[Kept | Exported | LineError]:
    """What each line gives, or what is wrong with it, blank lines left out. ``scope``: fields that
    all lines share, which none may contradict; ``tags`` are added to a line's own; ``ttl_s`` is for
    lines without one. Raises ``LineError`` for a file that cannot be read."""
    kept = partial(_kept, config=config, shared=scope, tags=tags, ttl_s=ttl_s)
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _json_rows(path)
    try:
        for number, row in rows:
            try:
                known = row()
                if fields is not None:
                    mapped = {name: _at(known, where) for name, where in fields._asdict().items()}
                    yield kept(msgspec.convert(mapped, _Row))
                elif not isinstance(known, dict):
                    raise PromptError("It is no object.")
                elif "digests" in known:
                    yield _exported(known, config, bool(scope or tags))
                elif "messages" in known:
                    yield kept(msgspec.convert(known, _Chat).row())
                else:
                    yield kept(msgspec.convert(known, _Row, strict=path.suffix.lower() != ".csv"))
            except (msgspec.MsgspecError, UnicodeDecodeError, PromptError, ConfigError) as error:
                yield LineError(f"{path}, line {number}: {error}")
    except OSError as error:
        raise LineError(f"{path} cannot be read: {error.strerror}.") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise LineError(f"{path} is no CSV in UTF-8: {error}.") from error


def _json_rows(path: Path) -> Iterator[tuple[int, Callable[[], Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            raw = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if raw.strip():
                yield number, partial(msgspec.json.decode, raw)


def _csv_rows(path: Path) -> Iterator[tuple[int, Callable[[], Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file, restkey="more columns than names")
        for row in rows:
            yield rows.line_num, partial(_csv_row, row)


def _csv_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """What is not empty; tags are separated by semicolons."""
    known: dict[str, Any] = {name: value for name, value in row.items() if value}
    if "tags" in known:
        known["tags"] = [tag.strip() for tag in known["tags"].split(";") if tag.strip()]
    return known


def _at(value: Any, where: str) -> Any:
    for step in where.split("."):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (LookupError, TypeError, ValueError):
            raise PromptError(f"There is no {where}.") from None
    return value


def _kept(
    row: _Row,
    config: CacheConfig,
    shared: Mapping[str, Any],
    tags: Collection[str],
    ttl_s: float | None,
) -> Kept:
    if (row.prompt is None) == (row.question is None):
        raise PromptError("Needs a prompt, or a question, and not both.")
    prompt = _prompt(row.question if row.prompt is None else row.prompt, config)
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


def _exported(known: Any, config: CacheConfig, told: bool) -> Exported:
    from semcache_async.store.keys import KeySpace
    from semcache_async.store.portable import Exported, check_origin

    if told:
        raise ConfigError("It was exported, and has its own scope and tags: give none for all.")
    one = msgspec.convert(known, Exported)
    check_answer(one.answer, config)
    check_tags(one.tags)
    keys = KeySpace(config.name, "", config.secret)
    check_origin(one, normalise(_prompt(one.prompt, config)), keys)
    return one


def _prompt(text: object, config: CacheConfig) -> str:
    prompt = check_text("prompt", text)
    if is_oversize(prompt, config):
        raise PromptError(f"The prompt is longer than max_prompt_bytes={config.max_prompt_bytes}.")
    return prompt
