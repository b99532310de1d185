"""The service's own description."""

from __future__ import annotations

from typing import Any, cast

import pytest
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from semcache_async.serve.app import PROTOCOLS, make_app
from semcache_async.serve.openapi.describe import describe
from semcache_async.simulator import SimulatorOptions
from tests.serve.running import Client, serving

LLM = SimulatorOptions(median_ms=0, sigma=0, tokens_per_s=0, tokens=5)
METHODS = {"get", "post", "put", "delete", "patch"}


def test_it_is_valid() -> None:
    OpenAPIV31SpecValidator(cast("Any", describe(PROTOCOLS))).validate()
    for schema in describe(PROTOCOLS)["components"]["schemas"].values():
        OAS31Validator.check_schema(schema)


@pytest.mark.anyio
async def test_every_route_is_described_and_nothing_else(redis_url: str, name: str) -> None:
    async with serving(redis_url, name, llm=LLM) as (client, service):
        there = {
            (route.resource.canonical, route.method.lower())
            for route in make_app(service).router.routes()
            if route.resource is not None and route.method.lower() in METHODS
        }
        async with client.get("/openapi.json") as answer:
            assert answer.status == 200
            told = await answer.json()
    described = {
        (path, method) for path, item in told["paths"].items() for method in METHODS & set(item)
    }
    assert described == there


@pytest.mark.anyio
async def test_answers_are_as_described(redis_url: str, name: str) -> None:
    shop = "/v1/caches/shop"
    chat = {"model": "simulated", "messages": [{"role": "user", "content": "fee at 40"}]}
    asked: list[tuple[str, str, Any]] = [
        ("POST", "/v1/chat/completions", chat),
        ("POST", "/v1/chat/completions", {}),
        ("GET", "/v1/models", None),
        ("POST", "/v1/embeddings", {"model": "all-MiniLM-L6-v2", "input": "x"}),
        ("POST", "/v1/embeddings", {"model": "other", "input": "x"}),
        ("POST", f"{shop}/entries", {"prompt": "x at 1", "response": "y"}),
        ("POST", f"{shop}/entries", {"prompt": 1}),
        ("POST", f"{shop}/entries/search", {"prompt": "x at 2"}),
        ("POST", f"{shop}/conversations/search", {"prompt": "x at 2", "context": ["y"]}),
        ("DELETE", f"{shop}/entries", {"attributes": {"a": "b"}}),
        ("DELETE", f"{shop}/entries/none", None),
        ("POST", f"{shop}/flush", None),
        ("POST", "/semantic-cache/answer", {"prompt": "x at 5", "explain": True}),
        ("POST", "/semantic-cache/answer", {"prompt": "x at 6", "explain": True}),
        ("POST", "/semantic-cache/answer", {"prompt": "What is my balance?"}),
        ("POST", "/semantic-cache/answer", {"prompt": ""}),
        ("GET", "/semantic-cache/metrics", None),
        ("POST", "/semantic-cache/feedback", {"prompt": "x", "entry_id": "e", "right": True}),
        ("GET", "/semantic-cache/reaches", None),
        ("GET", "/semantic-cache/config", None),
        ("GET", "/semantic-cache/savings", None),
        ("GET", "/semantic-cache/entries", None),
        ("POST", "/semantic-cache/invalidate", {"tags": ["none"], "dry_run": True}),
        ("POST", "/semantic-cache/invalidate", {"tags": ["none"]}),
        ("POST", "/v1/events", {"tags": ["none"], "namespaces": ["docs"]}),
        ("POST", "/v1/events", [{"tenants": ["none"]}, {"ids": ["none"]}]),
        ("POST", "/v1/events", {}),
        ("GET", "/healthz", None),
        ("GET", "/readyz", None),
        ("GET", "/openapi.json", None),
    ]
    description = describe(PROTOCOLS)
    async with serving(redis_url, name, llm=LLM, target_precision=0.9) as (client, _):
        for method, path, body in asked:
            await check(client, description, method, path, body)


async def check(
    client: Client, description: dict[str, Any], method: str, path: str, body: Any
) -> None:
    template = path.replace("/shop", "/{cacheId}").replace("/none", "/{entryId}")
    operation = description["paths"][template][method.lower()]
    async with client.request(method, path, json=body) as answer:
        status = str(answer.status)
        told = operation["responses"].get(status) or operation["responses"][f"{status[0]}XX"]
        if "content" not in told:
            assert await answer.read() == b"", path
            return
        schema = told["content"][answer.content_type]["schema"]
        root = {**schema, "components": description["components"]}
        for error in OAS31Validator(root).iter_errors(await answer.json()):
            pytest.fail(f"{method} {path} {status}: {error.json_path}: {error.message}")


def test_bodies_that_are_refused_are_described_as_wrong() -> None:
    description = describe(PROTOCOLS)

    def fits(name: str, body: Any) -> bool:
        root = {
            "$ref": f"#/components/schemas/{name}",
            "components": description["components"],
        }
        return bool(OAS31Validator(root).is_valid(body))

    assert fits("SetRequest", {"prompt": "x", "response": "y", "ttlMillis": 5})
    assert fits("SetRequest", {"prompt": "x", "response": "y", "ttlMillis": None})
    assert not fits("SetRequest", {"prompt": "x", "response": "y", "ttlMillis": 0})
    assert not fits("SetRequest", {"prompt": "x"})
    assert not fits("SearchRequest", {"prompt": "x", "similarityThreshold": 1.5})
    assert not fits("AnswerRequest", {"prompt": "x", "nonsense": 1})
    assert fits("ChatRequest", {"model": "m", "messages": [{"role": "user"}], "seed": 1})
