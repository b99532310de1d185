"""One contender in a process of its own, told what to do by JSON lines.

    python -m benchmarks.contenders.worker NAME --redis-url URL --model DIR ...

Each line of stdin is a command, ``{"do": NAME, ...}``, and each line of stdout its reply; one that
fails has the traceback under ``error``. Whatever libraries print goes to stderr.

    open                           -> versions, about; again: empty, with ``name`` for its keys
    fill      pairs, vectors (perhaps: a .npy file of theirs)  -> elapsed_s
    loop      call, texts, and callers (closed loop; perhaps limit_s, after which no more texts are
              taken) or at_s (open loop: by text, in order)
                                   -> elapsed_s, cpu_s; latencies_ms and answers, by text;
                                      lag_ms (of the event loop's timers)
    generate  llm, texts, and callers or at_s
                                   -> those, generated (prompts, in order), llm_s, late_ms,
                                      failures (what was raised; the answer is null)
    close
    quit

Every reply has ``idle_cpu``, the share of a CPU used between the last command and this one.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import importlib.metadata
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import IO, Any

from benchmarks.contenders import Contender, ContenderModule, Setup, Vectors, load
from benchmarks.contenders.llm import SimulatedLLM
from benchmarks.contenders.loops import closed_loop, open_loop


class Session:
    """The commands, for one contender."""

    def __init__(self, module: ContenderModule, setup: Setup) -> None:
        self._module, self._setup = module, setup
        self._stack = AsyncExitStack()
        self._contender: Contender | None = None

    async def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        match command:
            case {"do": "open", **options}:
                await self.aclose()
                name = options.get("name", self._setup.name)
                opening = self._module.open_contender(dataclasses.replace(self._setup, name=name))
                self._contender = await self._stack.enter_async_context(opening)
                return {"versions": versions(self._module), "about": self._contender.about}
            case {"do": "fill", "pairs": pairs, **options}:
                began = time.perf_counter()
                vectors = load_vectors(options.get("vectors"))
                await self._open().fill([(prompt, answer) for prompt, answer in pairs], vectors)
                return {"elapsed_s": time.perf_counter() - began}
            case {"do": "loop", "call": ("lookup" | "embed") as name, "texts": texts, **options}:
                call = getattr(self._open(), name)
                if "at_s" in options:
                    return await open_loop(call, texts, options["at_s"])
                return await closed_loop(call, texts, **options)
            case {"do": "generate", "texts": texts, "llm": llm, **options}:
                return await self._generate(texts, SimulatedLLM(**llm), options)
            case {"do": "close" | "quit"}:
                await self.aclose()
                return {}
        raise ValueError(f"unknown command {command.get('do')!r}")

    async def aclose(self) -> None:
        self._contender = None
        await self._stack.aclose()

    async def _generate(
        self, texts: list[str], llm: SimulatedLLM, options: dict[str, Any]
    ) -> dict[str, Any]:
        contender = self._open()

        failures: list[str] = []

        async def call(text: str) -> str | None:
            try:
                return await contender.get_or_generate(text, llm)
            except Exception as error:
                failures.append(repr(error))
                return None

        if "at_s" in options:
            reply = await open_loop(call, texts, options["at_s"])
        else:
            reply = await closed_loop(call, texts, options["callers"])
        made = {"generated": llm.prompts, "llm_s": llm.seconds, "failures": failures}
        return {"late_ms": 0.0, **reply, **made}

    def _open(self) -> Contender:
        if self._contender is None:
            raise RuntimeError("not open")
        return self._contender


def load_vectors(path: str | None) -> Vectors | None:
    """Of a ``.npy`` file."""
    if path is None:
        return None
    import numpy as np

    vectors: Vectors = np.load(path)
    return vectors


def versions(module: ContenderModule) -> dict[str, str]:
    """Of Python and of the contender's packages, as far as they are installed."""
    found = {"python": platform.python_version()}
    for package in module.PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


async def serve(module: ContenderModule, setup: Setup, replies: IO[str]) -> None:
    """Obeys until told to quit or the driver is gone."""
    async with aclosing(Session(module, setup)) as session:
        cpu, left = time.process_time(), time.perf_counter()
        while line := await asyncio.to_thread(sys.stdin.readline):
            idle = (time.process_time() - cpu) / (time.perf_counter() - left)
            command = json.loads(line)
            try:
                reply = await session.obey(command)
            except Exception:
                reply = {"error": traceback.format_exc()}
            replies.write(json.dumps({**reply, "idle_cpu": idle}) + "\n")
            replies.flush()
            if command.get("do") == "quit":
                return
            cpu, left = time.process_time(), time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("contender")
    parser.add_argument("--name", required=True)
    parser.add_argument("--redis-url", required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--max-distance", type=float, required=True)
    chosen = parser.parse_args()
    setup = Setup(
        name=chosen.name,
        redis_url=chosen.redis_url,
        model=chosen.model,
        max_distance=chosen.max_distance,
    )
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    try:
        import uvloop
    except ImportError:
        pass
    else:
        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(serve(load(chosen.contender), setup, replies))


if __name__ == "__main__":
    main()
