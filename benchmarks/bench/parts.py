"""The cache and its embedder against their own parts, each in a process of its own."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.bench.field import say
from benchmarks.bench.sizes import Sizes
from benchmarks.contenders.process import ROOT

__all__ = ["run_embedder", "run_parts"]

_QUESTIONS = "semcache_async/data/banking77_test.jsonl.gz"


async def run_parts(sizes: Sizes) -> dict[str, Any]:
    """The record of ``benchmarks.parts``."""
    options = ("--rounds", str(sizes.parts_rounds), "--entries", str(sizes.entries))
    return {"compared": await _run("benchmarks.parts", *options)}


async def run_embedder(sizes: Sizes) -> dict[str, Any]:
    """The record of ``benchmarks.embedder``."""
    options = ("--texts", str(sizes.embedder_texts), "--rounds", str(sizes.embedder_rounds))
    return {"embedder": await _run("benchmarks.embedder", _QUESTIONS, *options)}


async def _run(module: str, *options: str) -> Any:
    """What it writes to ``--json``; raises ``RuntimeError`` where it fails. Killed when this is
    cancelled."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "found.json"
        say(f"python -m {module} {' '.join(options)}")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *options, "--json", str(path)),
            cwd=ROOT,
            stdout=sys.stderr,
        )
        try:
            status = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if status:
            raise RuntimeError(f"{module} ended with status {status}")
        return json.loads(path.read_text(encoding="utf-8"))
