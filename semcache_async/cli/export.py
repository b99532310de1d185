"""The ``semcache export`` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from semcache_async.cli.flags import CacheUrl, Config, Debug, Name
from semcache_async.errors import ConfigError, SemcacheError
from semcache_async.shell import one_line_errors, run

if TYPE_CHECKING:
    from semcache_async.config import CacheConfig
    from semcache_async.store.portable import Exported

__all__ = ["export_answers"]

_PATIENCE_S = 30.0


class FileError(SemcacheError):
    """It cannot be written to."""


def export_answers(
    redis_url: CacheUrl,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", show_default="standard output")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FINGERPRINT",
            show_default="the only one with entries",
            help="Which index, where there are several: the last part of its name in "
            "semcache stats.",
        ),
    ] = None,
    name: Name = None,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Write all answers as JSON lines, which semcache import takes back.

    Prompts and answers are written in clear, sealed ones opened with the keys of the environment or
    the file: keep it as safe as those. Whose an answer is stays a keyed hash, so it comes back in a
    cache with the same secret, under any name, for any model. Vectors and verdicts are left out.

    Examples:

      semcache export answers.jsonl --redis-url redis://localhost:6379/0

      semcache export --config semcache.toml | gzip > answers.jsonl.gz
    """
    with one_line_errors(debug):
        from semcache_async.cli.remote import options_of

        options = options_of(name, config)
        with _opened(file) as out:
            count, unread = run(lambda: _export(redis_url, options, source, out))
        left = f" {unread:,} cannot be read." if unread else ""
        typer.echo(f"{count:,} exported.{left}", err=True)


async def _export(
    url: str, config: CacheConfig, fingerprint: str | None, out: BinaryIO
) -> tuple[int, int]:
    import msgspec

    from semcache_async.store import redis_at
    from semcache_async.store.entries.source import listed, sizes_of
    from semcache_async.store.opening import removing_stores
    from semcache_async.store.portable import export

    encode = msgspec.json.encode

    def write(one: Exported) -> None:
        try:
            out.write(encode(one) + b"\n")
        except OSError as error:
            raise FileError(f"The export cannot be written: {error.strerror}.") from error

    patient = replace(config, store_timeout_s=max(config.store_timeout_s, _PATIENCE_S))
    async with redis_at(url) as found, removing_stores(found, config=patient) as stores:
        sources = [source for store in stores for source in await store.sources()]
        sizes = await sizes_of(sources)
        chosen = fingerprint
        if chosen is None:
            some = [one for one, size in sizes.items() if size] or list(sizes)[:1]
            chosen = some[0] if len(some) == 1 else None
        if chosen not in sizes:
            raise ConfigError(f"Name one of the indexes with --from: {listed(sizes)}.")
        return await export(
            [source for source in sources if source.keys.fingerprint == chosen], patient, write
        )


@contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO]:
    """The file appears when it is whole, and is its owner's alone."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = path.with_name(f"{path.name}.part")
    try:
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            yield out
        part.replace(path)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)
