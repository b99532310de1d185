"""The ``semcache simulate-llm`` command."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from semcache_async.cli.flags import Debug
from semcache_async.errors import SemcacheError
from semcache_async.shell import one_line_errors, run

if TYPE_CHECKING:
    from semcache_async.simulator import SimulatorOptions

__all__ = ["simulate_llm"]

_address, _pace, _faults = (
    partial(typer.Option, rich_help_panel=panel)
    for panel in ("Where it listens", "Answers", "Faults")
)


class CannotListenError(SemcacheError):
    """The address is taken, or not ours."""


def simulate_llm(
    host: Annotated[str, _address(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, _address(min=0, max=65_535, help="Port; 0: any free one.")] = 8090,
    api_key: Annotated[
        str | None,
        _address(
            envvar="SEMCACHE_SIMULATOR_API_KEY",
            help="Key that requests must carry: a bearer token, or x-api-key for messages.",
            show_default="none needed",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        _address(
            help="A model there is; repeatable. Others are then unknown (404).",
            show_default="any name will do",
        ),
    ] = None,
    api: Annotated[
        list[str] | None,
        _address(
            help="An API it speaks: chat, completions, messages or responses; repeatable.",
            show_default="all",
        ),
    ] = None,
    median_ms: Annotated[
        float,
        _pace(min=0.0, max=3_600_000.0, help="Median time to the first token, lognormal, in ms."),
    ] = 800.0,
    sigma: Annotated[
        float,
        _pace(min=0.0, max=5.0, help="Spread of that time: standard deviation of its logarithm."),
    ] = 0.35,
    tokens_per_s: Annotated[
        float, _pace(min=0.0, max=1e9, help="Pace after the first token; 0: all at once.")
    ] = 50.0,
    tokens: Annotated[
        int, _pace(min=0, max=100_000, help="Length of an answer, beyond the question it repeats.")
    ] = 40,
    seed: Annotated[int, _pace(help="One seed, one sequence of times.")] = 0,
    fail_rate: Annotated[
        float, _faults(min=0.0, max=1.0, help="Share of the calls that fail.")
    ] = 0.0,
    fail_status: Annotated[int, _faults(min=400, max=599, help="Their status, such as 429.")] = 500,
    faults: Annotated[
        str,
        _faults(
            help='For requests that name none: "status=503", "cut_after_bytes=200", "hang", '
            '"garbage", "slow_ms=100", "error", "finish_reason=length", "tool_calls", "keepalive", '
            "and more; several with commas."
        ),
    ] = "",
    debug: Debug = False,
) -> None:
    """An upstream without a model: OpenAI's chat completions, completions and responses,
    and Anthropic's messages, streamed or not.

    The same messages get the same answer by every API, after a lognormal time.
    Faults are for testing: a request's x-simulate header, or the field x_simulate
    in its body, names its own, in the form that --faults takes. GET
    /simulator/stats counts the calls. Ctrl-C or SIGTERM ends it.

    Examples:

      semcache simulate-llm --port 8090

      semcache simulate-llm --median-ms 200 --tokens-per-s 100 --fail-rate 0.01 --fail-status 429

      semcache simulate-llm --faults "keepalive, crlf" --port 0
    """
    with one_line_errors(debug):
        from semcache_async.simulator import SimulatorOptions
        from semcache_async.simulator.apis import APIS

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
            apis=tuple(api or APIS),
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
