"""Real processes on a real Redis: one LLM call, whoever asks, whoever dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROCESSES = 8

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    """Of this process; the workers have their own."""
    return "asyncio"


@asynccontextmanager
async def workers(*arguments: str, count: int = PROCESSES) -> AsyncIterator[list[Process]]:
    """Processes that have opened the cache; they end with the block."""
    command = (sys.executable, "-m", "tests.sharing.worker", *arguments)
    started = [
        await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=PIPE, stdout=PIPE)
        for _ in range(count)
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert int(await process.stdout.readline()) == process.pid
        yield started
    finally:
        for process in started:
            if process.returncode is None:
                process.kill()
            await process.wait()


def go(processes: list[Process]) -> None:
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")


async def report(process: Process) -> Any:
    assert process.stdout is not None
    return json.loads(await process.stdout.readline())


async def leader(folder: Path, number: int = 1) -> int:
    """The process that makes the LLM call of this number, once it does."""
    while True:
        if (folder / "calls").exists():
            pids = (folder / "calls").read_text().split()
            if len(pids) >= number:
                return int(pids[number - 1])
        await asyncio.sleep(0.01)


def calls(folder: Path) -> int:
    return len((folder / "calls").read_text().split())


@pytest.mark.parametrize(("mode", "loop"), [("whole", "asyncio"), ("stream", "uvloop")])
async def test_eight_processes_make_one_call(
    redis_url: str, name: str, tmp_path: Path, mode: str, loop: str
) -> None:
    async with workers(redis_url, name, "500", str(tmp_path), mode, loop) as processes:
        go(processes)
        await leader(tmp_path)
        (tmp_path / "gate").touch()
        reports = [await report(process) for process in processes]
    assert calls(tmp_path) == 1
    assert sum(one["llm_calls"] for one in reports) == 1
    assert [one["answered"] for one in reports] == [500] * PROCESSES
    assert len({text for one in reports for text in one["texts"]}) == 1
    assert sum(one["failed"] + one["unclaimed"] for one in reports) == 0


async def test_when_the_leader_is_killed_one_takes_over(
    redis_url: str, name: str, tmp_path: Path
) -> None:
    async with workers(redis_url, name, "500", str(tmp_path), "whole", "asyncio") as processes:
        go(processes)
        first = await leader(tmp_path)
        os.kill(first, signal.SIGKILL)
        assert await leader(tmp_path, 2) != first
        (tmp_path / "gate").touch()
        reports = [await report(process) for process in processes if process.pid != first]
    assert calls(tmp_path) == 2
    assert sum(one["takeovers"] for one in reports) == 1
    assert len({text for one in reports for text in one["texts"]}) == 1
    assert [one["answered"] for one in reports] == [500] * (PROCESSES - 1)
