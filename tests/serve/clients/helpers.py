"""What the clients are asked with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio.to_thread

__all__ = ["asked", "in_thread"]


def asked(prompt: str, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], **fields}


async def in_thread(work: Callable[[], None]) -> None:
    await anyio.to_thread.run_sync(work)
