"""OpenAI's SDK, by its base URL."""

from __future__ import annotations

import pytest

from tests.integrations.conftest import Printed


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_the_page(printed: Printed) -> None:
    made, hit = [line.partition(" ") for line in await printed("openai.md")]
    assert (made[0], hit[0]) == ("generated", "semantic")
    assert made[2] == hit[2]
