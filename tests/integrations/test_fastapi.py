"""Applications with a cache: the blocks of docs/integrations/fastapi.md, and what goes wrong."""

from __future__ import annotations

import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import litestar.testing
import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient

from semcache_async import SemanticCache
from semcache_async.embed import TextEmbedder
from semcache_async.errors import ConfigError
from semcache_async.integrations.fastapi import Cache, get_cache, semcache_lifespan
from semcache_async.testing import AngleEmbedder, MemoryStore
from tests.pages import code_of
from tests.test_usage_patterns import FASTAPI_PAGE, directory

__all__ = ["directory"]


@pytest.fixture
def example(directory: Path, text_embedder: TextEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks' surroundings, and one model for all of them."""
    monkeypatch.setattr("semcache_async.embed.load_embedder", lambda _: text_embedder)


def run(block: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    module = ModuleType("app")
    monkeypatch.setitem(sys.modules, "app", module)
    exec(block, module.__dict__)
    return module.__dict__["app"]


@pytest.mark.usefixtures("example")
def test_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, around = code_of(FASTAPI_PAGE, "FastAPI")
    (starlette,), (other,) = (code_of(FASTAPI_PAGE, name) for name in ("Starlette", "Litestar"))
    for block, client_of in (
        (whole, TestClient),
        (starlette, TestClient),
        (other, litestar.testing.TestClient),
    ):
        tenant = secrets.token_hex(4)
        query = {"prompt": f"Is the shop of {tenant} open?", "tenant": tenant}
        with client_of(run(block, monkeypatch)) as client:
            answers = [client.get("/ask", params=query).json() for _ in range(2)]
        text = f"An answer to: {query['prompt']}"
        assert answers == [{"source": one, "text": text} for one in ("generated", "exact")]
    with TestClient(run(around, monkeypatch)) as client:
        assert client.get("/hours").json() == ["Hello!", "At nine."]


def application(**options: Any) -> FastAPI:
    options = {"embedder": AngleEmbedder(), "store": MemoryStore(), **options}
    app = FastAPI(lifespan=semcache_lifespan(**options))

    @app.get("/look")
    async def look(cache: Cache) -> int:
        return cache.stats().lookups

    @app.websocket("/socket")
    async def socket(websocket: WebSocket, cache: Cache) -> None:
        await websocket.accept()
        await cache.lookup("refund at 10")
        await websocket.send_text("looked")
        await websocket.close()

    return app


def test_a_lifespan_of_ones_own_runs_inside() -> None:
    events: list[object] = []

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[dict[str, int] | None]:
        events.append(app)
        yield {"number": 7} if len(events) == 1 else None
        events.append("ended")

    app = application(lifespan=own)
    with TestClient(app) as client:
        assert client.app_state["number"] == 7
        with client.websocket_connect("/socket") as socket:
            assert socket.receive_text() == "looked"
        assert client.get("/look").json() == 1
    with TestClient(app) as client:
        assert client.get("/look").json() == 0
    assert events == [app, "ended", app, "ended"]


def test_without_its_lifespan() -> None:
    app = application()
    client = TestClient(app)
    with pytest.raises(ConfigError, match="semcache_lifespan"):
        client.get("/look")
    with TestClient(app) as opened:
        cache: SemanticCache = opened.app_state["semcache"]

        async def another() -> SemanticCache:
            return cache

        app.dependency_overrides[get_cache] = another
        assert client.get("/look").json() == 0
