"""One worker of several: a process that a parent in ``supervisor`` starts and ends.

The first line of its standard input is an ``Assignment``; when that input ends, so has the parent,
and the worker follows. What it prints is a ``Ready``.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import msgspec
import typer

from semcache_async.serve.process.logs import log_to_stderr
from semcache_async.serve.process.server import Part, Ready, serve_part
from semcache_async.serve.settings import Settings
from semcache_async.shell import one_line_errors, run, until_told

__all__ = ["Assignment", "encode_assignment"]


class Assignment(msgspec.Struct, frozen=True):
    """What a parent tells its worker."""

    settings: Settings
    part: Part


def encode_assignment(assignment: Assignment) -> bytes:
    """One line. A distance that nobody gave is the worker's to find."""
    told = msgspec.to_builtins(assignment, enc_hook=str)
    if not assignment.settings.cache.has_distance:
        del told["settings"]["cache"]["max_distance"]
    return msgspec.json.encode(told) + b"\n"


async def _work(assignment: Assignment) -> None:
    stop, ready = asyncio.Event(), asyncio.Event()
    out = os.dup(1)
    os.dup2(2, 1)  # what others print is no message to the parent

    def tell(what: Ready) -> None:
        ready.set()
        os.write(out, msgspec.json.encode(what) + b"\n")

    def on_input() -> None:
        if os.read(0, 4_096):
            return
        if stop.is_set() or not ready.is_set():
            os._exit(1)  # the parent has gone, and waits for nothing
        loop.remove_reader(0)
        stop.set()

    loop = asyncio.get_running_loop()
    with until_told(stop, ready):
        for number in (signal.SIGINT, signal.SIGHUP):  # a terminal's are the parent's
            signal.signal(number, signal.SIG_IGN)
        loop.add_reader(0, on_input)
        try:
            await serve_part(assignment.settings, assignment.part, stop, tell)
        finally:
            loop.remove_reader(0)


def _read_assignment() -> Assignment:
    def decode(kind: type, value: Any) -> Any:
        return kind(value)

    with os.fdopen(os.dup(0), "rb", buffering=0) as pipe:
        return msgspec.json.decode(pipe.readline(), type=Assignment, dec_hook=decode)


def _main() -> None:
    log_to_stderr()
    assignment = _read_assignment()
    with one_line_errors(debug=False):
        run(lambda: _work(assignment))


if __name__ == "__main__":
    typer.run(_main)
