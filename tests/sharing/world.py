"""Several processes on one store, in virtual time: latencies, deaths and pauses by a seed, and what
must hold whatever they are."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from numpy.typing import NDArray

from semcache_async import CacheConfig, SemanticCache
from semcache_async.errors import FlightLostError
from semcache_async.testing import AngleEmbedder
from semcache_async.testing.sharing import SharingMemoryStore
from semcache_async.types import Answer, Claim, Letter, Record, Scope
from tests.load.helpers import VirtualLoop, in_virtual_time

REACH = 0.004
"""Cosine distance: 5.1 degrees. So 0 and 5 are near each other, 5 and 10 are, 0 and 10 are not."""
LEASE_S = 6.0
LLM_S = 3.0
ANGLES = (0, 5, 10, 90)


class InLoopEmbedder(AngleEmbedder):
    """Without threads, which know nothing of virtual time."""

    async def embed(self, texts: Sequence[str], /) -> NDArray[Any]:  # type: ignore[override]
        return super().embed(texts)


class Call(NamedTuple):
    """An LLM call."""

    process: Process
    angle: float
    began: float


class Process:
    """One process's way to the store: what it asks takes effect after a while, and it learns of
    that after another; nothing of it happens any longer once it is dead, or while it is paused."""

    connections = 0

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.dead = False
        self.resumes_at = 0.0
        self.disturbed: list[tuple[float, float]] = []
        """When it was paused or died: from, to."""

    def kill(self) -> None:
        self.dead = True
        self.disturbed.append((self.world.loop.time(), float("inf")))

    def pause(self, seconds: float) -> None:
        now = self.world.loop.time()
        self.resumes_at = now + seconds
        self.disturbed.append((now, now + seconds + 2 * LEASE_S))

    def is_disturbed(self, at: float) -> bool:
        return any(start <= at <= end for start, end in self.disturbed)

    async def alive(self) -> None:
        """Return when it runs; never, once it is dead."""
        while self.dead or self.resumes_at > self.world.loop.time():
            if self.dead:
                await asyncio.Event().wait()
            await asyncio.sleep(self.resumes_at - self.world.loop.time())

    async def _pass(self) -> None:
        await asyncio.sleep(self.world.random.random() * self.world.latency_s)
        await self.alive()

    def now(self) -> float:
        return self.world.store.now()

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self.world.store, name)

        async def operation(*args: Any, **named: Any) -> Any:
            await self._pass()
            done = await inner(*args, **named)
            await self._pass()
            return done

        return operation

    # what ``SharingStore`` is known by

    async def fetch(self, keys: Any) -> Any:
        return await self.__getattr__("fetch")(keys)

    async def search(self, queries: Any) -> Any:
        return await self.__getattr__("search")(queries)

    async def put(self, records: Sequence[Record]) -> Any:
        await self._pass()
        done = await self.world.store.put(records)
        for record, outcome in zip(records, done, strict=True):
            if isinstance(outcome, str):
                self.world.stored(self, record)
        await self._pass()
        return done

    async def remove(
        self,
        *,
        scope: Scope | None = None,
        tenant: str | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
    ) -> int:
        removed: int = await self.__getattr__("remove")(
            scope=scope, tenant=tenant, tags=tags, entry_ids=entry_ids
        )
        return removed

    async def claim(self, claims: Sequence[Claim]) -> Any:
        await self._pass()
        done = await self.world.store.claim(claims)
        await self._pass()
        return done

    async def renew(self, inbox: str, claims: Sequence[str]) -> Any:
        return await self.__getattr__("renew")(inbox, claims)

    async def stand(self, claims: Sequence[str]) -> Any:
        return await self.__getattr__("stand")(claims)

    async def vectors(self, claims: Sequence[str]) -> Any:
        return await self.__getattr__("vectors")(claims)

    async def leave(self, inbox: str) -> None:
        await self.__getattr__("leave")(inbox)

    async def withdraw(self, claims: Sequence[str]) -> Any:
        return await self.__getattr__("withdraw")(claims)

    async def write(self, letters: Sequence[tuple[str, Letter]]) -> Any:
        return await self.__getattr__("write")(letters)

    async def hear(self, inbox: str, heard: Callable[[Letter | None], None]) -> None:
        later: asyncio.Queue[Letter | None] = asyncio.Queue()

        async def deliver() -> None:
            while True:
                letter = await later.get()
                await self._pass()
                heard(letter)

        delivering = asyncio.create_task(deliver())
        try:
            await self.world.store.hear(inbox, later.put_nowait)
        finally:
            delivering.cancel()


class World:
    """Three processes, each with callers of several prompts."""

    def __init__(self, loop: VirtualLoop, seed: int, *, latency_s: float = 0.1) -> None:
        self.loop = loop
        self.random = random.Random(seed)
        self.latency_s = latency_s
        self.store = SharingMemoryStore(clock=loop.time, lease_s=LEASE_S)
        self.processes = [Process(self, number) for number in range(3)]
        self.calls: list[Call] = []
        self.faults: list[str] = []
        """What must not have happened, and did."""

    async def answer(self, process: Process, cache: SemanticCache, prompt: str, at: float) -> None:
        """A caller."""
        await asyncio.sleep(at)
        streams = self.random.random() < 0.3
        began = self.loop.time()
        try:
            async with asyncio.timeout(60 * LEASE_S):
                text = await self._answer(process, cache, prompt, streams=streams)
        except FlightLostError:
            if not any(one.disturbed for one in self.processes):
                self.faults.append(f"{prompt} of process {process.number} was lost")
            return
        except TimeoutError:
            self.faults.append(f"{prompt} of process {process.number} waits since {began:.2f}")
            return
        made_for = AngleEmbedder.angle(text)
        if abs(made_for - AngleEmbedder.angle(prompt)) > 5:
            self.faults.append(f"{prompt} got {text!r}")

    async def _answer(
        self, process: Process, cache: SemanticCache, prompt: str, *, streams: bool
    ) -> str:
        async def generate(asked: str) -> str:
            return "".join([piece async for piece in pieces(asked)])

        async def pieces(asked: str) -> AsyncIterator[str]:
            await process.alive()
            self.called(process, AngleEmbedder.angle(asked))
            for piece in ("for ", f"at {AngleEmbedder.angle(asked):g} ", "it is so"):
                await asyncio.sleep(LLM_S / 3)
                await process.alive()
                yield piece

        if streams:
            return "".join([piece async for piece in cache.stream(prompt, pieces)])
        answer: Answer = await cache.get_or_generate(prompt, generate)
        return answer.text

    def called(self, process: Process, angle: float) -> None:
        """The LLM is called: no other call that would do as well may have been made, but by a
        process that has been disturbed since."""
        now = self.loop.time()
        for other in self.calls:
            if abs(other.angle - angle) <= 5 and not self._disturbed(other, process, now):
                self.faults.append(
                    f"process {process.number} calls for {angle} at {now:.2f}, "
                    f"{other.process.number} did for {other.angle} at {other.began:.2f}"
                )
        self.calls.append(Call(process, angle, now))

    def stored(self, process: Process, record: Record) -> None:
        """An answer is stored: no call that would do as well may have begun later."""
        angle, now = AngleEmbedder.angle(record.text), self.loop.time()
        mine = [call for call in self.calls if call.process is process and call.angle == angle]
        for other in self.calls:
            if other.process.is_disturbed(other.began):
                continue  # it may have been unable to claim
            later = all(other.began > call.began for call in mine)
            if record.claim and later and abs(other.angle - angle) <= 5:
                self.faults.append(
                    f"process {process.number} stores {angle} at {now:.2f}, "
                    f"{other.process.number} took over at {other.began:.2f}"
                )

    def _disturbed(self, call: Call, by: Process, now: float) -> bool:
        spans = [*call.process.disturbed, *by.disturbed]
        return any(start <= now and end >= call.began for start, end in spans)


class Plan(NamedTuple):
    """What happens in one run."""

    deaths: int = 0
    pauses: int = 0
    callers: int = 12
    latency_s: float = 0.1


def run(seed: int, plan: Plan) -> World:
    """One run; the world afterwards."""
    return in_virtual_time(lambda loop: _run(loop, seed, plan))


async def _run(loop: VirtualLoop, seed: int, plan: Plan) -> World:
    world = World(loop, seed, latency_s=plan.latency_s)
    choose = world.random
    config = CacheConfig(
        max_distance=REACH, guards=(), lease_s=LEASE_S, store_timeout_s=20 * plan.latency_s
    )
    async with AsyncExitStack() as stack:
        caches = [
            await stack.enter_async_context(
                SemanticCache.open(store=process, embedder=InLoopEmbedder(), config=config)
            )
            for process in world.processes
        ]
        callers: list[tuple[Process, asyncio.Task[None]]] = []
        for _ in range(plan.callers):
            number = choose.randrange(len(caches))
            process, angle = world.processes[number], choose.choice(ANGLES)
            prompt = f"{choose.choice('pq')} at {angle}"
            late = choose.choice((0.0, choose.random() * 0.5, choose.random() * LLM_S * 2))
            asked = world.answer(process, caches[number], prompt, late)
            callers.append((process, asyncio.create_task(asked)))
        hurt = choose.sample(world.processes, plan.deaths + plan.pauses)
        for n, process in enumerate(hurt):
            at = choose.random() * LLM_S * 2
            if n < plan.deaths:
                loop.call_later(at, process.kill)
            else:
                loop.call_later(at, process.pause, choose.random() * 2 * LEASE_S)
        living = [task for process, task in callers if process not in hurt[: plan.deaths]]
        if living:
            await asyncio.wait(living)
        await asyncio.sleep(2 * LEASE_S)
        for process, task in callers:
            if process.dead:
                task.cancel()
        for process in world.processes:
            process.dead = False
        for task in living:
            task.result()
    return world


def main() -> int:
    options = argparse.ArgumentParser(description="One run again; tells what was found wrong.")
    options.add_argument("seed", type=int)
    for name, default in Plan._field_defaults.items():
        options.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    chosen = vars(options.parse_args())
    world = run(chosen.pop("seed"), Plan(**chosen))
    for call in world.calls:
        print(f"{call.began:8.2f} process {call.process.number} calls for {call.angle:g}")
    print("\n".join(world.faults) or "nothing wrong")
    return bool(world.faults)


if __name__ == "__main__":
    sys.exit(main())
