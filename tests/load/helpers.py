"""Targets that can be reasoned about, and a clock that costs no time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from semcache_async.data import Question
from semcache_async.load.asking.tally import Tally
from semcache_async.load.asking.targets import Reply
from semcache_async.load.measured.machine import Machine
from semcache_async.load.measured.result import Result, make_result
from semcache_async.load.traffic.workload import Arrival

T = TypeVar("T")

QUESTION = Question("How do I reset my PIN?", "pin")
MACHINE = Machine(
    cpu="A CPU",
    cpus=2,
    flags=("avx2",),
    memory_gb=8.0,
    system="Linux 6",
    python="CPython 3.11",
    packages={"redis": "8"},
    commit=None,
    command="semcache load --rate 1",
)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time jumps to the next timer whenever nothing is left to do."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        ready, scheduled = self._ready, self._scheduled  # type: ignore[attr-defined]
        if not ready:
            timers = [timer._when for timer in scheduled if not timer._cancelled]
            self.now = max(self.now, min(timers, default=self.now))
        super()._run_once()  # type: ignore[misc]


def in_virtual_time(work: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """``work``'s result, at once."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(work(loop))
    finally:
        loop.close()


class Queue:
    """Answers one request at a time, each in ``service_s``; stands still from ``stall_at`` for
    ``stall_s``."""

    name = "queue"

    def __init__(
        self, service_s: float = 0.001, *, stall_at: float = 1e9, stall_s: float = 0.0
    ) -> None:
        self.service_s, self.stall_at, self.stall_s = service_s, stall_at, stall_s
        self.asked: list[str] = []
        self.begun = 0
        self._turn = asyncio.Lock()

    async def begin(self) -> None:
        self.begun += 1

    async def ask(self, prompt: str, /) -> Reply:
        self.asked.append(prompt)
        async with self._turn:
            now = asyncio.get_running_loop().time()
            if self.stall_at <= now < self.stall_at + self.stall_s:
                await asyncio.sleep(self.stall_at + self.stall_s - now)
            await asyncio.sleep(self.service_s)
        return Reply("exact")

    def llm_calls(self) -> int | None:
        return 0


def arrivals(*at_s: float) -> list[Arrival]:
    return [Arrival(at, QUESTION.text, QUESTION) for at in at_s]


def result(
    tally: Tally, *, name: str = "ours", rate: float | None = 10.0, callers: int | None = None
) -> Result:
    return make_result(
        tally,
        name=name,
        workload="Made up.",
        seed=0,
        machine=MACHINE,
        llm_calls=3,
        target_rate=rate,
        callers=callers,
        max_in_flight=10,
        notes=("A note.",),
    )
