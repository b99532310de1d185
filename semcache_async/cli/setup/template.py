"""The service's file with every option in it, made from the options."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby, pairwise
from typing import Any

from semcache_async.config import CacheConfig
from semcache_async.serve.options import Row
from semcache_async.serve.settings import OPTIONS, Settings

__all__ = ["EXAMPLES", "template"]

_WIDTH = 96
_FIRST = (
    *("redis_url", "upstream_url", "simulate_llm", "host", "port", "workers", "api_keys_file"),
    *("max_distance", "exact_ttl_s", "semantic_ttl_s", "name", "secret", "target_precision"),
)
EXAMPLES: Mapping[str, object] = {
    "redis_url": "redis://localhost:6379/0",
    "upstream_url": "https://api.openai.com/v1",
    "embeddings_url": "https://api.openai.com/v1",
    "embeddings_model": "text-embedding-3-small",
    "embeddings_dimensions": 512,
    "judge_model": "gpt-5-mini",
    "verifier": "redis/langcache-reranker-v2-tiny-bce-eps0.5",
    "api_keys_file": "keys.toml",
    "model": "BAAI/bge-small-en-v1.5",
    "target_precision": 0.98,
    "verified": 0.98,
    "max_ttl_s": 604_800.0,
    "tenant_entries": 100_000,
    "tenant_writes": 10.0,
    "tenant_flights": 50,
    "tenant_verdicts": 0.1,
    "compress_over_bytes": 4_096,
}
"""Of the options that are off by default, which TOML cannot say."""
_HEAD = """\
Every option of `semcache serve`, with its default: take the # away from a line to change it. Flags
come before variables (SEMCACHE_ and the name in capitals), and those before this file. Keys of the
LLM's service belong into variables: SEMCACHE_UPSTREAM_KEY, SEMCACHE_EMBEDDINGS_KEY.
"""
_CACHE_HEAD = "How the cache decides, keeps and waits"


def template(told: Mapping[str, object]) -> str:
    """``told``: options that are set, and not only there to be."""
    own = [row for name, row in OPTIONS.items() if name in Settings.__dataclass_fields__]
    cached = [row for name, row in OPTIONS.items() if name in CacheConfig.__dataclass_fields__]
    meant = _docstrings(CacheConfig)
    parts = [_comment(_HEAD)]
    for title, rows in groupby(_in_order(own), _group):
        parts += [_title(title), *(_entry(row, _help(row), told) for row in rows)]
    parts += [_title(_CACHE_HEAD), "[cache]"]
    parts += [_entry(row, meant.get(row.name) or _help(row), told) for row in _in_order(cached)]
    return "\n\n".join(parts) + "\n"


def _in_order(rows: Iterable[Row]) -> list[Row]:
    """The few that matter first, and the others as they stand, each with its group's."""
    rows = list(rows)
    groups = list(dict.fromkeys(_group(row) for row in rows))
    places = {name: place for place, name in enumerate(_FIRST)}
    return sorted(
        rows,
        key=lambda row: (places.get(row.name, len(places)), groups.index(_group(row))),
    )


def _group(row: Row) -> str:
    if row.name in _FIRST:
        return "First of all"
    return row.option.group if row.option is not None else ""


def _help(row: Row) -> str:
    return row.name if row.option is None else row.option.help


def _entry(row: Row, meaning: str, told: Mapping[str, object]) -> str:
    if row.name in told:
        return f"{_comment(meaning)}\n{row.name} = {_toml(told[row.name])}"
    said = meaning if row.default is not None else f"{meaning} By default: {_absent(row)}."
    value = EXAMPLES[row.name] if row.default is None else row.default
    return f"{_comment(said)}\n# {row.name} = {_toml(value)}"


def _absent(row: Row) -> str:
    return "none" if row.option is None or row.option.shown is None else row.option.shown


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, float):
        return repr(float(value))
    text = json.dumps(value, ensure_ascii=False)  # of what else there is, TOML too
    return text.replace("\x7f", "\\u007f")


def _comment(text: str) -> str:
    words = " ".join(text.split())
    lines = textwrap.wrap(words, _WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join(f"# {line}" for line in lines)


def _title(text: str) -> str:
    return f"# {f' {text} ':-^{_WIDTH}}"


def _docstrings(cls: type[Any]) -> dict[str, str]:
    """What stands below each field of a dataclass; nothing where its source is not there."""
    try:
        source = inspect.getsource(cls)
    except OSError:
        return {}
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    return dict(_pairs(body.body))


def _pairs(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, text.replace("``", "")
