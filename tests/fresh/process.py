"""A process with a cache, told by lines of JSON what to do: ``python -m tests.fresh.process URL``.

Each command has a number, ``seq``; an answer's text says under which one its making began.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

from semcache_async import Answer, CacheConfig, Scope, SemanticCache
from semcache_async.testing import AngleEmbedder
from tests.helpers import until
from tests.store.helpers import open_store

LEASE_S = 0.05
OPTIONS: dict[str, Any] = {
    "exact_ttl_s": 100.0,
    "semantic_ttl_s": 60.0,
    "ttl_jitter": 0.0,
    "stale_ttl_s": 50.0,
    "store_timeout_s": 30.0,
    "version_lease_s": LEASE_S,
}


class Process:
    def __init__(self, url: str) -> None:
        self._url = url
        self._stack = AsyncExitStack()
        self._cache: SemanticCache | None = None
        self._passed = 0.0
        self._seq = 0
        self._calls = 0
        self._gates: dict[int, asyncio.Event] = {}
        self._flights: dict[int, asyncio.Task[Any]] = {}

    async def run(self) -> None:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        while line := await reader.readline():
            command = json.loads(line)
            self._seq, self._passed = command["seq"], command["passed"]
            said = await getattr(self, command.pop("do"))(command)
            sys.stdout.write(json.dumps(said) + "\n")
            sys.stdout.flush()

    async def open(self, command: dict[str, Any]) -> None:
        for gate in self._gates.values():
            gate.set()
        await asyncio.gather(*self._flights.values(), return_exceptions=True)
        self._gates, self._flights = {}, {}
        await self._stack.aclose()
        name, options = command["name"], {**OPTIONS, **command["options"]}
        opening = open_store(self._url, name, ahead=lambda: self._passed, **OPTIONS)
        store = await self._stack.enter_async_context(opening)
        config = CacheConfig(name=name, **options)
        self._cache = await self._stack.enter_async_context(
            SemanticCache.open(store=store, config=config, embedder=AngleEmbedder())
        )

    async def store(self, command: dict[str, Any]) -> str:
        text = self._text(command)
        await self.cache.store(**_asked(command), text=text, tags=command["tags"])
        return text

    async def ask(self, command: dict[str, Any]) -> dict[str, Any] | None:
        found = await self.cache.lookup(**_asked(command))
        return None if found is None else _told(found)

    async def sweep(self, command: dict[str, Any]) -> list[dict[str, Any] | None]:
        """Every one of several questions, one after the other."""
        return [await self.ask(one) for one in command["asked"]]

    async def generate(self, command: dict[str, Any]) -> dict[str, Any]:
        async def generate(prompt: str) -> str:
            return self._text(command)

        answer = await self.cache.get_or_generate(
            **_asked(command), generate=generate, tags=command["tags"]
        )
        answering = self.cache._answering
        await until(lambda: not answering._renewing and len(answering) <= len(self._flights))
        return _told(answer)

    async def crowd(self, command: dict[str, Any]) -> dict[str, Any]:
        """Many callers at once, in a few wordings, of an LLM that takes its time."""
        calls = 0

        async def generate(prompt: str) -> str:
            nonlocal calls
            calls += 1
            await asyncio.sleep(command["llm_s"])
            return f"answer {calls}"

        async def ask(number: int) -> tuple[Answer, float]:
            began = time.perf_counter()
            prompt = command["prompts"][number % len(command["prompts"])]
            answer = await self.cache.get_or_generate(prompt, generate)
            return answer, time.perf_counter() - began

        asked = await asyncio.gather(*[ask(number) for number in range(command["callers"])])
        answering = self.cache._answering
        await until(lambda: not (answering._renewing or len(answering)))
        return {
            "calls": calls,
            "sources": Counter(answer.source.value for answer, _ in asked),
            "stale": sum(answer.stale for answer, _ in asked),
            "slowest_s": max(took for _, took in asked),
        }

    async def begin(self, command: dict[str, Any]) -> None:
        """An LLM call that lasts until it is told to end."""
        number, gate, called = command["flight"], asyncio.Event(), asyncio.Event()
        text = self._text(command)

        async def generate(prompt: str) -> str:
            called.set()
            await gate.wait()
            return text

        flight = asyncio.create_task(
            self.cache.get_or_generate(**_asked(command), generate=generate, tags=command["tags"])
        )
        self._gates[number], self._flights[number] = gate, flight
        begun = asyncio.create_task(called.wait())
        await asyncio.wait([begun, flight], return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()

    async def end(self, command: dict[str, Any]) -> dict[str, Any] | None:
        number = command["flight"]
        self._gates.pop(number).set()
        return _told(await self._flights.pop(number))

    async def bump(self, command: dict[str, Any]) -> int:
        return await self.cache.bump_version(command["namespace"])

    async def purge(self, command: dict[str, Any]) -> int:
        what: dict[str, Any] = {key: command[key] for key in ("tags", "tenant") if key in command}
        if "scope" in command:
            what["scope"] = Scope(**command["scope"])
        return await self.cache.invalidate(**what)

    @property
    def cache(self) -> SemanticCache:
        assert self._cache is not None
        return self._cache

    def _text(self, command: dict[str, Any]) -> str:
        self._calls += 1
        made = {"seq": self._seq, "scope": command["scope"], "prompt": command["prompt"]}
        return json.dumps({**made, "tags": command["tags"], "n": self._calls, "of": id(self)})


def _asked(command: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": command["prompt"], "scope": Scope(**command["scope"])}


def _told(answer: Any) -> dict[str, Any]:
    return {"text": answer.text, "source": answer.source.value, "stale": answer.stale}


if __name__ == "__main__":
    asyncio.run(Process(sys.argv[1]).run())
