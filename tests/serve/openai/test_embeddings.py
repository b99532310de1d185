"""POST /v1/embeddings."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI

from semcache_async.embed import TextEmbedder
from semcache_async.errors import EmbeddingError
from semcache_async.serve.openai.embeddings import MODELS
from semcache_async.testing import AngleEmbedder
from tests.serve import upstreams
from tests.serve.running import Client, serving

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

MODEL = MODELS[0]


async def embed(client: Client, **body: Any) -> dict[str, Any]:
    async with client.post("/v1/embeddings", json={"model": MODEL, **body}) as answer:
        told: dict[str, Any] = await answer.json()
        return {"status": answer.status} | told


async def test_one_text_and_many(redis_url: str, name: str) -> None:
    embedder = AngleEmbedder()
    async with serving(redis_url, name, embedder=embedder) as (client, _):
        one = await embed(client, input="x at 30")
        assert (one["status"], one["object"], one["model"]) == (200, "list", MODEL)
        (item,) = one["data"]
        assert (item["object"], item["index"]) == ("embedding", 0)
        assert item["embedding"] == embedder.embed(["x at 30"])[0].tolist()
        assert one["usage"] == {"prompt_tokens": 0, "total_tokens": 0}

        texts = [f"x at {angle}" for angle in range(100)]
        embedder.calls.clear()
        many = await embed(client, input=texts, model=MODELS[1])
        assert [item["index"] for item in many["data"]] == list(range(100))
        assert [len(call) for call in embedder.calls] == [31, 32, 32, 4]  # one was known
        rows = np.array([item["embedding"] for item in many["data"]], np.float32)
        assert np.array_equal(rows, embedder.embed(texts))


async def test_base64_is_little_endian_float32(redis_url: str, name: str) -> None:
    async with serving(redis_url, name) as (client, _):
        found = await embed(client, input=["x at 30"], encoding_format="base64")
        raw = base64.b64decode(found["data"][0]["embedding"])
        assert np.array_equal(np.frombuffer(raw, "<f4"), AngleEmbedder().embed(["x at 30"])[0])


async def test_the_openai_sdk(redis_url: str, name: str) -> None:
    texts = ["x at 30", "x at 60"]
    async with (
        serving(redis_url, name) as (client, _),
        AsyncOpenAI(base_url=str(client.make_url("/v1")), api_key="any", max_retries=0) as sdk,
    ):
        found = await sdk.embeddings.create(model=MODEL, input=texts)
        rows = np.array([item.embedding for item in found.data], np.float32)
        assert np.array_equal(rows, AngleEmbedder().embed(texts))


async def test_the_real_model(redis_url: str, name: str, text_embedder: TextEmbedder) -> None:
    async with serving(redis_url, name, embedder=text_embedder) as (client, _):
        texts = ["How do I reset my PIN?", "An unknown sign: \U0001f9ff", "a"]
        found = await embed(client, input=texts, dimensions=text_embedder.dim)
        rows = np.array([item["embedding"] for item in found["data"]], np.float32)
        assert np.allclose(rows, text_embedder.embed(texts), atol=1e-6)
        tokens = sum(map(len, text_embedder.tokenise(texts)))
        assert found["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
        error = await embed(client, input=["short", "long " * 1_000])
        assert error["status"] == 400
        assert error["error"]["param"] == "input[1]"
        assert error["error"]["code"] == "context_length_exceeded"


async def test_fields_that_others_know_are_left_unread(redis_url: str, name: str) -> None:
    async with serving(redis_url, name) as (client, _):
        found = await embed(client, input=["x at 30"], input_type="query", truncate=True)
        assert len(found["data"]) == 1


async def test_other_models_are_the_upstreams() -> None:
    sent = b'{"object": "list",  "data": []}'
    asked = {"model": "text-embedding-3-small", "input": [[15339, 1917]], "dimensions": 7}
    async with upstreams.scripted(upstreams.answer(sent)) as (url, script):
        async with upstreams.serving(url) as setup:
            async with setup.client.post(
                "/v1/embeddings?api-version=1", json=asked, headers={"X-Title": "Shop"}
            ) as response:
                assert (response.status, await response.read()) == (200, sent)
            script.pieces = (upstreams.answer('{"error": "no such model"}', status="404 No"),)
            async with setup.client.post("/v1/embeddings", json=asked) as response:
                assert response.status == 404
                assert (await response.json())["error"]["message"] == "no such model"
        assert script.bodies == [asked] * 2
        assert script.requests[0][0]["X-Title"] == "Shop"


BAD: list[tuple[dict[str, Any], int, str, str]] = [
    ({}, 400, "input", "missing_field"),
    ({"input": ""}, 400, "input", "out_of_range"),
    ({"input": []}, 400, "input", "out_of_range"),
    ({"input": ["a", " "]}, 400, "input[1]", "invalid_text"),
    ({"input": ["a", "b\0"]}, 400, "input[1]", "invalid_text"),
    ({"input": ["a"] * 2_049}, 400, "input", "out_of_range"),
    ({"input": [1, 2]}, 400, "input", "invalid_type"),
    ({"input": [[1, 2]]}, 400, "input", "invalid_type"),
    ({"input": ["a", 1]}, 400, "input[1]", "invalid_type"),
    ({"input": 5}, 400, "input", "invalid_type"),
    ({"input": "a", "model": None}, 400, "model", "invalid_type"),
    ({"input": "a", "model": ["one"]}, 400, "model", "invalid_type"),
    ({"input": "a", "dimensions": 7}, 400, "dimensions", "out_of_range"),
    ({"input": "a", "encoding_format": "hex"}, 400, "encoding_format", "out_of_range"),
]


async def test_bad_input(redis_url: str, name: str) -> None:
    async with serving(redis_url, name) as (client, _):
        for body, status, param, code in BAD:
            found = await embed(client, **body)
            error = found["error"]
            assert (found["status"], error["param"], error["code"]) == (status, param, code)
            assert error["type"] == "invalid_request_error"
            assert error["message"]


async def test_a_failing_embedder_is_unavailable(
    redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(redis_url, name) as (client, service):

        async def fail(texts: list[str], **options: object) -> None:
            raise EmbeddingError("no")

        monkeypatch.setattr(service.cache, "embed", fail)
        found = await embed(client, input="a")
        assert (found["status"], found["error"]["code"]) == (503, "embedder_unavailable")


@pytest.mark.parametrize(
    "called", ["all-mpnet-base-v2", "sentence-transformers/all-mpnet-base-v2", "all-minilm-l6-v2@x"]
)
async def test_a_model_by_the_name_of_the_options_or_of_the_catalogue(
    redis_url: str, name: str, called: str
) -> None:
    chosen = "all-minilm-l6-v2@x" if "minilm" in called else "all-mpnet-base-v2"
    async with serving(
        redis_url, name, embedder=AngleEmbedder(), model=chosen, store_timeout_s=30.0
    ) as (client, _):
        found = await embed(client, input="x at 30", model=called)
        assert (found["status"], found.get("model")) == (200, chosen)
