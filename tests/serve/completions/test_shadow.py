"""Shadow mode: the LLM answers, and what would have been served is told and noted."""

from __future__ import annotations

import msgspec
import pytest

from tests.serve.running import settled
from tests.serve.upstreams import (
    EVENTS,
    LAST,
    STREAM_HEAD,
    answer,
    asks,
    chunk,
    completion,
    scripted,
    serving,
    told,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

WHOLE = answer(msgspec.json.encode(completion()))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_what_is_held_back_is_told_and_noted(stream: bool) -> None:
    pieces = (STREAM_HEAD, chunk(b"".join(EVENTS)), LAST) if stream else (WHOLE,)
    async with scripted(*pieces) as (url, script), serving(url, cache={"shadow": True}) as setup:
        told_of = []
        for prompt in ("pay at 10", "pay at 10", "money at 15", "cat at 40"):
            status, headers, _ = await told(setup, asks(prompt, stream=stream))
            await settled(setup.service)
            assert (status, headers["x-semcache-status"]) == (200, "generated")
            assert not {"x-semcache-similarity", "x-semcache-distance"} & set(headers)
            told_of.append(headers.get("x-semcache-shadow"))
        assert told_of == [None, "exact", "semantic", None]
        assert len(script.requests) == 4
        ((prompt, hit),) = setup.notes
        assert (prompt, hit.matched_prompt, hit.source) == ("money at 15", "pay at 10", "semantic")
        assert hit.distance == pytest.approx(0.0038, abs=1e-4)
        assert hit.entry_id is not None
        stats = setup.service.cache.stats()
        assert (stats.shadow_exact, stats.shadow_semantic) == (1, 1)
        assert (stats.audited_wrong, stats.judge_errors) == (0, 0)  # nobody can tell: no model


async def test_what_asks_for_no_stored_answer_is_told_of_none() -> None:
    async with scripted(WHOLE) as (url, _), serving(url, cache={"shadow": True}) as setup:
        await told(setup, asks())
        for extra in ({"Cache-Control": "no-cache"}, {"Cache-Control": "no-store, no-cache"}):
            _, headers, _ = await told(setup, asks(), **extra)
            assert "x-semcache-shadow" not in headers
        status, headers, _ = await told(setup, asks(), **{"Cache-Control": "only-if-cached"})
        assert status == 504
        assert "x-semcache-shadow" not in headers
