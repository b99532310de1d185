"""``semcache stats``, ``invalidate`` and ``feedback``: by a running service, or in its Redis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semcache_async.cli.flags import Config, Debug, Name, attributes_of
from semcache_async.shell import one_line_errors, run

if TYPE_CHECKING:
    from semcache_async.cli.remote import Example

__all__ = ["feedback", "invalidate", "stats"]

_PROMPT_SHOWN = 100
"""Characters of a prompt in a list."""

Url = Annotated[
    str | None,
    typer.Option(
        envvar="SEMCACHE_URL", show_default="none", help="A running service: http://host:8080."
    ),
]
RedisUrl = Annotated[
    str | None,
    typer.Option(
        envvar="SEMCACHE_REDIS_URL",
        show_default="none",
        help="Its Redis instead: a URL (redis://, rediss://, unix://, redis+sentinel://, "
        "redis+cluster://), or embedded:DIRECTORY.",
    ),
]
ApiKey = Annotated[
    str | None, typer.Option(envvar="SEMCACHE_API_KEY", help="An admin's API key (--url).")
]


def stats(
    url: Url = None,
    redis_url: RedisUrl = None,
    name: Name = None,
    config: Config = None,
    api_key: ApiKey = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    debug: Debug = False,
) -> None:
    """What the cache is doing: counters and latencies of a service, or entries and memory in Redis.

    Examples:

      semcache stats --url http://localhost:8080

      semcache stats --redis-url redis://localhost:6379/0 --json
    """
    with one_line_errors(debug):
        from semcache_async.cli.remote import options_of, redis_stats, service_stats

        if _wants_service(url, redis_url):
            found = run(lambda: service_stats(str(url), api_key))
        else:
            found = run(lambda: redis_stats(str(redis_url), options_of(name, config).name))
        if as_json:
            import msgspec

            typer.echo(msgspec.json.encode(found).decode())
        else:
            _show(found)


def invalidate(
    tag: Annotated[list[str] | None, typer.Option(help="Of these, any one; repeatable.")] = None,
    entry_id: Annotated[list[str] | None, typer.Option(help="Entries by id; repeatable.")] = None,
    namespace: Annotated[
        list[str] | None,
        typer.Option(help="Begin a new version of it, and delete nothing; alone; repeatable."),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="All of a tenant, or a scope's.")] = None,
    model: Annotated[str | None, typer.Option(help="Scope: the LLM that answered.")] = None,
    locale: Annotated[str | None, typer.Option(help="Scope: language.")] = None,
    system_prompt: Annotated[str | None, typer.Option(help="Scope: system prompt.")] = None,
    corpus_version: Annotated[str | None, typer.Option(help="Scope: corpus version.")] = None,
    attribute: Annotated[
        list[str] | None, typer.Option(help="Scope: KEY=VALUE; repeatable.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Delete nothing: say how many, and show some.")
    ] = False,
    url: Url = None,
    redis_url: RedisUrl = None,
    name: Name = None,
    config: Config = None,
    api_key: ApiKey = None,
    debug: Debug = False,
) -> None:
    """Delete the entries that meet every condition named, and say how many there were.

    A tenant alone means all that it has. With other fields a scope is meant whole: those that are
    not named are those of a request that had none.

    Examples:

      semcache invalidate --tag product:42 --url http://localhost:8080

      semcache invalidate --tenant acme --dry-run --redis-url redis://localhost:6379/0

      semcache invalidate --namespace docs --url http://localhost:8080
    """
    with one_line_errors(debug):
        fields = {
            "tenant": tenant,
            "model": model,
            "locale": locale,
            "system_prompt": system_prompt,
            "corpus_version": corpus_version,
            "attributes": attributes_of(attribute or []),
        }
        what: dict[str, Any] = {key: value for key, value in fields.items() if value is not None}
        what |= {"tags": tag} if tag else {}
        what |= {"entry_ids": entry_id} if entry_id else {}
        if not what and not namespace:
            raise typer.BadParameter("name a --tag, an --entry-id or a field of a scope")
        if namespace and (what or dry_run):
            raise typer.BadParameter("--namespace goes with no other condition, nor --dry-run")
        from semcache_async.cli.remote import (
            options_of,
            redis_bump,
            redis_invalidate,
            service_bump,
            service_invalidate,
        )

        if namespace:
            if _wants_service(url, redis_url):
                begun = run(lambda: service_bump(str(url), api_key, namespace))
            else:
                options = options_of(name, config)
                begun = run(lambda: redis_bump(str(redis_url), options, namespace))
            for named, version in begun.items():
                typer.echo(f"{named}: version {version}.")
            return
        if _wants_service(url, redis_url):
            done = run(lambda: service_invalidate(str(url), api_key, what, dry_run=dry_run))
        else:
            options = options_of(name, config)
            done = run(lambda: redis_invalidate(str(redis_url), options, what, dry_run=dry_run))
        verb = "would be deleted" if dry_run else "deleted"
        typer.echo(f"{done.count} {'entry' if done.count == 1 else 'entries'} {verb}.")
        for example in done.examples:
            typer.echo(f"  {_example(example)}")


def feedback(
    prompt: Annotated[str, typer.Argument(help="What was asked.", show_default=False)],
    entry_id: Annotated[
        str, typer.Argument(help="The entry whose answer it got.", show_default=False)
    ],
    right: Annotated[
        bool, typer.Option("--right/--wrong", help="Was it right?", show_default=False)
    ],
    url: Url = None,
    redis_url: RedisUrl = None,
    name: Name = None,
    config: Config = None,
    api_key: ApiKey = None,
    debug: Debug = False,
) -> None:
    """Say whether a stored answer was right for a prompt. It holds at once.

    A right one is served to that prompt from now on; a wrong one to nobody at that distance, and
    one on the entry's own wording deletes it. The id is in the header x-semcache-entry-id.

    Examples:

      semcache feedback "Can I pay in cash?" 5f1c... --wrong --url http://localhost:8080

      semcache feedback "How can I pay?" 5f1c... --right --redis-url redis://localhost:6379/0
    """
    with one_line_errors(debug):
        from semcache_async.cli.remote import options_of, redis_feedback, service_feedback

        if _wants_service(url, redis_url):
            run(lambda: service_feedback(str(url), api_key, prompt, entry_id, right=right))
        else:
            options = options_of(name, config)
            run(lambda: redis_feedback(str(redis_url), options, prompt, entry_id, right=right))
        typer.echo(f"Noted: {'right' if right else 'wrong'}.")


def _example(entry: Example) -> str:
    """When it was made, its prompt and its tags, in one line."""
    made = datetime.fromtimestamp(entry.created_at, UTC)
    tags = f"  [{', '.join(entry.tags)}]" if entry.tags else ""
    prompt = " ".join(entry.prompt.split())[:_PROMPT_SHOWN]
    line = f"{made:%Y-%m-%d %H:%M}Z  {prompt}{tags}"
    return "".join(char if char.isprintable() else "\ufffd" for char in line)


def _wants_service(url: str | None, redis_url: str | None) -> bool:
    if not url and not redis_url:
        raise typer.BadParameter("name the service with --url, or its Redis with --redis-url")
    return bool(url)


def _show(found: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for name, figure in _rows(found):
        table.add_row(Text(name.replace("_", " "), style="dim"), Text(figure))
    Console(highlight=False).print(table)


def _rows(found: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """One row for each figure, and for each group of figures."""
    for name, value in found.items():
        if not isinstance(value, Mapping):
            yield f"{prefix}{name}", _figure(value)
        elif any(isinstance(part, Mapping) for part in value.values()):
            yield from _rows(value, f"{prefix}{name} ")
        elif value and value.get("count") != 0:
            yield f"{prefix}{name}", ", ".join(f"{k} {_figure(part)}" for k, part in value.items())


def _figure(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
