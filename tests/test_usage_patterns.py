"""Every block of docs/usage.md, as it stands there: in the loop, process or server it is for."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import CodeType
from typing import Any

import aiohttp
import anyio
import pytest
from aiohttp.test_utils import TestServer

from semcache_async import SemanticCache, Source
from semcache_async.errors import WrongLoopError
from semcache_async.testing import AngleEmbedder, MemoryStore
from tests.pages import DOCS, ROOT, code_of

USAGE = DOCS / "usage.md"
FASTAPI_PAGE = DOCS / "integrations" / "fastapi.md"


def blocks(heading: str, language: str = "python") -> list[str]:
    """Of a section of docs/usage.md, in order."""
    return code_of(USAGE, heading, language)


@pytest.fixture
def directory(monkeypatch: pytest.MonkeyPatch, redis_url: str) -> Iterator[Path]:
    """Where an example runs: it has ``llm.py``, and a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="usage-") as scratch:
        (Path(scratch) / "llm.py").write_text(code_of(USAGE)[0], encoding="utf-8")
        monkeypatch.syspath_prepend(scratch)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([scratch, str(ROOT)]))
        monkeypatch.setenv("REDIS_URL", redis_url)
        yield Path(scratch)
        sys.modules.pop("llm", None)


def printed(block: str, directory: Path) -> list[str]:
    """By the block as a program."""
    program = directory / "program.py"
    program.write_text(block, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, program], cwd=directory, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


# -- programs


def test_a_script(directory: Path) -> None:
    answer = "An answer to: How do I return an item?"
    called, decorated = blocks("a script")
    assert printed(called, directory) == [f"generated {answer}", f"exact {answer}"]
    assert printed(decorated, directory) == [answer, answer]


def test_multiprocessing(directory: Path) -> None:
    assert printed(blocks("multiprocessing")[0], directory) == ["generated", "exact"]


def test_threads(directory: Path) -> None:
    running, started = blocks("Threads")
    prompts = ("Is there a fee?", "Where is my parcel?")
    assert printed(running, directory) == [f"An answer to: {prompt}" for prompt in prompts]
    assert printed(started, directory) == ["generated An answer to: Can I pay by card?"]


def test_tests(directory: Path) -> None:
    assert printed(blocks("tests")[0], directory) == []


# -- a notebook


@pytest.mark.anyio
@pytest.mark.usefixtures("directory")
async def test_jupyter() -> None:
    """Cells share a namespace and may await, as IPython compiles them."""
    cells: dict[str, Any] = {}
    for cell in blocks("Jupyter"):
        code: CodeType = compile(cell, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        done = eval(code, cells)
        if inspect.isawaitable(done):
            await done
    answer, again = cells["answer"], cells["again"]
    assert (answer.source, again.source) == (Source.GENERATED, Source.EXACT)


# -- servers


async def asked_twice(session: aiohttp.ClientSession, url: str, **query: str) -> list[str]:
    """Where the answers came from."""
    sources = []
    for _ in range(2):
        async with session.get(url, params=query) as response:
            answer = await response.json()
            assert answer["text"] == f"An answer to: {query['prompt']}"
            sources.append(answer["source"])
    return sources


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_aiohttp(directory: Path) -> None:
    made = {"__name__": "app"}
    exec(blocks("aiohttp")[0], made)
    app: Any = made["app"]
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        url = str(server.make_url("/ask"))
        sources = await asked_twice(session, url, prompt="When does the shop open?")
    assert sources == ["generated", "exact"]


@asynccontextmanager
async def served(command: Sequence[str], directory: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """A session with the server that listens on ``directory / "socket"``, once it answers."""
    log = (directory / "log").open("w+")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command), cwd=directory, stdout=log, stderr=log
    )
    connector = aiohttp.UnixConnector(str(directory / "socket"))
    try:
        async with aiohttp.ClientSession(connector=connector) as session:
            while True:
                assert process.returncode is None, (directory / "log").read_text()
                try:
                    async with session.get("http://socket/none"):
                        break
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.05)
            yield session
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.wait()
        log.close()


FASTAPI, AIOHTTP = code_of(FASTAPI_PAGE, "FastAPI")[0], blocks("aiohttp")[0]
AIOHTTP_WORKER = ["gunicorn", "--worker-class", "aiohttp.GunicornWebWorker"]
SERVERS = {
    "How do I cancel my order?": (FASTAPI, ["uvicorn", "--uds", "socket"]),
    "Which sizes are there?": (FASTAPI, ["gunicorn", "--worker-class", "asgi"]),
    "Do you ship to Norway?": (FASTAPI, ["gunicorn", "--worker-class", "asgi", "--preload"]),
    "Is the warranty two years?": (AIOHTTP, AIOHTTP_WORKER),
    "Can I get an invoice?": (AIOHTTP, [*AIOHTTP_WORKER, "--preload"]),
}
"""By a prompt of its own: the example, and the server that is to run it."""


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("prompt", SERVERS, ids=lambda prompt: " ".join(SERVERS[prompt][1]))
async def test_servers(prompt: str, directory: Path) -> None:
    block, command = SERVERS[prompt]
    (directory / "app.py").write_text(block, encoding="utf-8")
    if command[0] == "gunicorn":
        assert f"{command[1]} {command[2]}" in blocks("gunicorn", "sh")[0]
        command = [*command, "--bind", "unix:socket", "--workers", "2"]
    async with served([*command, "app:app"], directory) as session:
        sources = await asked_twice(session, "http://socket/ask", prompt=prompt, tenant="acme")
    assert sources == ["generated", "exact"]


# -- Celery


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_celery(directory: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "tasks.py").write_text(blocks("Celery")[0], encoding="utf-8")
    ask = (
        "import tasks\n"
        "for _ in range(2):\n"
        "    print(*tasks.ask.delay('Can I change my address?').get(timeout=60))\n"
    )
    broker = redis_url.replace("unix://", "redis+socket://")
    monkeypatch.setenv("CELERY_BROKER_URL", broker)
    monkeypatch.setenv("CELERY_RESULT_BACKEND", broker)
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "celery", "--app", "tasks", "worker", "--pool", "prefork"),
        *("--concurrency", "1", "--loglevel", "WARNING", "--without-gossip", "--without-mingle"),
        cwd=directory,
    )
    try:
        lines = await anyio.to_thread.run_sync(printed, ask, directory)
    finally:
        worker.send_signal(signal.SIGTERM)
        await worker.wait()
    answer = "An answer to: Can I change my address?"
    assert lines == [f"generated {answer}", f"exact {answer}"]


# -- what goes wrong says so


@pytest.mark.anyio
async def test_another_loop_is_told() -> None:
    async with SemanticCache.open(embedder=AngleEmbedder(), store=MemoryStore()) as cache:
        with pytest.raises(WrongLoopError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, cache.lookup("returns at 10"))
