"""The ``semcache migrate`` command."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from semcache_async.cli.flags import CacheUrl, Config, Debug, Model, Name
from semcache_async.errors import SemcacheError
from semcache_async.shell import one_line_errors, run

if TYPE_CHECKING:
    from semcache_async.serve.settings import Settings
    from semcache_async.store.migration import Tally
    from semcache_async.types import Vector

__all__ = ["migrate"]

_PATIENCE_S = 30.0
"""A Redis that is busy with this and with callers may take its time."""
_TELL_S = 10.0
"""How often to say how far it is where there is no terminal."""


class MigrationError(SemcacheError):
    """It ended before its end."""


def migrate(
    redis_url: CacheUrl,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FINGERPRINT",
            show_default="the only other one",
            help="Which other index: the last part of its name in semcache stats.",
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(min=0.01, show_default="no limit", help="Texts embedded a second at most."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Move nothing: say how many there are.")
    ] = False,
    drop_old: Annotated[
        bool,
        typer.Option("--drop-old", help="When all is moved, delete the old entries and index."),
    ] = False,
    model: Model = None,
    name: Name = None,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Embed the entries of another model anew, for the one that the cache has now.

    Services go on meanwhile: the new model's index is read first, and what is not moved yet
    answers exact repeats. Interrupted, run it again: it goes on. Times to live, tags, attributes
    and verdicts stay; what was deleted or ended meanwhile does not come back.

    Examples:

      semcache migrate --redis-url redis://localhost:6379/0 --dry-run

      semcache migrate --config semcache.toml --rate 200 --drop-old
    """
    with one_line_errors(debug):
        from semcache_async.cli.remote import settings_of_one_model

        settings = settings_of_one_model(name, config, model, "--model")
        typer.echo(run(lambda: _migrate(redis_url, settings, source, rate, dry_run, drop_old)))


async def _migrate(
    url: str,
    settings: Settings,
    source: str | None,
    rate: float | None,
    dry_run: bool,
    drop_old: bool,
) -> str:
    """What was done, in a sentence."""
    from semcache_async.embed import open_embedder
    from semcache_async.flow.vectors import open_vectors
    from semcache_async.store import redis_at
    from semcache_async.store.migration import Migration, parts_of
    from semcache_async.store.opening import known_of, redis_stores

    config = settings.cache
    patient = replace(config, store_timeout_s=max(config.store_timeout_s, _PATIENCE_S))
    async with (
        open_embedder(settings.remote, model=config.model) as embedder,
        redis_at(url) as found,
        redis_stores(found, config=patient, **known_of(embedder)) as stores,
        open_vectors(embedder, remembered=0) as vectors,
    ):
        parts, total = await parts_of(stores, source)
        if not parts:
            return "There is no other index under this name: nothing to move."

        async def embed(texts: Sequence[str]) -> list[Vector | None]:
            return await asyncio.gather(*(vectors.vector(text, bulk=True) for text in texts))

        with _telling(total) as tell:
            migration = Migration(parts, embed, rate=rate, told=tell)
            tally = migration.tally
            if dry_run:
                await migration.look()
                there = tally.seen - tally.lacking - tally.unread
                return (
                    f"{tally.lacking:,} entries of {parts[0].source.keys.fingerprint} to move, "
                    f"{there:,} there already, {tally.unread:,} that cannot be read."
                )
            try:
                await migration.run()
                dropped = f" The index of {parts[0].source.keys.fingerprint} is dropped."
                if drop_old:
                    await migration.drop()
            except SemcacheError as error:
                raise MigrationError(f"{tally.moved:,} moved, then: {error}") from error
    left = [f"{tally.exact_only:,} of them for exact repeats only"] if tally.exact_only else []
    if tally.fenced:
        left.append(f"{tally.fenced:,} left, as an invalidation of the last hour may mean them")
    if tally.unread:
        left.append(f"{tally.unread:,} left, as they cannot be read")
    said = "; ".join([f"{tally.moved:,} moved", *left])
    return f"{said}.{dropped if drop_old else ''}"


@contextmanager
def _telling(total: int) -> Iterator[Callable[[Tally], None]]:
    """A progress bar, or a line now and then where there is no terminal."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    told_at = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Moving", total=total)

        def tell(tally: Tally) -> None:
            nonlocal told_at
            progress.update(task, completed=max(tally.seen, progress.tasks[task].completed))
            if not console.is_terminal and time.monotonic() - told_at >= _TELL_S:
                told_at = time.monotonic()
                console.print(f"{tally.seen:,} of {total:,} seen, {tally.moved:,} moved")

        yield tell
