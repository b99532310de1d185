"""The driver's side of a worker."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, Any

from benchmarks.contenders import Setup, load

ROOT = Path(__file__).resolve().parents[2]

_LINE = 2**28
_QUIT_S = 20.0
_SHOWN = 4_000


class ContenderError(Exception):
    """A contender cannot be run, or failed; says what it wrote to stderr."""


def interpreter(environment: str) -> Path:
    """The Python of an environment; raises ``ContenderError`` where it was not made."""
    if not environment:
        return Path(sys.executable)
    python = ROOT / f".venv-{environment}" / "bin" / "python"
    if not python.exists() or not (python.parents[1] / ".installed").exists():
        raise ContenderError(f"no environment; make it: scripts/pinned-env {environment}")
    return python


class Worker:
    """A contender's process. Make one with ``start_worker``."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, stderr: IO[bytes]) -> None:
        self.name = name
        self._process, self._stderr = process, stderr

    @property
    def gone(self) -> bool:
        """Has its process ended?"""
        return self._process.returncode is not None

    async def ask(
        self, do: str, *, within_s: float | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """The reply to one command; raises ``ContenderError`` where it failed. One that takes
        longer than ``within_s`` has failed, and its process is killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(within_s):
                self._process.stdin.write(json.dumps({"do": do, **arguments}).encode() + b"\n")
                await self._process.stdin.drain()
                line = await self._process.stdout.readline()
        except ConnectionError:
            line = b""
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise self._failure(f"{do!r} took longer than {within_s:g} s") from None
        if not line:
            raise self._failure(f"ended with status {await self._process.wait()}")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise self._failure(reply["error"])
        return reply

    def _failure(self, what: str) -> ContenderError:
        self._stderr.seek(0)
        said = self._stderr.read().decode(errors="replace")[-_SHOWN:].strip()
        return ContenderError(f"{self.name}: {what}\n--- its stderr ---\n{said or '(empty)'}")

    async def aclose(self) -> None:
        """Ends the process, in peace where it is willing."""
        if self._process.returncode is not None:
            return
        try:
            async with asyncio.timeout(_QUIT_S):
                await self.ask("quit")
                await self._process.wait()
        except (ContenderError, TimeoutError):
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()


@asynccontextmanager
async def start_worker(
    name: str, setup: Setup, checkout: Path | None = None
) -> AsyncIterator[Worker]:
    """Contender ``name`` in a process of its own; with the package of another ``checkout``, though
    the contender and its measuring are of this one."""
    python = interpreter(load(name).ENVIRONMENT)
    with tempfile.TemporaryFile() as stderr, _where_to_start(checkout) as directory:
        process = await asyncio.create_subprocess_exec(
            *(str(python), "-m", "benchmarks.contenders.worker", name, "--name", setup.name),
            *("--redis-url", setup.redis_url, "--model", str(setup.model)),
            *("--max-distance", str(setup.max_distance)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            limit=_LINE,
            cwd=directory,
            env={
                **os.environ,
                "HF_HUB_OFFLINE": "1",
                "TOKENIZERS_PARALLELISM": "false",
                "PYTHONPATH": f"{directory}{os.pathsep}{ROOT}",
            },
        )
        worker = Worker(name, process, stderr)
        try:
            yield worker
        finally:
            await worker.aclose()


@contextmanager
def _where_to_start(checkout: Path | None) -> Iterator[Path]:
    """A directory from which ``semcache_async`` is the checkout's, and nothing else is."""
    if checkout is None:
        yield ROOT
        return
    package = checkout.resolve() / "semcache_async"
    if not (package / "__init__.py").exists():
        raise ContenderError(f"{checkout} is no checkout: it has no package semcache_async")
    with tempfile.TemporaryDirectory(prefix="checkout-") as scratch:
        (Path(scratch) / "semcache_async").symlink_to(package)
        yield Path(scratch)
