"""The service with a remote embedder: how it is told, what it passes on, what it says while that is
out of reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semcache_async.embed import open_embedder
from semcache_async.errors import ConfigError
from semcache_async.serve.options import variable_of
from semcache_async.serve.process.server import Part, open_service
from semcache_async.serve.settings import OPTIONS, Settings, read_settings
from semcache_async.testing import AngleEmbedder
from tests.embed.service import Fake, fake, refused
from tests.helpers import until
from tests.serve.running import NOWHERE, Client, client_of
from tests.serve.upstreams import answer, scripted

pytestmark = pytest.mark.anyio

OPENAI = "https://api.openai.com/v1"
AZURE = "https://us.openai.azure.com/openai/deployments/d?api-version=2024-10-21"
KEYS = {"OPENAI_API_KEY": "sk-openai", "AZURE_OPENAI_API_KEY": "azure"}


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept is the test's own."""
    monkeypatch.setenv("SEMCACHE_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize(
    ("url", "env", "key"),
    [
        (OPENAI, {}, "sk-openai"),
        (OPENAI, {"SEMCACHE_EMBEDDINGS_KEY": "own"}, "own"),
        (AZURE, {}, "azure"),
        ("http://tei.internal:8080/v1", {}, ""),
        ("https://api.openai.com.evil.example/v1", {}, ""),
        ("https://api.openai.com:443/v1", {"SEMCACHE_EMBEDDINGS_KEY": " "}, "sk-openai"),
        ("https://other.example/?x=api.openai.com", {"SEMCACHE_EMBEDDINGS_KEY": "own"}, "own"),
    ],
)
def test_no_host_is_shown_the_key_of_another(url: str, env: dict[str, str], key: str) -> None:
    told = {"embeddings_url": url, "embeddings_model": "m"}
    settings = read_settings(told, env={**KEYS, **env}, asks_llm=False)
    assert settings.embeddings_key == key
    assert "own" not in repr(settings)
    assert "sk-openai" not in repr(settings)


def test_a_url_and_a_model_go_together() -> None:
    assert Settings().remote is None
    for told in ({"embeddings_url": OPENAI}, {"embeddings_model": "m"}):
        with pytest.raises(ConfigError, match="together"):
            Settings(**told)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="embeddings_url"):
        Settings(embeddings_url="https://user:pw@a/v1", embeddings_model="m")


def test_a_key_does_not_belong_into_a_file(tmp_path: Path) -> None:
    path = tmp_path / "semcache.toml"
    path.write_text('embeddings_key = "k"\n')
    with pytest.raises(ConfigError, match="SEMCACHE_EMBEDDINGS_KEY"):
        read_settings({}, env={}, file=path)


async def test_every_option_arrives() -> None:
    async with fake() as service:
        samples = {"dimensions": "8", "prefix": "q: ", "revision": "2", "window": "99"}
        samples |= {"texts": "3", "timeout_s": "7", "model": "m", "url": service.url}
        env = {variable_of(f"embeddings_{name}"): text for name, text in samples.items()}
        env["SEMCACHE_USD_PER_MILLION_TOKENS_EMBEDDED"] = "1000000"
        named = {name for name in OPTIONS if name.startswith("embeddings_")}
        assert {f"embeddings_{name}" for name in samples} == named
        async with open_embedder(read_settings({}, env=env, asks_llm=False).remote) as embedder:
            assert (embedder.window, embedder.usd) == (99, embedder.tokens)  # type: ignore[union-attr]
            assert embedder.fingerprint == '["remote", "m", 8, "q: ", "2", 8]'
            await embedder.embed(["a", "b", "c", "d"])  # type: ignore[misc]
        assert sorted(service.sizes[-2:]) == [1, 3]
        assert service.bodies[-1]["dimensions"] == 8


async def told(client: Client, path: str) -> Any:
    async with client.get(path) as response:
        return await response.json()


async def embed(client: Client, **body: Any) -> tuple[int, Any]:
    async with client.post("/v1/embeddings", json={"model": "m", **body}) as response:
        return response.status, await response.json()


async def test_embeddings_and_readiness(name: str, redis_url: str) -> None:
    upstream = answer('{"data": [], "of": "the upstream"}')
    async with fake() as remote, scripted(upstream) as (url, _):
        settings = read_settings(
            {"upstream_url": NOWHERE, "name": name, "embeddings_url": remote.url},
            env={"SEMCACHE_EMBEDDINGS_MODEL": "m", "SEMCACHE_STORE_TIMEOUT_S": "30"},
        )
        part = Part(redis_url=redis_url, upstream_url=url, port=0)
        async with open_service(settings, part) as service, client_of(service) as client:
            await check_embeddings(client, remote)
            assert await told(client, "/readyz") == {"status": "ready"}
            remote.always = lambda _: refused(503, x_should_retry="false")
            assert (await embed(client, input="x at 99"))[0] == 503
            await until(lambda: not service.cache.stats().embedder_up)
            assert "embedder" in (await told(client, "/readyz"))["degraded"]
            metrics = await told(client, "/semantic-cache/metrics")
            assert (metrics["embedder_up"], metrics["embed_tokens"] > 0) == (0, True)
            remote.always = None
            await until(lambda: service.cache.stats().embedder_up)
            assert await told(client, "/readyz") == {"status": "ready"}


async def check_embeddings(client: Client, remote: Fake) -> None:
    """Under the remote model's name; others are the upstream's. Texts for which the cache has no
    use have vectors too."""
    texts = ["x at 30", "x at 60 ".ljust(2_000), "x at 90"]
    status, found = await embed(client, input=texts)
    assert (status, found["model"]) == (200, "m")
    rows = np.array([item["embedding"] for item in found["data"]])
    assert np.allclose(rows, AngleEmbedder().embed(texts), atol=1e-6)
    assert (await embed(client, input="a", model="other"))[1]["of"] == "the upstream"
    assert (await embed(client, input="a", dimensions=9))[0] == 400
    remote.longest = 3_000
    assert (await embed(client, input="x" * 4_000))[0] == 400
