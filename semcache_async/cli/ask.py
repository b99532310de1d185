"""The ``semcache ask`` command."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semcache_async.cli.flags import Debug, EmbeddingModel, MaxDistance, RedisUrl
from semcache_async.shell import one_line_errors, run

if TYPE_CHECKING:
    from semcache_async.types import Answer

__all__ = ["ask"]


def ask(
    prompt: Annotated[str, typer.Argument(help="The question, in quotes.", show_default=False)],
    answer: Annotated[
        str | None,
        typer.Option(help="On a miss, keep this text instead of calling the simulated LLM."),
    ] = None,
    tenant: Annotated[str, typer.Option(help="Scope: tenant.")] = "",
    model: Annotated[str, typer.Option(help="Scope: the LLM that answers.")] = "",
    locale: Annotated[str, typer.Option(help="Scope: language, such as en-GB.")] = "",
    system_prompt: Annotated[str, typer.Option(help="Scope: system prompt.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="Tag to store with; repeatable.")] = None,
    ttl_s: Annotated[
        float | None,
        typer.Option(show_default="1 h exact, 4 h semantic", help="Seconds to keep the answer."),
    ] = None,
    embedding_model: EmbeddingModel = None,
    max_distance: MaxDistance = None,
    redis_url: RedisUrl = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    debug: Debug = False,
) -> None:
    """Ask once: from the cache, or else from a simulated LLM, and say which.

    Answers stay in an embedded Redis in your data directory (~/.local/share/semcache on Linux), so
    that the next [bold]ask[/bold] finds them.

    Examples:

      semcache ask "How do I reset my PIN?" --answer "In the app, under Cards."

      semcache ask "how can i reset my pin"

      semcache ask "How do I reset my PIN?" --tenant acme --json
    """
    with one_line_errors(debug):
        from semcache_async.serve.settings import read_settings
        from semcache_async.types import Scope

        scope = Scope(tenant=tenant, model=model, locale=locale, system_prompt=system_prompt)
        flags = {"max_distance": max_distance, "model": embedding_model}
        settings = read_settings(flags, asks_llm=False)
        url = redis_url or f"embedded:{_data_directory() / 'redis'}"

        async def once() -> Answer:
            from semcache_async.cache import SemanticCache
            from semcache_async.embed import open_embedder
            from semcache_async.testing import SimulatedLLM

            simulated = SimulatedLLM()

            async def generate(asked: str) -> str:
                return await simulated(asked) if answer is None else answer

            async with (
                open_embedder(settings.remote, model=settings.cache.model) as embedder,
                SemanticCache.open(url, config=settings.cache, embedder=embedder) as cache,
            ):
                return await cache.get_or_generate(
                    prompt, generate, scope=scope, tags=tag or (), ttl_s=ttl_s
                )

        found = run(once)
        made_by = "the simulated LLM" if answer is None else "--answer"
        _show_json(found, made_by) if as_json else _show(found, made_by)


def _data_directory() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "semcache"
    base = Path(os.environ.get("XDG_DATA_HOME") or "")
    return (base if base.is_absolute() else Path.home() / ".local" / "share") / "semcache"


def _show_json(answer: Answer, made_by: str) -> None:
    import msgspec

    fields = msgspec.structs.asdict(answer)
    fields["similarity"] = answer.similarity
    fields["made_by"] = made_by if answer.source in ("generated", "bypassed") else None
    typer.echo(msgspec.json.encode(fields).decode())


def _show(answer: Answer, made_by: str) -> None:
    from msgspec.structs import asdict
    from rich.console import Console
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    made_here = answer.source in ("generated", "bypassed")
    table = Table.grid(padding=(0, 2))
    rows = [("source", f"{answer.source} (by {made_by})" if made_here else str(answer.source))]
    if answer.distance is not None:
        rows.append(("distance", f"{answer.distance:.4f} (similarity {answer.similarity:.4f})"))
        rows.append(("matched prompt", str(answer.matched_prompt)))
        rows.append(("age", f"{answer.age_s:,.1f} s"))
    rows.append(("entry", answer.entry_id or "not stored"))
    spent = {stage.removesuffix("_s"): s * 1_000 for stage, s in asdict(answer.timings).items()}
    rows.append(("ms", ", ".join(f"{stage} {ms:.1f}" for stage, ms in spent.items() if ms)))
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(value))
    console = Console(highlight=False)
    console.print(Panel(Text(answer.text), title="answer", title_align="left"))
    console.print(table)
    if made_here and made_by != "--answer":
        console.print("No LLM is connected here, so a simulated one answered.", style="dim")
