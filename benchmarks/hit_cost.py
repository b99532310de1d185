"""CPU seconds of the server for an exact hit over HTTP, against a bare aiohttp handler's.

    python -m benchmarks.hit_cost [--requests 10000] [--rounds 7]

The two take turns under one client; each turn's CPU time is the server process's own, as the kernel
counts it, so that who else uses the machine matters little. Printed: each turn, and the median of
the turns' ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import statistics
import sys
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from benchmarks.bench.proxies import Served, open_bare, open_llm, open_ours

__all__ = ["main"]

_CONNECTIONS = 64
_QUESTIONS = 200
_TICKS = os.sysconf("SC_CLK_TCK")


async def measure(requests: int, rounds: int) -> list[float]:
    """The turns' ratios, ours over aiohttp's."""
    ratios: list[float] = []
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(open_llm(0.0))
        ours = await stack.enter_async_context(open_ours(upstream, 0.12))
        bare = await stack.enter_async_context(open_bare())
        for served in (ours, bare):
            await _ask(served, _QUESTIONS)
        for turn in range(rounds):
            used: dict[str, float] = {}
            for served in (ours, bare)[:: 1 if turn % 2 else -1]:
                before = _cpu_s(served.pid)
                await _ask(served, requests)
                used[served.name] = (_cpu_s(served.pid) - before) / requests * 1e6
            ratios.append(used[ours.name] / used[bare.name])
            shown = ", ".join(f"{name} {us:.0f} us" for name, us in sorted(used.items()))
            sys.stdout.write(f"{shown}: {ratios[-1]:.2f}\n")
    return ratios


async def _ask(served: Served, requests: int) -> None:
    """Ask ``requests`` times over connections that stay open."""
    left = iter(range(requests))
    await asyncio.gather(*[_connection(served.port, left) for _ in range(_CONNECTIONS)])


async def _connection(port: int, left: Iterator[int]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for number in left:
            writer.write(_REQUESTS[number % _QUESTIONS])
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            (length,) = (
                int(line.partition(b":")[2])
                for line in head.lower().split(b"\r\n")
                if line.startswith(b"content-length:")
            )
            await reader.readexactly(length)
    finally:
        writer.close()


def _request(number: int) -> bytes:
    message = {"role": "user", "content": f"How do I pay the bill number {number}?"}
    body = json.dumps({"model": "simulated", "messages": [message]}).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


_REQUESTS: Sequence[bytes] = [_request(number) for number in range(_QUESTIONS)]


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, itertools.islice(fields, 11, 13))) / _TICKS


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="benchmarks.hit_cost", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    ratios = asyncio.run(measure(asked.requests, asked.rounds))
    sys.stdout.write(
        f"an exact hit costs {statistics.median(ratios):.2f} times a bare aiohttp handler's CPU "
        f"({min(ratios):.2f} to {max(ratios):.2f})\n"
    )


if __name__ == "__main__":
    main()
