"""A thousand callers in two processes at the moment when a hot entry's time ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.fresh.process import OPTIONS
from tests.fresh.test_model import Remote

PROMPTS = ["at 0", "at 2", "at 4"]
CALLERS = 500


@pytest.fixture
def remotes(redis_url: str) -> Iterator[list[Remote]]:
    both = [Remote(redis_url), Remote(redis_url)]
    yield both
    for one in both:
        one.kill()


def test_one_call_and_nobody_waits(remotes: list[Remote], name: str) -> None:
    for remote in remotes:
        remote.tell(do="open", seq=1, passed=0.0, name=name, options={})
    crowd = {"do": "crowd", "prompts": PROMPTS, "callers": CALLERS, "llm_s": 0.5}
    first = remotes[0].tell(**crowd | {"callers": 1}, seq=2, passed=0.0)
    assert first["calls"] == 1
    ended = max(OPTIONS["exact_ttl_s"], OPTIONS["semantic_ttl_s"]) + 1.0
    for remote in remotes:
        remote.send(**crowd, seq=3, passed=ended)
    said = [remote.read() for remote in remotes]
    print(said)
    assert sum(one["calls"] for one in said) == 1, "one LLM call, over both"
    for one in said:
        assert one["stale"] == CALLERS, "everybody has the old answer"
        assert set(one["sources"]) <= {"exact", "semantic"}, "nobody waits for the new one"
    for remote in remotes:
        again = remote.tell(**crowd, seq=4, passed=ended)
        assert (again["calls"], again["stale"]) == (0, 0)
