"""Ours with its in-process tier: exact repeats are answered without asking Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.contenders import Contender, Setup, ours

ENVIRONMENT = ours.ENVIRONMENT
PACKAGES = ours.PACKAGES

_ANSWERS = 10_000


@asynccontextmanager
async def open_contender(setup: Setup) -> AsyncIterator[Contender]:
    async with ours.open_ours(setup, local_answers=_ANSWERS) as opened:
        opened.about += f", {_ANSWERS} local answers"
        yield opened
