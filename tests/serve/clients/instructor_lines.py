"""``instructor``, told what to do as ``tests/serve/node/lines.mjs`` says: URL and mode are its
arguments. It runs by itself, in an environment that has nothing of ours."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import instructor
from openai import AsyncOpenAI
from pydantic import BaseModel


class Said(BaseModel):
    """What the model is to answer with."""

    answer: str = ""


URL, MODE = sys.argv[1:]
CLIENT = instructor.from_openai(
    AsyncOpenAI(base_url=f"{URL}/v1", api_key="k", max_retries=0), mode=instructor.Mode[MODE]
)


def tell(**line: Any) -> None:
    print(json.dumps(line), flush=True)


async def answer(id: int, prompt: str, stream: bool) -> None:  # noqa: A002
    asked: dict[str, Any] = {
        "model": "m",
        "messages": [{"role": "user", "content": prompt}],
        "response_model": Said,
        "max_retries": 0,
    }
    try:
        if stream:
            said = ""
            async for part in CLIENT.create_partial(**asked):
                so_far = part.answer or ""
                if len(so_far) > len(said):
                    tell(id=id, piece=so_far[len(said) :])
                    said = so_far
        else:
            tell(id=id, piece=(await CLIENT.create(**asked)).answer)
        tell(id=id, end=True)
    except asyncio.CancelledError:
        tell(id=id, end=True)
    except Exception as error:
        tell(id=id, error=repr(error), status=status_of(error))


def status_of(error: BaseException | None) -> int | None:
    while error is not None:
        if isinstance(status := getattr(error, "status_code", None), int):
            return status
        error = error.__cause__ or error.__context__
    return None


async def main() -> None:
    tasks: dict[int, asyncio.Task[None]] = {}
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        told = json.loads(line)
        if told.pop("leave", False):
            tasks[told["id"]].cancel()
        else:
            tasks[told["id"]] = asyncio.create_task(answer(**told))


asyncio.run(main())
