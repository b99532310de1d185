"""What ``semcache doctor`` finds about this machine, this process and its models."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import resource
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from semcache_async import __version__
from semcache_async.cli.setup.finding import (
    ACCESS,
    EMBEDDERS,
    MODELS,
    RUNNING,
    SIZING,
    Finding,
    bad,
    fine,
    poor,
    troubled,
)
from semcache_async.config import DEFAULT_MODEL
from semcache_async.embed import hint, load_embedder, load_verifier, open_embedder
from semcache_async.embed.models.catalog import MINILM
from semcache_async.embed.models.installed import missing
from semcache_async.embed.models.sources import Unavailable, latest
from semcache_async.embed.runtimes.checks import INVARIANCE, PARITY, PROBES, invariance, parity
from semcache_async.embed.runtimes.cpu import AVX512, BF16, HINTED, VNNI, cpu_features
from semcache_async.embed.runtimes.encoders import usable_cpus
from semcache_async.errors import ConfigError, SemcacheError
from semcache_async.serve.keys import KeyRing
from semcache_async.serve.process.server import bind
from semcache_async.serve.settings import Settings
from semcache_async.store.sealing import sealer_of

__all__ = ["look_at_models", "look_at_port", "look_at_upstreams", "look_here"]

_FILES = 4_096
_MODEL_S, _UPSTREAM_S = 120.0, 3.0
_CUT = re.compile(r":[0-9]+$")
"""What is kept of each vector, behind a model's name."""


async def look_here(settings: Settings) -> AsyncIterator[Finding]:
    """What needs nobody else."""
    yield fine("python", f"semcache {__version__}, Python {platform.python_version()}")
    yield _extras()
    try:
        sealer_of(settings.cache)
        open_ = KeyRing.of(settings).open
    except ConfigError as error:
        yield troubled("options", error)
    else:
        if open_ and not settings.host.startswith(("127.", "::1", "localhost")):
            said = f"Without API keys everybody who reaches {settings.host} may do everything"
            yield poor("access", said, "Set --api-keys-file", ACCESS)
    if settings.upstream_url and not settings.upstream_key and not settings.pass_keys:
        said = "There is no key for upstream_url, and most services want one"
        yield poor("key", said, "Set SEMCACHE_UPSTREAM_KEY or OPENAI_API_KEY", RUNNING)
    yield _cpu()
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _FILES and soft != resource.RLIM_INFINITY:
        said = f"This process may open {soft:,} files, and each connection is one"
        yield poor("files", said, "ulimit -n 65536, or LimitNOFILE=65536 in a unit", SIZING)
    else:
        yield fine("files", f"{soft:,} may be open" if soft > 0 else "any number may be open")


def _extras() -> Finding:
    """Of the package's own extras, which are installed."""
    try:
        about = importlib.metadata.metadata("semcache-async")
    except importlib.metadata.PackageNotFoundError:
        return fine("extras", "unknown, as this is no installed package")
    needs: dict[str, list[str]] = {}
    for line in about.get_all("Requires-Dist", ()):
        if (extra := re.search(r"extra == ['\"](.+?)['\"]", line)) is not None:
            needs.setdefault(extra[1], []).append(re.split(r"[^\w.-]", line, maxsplit=1)[0])
    told: dict[bool, list[str]] = {True: [], False: []}
    for name, packages in needs.items():
        if name not in ("all", "dev"):
            told[all(map(_is_installed, packages))].append(name)
    there, absent = (", ".join(sorted(names)) or "none" for names in told.values())
    return fine("extras", f"installed: {there}; not: {absent}")


def _is_installed(package: str) -> bool:
    try:
        return bool(importlib.metadata.version(package))
    except importlib.metadata.PackageNotFoundError:
        return False


def _cpu() -> Finding:
    cpus, quota, features = usable_cpus(), _quota(), cpu_features()
    wanted = [name for name in (*BF16, *VNNI, AVX512) if name in features]
    said = f"{cpus} usable, with {', '.join(wanted) or 'nothing that embeds faster'}"
    if quota is not None and quota < cpus:
        said = f"{said}; the container has {quota:g} of them, which the model does not know"
        todo = f"Pin it to {max(1, int(quota))} (cpuset), or it is throttled for a part of the time"
        return poor("cpu", said, todo, EMBEDDERS)
    if (faster := hint()) is not None:
        HINTED.add(faster)
        return poor("cpu", said, faster, EMBEDDERS)
    return fine("cpu", said)


def _quota() -> float | None:
    """CPUs that a container's time is limited to."""
    try:
        most, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").split()
        return int(most) / int(period)
    except (OSError, ValueError):  # "max", or none
        return None


# -- the port


async def look_at_port(settings: Settings) -> AsyncIterator[Finding]:
    """Is it free, or taken by a service of ours?"""
    where = f"{settings.host}:{settings.port}"
    try:
        bind(settings.host, settings.port).close()
    except ConfigError as error:
        ours = fine("port", f"a semcache service answers at {where} already")
        yield ours if await _answers(settings) else troubled("port", error)
    else:
        yield fine("port", f"{where} is free")


async def _answers(settings: Settings) -> bool:
    """Is it one of ours that has the port?"""
    import aiohttp

    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
    named = f"[{host}]" if ":" in host else host
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1.0)) as session,
            session.get(f"http://{named}:{settings.port}/metrics") as response,
        ):
            return b"semcache_" in await response.content.read(2**20)
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False


# -- the LLM


async def look_at_upstreams(settings: Settings) -> AsyncIterator[Finding]:
    """Whether there is anybody; nothing is asked."""
    own = [settings.upstream_url] if settings.upstream_url else []
    for url in [*own, *(table.url for table in settings.upstreams)]:
        parts = urlsplit(url)
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            with anyio.fail_after(_UPSTREAM_S):
                await (await anyio.connect_tcp(str(parts.hostname), port)).aclose()
        except (OSError, ValueError, TimeoutError) as error:
            said = f"{parts.netloc} cannot be reached ({str(error) or 'no answer in time'})"
            yield bad("upstream", said, "Mend the URL, or the way there", RUNNING)
        else:
            yield fine("upstream", f"{parts.hostname}:{port} can be reached")


# -- the models


async def look_at_models(settings: Settings) -> AsyncIterator[Finding]:
    """Each of them; nothing is fetched."""
    names = list(settings.cache.model_names)
    looks: list[tuple[str, Callable[[], Awaitable[Finding]]]] = []
    if settings.remote is not None:
        names.pop(0)
        looks.append(("embeddings_url", partial(_remote, settings.remote)))
    looks += [(name, partial(_local, _embedder, name)) for name in names]
    if settings.verifier is not None:
        looks.append((settings.verifier, partial(_local, _verifier, settings.verifier)))
    for name, look in looks:
        try:
            with anyio.fail_after(_MODEL_S):
                finding = await look()
        except SemcacheError as error:
            finding = troubled("model", error)
        except TimeoutError:
            said = f"{name} was not ready within {_MODEL_S:g} s"
            finding = bad("model", said, "Try again, or take a smaller one", EMBEDDERS)
        yield finding


async def _remote(remote: dict[str, Any]) -> Finding:
    async with open_embedder(remote) as embedder:
        where = urlsplit(remote["url"]).netloc  # a query may hold a key
        said = f"{remote['model']} answers at {where}: vectors of {embedder.dim}"
        return fine("model", f"{said}. Every prompt is sent there")


async def _local(load: Callable[[str], Finding], name: str) -> Finding:
    if name == DEFAULT_MODEL:
        name = os.environ.get("SEMCACHE_MODEL") or MINILM.repository

    def look() -> Finding:
        return _absent(_CUT.sub("", name)) or load(name)

    return await anyio.to_thread.run_sync(look, abandon_on_cancel=True)


def _absent(name: str) -> Finding | None:
    """What to say of a model that is not on this disk."""
    if Path(name).expanduser().is_dir() or (wanted := missing(name)) is None:
        return None
    model, revision = wanted
    try:
        latest(model, revision or "main")
    except Unavailable as error:
        if not model.packages or revision:
            todo = f"Go online and run semcache model pull {name}, or name a directory (--model)"
            return bad("model", f"{name} is not on this disk, and {error}", todo, MODELS)
    size = f" ({model.megabytes} MB)" if model.megabytes else ""
    todo = f"Run semcache model pull {name}"
    return poor("model", f"{name} is fetched at its first use{size}", todo, EMBEDDERS)


def _verifier(name: str) -> Finding:
    load_verifier(name, progress=False).score([PROBES[:2]])
    return fine("model", f"{name} compares prompts")


def _embedder(name: str) -> Finding:
    embedder = load_embedder(name, progress=False)
    items = embedder.tokenise(PROBES)
    steady = invariance(embedder.embed_tokens, items, rounds=2)
    said = f"{name} ({embedder.backend}): vectors of {embedder.dim}"
    near = 1.0
    if "onnxruntime" not in embedder.backend:
        truth = load_embedder(name, backend="onnxruntime", progress=False)
        near = parity(embedder.embed_tokens(items), truth.embed_tokens(items))
        said = f"{said}, cosine to float32 {near:.4f}"
    said = f"{said}, to itself in other company {steady:.4f}"
    if steady >= INVARIANCE and near >= min(PARITY.values()):
        return fine("model", said)
    return bad("model", said, "Set SEMCACHE_BACKEND=onnxruntime", EMBEDDERS)
