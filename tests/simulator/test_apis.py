"""What holds for all the APIs that the simulator speaks."""

from __future__ import annotations

from typing import Any

import pytest

from semcache_async.errors import ConfigError
from semcache_async.simulator import SimulatorOptions
from tests.helpers import until
from tests.simulator.helpers import Upstream, asked

pytestmark = pytest.mark.anyio

QUESTION = "Where is my card?"
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": asked(QUESTION),
    "/v1/completions": {"model": "m", "prompt": QUESTION},
    "/v1/messages": asked(QUESTION, max_tokens=1_000),
    "/v1/responses": {"model": "m", "input": QUESTION},
}
TEXTS: dict[str, Any] = {
    "/v1/chat/completions": lambda told: told["choices"][0]["message"]["content"],
    "/v1/completions": lambda told: told["choices"][0]["text"],
    "/v1/messages": lambda told: told["content"][0]["text"],
    "/v1/responses": lambda told: told["output"][0]["content"][0]["text"],
}


async def test_all_say_the_same(upstream: Upstream) -> None:
    said = set()
    for path, body in ASKED.items():
        async with upstream.post(body, path=path) as response:
            said.add(TEXTS[path](await response.json()))
    assert len(said) == 1
    assert upstream.simulator.stats.answered == len(ASKED)


async def test_one_text_in_several_forms(upstream: Upstream) -> None:
    """A text alone, or as the one part of a content."""
    parts = {"role": "user", "content": [{"type": "text", "text": QUESTION}]}
    orders = {"role": "developer", "content": "Be brief."}
    chat = await upstream.whole(messages=[{**orders, "role": "system"}, parts])
    for path, body in (
        ("/v1/chat/completions", {"messages": [orders, *asked(QUESTION)["messages"]]}),
        ("/v1/messages", {"messages": [parts], "system": "Be brief.", "max_tokens": 99}),
        ("/v1/responses", {"input": [orders, parts]}),
        ("/v1/responses", {"input": [parts], "instructions": "Be brief."}),
    ):
        async with upstream.post({"model": "m", **body}, path=path) as response:
            text = TEXTS[path](await response.json())
        assert text == chat["choices"][0]["message"]["content"]


@pytest.mark.parametrize("path", ASKED)
async def test_faults_by_header_and_field(upstream: Upstream, path: str) -> None:
    for named in ({}, {"x_simulate": "status=500"}):
        faults = "" if named else "status=429, retry_after=2"
        async with upstream.post({**ASKED[path], **named}, faults, path=path) as response:
            assert response.status == (500 if named else 429)
            assert response.headers.get("retry-after") == (None if named else "2")
    async with upstream.post({**ASKED[path], "x_simulate": "nonsense"}, path=path) as response:
        assert response.status == 400
    assert upstream.simulator.stats.failed == 3


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("options", [SimulatorOptions(median_ms=0, fail_rate=1.0, fail_status=529)])
async def test_a_share_fails(upstream: Upstream, path: str) -> None:
    async with upstream.post(ASKED[path], path=path) as response:
        assert response.status == 529
    await until(lambda: upstream.simulator.stats.failed == 1)


@pytest.mark.parametrize("options", [SimulatorOptions(median_ms=0, apis=("chat", "responses"))])
async def test_what_it_does_not_speak(upstream: Upstream) -> None:
    for path, status in zip(ASKED, (200, 404, 404, 200), strict=True):
        async with upstream.post(ASKED[path], path=path) as response:
            assert response.status == status
            if status == 404:
                assert (await response.json())["error"] == {
                    "message": f"Invalid URL (POST {path})",
                    "type": "invalid_request_error",
                    "param": None,
                    "code": None,
                }
    async with upstream.post({}, path="/v1/messages/count_tokens") as response:
        assert response.status == 404
    assert upstream.simulator.stats.calls == 2


def test_an_api_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match=r"apis: no nonsense here\. There are: chat, "):
        SimulatorOptions(apis=("chat", "nonsense"))
