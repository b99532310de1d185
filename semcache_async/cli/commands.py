"""All commands, put together; the short ones are here."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semcache_async.cli.admin import invalidate, stats
from semcache_async.cli.serve import serve
from semcache_async.cli.simulate import simulate_llm
from semcache_async.load.command import load
from semcache_async.shell import one_line_errors, run

if TYPE_CHECKING:
    from semcache_async.types import Answer

__all__ = ["app", "main"]

app = typer.Typer(
    name="semcache",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
model_app = typer.Typer(no_args_is_help=True, help="The embedding model on this machine.")
app.add_typer(model_app, name="model")

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
MaxDistance = Annotated[
    float | None,
    typer.Option(
        "--max-distance",
        min=0.0,
        max=2.0,
        envvar="SEMCACHE_MAX_DISTANCE",
        show_default="0.05",
        help="Largest cosine distance at which another prompt's answer is served.",
    ),
]
RedisUrl = Annotated[
    str | None,
    typer.Option(
        "--redis-url",
        envvar="SEMCACHE_REDIS_URL",
        show_default="an embedded Redis",
        help="redis://, rediss:// or unix:// URL, or embedded:DIRECTORY.",
    ),
]


def main() -> None:
    """The console script."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


def _show_version(wanted: bool) -> None:
    if wanted:
        from semcache_async import __version__

        typer.echo(f"semcache {__version__}")
        raise typer.Exit


@app.callback()
def _semcache(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """An asyncio semantic cache for LLM answers.

    Start with [bold]semcache demo[/bold]. Every option is in [bold]semcache COMMAND --help[/bold].
    """


@app.command()
def demo(
    requests: Annotated[int, typer.Option(min=1, max=1_000_000, help="Requests in all.")] = 4_000,
    rate: Annotated[
        float, typer.Option(min=0.1, max=100_000, help="Requests per second on average.")
    ] = 100.0,
    callers: Annotated[
        int,
        typer.Option(min=1, help="Requests under way at once, at most; the others' wait counts."),
    ] = 1_000,
    zipf: Annotated[
        float, typer.Option(min=0.0, max=10.0, help="Exponent of the intents' popularity.")
    ] = 1.1,
    llm_ms: Annotated[
        float, typer.Option(min=0.0, max=600_000, help="Median time of the simulated LLM, in ms.")
    ] = 800.0,
    seed: Annotated[int, typer.Option(min=0, help="One seed, one traffic.")] = 0,
    max_distance: MaxDistance = None,
    redis_url: RedisUrl = None,
    debug: Debug = False,
) -> None:
    """Real questions in bursts, with the cache and without it, then percentile tables.

    A few thousand customers' questions (BANKING77) arrive with Zipf popularity, in bursts and flash
    crowds, at an empty cache in front of a simulated LLM. The same traffic goes to a second
    simulated LLM without a cache at the same moments. Takes about a minute.

    Examples:

      semcache demo

      semcache demo --requests 1000 --rate 200 --max-distance 0.08

      semcache demo --redis-url redis://localhost:6379/0
    """
    with one_line_errors(debug):
        from rich.console import Console

        from semcache_async.demo import DemoOptions, run_demo
        from semcache_async.report import print_report

        console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
        options = DemoOptions(
            requests=requests,
            rate=rate,
            callers=callers,
            zipf=zipf,
            llm_ms=llm_ms,
            seed=seed,
            redis_url=redis_url or None,
            max_distance=max_distance,
        )
        result = run(lambda: run_demo(options, console))
        print_report(result, console)
        if result.disagreements():
            raise typer.Exit(1)


@app.command()
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
        from semcache_async.config import CacheConfig
        from semcache_async.types import Scope

        scope = Scope(tenant=tenant, model=model, locale=locale, system_prompt=system_prompt)
        config = CacheConfig() if max_distance is None else CacheConfig(max_distance=max_distance)
        url = redis_url or f"embedded:{_data_directory() / 'redis'}"

        async def once() -> Answer:
            from semcache_async.cache import SemanticCache
            from semcache_async.testing import SimulatedLLM

            simulated = SimulatedLLM()

            async def generate(asked: str) -> str:
                return await simulated(asked) if answer is None else answer

            async with SemanticCache.open(url, config=config) as cache:
                return await cache.get_or_generate(
                    prompt, generate, scope=scope, tags=tag or (), ttl_s=ttl_s
                )

        found = run(once)
        made_by = "the simulated LLM" if answer is None else "--answer"
        _show_json(found, made_by) if as_json else _show(found, made_by)


app.command()(serve)
app.command()(stats)
app.command()(invalidate)
app.command()(load)
app.command()(simulate_llm)


@model_app.command()
def pull(
    force: Annotated[bool, typer.Option("--force", help="Fetch and build it anew.")] = False,
    debug: Debug = False,
) -> None:
    """Fetch, verify and build the embedding model, and say where it lies.

    Runs by itself on first need; SEMCACHE_CACHE_DIR names another directory.

    Example: semcache model pull --force
    """
    with one_line_errors(debug):
        from semcache_async.embed import pull_model

        directory = pull_model(force=force)
        size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
        typer.echo(f"The model is ready ({size / 1e6:.0f} MB): {directory}")


def _data_directory() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "semcache"
    base = Path(os.environ.get("XDG_DATA_HOME") or "")
    return (base if base.is_absolute() else Path.home() / ".local" / "share") / "semcache"


# -- showing an answer


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
