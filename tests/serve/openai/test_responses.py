"""OpenAI's responses through the service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from multidict import CIMultiDict
from openai import (
    APIStatusError,
    AsyncOpenAI,
    BadRequestError,
    NotFoundError,
    PermissionDeniedError,
)
from openai.types.responses import Response, ResponseErrorEvent
from pydantic import BaseModel
from yarl import URL

from semcache_async.serve.app import break_off
from semcache_async.serve.keys import Caller, KeyRing, hash_key
from semcache_async.serve.settings import UpstreamTable
from semcache_async.serve.sse import EventSplitter, data_of
from tests.helpers import check_sums, until
from tests.serve.responding import (
    PATH,
    USED,
    answering,
    asks,
    called,
    event,
    events_of,
    message,
    responding,
    response,
    text_part,
    thought,
)
from tests.serve.running import settled
from tests.serve.upstreams import (
    LAST,
    STREAM_HEAD,
    Piece,
    Scripted,
    Setup,
    answer,
    chunk,
    completion,
    scripted,
    serving,
)

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

EVENTS = events_of(response())
CHUNKS = [
    {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    for choice in (
        {"index": 0, "delta": {"role": "assistant", "content": "Like "}, "finish_reason": None},
        {"index": 0, "delta": {"content": "this."}, "finish_reason": "stop"},
    )
]
"""Of a chat."""
ALL = b"".join(EVENTS)
STREAM: tuple[Piece, ...] = (STREAM_HEAD, chunk(ALL), LAST)
FUNCTION = {
    "type": "function",
    "name": "f",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
    },
}
KEYS = KeyRing(
    {
        hash_key("sk-a"): Caller(tenant="a"),
        hash_key("sk-b"): Caller(tenant="b"),
        hash_key("sk-admin"): Caller(admin=True),
    }
)


@asynccontextmanager
async def scene(*pieces: Piece, **options: Any) -> AsyncIterator[tuple[Setup, Scripted]]:
    async with scripted(*(pieces or STREAM)) as (url, script):
        async with serving(url, **options) as setup:
            yield setup, script
            await until(lambda: setup.service.cache.stats().flights == 0)
        check_sums(setup.service.cache)
        await until(lambda: script.open == 0)


@asynccontextmanager
async def sdk_of(setup: Setup, key: str = "x") -> AsyncIterator[AsyncOpenAI]:
    url = str(setup.client.make_url("/v1"))
    async with AsyncOpenAI(base_url=url, api_key=key, max_retries=0) as sdk:
        yield sdk


async def told(
    setup: Setup, body: dict[str, Any], **headers: str
) -> tuple[int, CIMultiDict[str], bytes]:
    """Status, headers and body of one answer."""
    async with setup.client.post(
        PATH, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    ) as got:
        return got.status, CIMultiDict(got.headers), await got.read()


def decoded(stream: bytes) -> list[dict[str, Any]]:
    events = EventSplitter().feed(stream)
    assert b"".join(events) == stream
    return [msgspec.json.decode(data_of(one) or b"") for one in events]


async def status_of(setup: Setup, body: dict[str, Any]) -> str:
    status, headers, _ = await told(setup, body)
    assert status == 200
    await settled(setup.service)
    return headers["x-semcache-status"]


def without_ids(made: dict[str, Any]) -> dict[str, Any]:
    output = [{**item, "id": None} for item in made["output"]]
    return {**made, "id": None, "output": output, "created_at": None, "completed_at": None}


# -- whole


async def test_a_miss_is_the_upstreams_own_and_a_hit_a_new_one() -> None:
    said = msgspec.json.encode(response(thought(), message(), top_p=1.0, made_up=1e3))
    said = said.replace(b"1000.0", b"1.000e3")
    async with scene(answer(said)) as (setup, script):
        status, headers, body = await told(setup, asks())
        assert (status, headers["x-semcache-status"], body) == (200, "generated", said)
        for prompt, source in (("pay at 10", "exact"), ("money at 15", "semantic")):
            _, headers, body = await told(setup, asks(prompt))
            assert headers["x-semcache-status"] == source
            assert b'"made_up":1.000e3' in body
            made = msgspec.json.decode(body)
            assert without_ids(made) == without_ids(msgspec.json.decode(said))
            assert made["created_at"] == made["completed_at"] > 2
            mark = made["id"].removeprefix("resp_1")
            assert mark.startswith("-semcache-")
            assert [item["id"] for item in made["output"]] == [f"rs_1{mark}", f"msg_1{mark}"]
        assert len(script.requests) == 1
        assert script.bodies == [asks()]
        assert setup.service.metrics.saved()[:2] == (14, 6)


async def test_what_the_first_asker_said_of_itself_is_not_told_to_others() -> None:
    async with responding() as (setup, _):
        own: dict[str, Any] = {"user": "zoe", "metadata": {"order": "7"}}
        body = (await told(setup, asks(**own)))[2]
        assert b"zoe" in body
        assert b"order" in body
        for stream in (False, True):
            _, headers, body = await told(setup, asks(user="bob", stream=stream))
            assert headers["x-semcache-status"] == "exact"
            assert b"zoe" not in body
            assert b"order" not in body
        made = msgspec.json.decode((await told(setup, asks()))[2])
        async with setup.client.get(f"{PATH}/{made['id']}") as got:
            assert b"zoe" not in await got.read()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (
            response(status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            "finish_reason",
        ),
        (
            response(status="failed", error={"code": "server_error", "message": "x"}),
            "finish_reason",
        ),
        (response(message({"type": "refusal", "refusal": "No."})), "refusal"),
        (response(called()), "tool_calls"),
        (response({"id": "ws_1", "type": "web_search_call"}, message()), "tool_calls"),
        (response(message(text_part(" "))), "empty"),
        (response(thought()), "empty"),
        (response(message(content=5)), "shape"),
        (response(output=None), "shape"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_delivered_and_not_kept(said: dict[str, Any], why: str, stream: bool) -> None:
    pieces: tuple[Piece, ...] = (answer(msgspec.json.encode(said)),)
    if stream:
        last = event(f"response.{said['status']}", response=said)
        pieces = (STREAM_HEAD, chunk(EVENTS[0] + last), LAST)
    async with scene(*pieces) as (setup, script):
        for _ in range(2):
            status, headers, body = await told(setup, asks(stream=stream))
            assert status == 200
            if stream:
                assert decoded(body)[-1]["response"] == said
            else:
                assert headers["x-semcache-not-stored"] == why
                assert msgspec.json.decode(body) == said
            await settled(setup.service)
        assert len(script.requests) == 2
        assert setup.store is not None
        assert len(setup.store) == 0


# -- streams


async def test_a_streams_miss_then_hits_of_both_kinds() -> None:
    async with scene() as (setup, script):
        _, headers, body = await told(setup, asks(stream=True))
        assert (headers["x-semcache-status"], body) == ("generated", ALL)
        assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert script.bodies == [asks(stream=True)]
        await settled(setup.service)
        _, headers, body = await told(setup, asks(stream=True))
        assert headers["Cache-Status"] == "semcache; hit"
        again, first = decoded(body), decoded(ALL)
        assert [one["type"] for one in again] == [one["type"] for one in first]
        assert [one["sequence_number"] for one in again] == list(range(len(again)))
        made = again[-1]["response"]
        assert without_ids(made) == without_ids(response())
        assert len({one["response"]["id"] for one in again if "response" in one}) == 1
        assert {one["item_id"] for one in again if "item_id" in one} == {made["output"][0]["id"]}
        deltas = [one["delta"] for one in again if "delta" in one]
        assert deltas == ["Like ", "this."]
        for one, before in zip(again, first, strict=True):
            assert one.keys() == before.keys() - {"obfuscation"}
        _, headers, whole = await told(setup, asks())
        assert headers["x-semcache-status"] == "exact"
        assert without_ids(msgspec.json.decode(whole)) == without_ids(response())
        assert b"semcache_pieces" not in whole
        assert len(script.requests) == 1


async def test_all_readers_of_one_call_get_the_same_bytes() -> None:
    gate = asyncio.Event()
    head = b"".join(EVENTS[:3])
    pieces = (STREAM_HEAD, chunk(head), gate, chunk(b"".join(EVENTS[3:])), LAST)
    async with scene(*pieces) as (setup, script):
        first = asyncio.create_task(told(setup, asks(stream=True)))
        await until(lambda: len(script.requests) == 1)
        late = asyncio.create_task(told(setup, asks("money at 15", stream=True)))
        whole = asyncio.create_task(told(setup, asks()))
        await until(lambda: setup.service.cache.stats().waiting == 3)
        gate.set()
        assert (await first)[2] == (await late)[2] == ALL
        status, headers, body = await whole
        assert (status, headers["x-semcache-status"]) == (200, "shared")
        assert msgspec.json.decode(body) == response()
        assert len(script.requests) == 1


async def test_one_who_wants_a_stream_of_what_comes_whole() -> None:
    async with scene(answer(msgspec.json.encode(response()))) as (setup, script):
        for _ in range(2):
            body = (await told(setup, asks(stream=True)))[2]
            assert decoded(body)[-1]["response"]["output"][0]["content"] == [text_part()]
            await settled(setup.service)
        assert len(script.requests) == 1


async def test_an_error_in_mid_stream_is_told_and_nothing_kept() -> None:
    error = {"code": "server_error", "message": "It broke.", "param": None, "sequence_number": 3}
    for last, word in (
        (event("error", **error), "It broke."),
        (event("error", error={"message": "It broke.", "code": "x"}), "It broke."),
        (b"", "broke off"),
        (b"data: nonsense\n\n", "no completion"),
    ):
        pieces = (STREAM_HEAD, chunk(b"".join(EVENTS[:5]) + last), LAST)
        async with scene(*pieces) as (setup, script):
            for _ in range(2):
                body = (await told(setup, asks(stream=True)))[2]
                assert body.startswith(b"".join(EVENTS[:5]) + b"event: error\n")
                end = decoded(body)[-1]
                assert end.keys() == {"type", "code", "message", "param", "sequence_number"}
                assert word in end["message"]
                await settled(setup.service)
            assert len(script.requests) == 2
            async with sdk_of(setup) as sdk:
                stream = await sdk.responses.create(model="m", input="x at 70", stream=True)
                *_, seen = [one async for one in stream]
                assert isinstance(seen, ResponseErrorEvent)
                assert word in seen.message
                async with sdk.responses.stream(model="m", input="x at 90") as helper:
                    kinds = [one.type async for one in helper]
                    assert kinds[-1] == "error"
                    with pytest.raises(RuntimeError, match="completed"):
                        await helper.get_final_response()


async def test_a_stream_that_the_service_ends_says_so() -> None:
    gate = asyncio.Event()
    async with (
        scene(STREAM_HEAD, chunk(EVENTS[0]), gate, chunk(b"".join(EVENTS[1:])), LAST) as (setup, _),
        setup.client.post(PATH, json=asks(stream=True)) as got,
    ):
        assert await got.content.readexactly(len(EVENTS[0])) == EVENTS[0]
        setup.service.draining = True
        assert break_off(setup.client.app) == 1
        (last,) = decoded(await got.read())
        assert (last["type"], last["code"]) == ("error", "draining")
        gate.set()


async def test_an_error_instead_of_an_answer_is_the_upstreams() -> None:
    error = {"message": "Slow down.", "type": "requests", "param": None, "code": "rate_limit"}
    failed = answer(msgspec.json.encode({"error": error}), status="429 Too Many", retry_after="9")
    async with scene(failed) as (setup, _):
        for stream in (False, True):
            status, headers, body = await told(setup, asks(stream=stream))
            assert (status, headers["retry-after"]) == (429, "9")
            assert msgspec.json.decode(body) == {"error": error}


async def test_a_hit_comes_in_the_pieces_that_the_miss_had_and_no_event_is_long() -> None:
    text = "".join(f"{n} \u00e4\x01" for n in range(9_000))
    note = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}
    parts = [text_part("Short one.", annotations=[note] * 3), text_part(text)]
    said = response(thought(content=None), message(*parts), message(text_part("Last bit.")))
    async with scene(
        STREAM_HEAD,
        chunk(b"".join(events_of({**said, "output": said["output"][1:]})[:-1])),
        chunk(event("response.completed", response={**said, "output": said["output"][1:]})),
        LAST,
    ) as (setup, _):
        await told(setup, asks(stream=True))
        await settled(setup.service)
        events = decoded((await told(setup, asks(stream=True)))[2])
        deltas = [one["delta"] for one in events if one["type"] == "response.output_text.delta"]
        assert deltas[:2] == ["Short ", "one."]
        assert deltas[-2:] == ["Last ", "bit."]
        assert "".join(deltas) == f"Short one.{text}Last bit."
    async with scene(answer(msgspec.json.encode(said))) as (setup, _):
        await told(setup, asks())
        for one in EventSplitter().feed((await told(setup, asks(stream=True)))[2]):
            kind = msgspec.json.decode(data_of(one) or b"")["type"]
            holds_all = kind.endswith((".done", ".completed"))
            assert len(one) <= 16_384 or holds_all, kind


# -- as the SDK reads it


def accumulated(one: Response) -> dict[str, Any]:
    return without_ids(one.model_dump(mode="json"))


@pytest.mark.parametrize(
    "said",
    [
        response(),
        response(thought(), message(text_part(), text_part("More."))),
        response(
            thought(content=[{"type": "reasoning_text", "text": "Hm."}], status="completed"),
            message(
                text_part(
                    "See [1].", annotations=[{"type": "file_path", "file_id": "f", "index": 1}]
                )
            ),
            message(text_part("Then this."), id="msg_2", phase="final_answer"),
        ),
    ],
)
async def test_the_sdk_adds_up_the_same_from_a_hit(said: dict[str, Any]) -> None:
    async with responding(said) as (setup, upstream), sdk_of(setup) as sdk:
        direct = await sdk.responses.create(model="m", input="pay at 10")
        assert direct.output_text
        for _ in range(2):
            found = await sdk.responses.create(model="m", input="pay at 10")
            assert accumulated(found) == accumulated(direct)
            assert found.id != direct.id
            async with sdk.responses.stream(model="m", input="pay at 10") as stream:
                text = "".join(
                    [one.delta async for one in stream if one.type == "response.output_text.delta"]
                )
                final = await stream.get_final_response()
            assert text == direct.output_text == final.output_text
            parsed = {**accumulated(direct), "output": accumulated(final)["output"]}
            assert accumulated(final) == parsed
        assert len(upstream.asked) == 1


async def test_a_forced_function_is_kept_for_one_wording_and_streams() -> None:
    asked: dict[str, Any] = {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "f"}}
    async with scene(answer(msgspec.json.encode(response(thought(), called())))) as (setup, script):
        assert await status_of(setup, asks(**asked)) == "generated"
        assert await status_of(setup, asks(**asked)) == "exact"
        assert await status_of(setup, asks(**{**asked, "tool_choice": "required"})) == "generated"
        assert await status_of(setup, asks("money at 15", **asked)) == "generated"
        assert len(script.requests) == 3
        async with sdk_of(setup) as sdk:
            fields: dict[str, Any] = {"model": "m", "input": "pay at 10", **asked}
            async with sdk.responses.stream(**fields) as stream:
                final = await stream.get_final_response()
            call = final.output[-1]
            assert call.type == "function_call"
            assert (call.arguments, call.call_id, call.name) == ('{"a":1}', "call_1", "f")
            assert (call.id or "").startswith("fc_1-semcache-")
        assert len(script.requests) == 3
    for arguments in ('{"a":"x"}', "no"):
        said = answer(msgspec.json.encode(response(called(arguments))))
        async with scene(said) as (setup, script):
            assert await status_of(setup, asks(**asked)) == "generated"
            assert await status_of(setup, asks(**asked)) == "generated"


class Fee(BaseModel):
    euros: int


async def test_structured_output() -> None:
    said = response(message(text_part('{"euros":3}')))
    async with responding(said) as (setup, upstream), sdk_of(setup) as sdk:
        for _ in range(2):
            found = await sdk.responses.parse(model="m", input="fee at 10", text_format=Fee)
            assert found.output_parsed == Fee(euros=3)
        assert len(upstream.asked) == 1
        upstream.said = response(message(text_part('{"euros":"three"}')))
        asked = {"text": upstream.asked[0]["text"]}
        for _ in range(2):
            _, headers, _ = await told(setup, asks("fee at 90", **asked))
            assert headers["x-semcache-not-stored"] == "schema"
        assert len(upstream.asked) == 3


# -- by id


async def test_a_hit_is_continued_retrieved_and_referred_to_by_its_own_ids() -> None:
    said = response(thought(), message())
    async with responding(said) as (setup, upstream), sdk_of(setup) as sdk:
        first = await sdk.responses.create(model="m", input="pay at 10")
        hit = await sdk.responses.create(model="m", input="money at 15")
        assert hit.id.startswith(f"{first.id}-semcache-")
        assert len(upstream.asked) == 1

        more = await sdk.responses.create(model="m", input="And then?", previous_response_id=hit.id)
        assert more.previous_response_id == first.id
        assert upstream.asked[-1]["previous_response_id"] == first.id

        found = await sdk.responses.retrieve(hit.id, include=["reasoning.encrypted_content"])
        assert found.id == hit.id
        assert [item.id for item in found.output] == [item.id for item in hit.output]
        assert upstream.targets[-1].startswith(f"GET {PATH}/{first.id}?include")

        items = [
            one
            async for one in sdk.responses.input_items.list(
                hit.id, after="msg_9-semcache-0123456789"
            )
        ]
        assert [one.id for one in items] == ["msg_0"]
        assert upstream.targets[-1] == f"GET {PATH}/{first.id}/input_items?after=msg_9"
        assert (await sdk.responses.cancel(hit.id)).id == hit.id
        assert upstream.targets[-1] == f"POST {PATH}/{first.id}/cancel"

        await sdk.responses.delete(hit.id)
        assert first.id in upstream.kept
        assert (await sdk.responses.retrieve(first.id)).id == first.id
        await sdk.responses.delete(first.id)
        with pytest.raises(NotFoundError, match="not found"):
            await sdk.responses.retrieve(hit.id)


async def test_items_of_a_hit_go_back_as_those_of_the_first_answer() -> None:
    def turn(items: list[Any], **fields: Any) -> dict[str, Any]:
        question = {"role": "user", "content": "pay at 10"}
        return asks(**fields) | {
            "input": [question, *items, {"role": "user", "content": "x at 70"}]
        }

    async with responding(response(thought(), message())) as (setup, upstream):
        first, hit = [
            msgspec.json.decode((await told(setup, asks(store=False)))[2]) for _ in range(2)
        ]
        assert first["output"] != hit["output"]
        assert await status_of(setup, turn(first["output"])) == "generated"
        assert await status_of(setup, turn(hit["output"])) == "exact"
        assert await status_of(setup, turn(hit["output"], instructions="Be brief.")) == "generated"
        assert upstream.asked[-1]["input"][1:3] == first["output"]
        reference = {"type": "item_reference", "id": hit["output"][1]["id"]}
        assert await status_of(setup, turn([reference])) == "bypassed"
        assert upstream.asked[-1]["input"][1]["id"] == first["output"][1]["id"]


async def test_a_kept_stream_is_passed_on_as_it_is() -> None:
    async with responding() as (setup, upstream), sdk_of(setup) as sdk:
        first = await sdk.responses.create(model="m", input="pay at 10")
        query = {"stream": "true", "starting_after": "1", "key": "x"}
        async with setup.client.get(f"{PATH}/{first.id}", params=query) as got:
            assert got.content_type == "text/event-stream"
            assert await got.read() == b"".join(events_of(upstream.kept[first.id]))
        assert upstream.targets[-1] == f"GET {PATH}/{first.id}?stream=true&starting_after=1"
        stream = await sdk.responses.retrieve(first.id, stream=True)
        *_, last = [one async for one in stream]
        assert last.type == "response.completed"
        with pytest.raises(NotFoundError):
            await sdk.responses.retrieve("resp_none", stream=True)


async def test_a_kept_stream_that_breaks_off_says_so() -> None:
    async with scene(STREAM_HEAD, chunk(ALL[:-10]), None) as (setup, _):
        async with setup.client.get(f"{PATH}/resp_1", params={"stream": "true"}) as got:
            body = await got.read()
        assert body.startswith(b"".join(EVENTS[:-1]) + b"event: error\n")
        assert decoded(body)[-1]["code"] == "upstream_broke_off"


@pytest.mark.parametrize(
    "name",
    [
        *("..", ".", "%2e%2e", "a%2Fb", "a%3Fb", "%00", "a%20b", "a" * 600),
        *("..-semcache-0123456789", "a%2Fb-semcache-0123456789"),
    ],
)
async def test_no_id_leads_to_other_paths_of_the_upstream(name: str) -> None:
    async with scene() as (setup, script):
        for method, path in (
            ("GET", ""),
            ("DELETE", ""),
            ("POST", "/cancel"),
            ("GET", "/input_items"),
        ):
            url = URL(f"{setup.client.make_url('/')}{PATH[1:]}/{name}{path}", encoded=True)
            async with setup.client.session.request(method, url) as got:
                assert got.status in (404, 405)
        assert script.requests == []


async def test_what_the_upstream_keeps_is_nobodys_where_tenants_are_apart() -> None:
    async with responding(keys=KEYS) as (setup, upstream):
        async with sdk_of(setup, "sk-a") as a, sdk_of(setup, "sk-b") as b:
            made = await a.responses.create(model="m", input="pay at 10")
            calls = [
                b.responses.retrieve(made.id),
                b.responses.delete(made.id),
                b.responses.cancel(made.id),
                b.responses.create(model="m", input="Repeat.", previous_response_id=made.id),
                b.responses.create(model="m", input="Repeat.", conversation="conv_1"),
                b.responses.create(model="m", input=[{"type": "item_reference", "id": "msg_1"}]),
            ]
            for call in (
                *calls,
                b.responses.create(model="m", input="x", previous_response_id="y"),
            ):
                with pytest.raises(PermissionDeniedError, match="kept_by_id"):
                    await call
            with pytest.raises(PermissionDeniedError):
                await b.responses.input_items.list(made.id)
            assert (len(upstream.asked), upstream.targets) == (1, [])
        async with sdk_of(setup, "sk-admin") as admin:
            assert (await admin.responses.retrieve(made.id)).id == made.id
    one = KeyRing({hash_key("sk-a"): Caller(tenant="a"), hash_key("sk-admin"): Caller(admin=True)})
    for options in ({"keys": one}, {"keys": KEYS, "kept_by_id": True}):
        async with responding(**options) as (setup, _), sdk_of(setup, "sk-a") as a:
            made = await a.responses.create(model="m", input="pay at 10")
            assert (await a.responses.retrieve(made.id)).id == made.id


async def test_of_several_upstreams_the_one_that_has_it_is_asked() -> None:
    async with answering() as (url, far), answering(response(id="resp_n")) as (other, near):
        table = UpstreamTable(name="near", url=other, models=("n",))
        lacking = UpstreamTable(name="chats", url=other, models=("c",), apis=("chat",))
        async with serving(url, upstreams=(lacking, table)) as setup, sdk_of(setup) as sdk:
            for model, upstream in (("m", far), ("n", near)):
                made = await sdk.responses.create(model=model, input="pay at 10")
                hit = await sdk.responses.create(model=model, input="pay at 10")
                assert (await sdk.responses.retrieve(hit.id)).id == hit.id
                assert upstream.targets[-1] == f"GET {PATH}/{made.id}"
                await sdk.responses.delete(made.id)
                assert upstream.kept == {}
            with pytest.raises(NotFoundError, match="not found"):
                await sdk.responses.retrieve(made.id)
            near.targets.clear()
            with pytest.raises(NotFoundError):
                await sdk.responses.retrieve(made.id, extra_query={"model": "m"})
            assert near.targets == []
            assert far.targets[-1] == f"GET {PATH}/{made.id}"


async def test_a_callers_own_key_goes_to_the_upstream_it_is_for() -> None:
    own: dict[str, Any] = {"pass_keys": True, "cache": {"secret": "s3cret"}}
    async with scene(answer(msgspec.json.encode(response())), **own) as (setup, script):
        async with sdk_of(setup, "sk-ann-0123456789") as sdk:
            assert (await sdk.responses.retrieve("resp_1")).id == "resp_1"
        assert script.requests[0][0]["Authorization"] == "Bearer sk-ann-0123456789"
        url = next(iter(setup.service.upstreams)).identity
        table = UpstreamTable(name="near", url=url, models=("n",))
        script.requests.clear()
        async with (
            serving(url, upstreams=(table,), **own) as several,
            sdk_of(several, "sk-ann-0123456789") as sdk,
        ):
            with pytest.raises(BadRequestError, match="model"):
                await sdk.responses.retrieve("resp_1")
            assert script.requests == []
            found = await sdk.responses.retrieve("resp_1", extra_query={"model": "n"})
            assert found.id == "resp_1"
            assert script.targets[-1] == f"{PATH}/resp_1"


async def test_tenants_share_nothing() -> None:
    async with responding(keys=KEYS) as (setup, upstream):
        for key, status in (("sk-a", "generated"), ("sk-a", "exact"), ("sk-b", "generated")):
            _, headers, _ = await told(setup, asks(), Authorization=f"Bearer {key}")
            assert headers["x-semcache-status"] == status
        assert len(upstream.asked) == 2


# -- beside others


async def test_a_chat_and_a_response_share_nothing_unless_told() -> None:
    chat = {"model": "m", "messages": [{"role": "user", "content": "pay at 10"}]}
    for across in (False, True):
        async with scene(answer(msgspec.json.encode(completion())), across_apis=across) as (
            setup,
            script,
        ):
            async with setup.client.post("/v1/chat/completions", json=chat) as got:
                assert got.status == 200
            script.pieces = (answer(msgspec.json.encode(response())),)
            for stream in (False, True):
                _, headers, body = await told(setup, asks(stream=stream))
                await settled(setup.service)
                assert (headers["x-semcache-status"] == "generated") is not (across or stream)
                made = decoded(body)[-1]["response"] if stream else msgspec.json.decode(body)
                assert made["output"][0]["content"][0]["text"] == "Like this."
                assert made["usage"] == USED
                assert made["store"] is not across
            async with (
                sdk_of(setup) as sdk,
                sdk.responses.stream(model="m", input="pay at 10") as s,
            ):
                assert (await s.get_final_response()).output_text == "Like this."
            assert len(script.requests) == 2 - across


async def test_a_response_answers_chats_where_told() -> None:
    async with scene(across_apis=True) as (setup, script):
        await told(setup, asks(stream=True))
        await settled(setup.service)
        async with sdk_of(setup) as sdk:
            said: dict[str, Any] = {
                "model": "m",
                "messages": [{"role": "user", "content": "pay at 10"}],
            }
            found: Any = await sdk.chat.completions.create(**said)
            assert found.choices[0].message.content == "Like this."
            assert (found.choices[0].finish_reason, found.usage.total_tokens) == ("stop", 10)
        assert len(script.requests) == 1


async def test_streams_cross_while_they_come() -> None:
    gate = asyncio.Event()
    pieces = (STREAM_HEAD, chunk(b"".join(EVENTS[:5])), gate, chunk(b"".join(EVENTS[5:])), LAST)
    async with scene(*pieces, across_apis=True) as (setup, script), sdk_of(setup) as sdk:
        leader = asyncio.create_task(told(setup, asks(stream=True)))
        await until(lambda: len(script.requests) == 1)
        stream = await sdk.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "pay at 10"}], stream=True
        )
        gate.set()
        chunks = [one async for one in stream]
        said = [choice.delta.content or "" for one in chunks for choice in one.choices]
        assert "".join(said) == "Like this."
        assert all(one.choices for one in chunks)
        assert (await leader)[2] == ALL
        assert len(script.requests) == 1
    chats = [b"data: %b\n\n" % msgspec.json.encode(one) for one in CHUNKS]
    gate = asyncio.Event()
    pieces = (STREAM_HEAD, chunk(chats[0]), gate, chunk(b"".join(chats[1:])), LAST)
    async with scene(*pieces, across_apis=True) as (setup, script), sdk_of(setup) as sdk:
        body = {"model": "m", "messages": [{"role": "user", "content": "pay at 10"}]}
        async with setup.client.post("/v1/chat/completions", json={**body, "stream": True}) as got:
            async with sdk.responses.stream(model="m", input="pay at 10") as events:
                gate.set()
                final = await events.get_final_response()
            assert (final.output_text, final.status) == ("Like this.", "completed")
            assert await got.read() == b"".join(chats)
        assert len(script.requests) == 1


async def test_an_upstream_without_responses_says_so() -> None:
    error = answer(b'{"detail":"Not Found"}', status="404 Not Found")
    async with scene(error) as (setup, script), sdk_of(setup) as sdk:
        with pytest.raises(APIStatusError, match="Not Found") as caught:
            await sdk.responses.create(model="m", input="pay at 10")
        assert caught.value.status_code == 404
        assert script.targets == ["/v1/responses"]
