"""Every block of docs/freshness.md, as it stands there."""

from __future__ import annotations

import ast
import inspect
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from semcache_async import CacheConfig, SemanticCache, TTLRule
from semcache_async.serve.settings import read_settings
from semcache_async.testing import AngleEmbedder
from tests.helpers import GatedLLM

pytestmark = pytest.mark.anyio
PAGE = (Path(__file__).parents[2] / "docs" / "freshness.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


async def test_python(redis_url: str, name: str) -> None:
    config = CacheConfig(name=name, store_timeout_s=30.0)
    opening = SemanticCache.open(redis_url, config=config, embedder=AngleEmbedder())
    async with opening as cache:
        known: dict[str, Any] = {"cache": cache, "generate": GatedLLM(opened=True)}
        for block in blocks("python"):
            code = compile(block, "freshness.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            done = eval(code, known)
            if inspect.isawaitable(done):
                await done
        assert known["config"].early_refresh
        assert (await cache.bump_version("docs")) > 0


def test_toml(tmp_path: Path) -> None:
    (block,) = blocks("toml")
    assert tomllib.loads(block)
    path = tmp_path / "semcache.toml"
    path.write_text(f"simulate_llm = true\n{block}")
    settings = read_settings({}, env={}, file=path)
    assert settings.cache.ttl_rules == (TTLRule(tags=("price:*",), ttl_s=900),)
