"""Tools whose calls and results depend on the conversation alone: an agent's steps, kept and given
again for the very same conversation."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from semcache_async.serve.apis.chat import CHAT
from semcache_async.serve.bypass import Bypass
from semcache_async.serve.completions.keeping import Keeping
from semcache_async.serve.completions.tools import PureTools
from tests.serve.completions.helpers import body, planned
from tests.serve.running import settled
from tests.serve.upstreams import answer, asks, completion, scripted, serving, told

pytestmark = pytest.mark.anyio


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}


def call(name: str = "add", arguments: str = '{"a": 1}', id_: str = "c1") -> dict[str, Any]:
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def calling(*calls: dict[str, Any], finish: str = "tool_calls") -> dict[str, Any]:
    message = {"role": "assistant", "content": None, "tool_calls": list(calls)}
    return completion(choices=[{"index": 0, "message": message, "finish_reason": finish}])


ASKED = {"role": "user", "content": "Add it at 10"}
CALLED = {"role": "assistant", "content": None, "tool_calls": [call()]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "3"}


@pytest.mark.parametrize(
    ("patterns", "offered", "pure"),
    [
        (("*",), ("add",), True),
        (("add", "get_*"), ("add", "get_price"), True),
        (("add",), ("add", "send_mail"), False),
        (("add",), ("adder",), False),
        (("*",), ("",), False),  # one that has no name
        (("*",), (), False),
        ((), ("add",), False),
    ],
)
def test_which_are_pure(patterns: tuple[str, ...], offered: tuple[str, ...], pure: bool) -> None:
    assert PureTools(patterns).all_of(offered) is pure


def test_requests_that_offer_others_bypass() -> None:
    assert planned(body(ASKED, tools=[tool("add")])).reason is Bypass.TOOLS
    pure: dict[str, Any] = {"pure_tools": ("add",)}
    assert planned(body(ASKED, tools=[tool("add")]), **pure).reason is None
    assert planned(body(ASKED, tools=[tool("add"), tool("b")]), **pure).reason is Bypass.TOOLS
    assert planned(body(ASKED, tools=[{"type": "web"}]), pure_tools=("*",)).reason is Bypass.TOOLS
    assert planned(body(ASKED, CALLED, RESULT)).reason is Bypass.TOOL_MESSAGE


def test_results_belong_to_the_question_and_tell_requests_apart() -> None:
    fields: dict[str, Any] = {"tools": [tool("add")]}
    first = planned(body(ASKED, **fields), pure_tools=("*",))
    second = planned(body(ASKED, CALLED, RESULT, **fields), pure_tools=("*",))
    assert first.prompt == second.prompt == ASKED["content"]
    other = planned(body(ASKED, CALLED, {**RESULT, "content": "4"}, **fields), pure_tools=("*",))
    reworded = planned(
        body({**ASKED, "content": "add  it at 10"}, CALLED, RESULT, **fields), pure_tools=("*",)
    )
    assert len({plan.scope for plan in (first, second, other, reworded)}) == 4


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (calling(call()), None),
        (calling(call(), call("sub", id_="c2")), None),
        (calling(call(arguments="")), None),
        (calling(call(), finish="stop"), None),
        (calling(call("mail")), "tool_calls"),
        (calling(call(), call("mail")), "tool_calls"),
        (calling(call(arguments='{"a": ')), "tool_calls"),
        (calling(call(), finish="length"), "finish_reason"),
        (completion(), None),
        (completion(" "), "empty"),
    ],
)
async def test_what_is_kept(made: dict[str, Any], why: str | None) -> None:
    keeping = Keeping(("stop",), ("add", "sub"))
    request = CHAT.read(body(ASKED, tools=[tool("add"), tool("sub")]))
    assert await keeping.why_not(made, request) == why


@pytest.mark.parametrize("stream", [False, True])
async def test_an_agents_steps_come_from_the_cache_for_the_same_conversation(stream: bool) -> None:
    whole = (
        answer(msgspec.json.encode(made)) for made in (calling(call()), completion("It is 3."))
    )
    fields: dict[str, Any] = {"tools": [tool("add")], "stream": stream}
    async with scripted(*whole) as (url, script), serving(url, pure_tools=("add",)) as setup:
        for status in ("generated", "exact"):
            for messages in ([ASKED], [ASKED, CALLED, RESULT]):
                _, headers, _ = await told(setup, asks(messages=messages, **fields))
                assert headers["x-semcache-status"] == status
                await settled(setup.service)
        assert len(script.requests) == 2
        near = {"role": "user", "content": "Sum it at 11"}
        _, headers, _ = await told(setup, asks(messages=[near], **fields))
        assert headers["x-semcache-status"] == "generated"  # never by meaning
