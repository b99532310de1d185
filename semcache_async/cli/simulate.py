"""The ``semcache simulate-llm`` command."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated

import typer

from semcache_async.errors import SemcacheError
from semcache_async.shell import one_line_errors, run

if TYPE_CHECKING:
    from semcache_async.simulator import SimulatorOptions

__all__ = ["simulate_llm"]

_ADDRESS, _PACE, _FAULTS = "Where it listens", "Answers", "Faults"


class CannotListenError(SemcacheError):
    """The address is taken, or not ours."""


def simulate_llm(
    host: Annotated[
        str, typer.Option(help="Address to listen on.", rich_help_panel=_ADDRESS)
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(min=0, max=65_535, help="Port; 0: any free one.", rich_help_panel=_ADDRESS),
    ] = 8090,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="SEMCACHE_SIMULATOR_API_KEY",
            help="Bearer token that requests must carry.",
            show_default="none needed",
            rich_help_panel=_ADDRESS,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A model there is; repeatable. Others are then unknown (404).",
            show_default="any name will do",
            rich_help_panel=_ADDRESS,
        ),
    ] = None,
    median_ms: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=3_600_000.0,
            help="Median time to the first token, lognormal, in ms.",
            rich_help_panel=_PACE,
        ),
    ] = 800.0,
    sigma: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=5.0,
            help="Spread of that time: standard deviation of its logarithm.",
            rich_help_panel=_PACE,
        ),
    ] = 0.35,
    tokens_per_s: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1e9,
            help="Pace after the first token; 0: all at once.",
            rich_help_panel=_PACE,
        ),
    ] = 50.0,
    tokens: Annotated[
        int,
        typer.Option(
            min=0,
            max=100_000,
            help="Length of an answer, beyond the question it repeats.",
            rich_help_panel=_PACE,
        ),
    ] = 40,
    seed: Annotated[
        int, typer.Option(help="One seed, one sequence of times.", rich_help_panel=_PACE)
    ] = 0,
    fail_rate: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="Share of the calls that fail.", rich_help_panel=_FAULTS
        ),
    ] = 0.0,
    fail_status: Annotated[
        int,
        typer.Option(min=400, max=599, help="Their status, such as 429.", rich_help_panel=_FAULTS),
    ] = 500,
    faults: Annotated[
        str,
        typer.Option(
            help='For requests that name none: "status=503", "cut_after_bytes=200", "hang", '
            '"garbage", "slow_ms=100", "error", "finish_reason=length", "tool_calls", "keepalive", '
            "and more; several with commas.",
            rich_help_panel=_FAULTS,
        ),
    ] = "",
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """An OpenAI-compatible upstream without a model: chat completions, streamed or not.

    The same messages get the same answer, after a lognormal time. Faults are for
    testing: a request's x-simulate header, or the field x_simulate in its body,
    names its own, in the form that --faults takes. GET /simulator/stats counts
    the calls. Ctrl-C or SIGTERM ends it.

    Examples:

      semcache simulate-llm --port 8090

      semcache simulate-llm --median-ms 200 --tokens-per-s 100 --fail-rate 0.01 --fail-status 429

      semcache simulate-llm --faults "keepalive, crlf" --port 0
    """
    with one_line_errors(debug):
        from semcache_async.simulator import SimulatorOptions

        options = SimulatorOptions(
            median_ms=median_ms,
            sigma=sigma,
            tokens_per_s=tokens_per_s,
            tokens=tokens,
            seed=seed,
            fail_rate=fail_rate,
            fail_status=fail_status,
            faults=faults,
            models=tuple(model or ()),
            api_key=api_key or None,
        )
        run(lambda: _serve(options, host, port))


async def _serve(options: SimulatorOptions, host: str, port: int) -> None:
    from aiohttp import web

    from semcache_async.simulator import make_simulator

    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_ in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_, ended.set)
    runner = web.AppRunner(
        make_simulator(options), access_log=None, handler_cancellation=True, shutdown_timeout=2.0
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, backlog=1_024).start()
        except OSError as error:
            raise CannotListenError(
                f"Cannot listen on {host}:{port}: {error.strerror or error}."
            ) from error
        name = f"[{host}]" if ":" in host else host
        typer.echo(f"Simulated LLM at http://{name}:{runner.addresses[0][1]}/v1")
        await ended.wait()
    finally:
        await runner.cleanup()
