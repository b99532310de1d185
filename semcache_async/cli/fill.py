"""The ``semcache import`` command."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semcache_async.cli.flags import CacheUrl, Config, Debug, EmbeddingModel, Name, attributes_of
from semcache_async.shell import one_line_errors, run

if TYPE_CHECKING:
    from semcache_async.cache import SemanticCache
    from semcache_async.cli.lines import Kept
    from semcache_async.serve.settings import Settings
    from semcache_async.store.partitioned.partitions import PartitionedStore
    from semcache_async.store.portable import Exported
    from semcache_async.store.redis_store import RedisStore
    from semcache_async.store.tenants import TenantStores

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
            "fields of a scope (tenant, locale, model, system_prompt, parameters, ...); a chat of "
            "OpenAI's (messages and response); or what semcache export wrote. Or a .csv.",
        ),
    ],
    redis_url: CacheUrl,
    tenant: Annotated[str | None, typer.Option(help="Scope of all lines: tenant.")] = None,
    model: Annotated[str | None, typer.Option(help="Scope of all lines: the LLM.")] = None,
    locale: Annotated[str | None, typer.Option(help="Scope of all lines: language.")] = None,
    system_prompt: Annotated[
        str | None, typer.Option(help="Scope of all lines: system prompt.")
    ] = None,
    corpus_version: Annotated[
        str | None, typer.Option(help="Scope of all lines: corpus version.")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(help="Scope of all lines: versioned namespace.")
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
    prompt_field: Annotated[
        str | None,
        typer.Option(
            metavar="PATH",
            show_default=False,
            help="In lines of another form, where the prompt is: request.messages.-1.content",
        ),
    ] = None,
    answer_field: Annotated[
        str | None, typer.Option(metavar="PATH", show_default=False, help="And the answer.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad lines out, and say which.")
    ] = False,
    embedding_model: EmbeddingModel = None,
    name: Name = None,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Fill a cache with answers from a file, such as an FAQ.

    All lines are read first: where one is bad, nothing is stored, unless with --skip-bad. An answer
    replaces the one that its prompt had; of two for one prompt the last is kept. What semcache
    export wrote comes back as it was, unless there is a newer answer. Other imported answers
    serve programs that use the library with the same scope, and LangCache's API. The proxied APIs
    keep whole completions, and don't serve these.

    Examples:

      semcache import faq.jsonl --tenant acme --redis-url redis://localhost:6379/0

      semcache import faq.csv --tag faq --ttl-s 604800 --skip-bad --config semcache.toml
    """
    with one_line_errors(debug):
        from semcache_async.cli.lines import Fields, LineError, read_lines
        from semcache_async.cli.remote import settings_of_one_model
        from semcache_async.config import check_ttl
        from semcache_async.request.query import check_tags

        named = {
            "tenant": tenant,
            "model": model,
            "locale": locale,
            "system_prompt": system_prompt,
            "corpus_version": corpus_version,
            "namespace": namespace,
            "attributes": attributes_of(attribute or []),
        }
        scope = {field: value for field, value in named.items() if value is not None}
        settings = settings_of_one_model(name, config, embedding_model, "--embedding-model")
        tags = check_tags(tag or ())
        if ttl_s is not None:
            check_ttl("ttl_s", ttl_s)

        if (prompt_field is None) != (answer_field is None):
            raise typer.BadParameter("give both --prompt-field and --answer-field, or neither")
        fields = Fields(prompt_field, answer_field) if prompt_field and answer_field else None

        def lines() -> Iterator[Kept | Exported | LineError]:
            return read_lines(
                file, settings.cache, scope=scope, tags=tags, ttl_s=ttl_s, fields=fields
            )

        good = bad = 0
        for line in lines():
            if not isinstance(line, LineError):
                good += 1
            elif skip_bad:
                bad += 1
                typer.echo(str(line), err=True)
            else:
                raise LineError(f"{line} (Nothing was stored.)")
        done = _Done()
        if good:
            kept = (line for line in lines() if not isinstance(line, LineError))
            run(lambda: _store(redis_url, settings, kept, good, done))
        left = f" {done.left:,} left out: answers that are newer, or invalidated since."
        typer.echo(f"{done.stored:,} stored, {bad:,} skipped.{left if done.left else ''}")


@dataclass(slots=True)
class _Done:
    stored: int = 0
    left: int = 0
    """Exported ones that there is a newer answer to, or an invalidation came after."""


async def _store(
    url: str,
    settings: Settings,
    lines: Iterator[Kept | Exported],
    total: int,
    done: _Done,
) -> None:
    """Raises ``LineError``, which says after how many, where the cache fails or refuses."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    from semcache_async.cache import SemanticCache
    from semcache_async.cli.lines import LineError
    from semcache_async.embed import open_embedder
    from semcache_async.errors import SemcacheError
    from semcache_async.store import open_redis

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    config = settings.cache
    patient = replace(config, lookup_budget_s=max(config.lookup_budget_s, _PATIENCE_S))
    async with (
        open_embedder(settings.remote, model=config.model) as embedder,
        open_redis(url, embedder, patient) as (_, store),
        SemanticCache.open(store=store, embedder=embedder, config=patient) as cache,
    ):
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task("Storing", total=total)
            while lot := list(islice(lines, _TOGETHER)):
                try:
                    await _store_lot(lot, cache, store, done)
                except SemcacheError as error:
                    raise LineError(f"{done.stored:,} stored, then: {error}") from error
                progress.advance(task, len(lot))


async def _store_lot(
    lot: Sequence[Kept | Exported],
    cache: SemanticCache,
    store: RedisStore | PartitionedStore | TenantStores,
    done: _Done,
) -> None:
    """Raises the first error among them."""
    from semcache_async.cli.lines import Kept
    from semcache_async.store.entries.moving import Outcome

    lines = [line for line in lot if isinstance(line, Kept)]
    results = await asyncio.gather(
        *(
            cache.store(
                *(line.prompt, line.text),
                scope=line.key.scope,
                tags=line.tags,
                ttl_s=line.ttl_s,
            )
            for line in {line.key: line for line in lines}.values()
        ),
        return_exceptions=True,
    )
    failed = [result for result in results if isinstance(result, BaseException)]
    done.stored += len(results) - len(failed) if failed else len(lines)
    exported = [line for line in lot if not isinstance(line, Kept)]
    if exported and not failed:
        vectors = await cache.embed([line.prompt for line in exported])
        restored = await store.restore(list(zip(exported, vectors, strict=True)))
        failed = [one for one in restored if isinstance(one, BaseException)]
        moved = restored.count(Outcome.MOVED)
        done.stored += moved
        done.left += len(restored) - len(failed) - moved
    if failed:
        raise failed[0]
