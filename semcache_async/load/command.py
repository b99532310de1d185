"""The ``semcache load`` command."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semcache_async.shell import one_line_errors, run

if TYPE_CHECKING:
    from rich.console import Console

    from semcache_async.load.asking.targets import Target
    from semcache_async.load.measured.result import Result
    from semcache_async.load.runs import LoadOptions

__all__ = ["load"]

_target, _traffic, _reports = (
    partial(typer.Option, rich_help_panel=panel) for panel in ("What is asked", "Traffic", "Report")
)


def load(
    url: Annotated[
        str | None,
        _target(
            show_default="in process",
            help="Chat completions URL, or the server that has it at /v1/chat/completions.",
        ),
    ] = None,
    model: Annotated[str, _target(help="Model to name in requests (--url).")] = "simulated",
    stream: Annotated[
        bool, _target("--stream", help="Ask for streams; time to first token (--url).")
    ] = False,
    cold: Annotated[
        bool,
        _target(
            "--cold",
            help="A system message of its own for each run, so that each starts from an empty "
            "scope (--url; in process always).",
        ),
    ] = False,
    api_key: Annotated[
        str | None, _target(envvar="SEMCACHE_API_KEY", help="Bearer token (--url).")
    ] = None,
    redis_url: Annotated[
        str | None,
        _target(
            envvar="SEMCACHE_REDIS_URL",
            show_default="an embedded Redis",
            help="Redis URL (redis://, rediss://, unix://, redis+sentinel://, redis+cluster://), "
            "or embedded:DIRECTORY (in process).",
        ),
    ] = None,
    max_distance: Annotated[
        float | None,
        _target(
            min=0.0,
            max=2.0,
            envvar="SEMCACHE_MAX_DISTANCE",
            show_default="0.12",
            help="Cosine distance of a hit, at most (in process).",
        ),
    ] = None,
    llm_ms: Annotated[
        float,
        _target(
            min=0.0,
            max=600_000,
            help="Median time of the simulated LLM, lognormal, in ms (in process).",
        ),
    ] = 800.0,
    rate: Annotated[
        float | None,
        _traffic(
            min=0.1,
            max=100_000,
            show_default="50",
            help="Open loop: requests per second on average.",
        ),
    ] = None,
    rates: Annotated[
        str | None,
        _traffic(help="Open loop: several, one after the other: 50,100,200."),
    ] = None,
    callers: Annotated[
        int | None,
        _traffic(
            min=1,
            max=100_000,
            help="Closed loop: so many callers, each asking again once answered.",
        ),
    ] = None,
    duration: Annotated[float, _traffic(min=0.1, help="Seconds measured.")] = 30.0,
    warm_up: Annotated[float, _traffic(min=0.0, help="Seconds before, not measured.")] = 5.0,
    trace: Annotated[
        Path | None,
        _traffic(
            show_default="a process as bursty as Azure's trace of 2023",
            help="CSV or CSV.gz with a column named timestamp, in seconds; scaled to the rate.",
        ),
    ] = None,
    texts: Annotated[
        str,
        _traffic(
            help="banking77, or a file: .txt (a question a line) or JSON lines with text and "
            "intent, or with text_a, text_b and label (1: same intent).",
        ),
    ] = "banking77",
    zipf: Annotated[
        float, _traffic(min=0.0, max=10.0, help="Exponent of the intents' popularity.")
    ] = 1.1,
    seed: Annotated[int, _traffic(min=0, help="One seed, one traffic.")] = 0,
    repeats: Annotated[
        int,
        _traffic(
            min=1,
            max=1_000,
            help="Identical runs of each load, in turns; from 2 on, the noise is known.",
        ),
    ] = 1,
    output: Annotated[Path, _reports("--output", "-o", help="Directory of the report.")] = Path(
        "semcache-load"
    ),
    as_json: Annotated[
        bool, _reports("--json", help="The results as JSON on stdout, all else to stderr.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Put a cache, or any OpenAI-compatible URL, under load, and write a report.

    Open loop by default: requests leave at their intended times, whether or not earlier ones were
    answered, and latency counts from then. Without --url, a cache in this process is asked, with a
    simulated LLM; it shares the driver's event loop. Ends with status 1 if nothing was answered.

    Examples:

      semcache load --rate 100 --duration 20

      semcache load --rates 50,100,200,400 --repeats 3 --output report

      semcache load --url http://localhost:8080/v1 --stream --callers 64
    """
    with one_line_errors(debug):
        from rich.console import Console

        from semcache_async.load.extra import need
        from semcache_async.load.runs import LoadOptions

        need("hdrh.histogram")
        need("matplotlib")
        options = LoadOptions(
            rates=_rates(rate, rates, callers),
            callers=callers,
            duration_s=duration,
            warm_up_s=warm_up,
            trace=trace,
            texts=texts,
            zipf=zipf,
            seed=seed,
            repeats=repeats,
        )

        @asynccontextmanager
        async def target() -> AsyncIterator[Target]:
            if url is None:
                from semcache_async.load.asking.targets import open_in_process

                async with open_in_process(
                    redis_url or None, llm_ms=llm_ms, seed=seed, max_distance=max_distance
                ) as cache:
                    yield cache
            else:
                from semcache_async.load.asking.http import open_http

                async with open_http(
                    url, model=model, stream=stream, cold=cold, api_key=api_key
                ) as service:
                    yield service

        console = Console(
            highlight=False, stderr=as_json, width=None if sys.stdout.isatty() else 120
        )
        note = _note(url, llm_ms, cold)

        async def work() -> list[Result]:
            async with target() as asked:
                return await _measure(asked, options, note, console)

        results = run(work)
        _report(results, output, console)
        if as_json:
            import msgspec

            typer.echo(msgspec.json.encode(results).decode())
        if all(result.all_failed for result in results):
            raise typer.Exit(1)


def _rates(rate: float | None, rates: str | None, callers: int | None) -> tuple[float, ...]:
    """Those of the open loop; none for the closed one."""
    if sum(option is not None for option in (rate, rates, callers)) > 1:
        raise typer.BadParameter("give one of --rate, --rates and --callers")
    if callers is not None:
        return ()
    if rates is None:
        return (50.0 if rate is None else rate,)
    try:
        found = tuple(float(part) for part in rates.split(","))
    except ValueError:
        raise typer.BadParameter("--rates takes numbers, such as 50,100,200") from None
    if not all(0.1 <= one <= 100_000 for one in found):
        raise typer.BadParameter("--rates must be within 0.1 and 100000")
    return tuple(dict.fromkeys(found))


def _note(url: str | None, llm_ms: float, cold: bool) -> str:
    if url is None:
        return (
            f"In process: the cache shares the driver's event loop and CPU; simulated LLM, median "
            f"{llm_ms:g} ms, lognormal; each run starts empty."
        )
    found = "in an empty scope (a system message of its own)" if cold else "as the last one left it"
    return f"Over HTTP: each run found the service's cache {found}."


async def _measure(
    target: Target, options: LoadOptions, note: str, console: Console
) -> list[Result]:
    from semcache_async.load.live import shown_on
    from semcache_async.load.runs import run_load

    console.print(f"Asking {target.name}: {options.duration_s:g} s measured, each", end=" ")
    console.print(f"after {options.warm_up_s:g} s of warm-up. Ctrl-C ends without a report.")
    return await run_load(target, options, notes=(note,), watch=shown_on(console))


def _report(results: list[Result], output: Path, console: Console) -> None:
    from rich.markup import escape

    from semcache_async.load.live import print_tables
    from semcache_async.load.reports.summary import render

    print_tables(results, console)
    written = render(results, output)
    console.print(f"\nReport: [bold]{escape(str(written))}[/]", soft_wrap=True)
