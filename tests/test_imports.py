"""Data flows one way, and so do imports; importing the package stays cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import semcache_async

ROOT = Path(semcache_async.__file__).parent
NAME = "semcache_async"

VOCABULARY = {"complaints", "config", "errors", "opening", "protocols", "types"}
"""What any module may use."""

ALLOWED: dict[str, set[str]] = {
    "text": set(),
    "flow": {"text"},
    "client": set(),
    "embed": {"client"},
    "store": {"flow"},
    "data": set(),
    "bounds": set(),
    "stats": {"bounds"},
    "request.query": {"text", "request.ttl"},
    "request.ttl": set(),
    "evidence": {"bounds", "flow", "stats", "text"},
    "request.attempt": {"flow", "request.query", "text"},
    "request.ageing": {"request.attempt", "request.query"},
    "request.tiers": {
        "request.ageing",
        "request.attempt",
        "flow",
        "request.query",
        "stats",
        "text",
    },
    "sharing": {"flow", "stats", "text"},
    "request.answering": {
        "request.attempt",
        "evidence",
        "flow",
        "sharing",
        "stats",
        "request.tiers",
    },
    "request.reply": {"request.answering", "request.attempt", "flow", "stats"},
    "cache": {
        *(
            "request.answering",
            "request.attempt",
            "bounds",
            "embed",
            "evidence",
            "flow",
            "request.query",
            "request.reply",
        ),
        *("stats", "store", "text", "request.tiers"),
    },
    "integrations": {"cache", "request.reply", "stats", "text"},
    "testing": set(),
    "demo": {"cache", "data", "embed", "load", "shell", "stats", "testing"},
    "tune": {"bounds", "embed", "serve.settings", "shell", "text"},
    "load": {"cache", "data", "embed", "shell", "stats", "testing", "text"},
    "shell": set(),
    "worker": {"shell", "store", "text"},
    "simulator": set(),
    "cli": {
        *("cache", "demo", "embed", "flow", "load", "shell", "simulator", "store"),
        *("testing", "request.query", "text", "tune", "worker"),
        *("serve.keys", "serve.options", "serve.process", "serve.settings"),
    },
}
"""What each part may use beyond itself and the vocabulary, in type checking too."""

_PROTOCOL = {"serve.errors", "serve.http", "serve.openapi", "serve.protocol", "serve.service"}
ROOMS: dict[str, set[str]] = {
    "serve.errors": set(),
    "serve.bypass": set(),
    "serve.sizes": set(),
    "serve.sse": set(),
    "serve.options": set(),
    "serve.settings": {"serve.options"},
    "serve.keys": {"serve.errors", "serve.settings"},
    "serve.journal": {"cache", "serve.errors", "serve.metrics", "store"},
    "serve.readiness": {"cache"},
    "serve.metrics": {"bounds", "cache", "serve.bypass", "serve.settings", "stats"},
    "serve.apis": {"serve.bypass", "serve.errors", "serve.sse"},
    "serve.upstream": {
        *("client", "evidence", "serve.apis", "serve.errors", "serve.keys", "serve.settings"),
        *("serve.sse",),
    },
    "serve.completions": {
        *("cache", "flow", "request.reply", "serve.apis", "text"),
        *("serve.bypass", "serve.errors", "serve.journal", "serve.metrics", "serve.settings"),
        *("serve.sizes", "serve.sse", "serve.upstream"),
    },
    "serve.telemetry": {
        *("cache", "integrations", "serve.apis", "serve.metrics", "serve.upstream"),
    },
    "serve.service": {
        *("cache", "serve.completions", "serve.journal", "serve.keys", "serve.metrics"),
        *("serve.readiness", "serve.settings", "serve.telemetry", "serve.upstream"),
    },
    "serve.protocol": {"serve.errors", "serve.service", "serve.sse"},
    "serve.http": {
        *("serve.errors", "serve.keys", "serve.protocol", "serve.service", "serve.sse", "text"),
    },
    "serve.openapi": {"serve.http", "serve.protocol", "serve.service"},
    "serve.asking": {
        *("request.reply", "serve.apis", "serve.bypass", "serve.completions", "serve.errors"),
        *("serve.http", "serve.openapi", "serve.protocol", "serve.service", "serve.sse"),
        *("serve.upstream",),
    },
    # The protocols, which know nothing of each other.
    "serve.openai": {
        *_PROTOCOL,
        *("embed", "serve.apis", "serve.asking", "serve.sse", "serve.upstream"),
    },
    "serve.anthropic": {*_PROTOCOL, "serve.apis", "serve.asking", "serve.sse"},
    "serve.langcache": {*_PROTOCOL, "serve.sizes", "text"},
    "serve.plain": {
        *(*_PROTOCOL, "bounds", "serve.apis", "serve.completions", "serve.keys", "text"),
    },
    "serve.page": {*_PROTOCOL, "serve.apis", "serve.journal"},
    "serve.events": {*_PROTOCOL, "worker"},
    "serve.operations": {*_PROTOCOL, "serve.metrics"},
    # What puts all together, and what runs it.
    "serve.app": {
        *("serve.http", "serve.openapi", "serve.protocol", "serve.service"),
        *("serve.anthropic", "serve.events", "serve.langcache", "serve.openai"),
        *("serve.operations", "serve.page", "serve.plain"),
    },
    "serve.process": {
        *("cache", "embed", "shell", "simulator", "store"),
        *("serve.app", "serve.http", "serve.journal", "serve.keys", "serve.metrics"),
        *("serve.service", "serve.settings", "serve.telemetry", "serve.upstream"),
    },
}
"""The same within the service, by room."""

FRAMEWORKS = {
    *("agents", "celery", "dspy", "fastapi", "langchain_core", "langgraph", "litellm", "litestar"),
    *("llama_index", "openai", "pydantic", "pydantic_ai", "redisvl", "starlette"),
}
HEAVY = {
    *("cryptography.hazmat", "hdrh", "huggingface_hub", "matplotlib", "onnx", "onnxruntime"),
    *("openvino", "rich", "tokenizers", "transformers"),
}
"""What importing the package must not load."""


@cache
def modules() -> Mapping[str, Path]:
    """Every module by its name below the package; the package itself is ""."""
    found = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imported(module: str) -> frozenset[str]:
    """The modules of the package that one names, wherever it does."""
    return frozenset(_imported(module)) - {module, ""}


def _imported(module: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(modules()[module].read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: imports are absolute here"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name == NAME or name.startswith(f"{NAME}."):
                known = name.removeprefix(NAME).removeprefix(".")
                yield known if known in modules() else known.rpartition(".")[0]


def part_of(module: str) -> str:
    """The part of the package that a module belongs to, or the room of a part with arrows."""
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] in ("request", "serve") else parts[0]


@pytest.mark.parametrize("part", sorted({*ALLOWED, *ROOMS}))
def test_arrows(part: str) -> None:
    members = [module for module in modules() if part_of(module) == part]
    assert members
    allowed = {**ALLOWED, **ROOMS}[part] | VOCABULARY | {part}
    for module in members:
        strange = {part_of(other) for other in imported(module)} - allowed
        assert not strange, f"{module} imports {sorted(strange)}"


def test_every_part_has_its_arrows() -> None:
    parts = {part_of(module) for module in modules()} - {"", "request", "serve"}
    assert parts == {*ALLOWED, *ROOMS, *VOCABULARY}


@pytest.mark.parametrize("part", sorted(VOCABULARY))
def test_the_vocabulary_knows_nobody(part: str) -> None:
    assert imported(part) <= VOCABULARY


def test_there_is_no_circle() -> None:
    by_module = {module: set(imported(module)) for module in modules()}
    by_part: dict[str, set[str]] = {}
    for module, others in by_module.items():
        into = by_part.setdefault(part_of(module), set())
        into |= {part_of(other) for other in others} - {part_of(module)}
    for graph in (by_module, by_part):
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            pytest.fail(" -> ".join(error.args[1]))


def test_rooms_are_small() -> None:
    for name in ("serve", "cli", "simulator", "sharing", "store"):
        for folder in {path.parent for path in (ROOT / name).rglob("*.py")}:
            assert len(list(folder.glob("*.py"))) <= 16, folder


@pytest.mark.parametrize(
    ("module", "most", "heavy"),
    [
        (NAME, 80, {"aiohttp", "opentelemetry", "redis"}),
        (f"{NAME}.cli", 105, {"aiohttp", "prometheus_client", "redis"}),
        (f"{NAME}.serve.app", 290, {"prometheus_client"}),
        (f"{NAME}.simulator", 95, {"prometheus_client", "redis"}),
        (f"{NAME}.worker.running", 135, {"aiohttp", "prometheus_client"}),
    ],
)
def test_importing_stays_cheap(module: str, most: int, heavy: set[str]) -> None:
    """No more than so many modules of ours, and nothing heavy: time, without a clock."""
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not sorted(loaded & (HEAVY | FRAMEWORKS | heavy))
    assert len([name for name in loaded if name.partition(".")[0] == NAME]) <= most


def test_the_public_names() -> None:
    for name in semcache_async.__all__:
        assert getattr(semcache_async, name) is not None
    with pytest.raises(AttributeError):
        semcache_async.nonsense  # noqa: B018
