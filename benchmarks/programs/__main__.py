"""Programs that people run, each asked six times through a ``semcache serve`` of its own, with the
real model and a simulated LLM.

    python -m benchmarks.programs [--results FILE] [NAME...]

Those whose environments ``scripts/pinned-env`` has not made are left out, and named.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer

from benchmarks.bench.proxies import free_port, semcache, serving
from benchmarks.contenders.process import ROOT, ContenderError
from benchmarks.programs.field import PROGRAMS, Asked, Program
from benchmarks.programs.report import Outcome, Row, render, shown
from semcache_async.simulator import SIMULATOR, SimulatorOptions, make_simulator
from semcache_async.store.embedded import embedded_redis

RESULTS = ROOT / "benchmarks" / "results" / "programs.md"
QUESTION = "How do I return an item I bought?"
REWORDED = "How can I return an item that I bought?"
OTHER = "What do you charge for shipping?"
STEPS = {
    "miss": QUESTION,
    "repeat": QUESTION,
    "reworded": REWORDED,
    "stream": QUESTION,
    "stream again": QUESTION,
    "another question": OTHER,
}
LIMIT_S = 120.0
_SHOWN = 800
_RESULTS = ("generated", "exact", "semantic", "shared", "bypassed", "failed")
_LLM = SimulatorOptions(median_ms=20.0, tokens_per_s=0.0, tokens=20)


async def ask_all(name: str, program: Program) -> Row:
    """Every step of one program; raises ``ContenderError`` where it cannot be asked at all."""
    environment = ROOT / f".venv-{program.environment}"
    if not (environment / ".installed").exists():
        how = f"scripts/pinned-env {program.environment}"
        raise ContenderError(f"no environment; make it: {how}")
    app = make_simulator(_LLM)
    row = Row(name, program.about, program.why, await version_of(environment, program.package))
    with tempfile.TemporaryDirectory(prefix="program-") as home:
        await ask_each(row, program, Path(home), environment, app)
    row.bodies = [json.loads(body) for body in app[SIMULATOR].bodies]
    return row


async def ask_each(
    row: Row, program: Program, home: Path, environment: Path, app: web.Application
) -> None:
    async with TestServer(app) as llm, embedded_redis() as redis_url:
        port = free_port()
        upstream = {
            "SEMCACHE_UPSTREAM_URL": str(llm.make_url("/v1")),
            "SEMCACHE_REDIS_URL": redis_url,
            **program.service,
        }
        command = (semcache(), "serve", "--port", str(port))
        async with serving("semcache serve", command, upstream, port, "/readyz"):
            for step, prompt in STEPS.items():
                stream = step.startswith("stream") and program.streams
                if step.startswith("stream") and not program.streams:
                    row.steps[step] = None
                    continue
                url = f"http://127.0.0.1:{port}"
                asked = Asked(f"{url}/v1", prompt, stream, home, environment / "bin")
                before = await metrics(url)
                status, said = await ask(program, asked)
                row.steps[step] = outcome(before, await metrics(url), status, said)


async def ask(program: Program, asked: Asked) -> tuple[int, str]:
    """Its status and what it wrote, once it has ended."""
    home = str(asked.home)
    process = await asyncio.create_subprocess_exec(
        *program.command(asked),
        cwd=home,
        env={
            **{name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ},
            **dict.fromkeys(("HOME", "LLM_USER_PATH", "PROMPTFOO_CONFIG_DIR"), home),
            **dict.fromkeys(("OPENAI_BASE_URL", "OPENAI_API_BASE", "API_BASE_URL"), asked.url),
            "OPENAI_API_KEY": "k",
            "HF_HUB_OFFLINE": "1",
            **program.setting,
        },
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    late = ""
    try:
        async with asyncio.timeout(LIMIT_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        said, _ = await process.communicate()
        late = f"\nIt took longer than {LIMIT_S:g} s."
    return process.returncode or 0, said.decode(errors="replace")[-_SHOWN:] + late


def outcome(before: dict[str, Any], after: dict[str, Any], status: int, said: str) -> Outcome:
    """What was counted between two looks at the service."""

    def grown(family: str) -> dict[str, int]:
        return dict(Counter(after[family]) - Counter(before[family]))

    results = {name: after[name] - before[name] for name in _RESULTS}
    return Outcome(
        results={name: count for name, count in results.items() if count},
        reasons=grown("bypass_reasons") | grown("unkept_answers"),
        errors=grown("http_errors"),
        status=status,
        said=said,
    )


async def metrics(url: str) -> dict[str, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{url}/semantic-cache/metrics") as response,
    ):
        found: dict[str, Any] = await response.json()
        return found


async def version_of(environment: Path, package: str) -> str:
    """As its environment has it."""
    manifest = environment / "node_modules" / package / "package.json"
    if manifest.exists():
        return str(json.loads(manifest.read_text())["version"])
    script = f"from importlib.metadata import version; print(version({package!r}))"
    process = await asyncio.create_subprocess_exec(
        *(str(environment / "bin" / "python"), "-c", script), stdout=asyncio.subprocess.PIPE
    )
    said, _ = await process.communicate()
    return said.decode().strip()


async def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.programs")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PROGRAMS))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--bodies", type=Path, help="a folder for what reached the LLM")
    given = parser.parse_args()
    if unknown := set(given.names) - set(PROGRAMS):
        parser.error(f"no such program: {', '.join(sorted(unknown))}")
    rows: list[Row] = []
    for name in given.names or PROGRAMS:
        try:
            row = await ask_all(name, PROGRAMS[name])
        except ContenderError as error:
            row = Row(name, PROGRAMS[name].about, "", "", left_out=str(error).partition("\n")[0])
        rows.append(row)
        print(shown(row), file=sys.stderr, flush=True)
        if given.bodies is not None:
            given.bodies.mkdir(parents=True, exist_ok=True)
            (given.bodies / f"{name}.json").write_text(json.dumps(row.bodies, indent=1))
    given.results.write_text(render(rows, STEPS))


if __name__ == "__main__":
    asyncio.run(main())
