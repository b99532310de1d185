"""Streams of which many break off, in each API; more of them: ``python -m tests.serve.crowds``."""

from __future__ import annotations

import pytest

from tests.helpers import SLOW_ON_DEBUG
from tests.serve.crowds import APIS, run

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

STREAMS = 600


@SLOW_ON_DEBUG
@pytest.mark.parametrize("api", APIS)
async def test_a_crowd_of_which_many_leave(api: str) -> None:
    sources = await run(api, STREAMS)
    assert sources.total() == STREAMS
    assert sources["left"] < STREAMS / 2
    assert sources["shared"]
    assert sources["generated"]
