"""Namespaces over HTTP."""

from __future__ import annotations

import msgspec
import pytest

from tests.serve.upstreams import answer, asks, completion, scripted, serving, told

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

WHOLE = msgspec.json.encode(completion())
DOCS = {"x_semcache_namespace": "docs"}


async def test_the_very_same_body_in_another_namespace_is_another_question() -> None:
    async with scripted(answer(WHOLE)) as (url, script), serving(url) as setup:

        async def status(**headers: str) -> str:
            return str((await told(setup, asks(), **headers))[1]["x-semcache-status"])

        assert await status() == "generated"
        assert await status(**DOCS) == "generated"
        assert await status(**DOCS) == "exact"
        assert await status(x_semcache_namespace="news") == "generated"
        await setup.service.cache.bump_version("docs")
        assert await status(**DOCS) == "generated"
        assert await status() == "exact"
        assert len(script.requests) == 4
