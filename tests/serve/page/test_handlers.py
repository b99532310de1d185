"""The page's files, and the JSON that the page alone needs."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from semcache_async import Scope
from semcache_async.errors import StoreUnavailableError
from semcache_async.serve import page
from semcache_async.serve.service import Service
from semcache_async.testing import AngleEmbedder
from tests.serve.page.helpers import serving
from tests.serve.running import ACME_KEY, ADMIN_KEY, write_keys

pytestmark = pytest.mark.anyio

STATIC = Path(page.__file__).parent / "static"
ADMINS_ONLY = [
    ("GET", "/semantic-cache/near"),
    ("GET", "/semantic-cache/reviews"),
    ("GET", "/semantic-cache/reviews.jsonl"),
    ("POST", "/semantic-cache/reviews"),
    ("GET", "/semantic-cache/entries"),
    ("GET", "/semantic-cache/reaches"),
    ("POST", "/semantic-cache/feedback"),
    ("POST", "/semantic-cache/invalidate"),
]
HOSTILE = "<img src=x onerror=alert(1)> at 40"


class Client:
    """Asks the service, with a key if there is one."""

    def __init__(self, session: aiohttp.ClientSession, service: Service) -> None:
        self.session = session
        self.service = service

    async def get(self, path: str, status: int = 200) -> Any:
        async with self.session.get(path) as response:
            assert response.status == status, await response.text()
            return await response.json()

    async def post(self, path: str, body: object, status: int = 200) -> Any:
        async with self.session.post(path, json=body) as response:
            assert response.status == status, await response.text()
            return None if status == 204 else await response.json()

    async def ask(self, prompt: str, **more: Any) -> Any:
        return await self.post("/semantic-cache/answer", {"prompt": prompt, "model": "m", **more})


@pytest.fixture
async def client(redis_url: str, name: str) -> AsyncIterator[Client]:
    async with (
        serving(redis_url, name, AngleEmbedder()) as (url, service),
        aiohttp.ClientSession(url) as session,
    ):
        yield Client(session, service)


@pytest.mark.parametrize("path", ["/", "/page.css", "/page.js", "/icon.svg"])
async def test_a_file_is_served_once_and_then_known(client: Client, path: str) -> None:
    async with client.session.get(path) as response:
        assert response.status == 200
        body, etag = await response.read(), response.headers["ETag"]
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "charset=utf-8" in response.headers["Content-Type"]
    assert body
    async with client.session.get(path, headers={"If-None-Match": f'"old", {etag}'}) as response:
        assert response.status == 304
        assert not await response.read()
    async with client.session.get(path, headers={"If-None-Match": '"old"'}) as response:
        assert response.status == 200


def test_the_page_asks_nobody_else_and_runs_nothing_inline() -> None:
    for path in STATIC.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|//[a-z]+\.[a-z]|@import|url\(", text), path.name
    markup = (STATIC / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?! src)", markup)
    script = (STATIC / "page.js").read_text()
    for forbidden in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write"):
        assert forbidden not in script


def test_every_control_has_a_name() -> None:
    markup = (STATIC / "index.html").read_text()
    for id_ in re.findall(r'<(?:input|textarea)[^>]* id="([^"]+)"', markup):
        labelled = f'for="{id_}"' in markup or re.search(rf'<label>[^<]+<input id="{id_}"', markup)
        assert labelled, id_


async def test_from_a_near_hit_to_a_file_for_calibration(client: Client) -> None:
    await client.ask("refund at 10")
    assert (await client.ask("money back at 30"))["source"] == "semantic"
    await client.service.journal.flush()
    (hit,) = (await client.get("/semantic-cache/near?limit=5"))["hits"]
    assert (hit["prompt"], hit["matched_prompt"]) == ("money back at 30", "refund at 10")
    assert hit["similarity"] == pytest.approx(1 - hit["distance"])
    assert hit["verdict"] is None

    await client.post("/semantic-cache/reviews", {"id": hit["id"], "verdict": "wrong"}, 204)
    assert (await client.get("/semantic-cache/near"))["hits"][0]["verdict"] == "wrong"
    reviews = await client.get("/semantic-cache/reviews")
    assert (reviews["right"], reviews["wrong"]) == (0, 1)
    assert reviews["reviews"][0]["prompt"] == "money back at 30"
    async with client.session.get("/semantic-cache/reviews.jsonl") as response:
        assert response.content_type == "application/jsonl"
        assert "attachment" in response.headers["Content-Disposition"]
        lines = (await response.text()).splitlines()
    pair = {"text_a": "money back at 30", "text_b": "refund at 10", "label": 0}
    assert [json.loads(line) for line in lines] == [pair]


async def test_a_verdict_holds_at_once_in_every_process(
    client: Client, redis_url: str, name: str
) -> None:
    async with (
        serving(redis_url, name, AngleEmbedder()) as (url, service),
        aiohttp.ClientSession(url) as session,
    ):
        other = Client(session, service)
        await client.ask("refund at 10")
        assert (await client.ask("money back at 30"))["source"] == "semantic"
        await client.service.journal.flush()
        (hit,) = (await other.get("/semantic-cache/near"))["hits"]
        review = {"id": hit["id"], "verdict": "wrong"}
        await other.post("/semantic-cache/reviews", review, 204)
        assert (await client.ask("cheap at -10"))["source"] == "generated"  # as far off
        await other.post("/semantic-cache/reviews", {**review, "verdict": "right"}, 204)
        assert (await client.ask("money back at 30"))["matched_prompt"] == "refund at 10"

        path = "/semantic-cache/invalidate"
        assert await client.post(path, {"entry_ids": [hit["entry_id"]]}) == {"removed": 1}
        await client.post("/semantic-cache/reviews", review, 204)
        assert (await client.get("/semantic-cache/reviews"))["wrong"] == 1


async def test_entries_by_tag_and_their_end(client: Client) -> None:
    await client.ask("refund at 10", tags=["product:1", "shop"])
    await client.ask("opening hours at 80", tags=["shop"])
    await client.ask(HOSTILE)
    found = await client.get("/semantic-cache/entries")
    assert found["tags"] == {"shop": 2, "product:1": 1}
    assert {entry["prompt"] for entry in found["entries"]} == {
        "refund at 10",
        "opening hours at 80",
        HOSTILE,
    }
    assert not any(entry["answer"].startswith("{") for entry in found["entries"])
    (entry,) = (await client.get("/semantic-cache/entries?tag=product:1"))["entries"]
    assert entry["prompt"] == "refund at 10"
    assert (await client.get("/semantic-cache/entries?tag=%2A"))["entries"] == []

    path = "/semantic-cache/invalidate"
    dry = await client.post(path, {"tags": ["product:1"], "dry_run": True})
    assert dry == {"removed": 0, "count": 1, "examples": [entry]}
    assert await client.post(path, {"entry_ids": [entry["id"]]}) == {"removed": 1}
    assert await client.post(path, {"tags": ["shop"]}) == {"removed": 1}
    assert await client.post(path, {"tags": ["shop"]}) == {"removed": 0}
    (left,) = (await client.get("/semantic-cache/entries"))["entries"]
    assert left["prompt"] == HOSTILE


async def test_a_scope_is_meant_whole_and_a_tenant_alone_is_all_it_has(client: Client) -> None:
    cache = client.service.cache
    await cache.store("a at 10", "x", scope=Scope(tenant="acme"))
    await cache.store("b at 50", "x", scope=Scope(tenant="acme", locale="de"))
    await cache.store("c at 90", "x", scope=Scope(tenant="acme", locale="fr"))
    await cache.store("d at 130", "x")
    path = "/semantic-cache/invalidate"
    dry = await client.post(path, {"tenant": "acme", "dry_run": True})
    assert {entry["prompt"] for entry in dry["examples"]} == {"a at 10", "b at 50", "c at 90"}
    assert await client.post(path, {"locale": "de"}) == {"removed": 0}
    assert await client.post(path, {"tenant": "acme", "locale": "de"}) == {"removed": 1}
    assert await client.post(path, {"tenant": "acme", "namespace": "docs"}) == {"removed": 0}
    assert await client.post(path, {"tenant": "acme"}) == {"removed": 2}
    assert await client.post(path, {"tenant": ""}) == {"removed": 1}


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/semantic-cache/reviews", {}, 400),
        ("/semantic-cache/reviews", {"id": "1-1", "verdict": "maybe"}, 400),
        ("/semantic-cache/reviews", {"id": 1, "verdict": "right"}, 400),
        ("/semantic-cache/reviews", {"id": "1-1", "verdict": "right", "x": 1}, 400),
        ("/semantic-cache/reviews", {"id": "1-1", "verdict": "right"}, 404),
        ("/semantic-cache/invalidate", {}, 400),
        ("/semantic-cache/invalidate", [], 400),
        ("/semantic-cache/invalidate", {"dry_run": True}, 400),
        ("/semantic-cache/invalidate", {"tags": ["shop"], "dry_run": "yes"}, 400),
        ("/semantic-cache/invalidate", {"tags": []}, 400),
        ("/semantic-cache/invalidate", {"tags": "shop"}, 400),
        ("/semantic-cache/invalidate", {"tags": [""]}, 400),
        ("/semantic-cache/invalidate", {"everything": True}, 400),
        ("/semantic-cache/invalidate", {"entry_ids": ["../../etc", "*"]}, 200),
    ],
)
async def test_bad_bodies(client: Client, path: str, body: object, status: int) -> None:
    answer = await client.post(path, body, status)
    if status != 200:
        assert answer["error"]["message"]


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "1e3", "", "٣", "9" * 400])
@pytest.mark.parametrize("path", ["near", "reviews", "entries"])
async def test_bad_limits(client: Client, path: str, limit: str) -> None:
    answer = await client.get(f"/semantic-cache/{path}?limit={limit}", 400)
    assert answer["error"]["param"] == "limit"


async def test_with_keys_the_lists_are_for_admins(
    redis_url: str, name: str, tmp_path: Path
) -> None:
    embedder, keys = AngleEmbedder(), write_keys(tmp_path / "keys.toml")
    async with serving(redis_url, name, embedder, keys=keys) as (url, _):
        for key, refused in ((None, 401), ("sk-nobody", 401), (ACME_KEY, 403), (ADMIN_KEY, None)):
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            async with aiohttp.ClientSession(url, headers=headers) as session:
                for method, path in ADMINS_ONLY:
                    async with session.request(method, path, json={}) as response:
                        assert response.status == (refused or (200 if method == "GET" else 400))
                async with session.get("/semantic-cache/savings") as response:
                    assert response.status == (401 if refused == 401 else 200)
                async with session.get("/semantic-cache/config") as response:
                    assert response.status == (401 if refused == 401 else 200)
                    config = await response.json()
                if refused != 401:
                    assert config["admin"] is (refused is None)
                    assert config["open"] is False
                async with session.get("/") as response:
                    assert response.status == 200


async def test_redis_gone_is_said_and_nothing_more(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> Any:
        raise StoreUnavailableError("at redis://secret")

    monkeypatch.setattr(client.service.journal, "near", fail)
    answer = await client.get("/semantic-cache/near", 503)
    assert "secret" not in json.dumps(answer)
