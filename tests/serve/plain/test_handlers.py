"""The plain JSON service."""

from __future__ import annotations

from typing import Any

import pytest

from semcache_async.errors import StoreUnavailableError
from semcache_async.serve.keys import Caller, KeyRing, hash_key
from semcache_async.serve.service import Service
from semcache_async.simulator import SimulatorOptions
from tests.helpers import until
from tests.serve.running import Client, serving

TIGHT = 0.01

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

LLM = SimulatorOptions(median_ms=0, sigma=0, tokens_per_s=0, tokens=5)
KEYS = KeyRing(
    {
        hash_key("sk-a"): Caller(tenant="a"),
        hash_key("sk-root"): Caller(tenant="", admin=True),
    },
    allow_anonymous=True,
)


async def answer(
    client: Client, prompt: str, *, key: str | None = None, **more: Any
) -> dict[str, Any]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with client.post(
        "/semantic-cache/answer", json={"prompt": prompt, **more}, headers=headers
    ) as found:
        told: dict[str, Any] = await found.json()
        return {"status": found.status, "cache": found.headers.get("Cache-Status")} | told


async def test_a_miss_then_a_hit(redis_url: str, name: str) -> None:
    async with serving(redis_url, name, llm=LLM) as (client, _):
        first = await answer(client, "refund at 10")
        assert (first["status"], first["source"], first["hit"]) == (200, "generated", False)
        assert first["cache"] == "semcache; fwd=miss; stored"
        assert first["answer"]
        assert (first["similarity"], first["distance"], first["matched_prompt"]) == (None,) * 3
        assert first["max_distance"] == TIGHT
        assert "neighbours" not in first
        assert "reason" not in first

        second = await answer(client, "money back at 12")
        assert (second["source"], second["hit"], second["cache"]) == (
            "semantic",
            True,
            "semcache; hit",
        )
        assert second["answer"] == first["answer"]
        assert second["matched_prompt"] == "refund at 10"
        assert second["entry_id"] == first["entry_id"]
        assert second["distance"] == pytest.approx(0.000609, abs=1e-5)
        assert second["similarity"] == pytest.approx(1 - 0.000609, abs=1e-5)
        assert set(second["timings_ms"]) == {"exact", "embed", "search", "generate", "total"}
        assert second["timings_ms"]["total"] > 0
        assert (await answer(client, " refund at 10\n"))["source"] == "exact"


async def test_the_proxy_shares_its_answers(redis_url: str, name: str) -> None:
    async with serving(redis_url, name, llm=LLM) as (client, _):
        made = await answer(client, "refund at 10", model="simulated", system="Be brief.")
        body = {
            "model": "simulated",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "refund at 10"},
            ],
        }
        async with client.post("/v1/chat/completions", json=body) as found:
            assert found.headers["x-semcache-status"] == "exact"
            said = (await found.json())["choices"][0]["message"]["content"]
        assert said == made["answer"]
        assert (await answer(client, "refund at 10", model="simulated"))["source"] == "generated"
        assert (await answer(client, "refund at 10", locale="de-CH"))["source"] == "generated"


async def test_a_threshold_only_tightens(redis_url: str, name: str) -> None:
    async with serving(redis_url, name, llm=LLM) as (client, _):
        await answer(client, "refund at 10")
        for prompt, field, limit in (
            ("money back at 12", "max_distance", 0.0005),
            ("my money at 8", "similarity_threshold", 0.9995),
        ):
            found = await answer(client, prompt, **{field: limit, "explain": True})  # type: ignore[arg-type]
            assert found["source"] == "generated"
            assert found["max_distance"] == pytest.approx(0.0005)
            assert [n["accepted"] for n in found["neighbours"][:1]] == [False]
        loose = await answer(client, "other at 30", max_distance=2.0, similarity_threshold=-1.0)
        assert (loose["source"], loose["max_distance"]) == ("generated", TIGHT)


async def test_explain_tells_who_was_near(redis_url: str, name: str) -> None:
    async with serving(redis_url, name, llm=LLM) as (client, _):
        assert (await answer(client, "refund at 10", explain=True))["neighbours"] == []
        await answer(client, "far at 40")
        found = await answer(client, "money back at 12", explain=True)
        near = found["neighbours"]
        assert [(n["prompt"], n["accepted"]) for n in near] == [
            ("refund at 10", True),
            ("far at 40", False),
        ]
        assert near[0]["distance"] == pytest.approx(found["distance"])
        assert near[0]["similarity"] == pytest.approx(1 - near[0]["distance"])
        assert near[0]["entry_id"] == found["entry_id"]
        bypassed = await answer(client, "What is my balance today?", explain=True)
        assert (bypassed["source"], bypassed["hit"]) == ("bypassed", False)
        assert bypassed["reason"]
        assert "neighbours" not in bypassed


async def test_a_failing_store_costs_no_answer(
    redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise StoreUnavailableError("down")

    async with serving(redis_url, name, llm=LLM) as (client, service):
        monkeypatch.setattr(service.cache, "nearest", fail)
        found = await answer(client, "refund at 10", explain=True)
        assert (found["status"], found["source"]) == (200, "generated")
        assert "neighbours" not in found


async def test_tags_invalidate(redis_url: str, name: str) -> None:
    async with serving(redis_url, name, llm=LLM) as (client, service):
        await answer(client, "refund at 10", tags=["policy"])
        assert await service.cache.invalidate(tags=["policy"]) == 1
        assert (await answer(client, "refund at 10"))["source"] == "generated"


async def test_only_an_admin_names_a_tenant(redis_url: str, name: str) -> None:
    async with serving(redis_url, name, llm=LLM, keys=KEYS) as (client, _):
        assert (await answer(client, "refund at 10", key="sk-a"))["source"] == "generated"
        own = await answer(client, "refund at 10", key="sk-a", tenant="a")
        assert own["source"] == "exact"
        root = await answer(client, "refund at 10", key="sk-root", tenant="a")
        assert root["source"] == "exact"
        assert (await answer(client, "refund at 10", key="sk-root"))["source"] == "generated"
        for key, tenant in (("sk-a", "b"), (None, "a"), ("sk-a", "")):
            found = await answer(client, "refund at 10", key=key, tenant=tenant)
            assert (found["status"], found["error"]["type"]) == (403, "foreign_tenant")
        assert (await answer(client, "refund at 10", key="sk-no"))["status"] == 401


async def test_similarity_can_be_hidden(redis_url: str, name: str) -> None:
    hidden = {"hide_similarity": True}
    async with serving(redis_url, name, llm=LLM, options=hidden) as (client, _):
        await answer(client, "refund at 10")
        found = await answer(client, "money back at 12", explain=True)
        assert found["source"] == "semantic"
        assert (found["similarity"], found["distance"], found["matched_prompt"]) == (None,) * 3
        assert "neighbours" not in found


async def test_a_model_must_be_named_unless_there_is_but_one(redis_url: str, name: str) -> None:
    several = SimulatorOptions(median_ms=0, sigma=0, tokens_per_s=0, models=("one", "two"))
    async with serving(redis_url, name, llm=several) as (client, _):
        found = await answer(client, "refund at 10")
        assert (found["status"], found["error"]["param"]) == (400, "model")
        assert (await answer(client, "refund at 10", model="two"))["status"] == 200
        unknown = await answer(client, "refund at 10", model="three")
        assert unknown["status"] == 404


async def test_the_llms_failure_is_the_callers(redis_url: str, name: str) -> None:
    failing = SimulatorOptions(median_ms=0, sigma=0, fail_rate=1.0, fail_status=503)
    async with serving(redis_url, name, llm=failing) as (client, _):
        found = await answer(client, "refund at 10")
        assert found["status"] == 503
        assert found["error"]["message"]


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "prompt"),
    ({"prompt": ""}, "prompt"),
    ({"prompt": "\0"}, "prompt"),
    ({"prompt": 5}, "prompt"),
    ({"prompt": "x", "max_distance": 2.5}, "max_distance"),
    ({"prompt": "x", "similarity_threshold": 1.5}, "similarity_threshold"),
    ({"prompt": "x", "tags": "t"}, "tags"),
    ({"prompt": "x", "tags": [""]}, "tags[0]"),
    ({"prompt": "x", "explain": "yes"}, "explain"),
    ({"prompt": "x", "threshold": 0.1}, "threshold"),
]


async def test_bad_input(redis_url: str, name: str) -> None:
    async with serving(redis_url, name, llm=LLM) as (client, _):
        for body, param in BAD:
            async with client.post("/semantic-cache/answer", json=body) as found:
                assert found.status == 400
                error = (await found.json())["error"]
            assert error["param"] == param
            assert error["message"]


async def test_metrics(redis_url: str, name: str) -> None:
    async with serving(redis_url, name, llm=LLM) as (client, _):
        await answer(client, "refund at 10")
        await answer(client, "money back at 12")
        async with client.get("/semantic-cache/metrics") as found:
            told = await found.json()
        assert (told["requests"], told["hits"], told["misses"]) == (2, 1, 1)
        assert (told["hit_rate"], told["llm_calls"]) == (0.5, 1)
        assert told["latency_ms"]["semantic"]["count"] == 1
        assert told["saved"]["tokens"] > 0
    assert told["wrong_hits"] is None


# -- what is learnt

SAME_LLM = {"simulate_llm": True}
"""Two services whose answers are each other's."""


async def feedback(
    client: Client, status: int = 204, *, key: str | None = None, **body: Any
) -> Any:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with client.post("/semantic-cache/feedback", json=body, headers=headers) as said:
        assert said.status == status, await said.text()
        return None if status == 204 else (await said.json())["error"]


async def reaches(client: Client, service: Service) -> list[dict[str, Any]]:
    """Once all that was to be learnt is."""
    await until(lambda: service.cache.stats().judging == 0)
    async with client.get("/semantic-cache/reaches") as found:
        assert found.headers["Cache-Control"] == "no-store"
        return list((await found.json())["reaches"])


async def test_a_verdict_holds_at_once_in_every_process(redis_url: str, name: str) -> None:
    async with (
        serving(redis_url, name, llm=LLM, options=SAME_LLM) as (client, service),
        serving(redis_url, name, llm=LLM, options=SAME_LLM) as (other, _),
    ):
        first = await answer(client, "refund at 10")
        near = await answer(client, "money back at 12")
        assert (near["source"], near["entry_id"]) == ("semantic", first["entry_id"])
        about = {"entry_id": first["entry_id"]}
        await feedback(client, prompt="money back at 12", right=False, **about)
        found = await answer(other, "money back at 12", explain=True)
        assert found["source"] == "generated"
        (refused,) = found["neighbours"]
        assert (refused["accepted"], refused["refused_by"]) == (False, "verdict")

        await feedback(other, prompt="cash at 8", right=True, **about)
        found = await answer(client, "cash at 8")
        assert (found["source"], found["matched_prompt"]) == ("semantic", "refund at 10")
        stats = service.metrics.summary()
        assert (stats["feedback_right"], stats["feedback_wrong"]) == (0, 1)

        await feedback(client, prompt="refund at 10", right=False, **about)
        error = await feedback(client, 404, prompt="cash at 8", right=True, **about)
        assert error["param"] == "entry_id"


async def test_feedback_is_for_admins_and_checked(redis_url: str, name: str) -> None:
    async with serving(redis_url, name, llm=LLM, keys=KEYS) as (client, _):
        body = {"prompt": "x", "entry_id": "e", "right": True}
        for key, status in (("sk-no", 401), ("sk-a", 403), (None, 403), ("sk-root", 404)):
            await feedback(client, status, key=key, **body)
        for wrong, param in (
            ({"right": "yes"}, "right"),
            ({"right": None}, "right"),
            ({"prompt": " "}, "prompt"),
            ({"entry_id": ""}, "entry_id"),
            ({"entry_id": "\0"}, "entry_id"),
            ({"verdict": "right"}, "verdict"),
        ):
            error = await feedback(client, 400, key="sk-root", **{**body, **wrong})
            assert error["param"] == param
        headers = {"Authorization": "Bearer sk-a"}
        async with client.get("/semantic-cache/reaches", headers=headers) as found:
            assert found.status == 403


async def test_each_scope_says_how_far_it_serves_and_why(redis_url: str, name: str) -> None:
    learning: dict[str, Any] = {"target_precision": 0.9, "max_distance": 0.3}
    async with serving(redis_url, name, llm=LLM, **learning) as (client, service):
        assert await reaches(client, service) == []
        first = await answer(client, "refund at 10")
        (told,) = await reaches(client, service)
        assert (told["tenant"], told["model"], told["locale"]) == ("", "simulated", "")
        assert (told["origin"], told["samples"]) == ("default", 0)
        assert told["explanation"].startswith(f"{told['max_distance']:.4g}, the default")
        far = await answer(client, "money at 45", explain=True)  # .181
        assert far["source"] == "generated"
        assert far["max_distance"] == told["max_distance"] < 0.181
        assert [(n["accepted"], n["refused_by"]) for n in far["neighbours"]] == [
            (False, "distance")
        ]

        for n in range(8):
            about = {"entry_id": first["entry_id"], "right": False}
            await feedback(client, prompt=f"wrong {n} at 11", **about)
        (told,) = await reaches(client, service)
        assert (told["origin"], told["max_distance"]) == ("stopped", None)
        stopped = await answer(client, "cash at 12")
        assert stopped["source"] == "generated"
        assert stopped["max_distance"] < 0


async def test_shadow_mode_accepts_nothing(redis_url: str, name: str) -> None:
    async with serving(redis_url, name, llm=LLM, shadow=True) as (client, service):
        await answer(client, "refund at 10")
        body = {"prompt": "money back at 12", "explain": True}
        async with client.post("/semantic-cache/answer", json=body) as found:
            assert found.headers["x-semcache-shadow"] == "semantic"
            told = await found.json()
        assert (told["source"], told["hit"], told["distance"]) == ("generated", False, None)
        (near,) = told["neighbours"]
        assert (near["prompt"], near["accepted"], near["refused_by"]) == (
            "refund at 10",
            False,
            None,
        )
        assert service.metrics.summary()["shadow_semantic"] == 1
