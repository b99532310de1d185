"""Clients in processes of their own: what is not written in Python, or goes with nothing else."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.serve.clients.asking import MODEL, TOKENS, Asking, Opened, RefusedError
from tests.serve.clients.helpers import asked

__all__ = ["curl_chat", "curl_messages", "curl_responses", "curl_text", "instructor_in", "node"]

ROOT = Path(__file__).resolve().parents[3]
NODE = ROOT / "tests" / "serve" / "node"


class _Lines:
    """A program that is told what to do as ``node/lines.mjs`` says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ids = count()
        self._told: dict[int, asyncio.Queue[dict[str, Any]]] = {}

    async def listen(self) -> None:
        """Until the program ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            self._told[told["id"]].put_nowait(told)
        for queue in self._told.values():
            queue.put_nowait({"error": "the program ended"})

    def _tell(self, **line: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")

    async def ask(self, prompt: str) -> str:
        return "".join([piece async for piece in self._pieces(prompt, stream=False)])

    def stream(self, prompt: str) -> AsyncGenerator[str, None]:
        return self._pieces(prompt, stream=True)

    async def _pieces(self, prompt: str, *, stream: bool) -> AsyncGenerator[str, None]:
        id_ = next(self._ids)
        queue = self._told[id_] = asyncio.Queue()
        self._tell(id=id_, prompt=prompt, stream=stream)
        told: dict[str, Any] = {}
        try:
            while "piece" in (told := await queue.get()):
                yield told["piece"]
        finally:
            if "piece" in told:
                self._tell(id=id_, leave=True)
                while "piece" in await queue.get():
                    pass
        if "error" in told:
            raise RefusedError(told["error"], told.get("status"))


@asynccontextmanager
async def _running(*command: str, cwd: Path = ROOT) -> AsyncIterator[Asking]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    lines = _Lines(process)
    listening = asyncio.create_task(lines.listen())
    try:
        yield Asking(lines.ask, lines.stream)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        await listening


def node(program: str, protocol: str) -> Opened:
    """``node/PROGRAM.mjs``."""

    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Asking]:
        if shutil.which("node") is None:
            pytest.skip("no node here")
        if not (NODE / "node_modules").exists():
            pytest.skip("no packages for node: make node-clients")
        async with _running("node", f"{program}.mjs", url, protocol, cwd=NODE) as asking:
            yield asking

    return opened


def instructor_in(mode: str) -> Opened:
    """With one of its ways to ask for structured output."""

    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Asking]:
        python = ROOT / ".venv-instructor" / "bin" / "python"
        if not python.exists():
            pytest.skip("no environment for it: scripts/pinned-env instructor")
        program = Path(__file__).with_name("instructor_lines.py")
        async with _running(str(python), str(program), url, mode) as asking:
            yield asking

    return opened


def _curl(path: str, body: Any, piece: Any) -> Opened:
    """``body``: what is asked, of a prompt; ``piece``: the text in a choice."""

    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Asking]:
        if shutil.which("curl") is None:
            pytest.skip("no curl here")

        async def ask(prompt: str) -> str:
            async with _called(f"{url}{path}", body(prompt)) as out:
                head, _, answer = (await out.read()).partition(b"\r\n\r\n")
            return piece(_answered(head, answer)) or ""

        async def stream(prompt: str) -> AsyncGenerator[str, None]:
            async with _called(f"{url}{path}", {**body(prompt), "stream": True}) as out:
                head = await out.readuntil(b"\r\n\r\n")
                if b" 200 " not in head.partition(b"\r\n")[0]:
                    _answered(head, await out.read())
                async for line in out:
                    if not line.startswith(b"data: "):
                        assert line in (b"\n", b"\r\n") or line.startswith((b"event: ", b":"))
                    elif line != b"data: [DONE]\n" and (said := piece(json.loads(line[6:]))):
                        yield said

        yield Asking(ask, stream)

    return opened


@asynccontextmanager
async def _called(url: str, body: dict[str, Any]) -> AsyncIterator[asyncio.StreamReader]:
    """What curl writes, head and body."""
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sSNi", "--max-time", "20", "--noproxy", "*", url),
        *("-H", "Content-Type: application/json", "-d", json.dumps(body)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _answered(head: bytes, body: bytes) -> Any:
    status = int(head.split(None, 2)[1])
    answer = json.loads(body)
    if status != 200:
        raise RefusedError(answer["error"]["message"], status)
    return answer


def _said(answer: dict[str, Any]) -> str:
    if "error" in answer:
        raise RefusedError(answer["error"]["message"])
    choice = (answer["choices"] or [{}])[0]
    message = choice.get("message") or choice.get("delta") or {}
    return choice.get("text") or message.get("content") or ""


def _of_message(answer: dict[str, Any]) -> str:
    kind = answer["type"]
    if kind == "error":
        raise RefusedError(answer["error"]["message"])
    if kind == "content_block_delta":
        return str(answer["delta"].get("text", ""))
    parts = answer["content"] if kind == "message" else []
    return "".join(part["text"] for part in parts)


def _of_response(answer: dict[str, Any]) -> str:
    kind = answer.get("type", "")
    if kind in ("error", "response.failed"):
        raise RefusedError(json.dumps(answer))
    if kind == "response.output_text.delta":
        return str(answer["delta"])
    parts = [part for item in answer.get("output", ()) for part in item.get("content", ())]
    return "".join(part["text"] for part in parts)


curl_chat = _curl("/v1/chat/completions", asked, _said)
curl_text = _curl("/v1/completions", lambda prompt: {"model": MODEL, "prompt": prompt}, _said)
curl_messages = _curl("/v1/messages", lambda prompt: asked(prompt, max_tokens=TOKENS), _of_message)
curl_responses = _curl(
    "/v1/responses", lambda prompt: {"model": MODEL, "input": prompt}, _of_response
)
