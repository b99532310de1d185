"""The proxies and the LLM behind them, each in a process of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.contenders.model import write_model
from benchmarks.contenders.ours_unpacked import write_padded
from benchmarks.contenders.process import ROOT, ContenderError, interpreter
from semcache_async.store.embedded import embedded_redis

__all__ = [
    "PROXIES",
    "Proxy",
    "Served",
    "free_port",
    "open_bare",
    "open_llm",
    "open_ours",
    "open_proxy",
    "semcache",
    "serving",
]

_READY_S = 120.0
_QUIT_S = 10.0
_SHOWN = 2_000

_CACHELLM = """
import functools, sys, fastembed, uvicorn
made = functools.partial(fastembed.TextEmbedding, specific_model_path=sys.argv[2])
fastembed.TextEmbedding = made
uvicorn.run("cachellm.api.app:create_app", factory=True, port=int(sys.argv[1]), log_config=None)
"""
"""``cachellm serve``, and where fastembed finds the model that it would download."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """One that is up."""

    name: str
    about: str
    url: str


@dataclass(frozen=True, slots=True)
class Served:
    """A process that answers on loopback."""

    name: str
    port: int
    pid: int


@asynccontextmanager
async def open_llm(median_s: float) -> AsyncIterator[str]:
    """The URL of a simulated LLM that answers after about ``median_s``."""
    port = free_port()
    command = (
        *(semcache(), "simulate-llm", "--port", str(port)),
        *("--median-ms", f"{median_s * 1e3:g}", "--tokens-per-s", "0"),
    )
    async with serving("the simulated LLM", command, {}, port, "/v1/models"):
        yield f"http://127.0.0.1:{port}/v1"


@asynccontextmanager
async def open_bare() -> AsyncIterator[Served]:
    """An aiohttp handler that does nothing else."""
    port = free_port()
    command = (sys.executable, "-m", "benchmarks.bare", str(port))
    async with serving("aiohttp alone", command, {}, port, "/readyz") as pid:
        yield Served("aiohttp alone", port, pid)


@asynccontextmanager
async def open_ours(upstream: str, max_distance: float) -> AsyncIterator[Served]:
    """``semcache serve`` as a stranger would have it, but for what bypasses the cache."""
    port = free_port()
    async with embedded_redis() as redis_url:
        env = {
            "SEMCACHE_UPSTREAM_URL": upstream,
            "SEMCACHE_REDIS_URL": redis_url,
            "SEMCACHE_MAX_DISTANCE": str(max_distance),
            "SEMCACHE_BYPASS_PERSONAL": "false",
            "SEMCACHE_BYPASS_TIME_BOUND": "false",
            "SEMCACHE_EMBEDDING_CACHE_SIZE": "0",
        }
        command = (semcache(), "serve", "--port", str(port))
        async with serving("semcache serve", command, env, port, "/readyz") as pid:
            yield Served("ours", port, pid)


@asynccontextmanager
async def open_proxy(name: str, upstream: str, max_distance: float) -> AsyncIterator[Proxy]:
    """Raises ``ContenderError`` where it cannot be had."""
    async with PROXIES[name](upstream, max_distance) as proxy:
        yield proxy


@asynccontextmanager
async def _ours(upstream: str, max_distance: float) -> AsyncIterator[Proxy]:
    async with open_ours(upstream, max_distance) as served:
        about = "semcache serve, one worker, embedded Redis; its personal and time-bound "
        about += "bypasses and its memory of embeddings off"
        yield Proxy(served.name, about, f"http://127.0.0.1:{served.port}")


@asynccontextmanager
async def _bare(_upstream: str, _max_distance: float) -> AsyncIterator[Proxy]:
    async with open_bare() as served:
        about = "an aiohttp handler that answers everything with one completion: what the server "
        yield Proxy(served.name, f"{about}itself costs", f"http://127.0.0.1:{served.port}")


@asynccontextmanager
async def _cachellm(upstream: str, max_distance: float) -> AsyncIterator[Proxy]:
    python, port = interpreter("cachellm"), free_port()
    with tempfile.TemporaryDirectory(prefix="cachellm-") as scratch:
        model = Path(scratch)
        await asyncio.to_thread(write_model, model)
        await asyncio.to_thread(write_padded, model, model)
        similarity = str(1.0 - max_distance)
        kinds = ("DEFAULT", "FACTUAL", "CLASSIFICATION", "CREATIVE", "VOLATILE", "CONVERSATIONAL")
        env = {
            "CACHELLM_BACKEND": "memory",
            "CACHELLM_OPENAI_BASE_URL": upstream,
            "CACHELLM_OPENAI_API_KEY": "none",
            "CACHELLM_DISCOVER_MODELS": "false",
            "CACHELLM_MAX_CACHEABLE_TEMPERATURE": "2",
            "CACHELLM_PII_GUARD": "false",
            "CACHELLM_EMBEDDING_CACHE_SIZE": "0",
            "CACHELLM_LOG_LEVEL": "WARNING",
            "HF_HUB_OFFLINE": "1",
            **{f"CACHELLM_THRESHOLD_{kind}": similarity for kind in kinds},
        }
        command = (str(python), "-c", _CACHELLM, str(port), scratch)
        async with serving("cachellm-proxy", command, env, port, "/readyz", b'"ready"'):
            about = "cachellm-proxy 0.3.0, memory backend, fastembed given an unfused export of "
            about += "the same weights; its PII guard, temperature limit and memory of embeddings "
            yield Proxy("cachellm-proxy", f"{about}off", f"http://127.0.0.1:{port}")


PROXIES = {"ours": _ours, "cachellm-proxy": _cachellm, "aiohttp alone": _bare}


@asynccontextmanager
async def serving(
    what: str,
    command: Sequence[str],
    env: dict[str, str],
    port: int,
    path: str,
    says: bytes = b"",
) -> AsyncIterator[int]:
    """The id of the process, once ``path`` is answered by 200 and ``says``; ended afterwards."""
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, **env}, cwd=ROOT, stdout=log, stderr=log
        )
        try:
            try:
                async with asyncio.timeout(_READY_S):
                    while not await _ready(f"http://127.0.0.1:{port}{path}", says):
                        if process.returncode is not None:
                            raise TimeoutError
                        await asyncio.sleep(0.2)
            except TimeoutError:
                log.seek(0)
                said = log.read().decode(errors="replace")[-_SHOWN:].strip()
                shown = f"{what} is not ready\n--- its output ---\n{said or '(empty)'}"
                raise ContenderError(shown) from None
            yield process.pid
        finally:
            await _end(process)


async def _ready(url: str, says: bytes) -> bool:
    try:
        timeout = aiohttp.ClientTimeout(total=2.0)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return response.status == 200 and says in await response.read()
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(_QUIT_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def semcache() -> str:
    return str(Path(sys.executable).with_name("semcache"))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port
