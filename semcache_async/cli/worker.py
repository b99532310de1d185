"""The ``semcache worker`` command."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semcache_async.cli.flags import Config, Debug, Name
from semcache_async.shell import one_line_errors, run

if TYPE_CHECKING:
    from semcache_async.worker.stream import Lag

__all__ = ["worker"]


def worker(
    redis_url: Annotated[
        str,
        typer.Option(
            envvar="SEMCACHE_REDIS_URL",
            show_default=False,
            help="Where the cache is: redis://, rediss://, unix://, redis+sentinel://, "
            "redis+cluster://, or embedded:DIRECTORY.",
        ),
    ],
    stream: Annotated[
        list[str] | None,
        typer.Option(show_default="NAME:events", help="Redis stream to consume; repeatable."),
    ] = None,
    stream_url: Annotated[
        str | None,
        typer.Option(
            envvar="SEMCACHE_STREAM_URL",
            show_default="the cache's",
            help="URL of the Redis that has the streams.",
        ),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(
            show_default="none", help="TOML file that maps other systems' records to events."
        ),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            show_default="the cache's name",
            help="Consumer group: workers of one group share the events of a stream.",
        ),
    ] = None,
    consumer: Annotated[
        str | None,
        typer.Option(
            show_default="the host's name",
            help="This worker's name in the group: give it the same again.",
        ),
    ] = None,
    claim_after_s: Annotated[
        float,
        typer.Option(
            min=0.001, max=86_400.0, help="Seconds after which another's events are claimed."
        ),
    ] = 60.0,
    delete: Annotated[
        bool,
        typer.Option(
            "--delete", help="Delete applied events from a stream that nobody else reads."
        ),
    ] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, show_default="none", help="Port for Prometheus."),
    ] = None,
    metrics_host: Annotated[str, typer.Option(help="Address to bind that port to.")] = "127.0.0.1",
    status: Annotated[
        bool, typer.Option("--status", help="Say how far behind the group is, and exit.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --status: one JSON object on stdout.")
    ] = False,
    name: Name = None,
    config: Config = None,
    debug: Debug = False,
) -> None:
    """Purge what change events from a Redis stream name.

    Any system can write them: XADD semcache:events * tags product:42. Fields are tags, namespaces,
    tenants and ids, each one text or a JSON list, or one field, event, with all as a JSON object.
    An event is acknowledged once it has been applied; what cannot be read is put aside in
    STREAM:dead. It needs no embedding model. SIGTERM or Ctrl-C finishes what has begun.

    Examples:

      semcache worker --redis-url redis://localhost:6379/0

      semcache worker --stream shop.public.products --rules rules.toml --metrics-port 9100

      semcache worker --status --json
    """
    with one_line_errors(debug):
        from semcache_async.serve.settings import read_settings
        from semcache_async.worker import running

        options = running.WorkerOptions(
            redis_url=redis_url,
            stream_url=stream_url,
            streams=tuple(stream or ()),
            group=group,
            consumer=consumer,
            rules=rules,
            claim_after_s=claim_after_s,
            delete=delete,
            metrics_host=metrics_host,
            metrics_port=metrics_port,
        )
        cached = read_settings({"name": name}, file=config, asks_llm=False).cache
        if status:
            _show(run(lambda: running.status(options, cached)), as_json=as_json)
            return
        from semcache_async.serve.process.logs import log_to_stderr

        log_to_stderr()
        run(lambda: running.work(options, cached))


def _show(lags: Iterable[Lag], *, as_json: bool) -> None:
    import msgspec

    rows = [msgspec.to_builtins(lag) for lag in lags]
    if as_json:
        typer.echo(msgspec.json.encode({"streams": rows}).decode())
        return
    for row in rows:
        for field, figure in row.items():
            typer.echo(f"{field.replace('_', ' '):18}{'?' if figure is None else figure}")
