"""LangCache's API, by hand and by its own SDK."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio.to_thread
import pytest
from langcache import LangCache
from langcache.errors import (
    AuthenticationErrorResponseContent,
    BadRequestErrorResponseContent,
    FailedDependencyErrorResponseContent,
    NotFoundErrorResponseContent,
    PayloadTooLargeErrorResponseContent,
)
from langcache.models import SearchStrategy

from semcache_async.embed import TextEmbedder
from semcache_async.errors import StoreFullError, StoreUnavailableError
from semcache_async.serve.keys import Caller, KeyRing, hash_key
from semcache_async.testing import MemoryStore
from tests.serve.running import Client, Clock, client_of, notes, service_for, serving

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

CACHE = "/v1/caches/shop"
KEYS = KeyRing(
    {hash_key("sk-a"): Caller(tenant="a"), hash_key("sk-b"): Caller(tenant="b")},
)


async def put(client: Client, prompt: str, response: str, **more: Any) -> str:
    body = {"prompt": prompt, "response": response, **more}
    async with client.post(f"{CACHE}/entries", json=body) as answer:
        assert answer.status == 201, await answer.text()
        return str((await answer.json())["entryId"])


async def look(client: Client, prompt: str, **more: Any) -> list[dict[str, Any]]:
    async with client.post(f"{CACHE}/entries/search", json={"prompt": prompt, **more}) as answer:
        assert answer.status == 200, await answer.text()
        return list((await answer.json())["data"])


async def converse(client: Client, context: list[str], prompt: str, **more: Any) -> dict[str, Any]:
    body = {"prompt": prompt, "context": context, **more}
    async with client.post(f"{CACHE}/conversations/search", json=body) as answer:
        assert answer.status == 200, await answer.text()
        return dict(await answer.json())


async def refused(client: Client, path: str, body: Any, *, method: str = "POST") -> dict[str, Any]:
    async with client.request(method, path, json=body) as answer:
        assert answer.content_type == "application/json"
        told: dict[str, Any] = await answer.json()
        return {"status": answer.status} | told


# -- the SDK


async def test_the_sdk_async(redis_url: str, name: str) -> None:
    async with (
        serving(redis_url, name) as (client, _),
        LangCache(server_url=str(client.make_url("/")), cache_id="shop", api_key="any") as sdk,
    ):
        kept = await sdk.set_async(
            prompt="refund at 10", response="In May.", attributes={"plan": "pro"}, ttl_millis=60_000
        )
        found = await sdk.search_async(
            prompt="money back at 15",
            similarity_threshold=0.9,
            search_strategies=[SearchStrategy.EXACT, SearchStrategy.SEMANTIC],
            attributes={"plan": "pro"},
            max_results=5,
        )
        (hit,) = found.data
        assert (hit.id, hit.prompt, hit.response) == (kept.entry_id, "refund at 10", "In May.")
        assert (hit.attributes, hit.search_strategy) == ({"plan": "pro"}, SearchStrategy.SEMANTIC)
        assert hit.similarity == pytest.approx(1 - 0.0038053 / 2, abs=1e-5)
        exact = await sdk.search_async(prompt=" refund at 10\n", attributes={"plan": "pro"})
        assert [(h.search_strategy, h.similarity) for h in exact.data] == [("exact", 1.0)]
        missed = await sdk.search_async(prompt="refund at 90")
        assert missed.data == []

        turn = await sdk.conversational_search_async(prompt="when at 5", context=["refund at 10"])
        assert (turn.actual_prompt, turn.data) == ("refund at 10\nwhen at 5", [])
        await sdk.set_async(prompt=turn.actual_prompt, response="Soon.")
        turn = await sdk.conversational_search_async(prompt="When at 5", context=["refund at 10"])
        assert [h.response for h in turn.data] == ["Soon."]

        await sdk.delete_by_id_async(entry_id=kept.entry_id)
        with pytest.raises(NotFoundErrorResponseContent) as gone:
            await sdk.delete_by_id_async(entry_id=kept.entry_id)
        assert gone.value.data.status == 404
        await sdk.set_async(prompt="x at 1", response="1", attributes={"plan": "pro", "to": "me"})
        deleted = await sdk.delete_query_async(attributes={"plan": "pro"})
        assert deleted.deleted_entries_count == 1
        await sdk.flush_async()
        assert (await sdk.search_async(prompt=turn.actual_prompt)).data == []


async def test_the_sdk_sync(redis_url: str, name: str) -> None:
    async with serving(redis_url, name, keys=KEYS) as (client, _):
        url = str(client.make_url("/"))

        def work() -> None:
            with LangCache(server_url=url, cache_id="shop", api_key="sk-a") as sdk:
                kept = sdk.set(prompt="refund at 10", response="In May.")
                (hit,) = sdk.search(prompt="money back at 15").data
                assert (hit.id, hit.response) == (kept.entry_id, "In May.")
                assert sdk.search(prompt="refund at 10", similarity_threshold=1.0).data
                with pytest.raises(BadRequestErrorResponseContent) as bad:
                    sdk.search(prompt="x", similarity_threshold=1.5)
                fields = bad.value.data.fields
                assert fields is not None
                assert [(f.field, f.rule) for f in fields] == [
                    ("similarityThreshold", "out_of_range")
                ]
                with pytest.raises(BadRequestErrorResponseContent):
                    sdk.delete_query(attributes={})
                with pytest.raises(PayloadTooLargeErrorResponseContent):
                    sdk.search(prompt="x" * 9_000_000)
                sdk.delete_by_id(entry_id=kept.entry_id)
                sdk.flush()
            with (
                LangCache(server_url=url, cache_id="shop", api_key="sk-no") as stranger,
                pytest.raises(AuthenticationErrorResponseContent),
            ):
                stranger.search(prompt="x")

        await anyio.to_thread.run_sync(work)


@pytest.mark.parametrize(
    ("method", "error", "kind"),
    [
        ("nearest", StoreUnavailableError("down"), "/errors/resource-unavailable"),
        ("lookup_exact", StoreUnavailableError("down"), "/errors/resource-unavailable"),
        ("store", StoreFullError("full"), "/errors/database-out-of-memory"),
        ("invalidate", StoreUnavailableError("down"), "/errors/resource-unavailable"),
    ],
)
async def test_a_failing_store_is_a_failed_dependency(
    redis_url: str,
    name: str,
    method: str,
    error: Exception,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise error

    async with (
        serving(redis_url, name) as (client, service),
        LangCache(server_url=str(client.make_url("/")), cache_id="shop", api_key="any") as sdk,
    ):
        monkeypatch.setattr(service.cache, method, fail)
        calls: dict[str, Callable[[], Any]] = {
            "nearest": partial(sdk.search_async, prompt="x at 1"),
            "lookup_exact": partial(sdk.search_async, prompt="x at 1"),
            "store": partial(sdk.set_async, prompt="x at 1", response="y"),
            "invalidate": partial(sdk.flush_async),
        }
        with pytest.raises(FailedDependencyErrorResponseContent) as failed:
            await calls[method]()
        assert failed.value.data.type == kind


async def test_a_lookup_has_a_budget(
    redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    async with serving(redis_url, name, lookup_budget_s=0.01) as (client, service):
        monkeypatch.setattr(service.cache, "nearest", hang)
        error = await refused(client, f"{CACHE}/entries/search", {"prompt": "x"})
        assert (error["status"], error["type"]) == (424, "/errors/resource-unavailable")


# -- searching


async def test_strategies_by_priority_and_never_twice(redis_url: str, name: str) -> None:
    async with serving(redis_url, name) as (client, service):
        first = await put(client, "refund at 10", "A")
        second = await put(client, "money back at 13", "B")
        both = await look(client, "refund at 10", maxResults=5)
        assert [(h["id"], h["searchStrategy"]) for h in both] == [
            (first, "exact"),
            (second, "semantic"),
        ]
        turned = await look(
            client, "refund at 10", maxResults=5, searchStrategies=["semantic", "exact"]
        )
        assert [(h["id"], h["searchStrategy"]) for h in turned] == [
            (first, "semantic"),
            (second, "semantic"),
        ]
        assert len(await look(client, "refund at 10", maxResults=1)) == 1
        assert await look(client, "reword at 10", searchStrategies=["exact"]) == []
        assert [h["id"] for h in await look(client, "reword at 14")] == [second]
        prompt, answer = notes(service)[-1]
        assert (prompt, answer.entry_id) == ("reword at 14", second)
        assert answer.distance == pytest.approx(0.000152, abs=1e-5)


async def test_an_entry_carries_at_least_the_attributes_asked_for(
    redis_url: str, name: str
) -> None:
    async with serving(redis_url, name) as (client, _):
        percent = "50%25%20off%2C%7B%7D"
        await put(client, "refund at 10", "A", attributes={"plan": "pro", "note": percent})
        await put(client, "refund at 10", "B", attributes={"plan": "free"})
        (hit,) = await look(client, "refund at 10", attributes={"plan": "pro"})
        assert hit["response"] == "A"
        assert hit["attributes"] == {"plan": "pro", "note": percent}
        assert (hit["searchStrategy"], hit["similarity"]) == ("exact", 1.0)
        found = await look(client, "refund at 10", maxResults=9, searchStrategies=["exact"])
        assert {h["response"] for h in found} == {"A", "B"}
        assert await look(client, "refund at 10", attributes={"plan": "50% off,{}"}) == []
        assert await look(client, "refund at 10", attributes={"plan": "pro|free"}) == []
        assert await look(client, "refund at 10", attributes={"plan": "*"}) == []


async def test_the_exact_strategy_ends_with_the_exact_tier() -> None:
    clock = Clock(time.time() - 3_601)
    cache = {"exact_ttl_s": 3_600, "ttl_jitter": 0.0}
    async with (
        service_for(store=MemoryStore(clock=clock), cache=cache) as service,
        client_of(service) as client,
    ):
        await put(client, "refund at 10", "A", attributes={"plan": "pro"})
        clock.now += 3_601
        assert not await look(client, "refund at 10", searchStrategies=["exact"])
        assert not await look(client, "refund at 10")  # nor by meaning: it is the same wording
        (hit,) = await look(client, "money back at 10")
        assert (hit["searchStrategy"], hit["similarity"]) == ("semantic", pytest.approx(1.0))


async def test_what_the_model_cannot_see_is_not_matched(text_embedder: TextEmbedder) -> None:
    async with service_for(embedder=text_embedder) as service, client_of(service) as client:
        await put(client, "Was heißt schon?", "already")
        assert not await look(client, "Was heißt schön?")
        (hit,) = await look(client, "Was heißt schon?")
        assert hit["response"] == "already"


async def test_a_threshold_tightens_and_never_loosens(redis_url: str, name: str) -> None:
    async with serving(redis_url, name) as (client, _):
        await put(client, "refund at 10", "A")
        (hit,) = await look(client, "money back at 17")
        again = await look(client, "money back at 17", similarityThreshold=hit["similarity"])
        assert [h["id"] for h in again] == [hit["id"]]
        tighter = hit["similarity"] + 1e-6
        assert await look(client, "money back at 17", similarityThreshold=tighter) == []
        assert await look(client, "money back at 19", similarityThreshold=0.0) == []
        assert await look(client, "refund at 10", similarityThreshold=1.0)


async def test_similarity_can_be_hidden(redis_url: str, name: str) -> None:
    async with serving(redis_url, name, options={"hide_similarity": True}) as (client, _):
        await put(client, "refund at 10", "A")
        (hit,) = await look(client, "money back at 17")
        assert hit["similarity"] == pytest.approx(0.995)
        assert (await look(client, "refund at 10"))[0]["similarity"] == 1.0


# -- conversations


async def test_an_answer_of_another_conversation_is_not_served(redis_url: str, name: str) -> None:
    async with serving(redis_url, name, max_distance=2.0) as (client, _):
        await put(client, "about bikes at 10\nwhat is it at 10", "A bike.")
        same = await converse(client, ["  about bikes at 10"], "what is this at 10")
        assert [h["response"] for h in same["data"]] == ["A bike."]
        assert same["actualPrompt"] == "about bikes at 10\nwhat is this at 10"
        for context in (["about cars at 10"], [], ["about bikes at 10", "more at 10"]):
            assert (await converse(client, context, "what is it at 10"))["data"] == [], context
        # Nor is it the answer to the last question alone.
        assert await look(client, "what is it at 10") == []
        exact = await converse(client, ["about bikes at 10"], "what is it at 10 ")
        assert [h["searchStrategy"] for h in exact["data"]] == ["exact"]


async def test_a_long_history_hides_no_difference_in_the_question(
    redis_url: str, name: str
) -> None:
    async with serving(redis_url, name) as (client, _):
        # AngleEmbedder reads the first angle alone: the whole is at distance 0.
        await put(client, "bikes at 10\nprice at 40", "100.")
        assert (await converse(client, ["bikes at 10"], "weight at 60"))["data"] == []
        near = (await converse(client, ["bikes at 10"], "cost at 42"))["data"]
        assert [(h["response"], h["searchStrategy"]) for h in near] == [("100.", "semantic")]
        assert near[0]["similarity"] == pytest.approx(1 - 0.000609 / 2, abs=1e-5)


async def test_without_context_the_prompt_is_the_actual_one(redis_url: str, name: str) -> None:
    async with serving(redis_url, name) as (client, _):
        await put(client, "refund at 10", "A")
        body = {"prompt": "money back at 12"}
        async with client.post(f"{CACHE}/conversations/search", json=body) as answer:
            found = await answer.json()
        assert found["actualPrompt"] == "money back at 12"
        assert [h["response"] for h in found["data"]] == ["A"]


# -- what the cache itself would refuse


async def test_a_scope_that_finds_its_own_distance_keeps_to_it(redis_url: str, name: str) -> None:
    learning: dict[str, Any] = {"target_precision": 0.9, "max_distance": 0.3}
    async with serving(redis_url, name, **learning) as (client, _):
        entry_id = await put(client, "refund at 10", "A")
        assert len(await look(client, "money back at 12")) == 1
        assert await look(client, "money back at 45", similarityThreshold=0.5) == []  # .181
        await put(client, "bikes at 90\ncost at 40", "100.")
        assert len((await converse(client, ["bikes at 90"], "price at 42"))["data"]) == 1
        assert (await converse(client, ["bikes at 90"], "price at 75"))["data"] == []
        body = {"prompt": "money back at 12", "entry_id": entry_id, "right": False}
        async with client.post("/semantic-cache/feedback", json=body) as said:
            assert said.status == 204
        assert await look(client, "money back at 12") == []


async def test_an_entry_without_verdicts_serves_its_own_wording(redis_url: str, name: str) -> None:
    async with serving(redis_url, name, verified=0.9) as (client, _):
        await put(client, "refund at 10", "A")
        assert await look(client, "money back at 12") == []
        assert len(await look(client, "refund at 10")) == 1


async def test_shadow_mode_only_notes_what_it_would_serve() -> None:
    async with service_for(cache={"shadow": True}) as service, client_of(service) as client:
        await put(client, "refund at 10", "A")
        assert await look(client, "refund at 10") == []
        assert await look(client, "money back at 12") == []
        ((prompt, hit),) = notes(service)
        assert (prompt, hit.matched_prompt) == ("money back at 12", "refund at 10")


# -- boundaries


async def test_tenants_and_caches_are_apart(redis_url: str, name: str) -> None:
    async with serving(redis_url, name, keys=KEYS) as (client, _):
        a, b = ({"Authorization": f"Bearer sk-{tenant}"} for tenant in "ab")

        async def ask(headers: dict[str, str], method: str, path: str, body: Any = None) -> Any:
            async with client.request(method, path, json=body, headers=headers) as answer:
                found = await answer.json() if answer.content_type.endswith("json") else None
                return answer.status, found

        entry = {"prompt": "refund at 10", "response": "A"}
        _, kept = await ask(a, "POST", f"{CACHE}/entries", entry)
        search = {"prompt": "refund at 10"}
        for headers, path in ((b, CACHE), (a, "/v1/caches/other")):
            assert await ask(headers, "POST", f"{path}/entries/search", search) == (
                200,
                {"data": []},
            )
            status, error = await ask(headers, "DELETE", f"{path}/entries/{kept['entryId']}")
            assert (status, error["type"]) == (404, "/errors/resource-not-found")
            assert (await ask(headers, "POST", f"{path}/flush"))[0] == 204
        status, found = await ask(a, "POST", f"{CACHE}/entries/search", search)
        assert [h["id"] for h in found["data"]] == [kept["entryId"]]
        assert (await ask({}, "POST", f"{CACHE}/flush"))[0] == 401
        assert (await ask(a, "DELETE", f"{CACHE}/entries/{kept['entryId']}"))[0] == 204


async def test_time_to_live(redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(redis_url, name) as (client, service):
        stored: list[float | None] = []
        keep = service.cache.store

        async def store(*args: Any, ttl_s: float | None, **more: Any) -> str:
            stored.append(ttl_s)
            return await keep(*args, ttl_s=ttl_s, **more)

        monkeypatch.setattr(service.cache, "store", store)
        await put(client, "refund at 10", "A", ttlMillis=1_500)
        await put(client, "refund at 11", "A")
        assert stored == [1.5, None]


BAD: list[tuple[str, Any, str, str]] = [
    ("/entries", {"prompt": "x"}, "response", "missing_field"),
    ("/entries", {"response": "x"}, "prompt", "missing_field"),
    ("/entries", {"prompt": "", "response": "y"}, "prompt", "out_of_range"),
    ("/entries", {"prompt": " \n", "response": "y"}, "prompt", "invalid_text"),
    ("/entries", {"prompt": "x\0", "response": "y"}, "prompt", "invalid_text"),
    ("/entries", {"prompt": "x", "response": " "}, "response", "invalid_text"),
    ("/entries", {"prompt": "x", "response": "y", "ttlMillis": 0}, "ttlMillis", "out_of_range"),
    (
        "/entries",
        {"prompt": "x", "response": "y", "ttlMillis": -5},
        "ttlMillis",
        "out_of_range",
    ),
    (
        "/entries",
        {"prompt": "x", "response": "y", "ttlMillis": 1.5},
        "ttlMillis",
        "invalid_type",
    ),
    (
        "/entries",
        {"prompt": "x", "response": "y", "ttlMillis": 10**18},
        "ttlMillis",
        "out_of_range",
    ),
    (
        "/entries",
        {"prompt": "x", "response": "y", "attributes": {"a": 1}},
        "attributes[...]",
        "invalid_type",
    ),
    ("/entries", {"prompt": "x", "response": "y", "ttl": 5}, "ttl", "unknown_field"),
    ("/entries/search", {"prompt": ["x"]}, "prompt", "invalid_type"),
    ("/entries/search", {"prompt": "x", "maxResults": 0}, "maxResults", "out_of_range"),
    ("/entries/search", {"prompt": "x", "maxResults": 101}, "maxResults", "out_of_range"),
    ("/entries/search", {"prompt": "x", "maxResults": True}, "maxResults", "invalid_type"),
    (
        "/entries/search",
        {"prompt": "x", "similarityThreshold": -0.1},
        "similarityThreshold",
        "out_of_range",
    ),
    (
        "/entries/search",
        {"prompt": "x", "searchStrategies": []},
        "searchStrategies",
        "out_of_range",
    ),
    (
        "/entries/search",
        {"prompt": "x", "searchStrategies": ["fuzzy"]},
        "searchStrategies[0]",
        "out_of_range",
    ),
    ("/conversations/search", {"prompt": "x", "context": "y"}, "context", "invalid_type"),
    ("/conversations/search", {"prompt": "x", "context": [" "]}, "context[0]", "invalid_text"),
]


async def test_bad_input_names_the_field_and_the_rule(redis_url: str, name: str) -> None:
    async with serving(redis_url, name) as (client, _):
        for path, body, field, rule in BAD:
            error = await refused(client, CACHE + path, body)
            assert (error["status"], error["type"]) == (400, "/errors/invalid-data")
            (said,) = error["fields"]
            assert (said["field"], said["rule"]) == (field, rule)
            assert said["message"]
            assert error["title"]


async def test_what_cannot_be_kept_is_refused(redis_url: str, name: str) -> None:
    async with serving(redis_url, name, max_prompt_bytes=20, max_answer_bytes=20) as (client, _):
        for body in ({"prompt": "x" * 21, "response": "y"}, {"prompt": "x", "response": "y" * 21}):
            error = await refused(client, f"{CACHE}/entries", body)
            assert (error["status"], error["type"]) == (400, "/errors/invalid-data")
        assert await look(client, "x" * 21) == []


async def test_a_cache_id_is_checked(redis_url: str, name: str) -> None:
    async with serving(redis_url, name) as (client, _):
        for cache_id in ("a.b", "a%2Fb", "x" * 65, "%20", "ä"):
            error = await refused(client, f"/v1/caches/{cache_id}/flush", None)
            assert (error["status"], error["type"]) == (400, "/errors/invalid-data")
            assert error["fields"][0]["field"] == "cacheId"


async def test_an_unknown_entry_is_not_found(redis_url: str, name: str) -> None:
    async with serving(redis_url, name) as (client, _):
        for entry_id in ("x", "0" * 32, "%2A", "0" * 3_000):
            error = await refused(client, f"{CACHE}/entries/{entry_id}", None, method="DELETE")
            assert (error["status"], error["type"]) == (404, "/errors/resource-not-found")


async def test_nothing_named_deletes_nothing(redis_url: str, name: str) -> None:
    async with serving(redis_url, name) as (client, _):
        await put(client, "refund at 10", "A")
        bodies: tuple[dict[str, Any], ...] = ({}, {"attributes": {}}, {"attributes": None})
        for body in bodies:
            error = await refused(client, f"{CACHE}/entries", body, method="DELETE")
            assert (error["status"], error["fields"][0]["field"]) == (400, "attributes")
        assert await look(client, "refund at 10")
