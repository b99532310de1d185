"""A call's way through the cache, whatever its framework: answers here are lists of words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import aclosing
from contextvars import ContextVar
from typing import Any

import pytest

from semcache_async import CacheConfig, Scope, SemanticCache
from semcache_async.errors import FlightLostError
from semcache_async.integrations.calls import (
    Call,
    answered,
    cut_last,
    is_plain,
    read_call,
    streamed,
)
from semcache_async.integrations.threads import (
    from_thread,
    iterate_from_thread,
    iterate_in_worker,
)
from tests.helpers import until

pytestmark = pytest.mark.anyio
CONFIG = CacheConfig()
FUNCTION = {"type": "function", "function": {"name": "f"}}


class Words:
    """Written as JSON; one with None in it cannot be written."""

    def write(self, answer: list[str], /) -> str:
        if None in answer:
            raise TypeError("None is no word")
        return json.dumps(answer)

    def read(self, text: str, /) -> list[str]:
        found: list[str] = json.loads(text)
        return found

    def calls(self, answer: list[str], /) -> bool:
        return "call" in answer

    def is_worth_keeping(self, answer: list[str], /) -> bool:
        return is_plain(" ".join(answer), CONFIG)

    def write_piece(self, piece: str, /) -> str:
        return piece

    def read_piece(self, text: str, /) -> str:
        return text

    def joined(self, pieces: Sequence[str], /) -> list[str]:
        return list(pieces)

    def in_pieces(self, answer: list[str], /) -> Iterable[str]:
        return answer


class LLM:
    """Answers with ``words``, each after ``gate`` opens; counts its calls."""

    def __init__(self, *words: str) -> None:
        self.words, self.calls, self.gate = words, 0, asyncio.Event()
        self.gate.set()

    async def whole(self) -> list[str]:
        self.calls += 1
        await self.gate.wait()
        return [*self.words]

    async def pieces(self) -> AsyncIterator[str]:
        self.calls += 1
        for word in self.words:
            yield word
            await self.gate.wait()


def call(text: str, beside: object = (), /, **parameters: object) -> Call:
    return read_call(CONFIG, Scope(tenant="a"), "words", text, beside, parameters)


async def all_of(pieces: AsyncIterator[str]) -> list[str]:
    return [piece async for piece in pieces]


async def test_whole_and_in_pieces_are_one(cache: SemanticCache) -> None:
    llm = LLM("it", "is")
    made = await answered(cache, call("refund at 10"), Words(), llm.whole)
    assert await answered(cache, call("refund at 12"), Words(), llm.whole) == made == ["it", "is"]
    assert await all_of(streamed(cache, call("refund at 11"), Words(), llm.pieces)) == made
    assert llm.calls == 1
    assert await all_of(streamed(cache, call("parcel at 80"), Words(), llm.pieces)) == made
    assert await answered(cache, call("parcel at 81"), Words(), llm.whole) == made
    assert llm.calls == 2


async def test_callers_of_both_kinds_share_a_flight(cache: SemanticCache) -> None:
    llm = LLM("it", "is")
    llm.gate.clear()
    leading = asyncio.create_task(all_of(streamed(cache, call("a at 10"), Words(), llm.pieces)))
    await until(lambda: llm.calls == 1)
    whole = [
        asyncio.create_task(answered(cache, call(f"b at {10 + n / 10}"), Words(), llm.whole))
        for n in range(3)
    ]
    async with aclosing(streamed(cache, call("a at 10"), Words(), llm.pieces)) as late:
        assert await anext(late) == "it"
        llm.gate.set()
        assert await all_of(late) == ["is"]
    assert await leading == ["it", "is"]
    assert await asyncio.gather(*whole) == [["it", "is"]] * 3
    assert llm.calls == 1


async def test_what_is_beside_the_text_is_scope(cache: SemanticCache) -> None:
    llm = LLM("so")
    others: list[object] = [{"model": "a"}, {"model": "b"}, {"model": "a", "stop": ["x"]}, [], None]
    for beside in others:
        await answered(cache, call("refund at 10", beside), Words(), llm.whole)
    assert llm.calls == 5
    await answered(cache, call("refund at 11", {"model": "a"}), Words(), llm.whole)
    assert llm.calls == 5


async def test_with_tools_each_wording_is_on_its_own(cache: SemanticCache) -> None:
    llm = LLM("so")
    for text in ("refund at 10", "refund at 10", "money at 10"):
        await answered(cache, call(text, tools=[FUNCTION]), Words(), llm.whole)
    assert llm.calls == 2


@pytest.mark.parametrize(
    ("text", "beside"),
    [
        (None, ()),
        (" ", ()),
        ("\ud800", ()),
        ("refund at 10", object()),
        ("refund at 10", float("nan")),
        ("what time is it now", ()),
        ("Tell me a joke", ()),
        ("My name is Ann Lee", ()),
    ],
)
async def test_what_the_cache_has_no_part_in(
    cache: SemanticCache, text: str | None, beside: object
) -> None:
    llm = LLM("so")
    asked = read_call(CONFIG, Scope(), "words", text, beside, {})
    for _ in range(2):
        assert await answered(cache, asked, Words(), llm.whole) == ["so"]
    assert llm.calls == cache.stats().bypassed == 2


@pytest.mark.parametrize(
    "parameters",
    [
        {"tools": [FUNCTION, {"type": "web_search"}]},
        {"tools": [{"google_search": {}, "function_declarations": None}]},
        {"extra_body": {"tools": [{"type": "web_search"}]}},
        {"extra_args": {"web_search_options": {}}},
        {"previous_response_id": "r"},
        {"openai_conversation_id": "c"},
        {"extra_body": {"temperature": 1.5}},
        {"temperature": "1.5"},
        {"tools": 7},
    ],
)
def test_what_depends_on_more_than_the_call_is_not_the_caches(parameters: dict[str, Any]) -> None:
    assert not call("refund at 10", **parameters).caches


@pytest.mark.parametrize(
    ("parameters", "exact"),
    [
        ({"response_format": {"type": "json_object"}}, True),
        ({"text": {"format": {"type": "json_schema"}}}, True),
        ({"additional_kwargs": {"functions": [{"name": "f"}]}}, True),
        ({"tools": [FUNCTION], "extra_body": {"tools": []}}, True),
        ({"tools": [{"name": "f", "input_schema": {}}]}, True),
        ({"response_format": {"type": "text"}, "tools": [], "text": {"verbosity": "low"}}, False),
        ({"background": False, "conversation": None, "temperature": None}, False),
    ],
)
def test_what_a_program_reads_is_for_its_own_wording(
    parameters: dict[str, Any], exact: bool
) -> None:
    one, other = (call(text, **parameters) for text in ("refund at 10", "money at 11"))
    assert one.caches
    assert (one.scope != other.scope) is exact


def test_no_name_in_a_callers_scope_is_lost() -> None:
    names = [{}, {"words": "a"}, {"words": "b"}, {"exact": "a"}, {"exact": "b"}]
    tools = {"tools": [FUNCTION]}
    asked = [read_call(CONFIG, Scope(parameters=n), "words", "at 10", (), tools) for n in names]
    assert len({one.scope for one in asked}) == len(names)


def test_a_prompt_too_long_is_not_looked_at() -> None:
    assert not call("a" * (CONFIG.max_prompt_bytes + 1)).caches


async def test_calls_of_tools_that_are_not_offered_serve_nobody_else(cache: SemanticCache) -> None:
    llm, plain, offering = LLM("call"), call("refund at 10"), call("fee at 80", tools=[FUNCTION])
    for asked, calls in ((plain, 2), (offering, 3)):
        for _ in range(2):
            assert await answered(cache, asked, Words(), llm.whole) == ["call"]
        assert llm.calls == calls
    await cache.store(plain.prompt, '["call"]', scope=plain.scope)
    assert await all_of(streamed(cache, plain, Words(), llm.pieces)) == ["call"]
    assert llm.calls == 4


async def test_a_sample_of_answers_is_not_cached(cache: SemanticCache) -> None:
    llm = LLM("so")
    for temperature, calls in ((1.0, 2), (0.9, 3)):
        asked = call("a at 10", temperature=temperature)
        for _ in range(2):
            await answered(cache, asked, Words(), llm.whole)
        assert llm.calls == calls


async def test_what_cannot_be_written_is_its_callers_own(cache: SemanticCache) -> None:
    llm = LLM("so", None)  # type: ignore[arg-type]
    llm.gate.clear()
    asking = [
        asyncio.create_task(answered(cache, call("refund at 10"), Words(), llm.whole))
        for _ in range(3)
    ]
    await until(lambda: cache.stats().waiting == 3)
    llm.gate.set()
    assert await asyncio.gather(*asking) == [["so", None]] * 3
    assert 1 < llm.calls <= 4
    assert cache.stats().requests == cache.stats().llm_calls + cache.stats().shared


async def test_a_stream_of_nothing_is_one(cache: SemanticCache) -> None:
    class Ending(Words):
        def in_pieces(self, answer: list[str], /) -> Iterable[str]:
            return [*answer, "the end"]

    llm = LLM()
    for calls in (1, 2):
        assert await all_of(streamed(cache, call("refund at 10"), Ending(), llm.pieces)) == []
        assert llm.calls == calls


async def test_what_is_stored_and_cannot_be_read_is_made_anew(cache: SemanticCache) -> None:
    llm, asked = LLM("so"), call("refund at 10")
    await cache.store(asked.prompt, "not JSON", scope=asked.scope)
    for _ in range(2):
        assert await answered(cache, asked, Words(), llm.whole) == ["so"]
    await cache.store(asked.prompt, "not JSON", scope=asked.scope)
    for _ in range(2):
        assert await all_of(streamed(cache, asked, Words(), llm.pieces)) == ["so"]
    assert llm.calls == 2


async def test_answers_that_are_nobody_elses_are_not_kept(cache: SemanticCache) -> None:
    for words in ((" ",), ("Your card 4111 1111 1111 1111",)):
        llm = LLM(*words)
        for _ in range(2):
            await answered(cache, call("refund at 10"), Words(), llm.whole)
        assert llm.calls == 2


async def test_from_other_threads(cache: SemanticCache) -> None:
    llm = LLM("it", "is")

    def work() -> tuple[list[str], list[str], str]:
        pieces = iterate_from_thread(
            cache, lambda: streamed(cache, call("a at 10"), Words(), llm.pieces)
        )
        early = iterate_from_thread(
            cache, lambda: streamed(cache, call("b at 80"), Words(), llm.pieces)
        )
        whole = from_thread(cache, lambda: answered(cache, call("a at 11"), Words(), llm.whole))
        first = next(early)
        early.close()  # type: ignore[attr-defined]
        return whole, list(pieces), first

    assert await asyncio.to_thread(work) == (["it", "is"], ["it", "is"], "it")
    await until(lambda: not cache.stats().flights)
    assert cache.stats().requests == 3


def test_the_last_text_is_cut_out() -> None:
    def said(content: object) -> list[dict[str, object]]:
        return [{"role": "system", "content": "s"}, {"role": "user", "content": content}]

    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    for content, text, left in (
        ("hi", "hi", None),
        ([{"type": "text", "text": "hi"}, image], "hi", [{"type": "text", "text": None}, image]),
        ([{"type": "input_text", "text": "hi"}], "hi", [{"type": "input_text", "text": None}]),
        ([image], None, [image]),
        (7, None, 7),
    ):
        messages = said(content)
        assert cut_last(messages) == (text, said(left))
        assert messages == said(content)
    assert cut_last([{"role": "assistant", "content": "x"}])[0] is None


async def test_a_leader_gets_its_own_pieces(cache: SemanticCache) -> None:
    class Bare(Words):
        def write_piece(self, piece: str, /) -> str:
            return piece.rstrip("!")

    llm = LLM("it!", "is!")
    llm.gate.clear()
    asked = call("refund at 10")
    leading = asyncio.create_task(all_of(streamed(cache, asked, Bare(), llm.pieces)))
    following = asyncio.create_task(all_of(streamed(cache, asked, Bare(), llm.pieces)))
    await until(lambda: cache.stats().waiting == 2)
    llm.gate.set()
    assert (await leading, await following) == (["it!", "is!"], ["it", "is"])
    assert await answered(cache, asked, Bare(), llm.whole) == ["it", "is"]


@pytest.mark.parametrize("words", [("secret", "is"), ("is", "secret")])
async def test_a_piece_that_cannot_be_told_is_its_leaders_own(
    cache: SemanticCache, words: tuple[str, ...]
) -> None:
    class Secret(Words):
        def write_piece(self, piece: str, /) -> str:
            if piece == "secret":
                raise TypeError(piece)
            return json.dumps(piece)

        def read_piece(self, text: str, /) -> str:
            told: str = json.loads(text)
            return told

    llm, asked = LLM(*words), call("refund at 10")
    llm.gate.clear()
    asking = [
        asyncio.create_task(all_of(streamed(cache, asked, Secret(), llm.pieces))) for _ in range(3)
    ]
    await until(lambda: llm.calls == 3 or (words[0] == "is" and cache.stats().waiting == 3))
    llm.gate.set()
    first, *others = await asyncio.gather(*asking, return_exceptions=True)
    assert first == [*words]
    for told in others:
        assert told == [*words] or (words[0] == "is" and isinstance(told, FlightLostError))
    assert cache.stats().not_stored_unkept
    assert await cache.lookup(asked.prompt, scope=asked.scope) is None


async def test_plain_pieces_are_made_in_one_context_and_closed() -> None:
    told: ContextVar[int] = ContextVar("told", default=0)
    ended = []

    def pieces() -> Iterator[int]:
        token = told.set(7)
        try:
            yield told.get()
            yield told.get()
            told.reset(token)
        finally:
            ended.append(told.get())

    assert [piece async for piece in iterate_in_worker(pieces)] == [7, 7]
    async with aclosing(iterate_in_worker(pieces)) as early:
        assert await anext(early) == 7
    assert ended == [0, 7]
