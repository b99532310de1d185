"""The ``openai`` package, unchanged but for the URL."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio.from_thread
import openai
import pytest
from aiohttp import web
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk

from semcache_async.serve.keys import Caller, KeyRing, hash_key
from semcache_async.serve.openai.embeddings import MODELS
from semcache_async.simulator import SimulatorOptions
from semcache_async.simulator.pace import send
from tests.helpers import until
from tests.serve.clients.helpers import asked, in_thread
from tests.serve.running import Live, live, settled

pytestmark = pytest.mark.anyio

KEYS = KeyRing({hash_key("sk-a"): Caller(tenant="a"), hash_key("sk-b"): Caller(tenant="b")})
STATUS = "x-semcache-status"


def sdk(service: Live, **options: Any) -> OpenAI:
    return OpenAI(base_url=f"{service.url}/v1", **{"api_key": "k", "max_retries": 0, **options})


def async_sdk(service: Live, **options: Any) -> AsyncOpenAI:
    options = {"api_key": "k", "max_retries": 0, **options}
    return AsyncOpenAI(base_url=f"{service.url}/v1", **options)


def joined(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


async def test_openai_sync(service: Live) -> None:
    def work() -> None:
        with sdk(service) as client:
            create = client.chat.completions.with_raw_response.create
            made, again, near, far = (
                create(**asked(prompt))
                for prompt in ("refund at 10", " refund at 10", "money back at 15", "x at 90")
            )
            statuses = [answer.headers[STATUS] for answer in (made, again, near, far)]
            assert statuses == ["generated", "exact", "semantic", "generated"]
            first, hit = made.parse(), near.parse()
            assert (first.choices, first.usage) == (hit.choices, hit.usage)
            assert first.usage is not None
            assert first.id != hit.id
            assert hit.object == "chat.completion"
            assert (first.choices[0].message.content or "").startswith("Answer to: refund at 10")

    await in_thread(work)
    assert service.simulator.stats.calls == 2


async def test_openai_sync_streams(service: Live) -> None:
    def work() -> None:
        with sdk(service) as client:
            texts = []
            for prompt, status in (
                ("refund at 10", "generated"),
                ("refund at 10", "exact"),
                ("money back at 15", "semantic"),
            ):
                with client.chat.completions.with_streaming_response.create(
                    **asked(prompt, stream=True)
                ) as response:
                    assert response.headers[STATUS] == status
                    chunks: list[ChatCompletionChunk] = list(response.parse())
                assert chunks[0].choices[0].delta.role == "assistant"
                assert [one.choices[0].finish_reason for one in chunks[-2:]] == [None, "stop"]
                assert all(one.usage is None for one in chunks)
                assert len({one.id for one in chunks}) == 1
                texts.append(joined(chunks))
                anyio.from_thread.run(settled, service.service)
            assert texts[0].startswith("Answer to: refund at 10")
            assert len(set(texts)) == 1
            whole = client.chat.completions.create(**asked("refund at 10"))
            assert whole.choices[0].message.content == texts[0]

    await in_thread(work)
    assert service.simulator.stats.calls == 1


async def test_openai_accumulates_a_stream_with_usage(service: Live) -> None:
    def work() -> None:
        with sdk(service) as client:
            whole = []
            for _ in range(2):
                with client.chat.completions.stream(
                    **asked("refund at 10"), stream_options={"include_usage": True}
                ) as stream:
                    whole.append(stream.get_final_completion())
            made, hit = whole
            assert made.usage == hit.usage
            assert made.usage is not None
            assert made.usage.completion_tokens > 0
            assert made.choices[0].message.content == hit.choices[0].message.content

    await in_thread(work)
    assert service.simulator.stats.calls == 1


async def test_openai_async(service: Live) -> None:
    async with async_sdk(service) as client:
        create = client.chat.completions.create
        answers = await asyncio.gather(*(create(**asked("refund at 10")) for _ in range(20)))
        assert len({one.choices[0].message.content for one in answers}) == 1
        assert service.simulator.stats.calls == 1
        stream = await create(
            **asked("money back at 15", stream=True, stream_options={"include_usage": True})
        )
        chunks = [chunk async for chunk in stream]
        assert joined(chunks) == answers[0].choices[0].message.content
        assert chunks[-1].choices == []
        assert chunks[-1].usage == answers[0].usage
        assert service.simulator.stats.calls == 1


async def test_openai_async_streams_share_one_call(
    service: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def gated(response: web.StreamResponse, pieces: list[bytes], step_s: float) -> None:
        await until(lambda: service.service.cache.stats().waiting == 8)
        await send(response, pieces, step_s)

    monkeypatch.setattr("semcache_async.simulator.app.send", gated)
    async with async_sdk(service) as client:

        async def read() -> tuple[str, list[ChatCompletionChunk]]:
            body = asked("refund at 10", stream=True)
            async with client.chat.completions.with_streaming_response.create(**body) as answer:
                stream: openai.AsyncStream[ChatCompletionChunk] = await answer.parse()
                return answer.headers[STATUS], [chunk async for chunk in stream]

        found = await asyncio.gather(*(read() for _ in range(8)))
    assert sorted(status for status, _ in found) == ["generated", *["shared"] * 7]
    assert len({joined(chunks) for _, chunks in found}) == 1
    assert service.simulator.stats.calls == 1


async def test_openai_passes_tools_and_reasoning_through(service: Live) -> None:
    tool = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}

    def work() -> None:
        with sdk(service) as client:
            answer = client.chat.completions.with_raw_response.create(
                **asked("refund at 10", tools=[tool], extra_body={"x_simulate": "tool_calls"})
            )
            assert answer.headers[STATUS] == "bypassed"
            assert answer.headers["x-semcache-reason"] == "tools"
            choice = answer.parse().choices[0]
            assert choice.finish_reason == "tool_calls"
            assert choice.message.tool_calls is not None
            assert choice.message.tool_calls[0].type == "function"
            with client.chat.completions.stream(
                **asked("refund at 10", tools=[tool]), extra_body={"x_simulate": "tool_calls"}
            ) as stream:
                calls = stream.get_final_completion().choices[0].message.tool_calls
            assert calls is not None
            assert calls[0].function.arguments == '{"query":"simulated"}'
            for _ in range(2):
                thought = client.chat.completions.create(
                    **asked("x at 90", stream=True, extra_body={"x_simulate": "reasoning"})
                )
                pieces = [getattr(one.choices[0].delta, "reasoning_content", "") for one in thought]
                assert "".join(filter(None, pieces)) == "The user asks: x at 90"

    await in_thread(work)
    assert service.simulator.stats.calls == 3


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("faults", "error"),
    [
        ("status=429, retry_after=7", openai.RateLimitError),
        ("status=400", openai.BadRequestError),
        ("status=404", openai.NotFoundError),
        ("status=409", openai.ConflictError),
        ("status=422", openai.UnprocessableEntityError),
        ("status=500", openai.InternalServerError),
        ("status=503, retry_after=3", openai.InternalServerError),
    ],
)
async def test_openai_errors_of_the_upstream(
    service: Live, stream: bool, faults: str, error: type[openai.APIStatusError]
) -> None:
    async with async_sdk(service) as client:
        for _ in range(2):
            with pytest.raises(error) as caught:
                await client.chat.completions.create(
                    **asked("refund at 10", stream=stream, extra_body={"x_simulate": faults})
                )
            said = caught.value
            assert said.status_code == int(faults[7:10])
            assert said.message
            assert said.request_id
            wanted = faults.partition("retry_after=")[2] or None
            assert said.response.headers.get("retry-after") == wanted
    # What a stream was refused for may have been the usage that only the service asked for.
    unclear = stream and said.status_code in (400, 422)
    assert service.simulator.stats.failed == (4 if unclear else 2)


async def test_openai_retries_as_the_upstream_says(service: Live) -> None:
    async with async_sdk(service, max_retries=2) as client:
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(
                **asked("refund at 10", extra_body={"x_simulate": "status=429, retry_after=0.01"})
            )
    assert service.simulator.stats.calls == 3


@pytest.mark.parametrize(
    "faults", ["error", "garbage", "cut_after_bytes=700", "cut_after_bytes=0", "cut_after_bytes=9"]
)
async def test_openai_learns_that_a_stream_broke(service: Live, faults: str) -> None:
    async with async_sdk(service) as client:
        for _ in range(2):
            with pytest.raises(openai.APIError) as caught:
                async for _ in await client.chat.completions.create(
                    **asked("refund at 10", stream=True, extra_body={"x_simulate": faults})
                ):
                    pass
            assert caught.value.message
    assert service.simulator.stats.calls == 2


@pytest.mark.parametrize(
    ("fields", "param", "calls"),
    [
        ({"messages": []}, None, 1),
        ({"messages": "hello"}, None, 1),
        ({"model": 7}, None, 1),
        ({"stream": "yes"}, "stream", 0),
    ],
)
async def test_openai_bad_requests(
    service: Live, fields: dict[str, Any], param: str | None, calls: int
) -> None:
    async with async_sdk(service) as client:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.post(
                "/chat/completions", body={**asked("refund at 10"), **fields}, cast_to=object
            )
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert service.simulator.stats.calls == calls


async def test_openai_keys_and_tenants(redis_url: str, name: str) -> None:
    async with live(redis_url, name, keys=KEYS) as service:
        async with async_sdk(service, api_key="sk-no") as stranger:
            with pytest.raises(openai.AuthenticationError):
                await stranger.chat.completions.create(**asked("refund at 10"))
            with pytest.raises(openai.AuthenticationError):
                await stranger.models.list()
            with pytest.raises(openai.AuthenticationError):
                await stranger.embeddings.create(model="m", input="a")
        for key, status in (("sk-a", "generated"), ("sk-a", "exact"), ("sk-b", "generated")):
            async with async_sdk(service, api_key=key) as client:
                answer = await client.chat.completions.with_raw_response.create(
                    **asked("refund at 10")
                )
                assert answer.headers[STATUS] == status


async def test_openai_embeddings_and_models(service: Live) -> None:
    def work() -> None:
        with sdk(service) as client:
            assert [model.id for model in client.models.list()] == ["simulated"]
            texts, model = ["refund at 10", "x at 90"], MODELS[0]
            packed = client.embeddings.create(model=model, input=texts)
            plain = client.embeddings.create(model=model, input=texts, encoding_format="float")
            for one, other in zip(packed.data, plain.data, strict=True):
                assert one.index == other.index
                assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
            assert packed.data[0].embedding != packed.data[1].embedding
            with pytest.raises(openai.BadRequestError):
                client.embeddings.create(model=model, input=[])
            with pytest.raises(openai.NotFoundError):
                client.embeddings.create(model="text-embedding-3-small", input="a")

    await in_thread(work)


async def test_an_upstream_that_refuses_the_key(redis_url: str, name: str) -> None:
    async with (
        live(redis_url, name, upstream_key="sk-wrong") as service,
        async_sdk(service) as client,
    ):
        with pytest.raises(openai.InternalServerError) as caught:
            await client.chat.completions.create(**asked("refund at 10"))
        assert caught.value.code == "upstream_key_refused"
        assert "sk-wrong" not in caught.value.message


async def test_openai_unknown_models(redis_url: str, name: str) -> None:
    options = SimulatorOptions(median_ms=0.0, models=("big",))
    async with live(redis_url, name, simulator=options) as service, async_sdk(service) as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.chat.completions.create(**asked("refund at 10"))
        assert caught.value.code == "model_not_found"
