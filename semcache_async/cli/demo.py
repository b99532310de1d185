"""The ``semcache demo`` command."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from semcache_async.cli.flags import Debug, MaxDistance, Model, RedisUrl
from semcache_async.shell import one_line_errors, run

__all__ = ["demo"]


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
    model: Model = None,
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

        from semcache_async.demo.report import print_report
        from semcache_async.demo.running import DemoOptions, run_demo

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
            model=model,
        )
        result = run(lambda: run_demo(options, console))
        print_report(result, console)
        if result.disagreements():
            raise typer.Exit(1)
