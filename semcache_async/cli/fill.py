"""The ``semcache import`` command."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semcache_async.cli.flags import Config, Debug, Name, attributes_of
from semcache_async.shell import one_line_errors, run

if TYPE_CHECKING:
    from semcache_async.cli.lines import Kept
    from semcache_async.config import CacheConfig

__all__ = ["import_answers"]

_TOGETHER = 64
"""Answers stored at once: full packs, in bounded memory."""
_PATIENCE_S = 120.0
"""An embedder that is busy with this file turns none of it away."""


def import_answers(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            show_default=False,
            help="One JSON object a line: prompt (or question) and answer, perhaps tags, ttl_s and "
            "fields of a scope (tenant, locale, model, system_prompt, parameters, ...).",
        ),
    ],
    redis_url: Annotated[
        str,
        typer.Option(
            envvar="SEMCACHE_REDIS_URL",
            show_default=False,
            help="Where the cache is: redis://, rediss://, unix://, redis+sentinel://, "
            "redis+cluster://, or embedded:DIRECTORY.",
        ),
    ],
    tenant: Annotated[str | None, typer.Option(help="Scope of all lines: tenant.")] = None,
    model: Annotated[str | None, typer.Option(help="Scope of all lines: the LLM.")] = None,
    locale: Annotated[str | None, typer.Option(help="Scope of all lines: language.")] = None,
    system_prompt: Annotated[
        str | None, typer.Option(help="Scope of all lines: system prompt.")
    ] = None,
    corpus_version: Annotated[
        str | None, typer.Option(help="Scope of all lines: corpus version.")
    ] = None,
    attribute: Annotated[
        list[str] | None, typer.Option(help="Scope of all lines: KEY=VALUE; repeatable.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="Tag for all, beside their own; repeatable.")
    ] = None,
    ttl_s: Annotated[
        float | None,
        typer.Option(show_default="the cache's", help="Seconds to keep those without a ttl_s."),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad lines out, and say which.")
    ] = False,
    name: Name = None,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Fill a cache with answers from a file, such as an FAQ.

    All lines are read first: where one is bad, nothing is stored, unless with --skip-bad. An answer
    replaces the one that its prompt had; of two for one prompt the last is kept. Imported answers
    serve programs that use the library with the same scope, and LangCache's API. The proxied APIs
    keep whole completions, and don't serve these.

    Examples:

      semcache import faq.jsonl --tenant acme --redis-url redis://localhost:6379/0

      semcache import faq.jsonl --tag faq --ttl-s 604800 --skip-bad --config semcache.toml
    """
    with one_line_errors(debug):
        from semcache_async.cli.lines import LineError, read_lines
        from semcache_async.cli.remote import options_of
        from semcache_async.config import check_ttl
        from semcache_async.query import check_tags

        fields = {
            "tenant": tenant,
            "model": model,
            "locale": locale,
            "system_prompt": system_prompt,
            "corpus_version": corpus_version,
            "attributes": attributes_of(attribute or []),
        }
        scope = {field: value for field, value in fields.items() if value is not None}
        options = options_of(name, config)
        tags = check_tags(tag or ())
        if ttl_s is not None:
            check_ttl("ttl_s", ttl_s)

        def lines() -> Iterator[Kept | LineError]:
            return read_lines(file, options, scope=scope, tags=tags, ttl_s=ttl_s)

        good = bad = stored = 0
        for line in lines():
            if not isinstance(line, LineError):
                good += 1
            elif skip_bad:
                bad += 1
                typer.echo(str(line), err=True)
            else:
                raise LineError(f"{line} (Nothing was stored.)")
        if good:
            kept = (line for line in lines() if not isinstance(line, LineError))
            stored = run(lambda: _store(redis_url, options, kept, good))
        typer.echo(f"{stored:,} stored, {bad:,} skipped.")


async def _store(url: str, config: CacheConfig, lines: Iterator[Kept], total: int) -> int:
    """How many lines are stored now. Raises ``LineError``, which says after how many, where the
    cache fails or refuses."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from semcache_async.cache import SemanticCache
    from semcache_async.cli.lines import LineError
    from semcache_async.errors import SemcacheError

    console, stored = Console(stderr=True), 0
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    patient = replace(config, lookup_budget_s=max(config.lookup_budget_s, _PATIENCE_S))
    async with SemanticCache.open(url, config=patient) as cache:
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task("Storing", total=total)
            while lot := list(islice(lines, _TOGETHER)):
                last = {line.key: line for line in lot}
                results = await asyncio.gather(
                    *(
                        cache.store(
                            *(line.prompt, line.text),
                            scope=line.key.scope,
                            tags=line.tags,
                            ttl_s=line.ttl_s,
                        )
                        for line in last.values()
                    ),
                    return_exceptions=True,
                )
                failed = [result for result in results if isinstance(result, BaseException)]
                if failed:
                    stored += len(results) - len(failed)
                    if isinstance(failed[0], SemcacheError):
                        raise LineError(f"{stored:,} stored, then: {failed[0]}") from failed[0]
                    raise failed[0]
                stored += len(lot)
                progress.advance(task, len(lot))
    return stored
