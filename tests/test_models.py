"""Several models side by side: each reads its own scopes, and one that is not there yet holds up
nobody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from semcache_async import CacheConfig, SemanticCache
from semcache_async.config import ModelRule
from semcache_async.embed import load_embedder
from semcache_async.errors import ConfigError, ModelError
from semcache_async.protocols import Embedder
from semcache_async.testing import AngleEmbedder, MemoryStore
from semcache_async.types import ModelState, Scope, Source
from tests.embed.tiny import write_model
from tests.helpers import SLOW_ON_DEBUG, GatedLLM, check_sums, until

pytestmark = pytest.mark.anyio

ACME, OTHER = Scope(tenant="acme"), Scope(tenant="other")


class Wide(AngleEmbedder):
    """Another model: other vectors, of another length, with half the angles."""

    dim = 16
    fingerprint = "wide"
    max_distance: float | None = 0.12

    @staticmethod
    def angle(text: str) -> float:
        return AngleEmbedder.angle(text) / 2


class Models:
    """Loads models by name, each when it is let go."""

    def __init__(self) -> None:
        self.own = AngleEmbedder()
        self.wide: AngleEmbedder = Wide()
        self.gate = threading.Event()
        self.errors: list[Exception] = []

    def __call__(self, model: str | None) -> Embedder:
        if model is None:
            return self.own
        self.gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        return self.wide


RULE = ModelRule(model="wide", tenants=("acme*",), max_distance=0.04)


@asynccontextmanager
async def opened(
    redis_url: str, name: str, load: Models, **options: Any
) -> AsyncIterator[SemanticCache]:
    known = {"max_distance": 0.01, "store_timeout_s": 30.0, "models": (RULE,), **options}
    config = CacheConfig(name=name, index="flat", **known)
    try:
        async with SemanticCache.open(redis_url, config=config, load=load) as cache:
            yield cache
    finally:
        load.gate.set()


async def shown(cache: SemanticCache) -> dict[str, ModelState]:
    return {one.name: one for one in await cache.measured_models()}


async def test_each_reads_its_own_scopes(redis_url: str, name: str) -> None:
    """A distance of one model is none of the other's: what is 15 degrees off is too far for the
    one, and near for the other, for which it is half of that."""
    load = Models()
    load.gate.set()
    async with opened(redis_url, name, load) as cache:
        await cache.loaded()
        for scope in (ACME, OTHER):
            entry = await cache.store("refund at 30", f"for {scope.tenant}", scope=scope)
            near = await cache.lookup("money back at 37", scope=scope)
            far = await cache.lookup("money back at 45", scope=scope)
            farther = await cache.lookup("money back at 65", scope=scope)
            assert near is not None
            assert (near.text, near.entry_id) == (f"for {scope.tenant}", entry)
            assert (far is not None, farther) == (scope is ACME, None)
        assert cache.ceiling(ACME) == 0.04
        states = await shown(cache)
        assert [(one.ready, one.entries) for one in states.values()] == [(True, 1), (True, 1)]
        assert all(one.index_bytes for one in states.values())
        assert set(cache.embedders) == {"default", "wide"}
        assert [len(v) for v in await cache.embed(["x"], model="wide") if v is not None] == [16]
        texts = {text for call in load.wide.calls for text in call}
        assert "money back at 65" in texts
        check_sums(cache)


async def test_a_rule_without_a_distance(
    redis_url: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Serves as far as was measured of its model, and strictly where nothing was."""
    load = Models()
    rules = (structs.replace(RULE, max_distance=None),)
    for measured in (0.03, None):
        load.wide.max_distance, load.wide.fingerprint = measured, name
        load.gate.clear()
        async with opened(redis_url, name, load, models=rules) as cache:
            assert cache.ceiling(ACME) == 0.02
            load.gate.set()
            await cache.loaded()
            assert cache.ceiling(ACME) == (measured or 0.02)
            assert cache.serves_up_to(ACME) == (measured or 0.02)
            assert cache.serves_up_to(OTHER) == 0.01
        assert ("No distance was measured" in caplog.text) is (measured is None)


async def test_one_model_by_two_names(redis_url: str, name: str) -> None:
    """Is in memory once, with one index, and a distance for each rule."""
    load = Models()
    load.gate.set()
    load.wide = load.own
    async with opened(redis_url, name, load) as cache:
        await cache.loaded()
        for scope in (ACME, OTHER):
            await cache.store("refund at 30", "a", scope=scope)
        assert await cache.lookup("money back at 42", scope=ACME) is not None
        assert await cache.lookup("money back at 42", scope=OTHER) is None
        assert len(await cache.browse()) == 2
        assert [one.entries for one in await cache.measured_models()] == [2, None]


async def test_one_that_is_loading_holds_up_nobody(redis_url: str, name: str) -> None:
    """Its scopes have the exact tier, which goes on when it is there; the others have all."""
    load, llm = Models(), GatedLLM(opened=True)
    async with opened(redis_url, name, load) as cache:

        async def ask(prompt: str, scope: Scope) -> Source:
            return (await cache.get_or_generate(prompt, llm, scope=scope)).source

        assert await ask("refund at 30", OTHER) is Source.GENERATED
        assert await ask("money back at 31", OTHER) is Source.SEMANTIC
        assert await ask("refund at 30", ACME) is Source.GENERATED
        assert await ask("refund at 30", ACME) is Source.EXACT
        assert await ask("money back at 31", ACME) is Source.GENERATED
        assert await cache.embed(["x"], scope=ACME) == [None]
        assert await cache.nearest("refund at 30", scope=ACME) == ()
        own, wide = cache.models()
        assert (own.ready, own.unready, wide.ready, wide.unready) == (True, 0, False, 3)
        assert cache.stats().unready == 3

        load.gate.set()
        await cache.loaded()
        assert await ask("refund at 30", ACME) is Source.EXACT  # from where it lies
        assert await ask("refund at 60", ACME) is Source.GENERATED
        assert await ask("money back at 61", ACME) is Source.SEMANTIC
        assert cache.stats().unready == 3
        check_sums(cache)


async def test_one_that_cannot_be_loaded_is_tried_again(
    redis_url: str, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("semcache_async.flow.models._AGAIN_S", 0.0)
    load = Models()
    load.errors = [ModelError("it is not there.")]
    async with opened(redis_url, name, load) as cache:
        load.gate.set()
        await cache.loaded()
        assert "wide cannot be used (it is not there.)" in caplog.text
        await until(lambda: cache.models()[1].ready)
        assert cache.models()[1].trouble is None


@pytest.mark.parametrize("kind", [{}, {"partitions": 2}, {"index_per_tenant": True}])
async def test_what_concerns_all_concerns_every_model(
    redis_url: str, name: str, kind: dict[str, Any]
) -> None:
    """Purges by tag, versions, quotas, lists and local copies."""
    load = Models()
    load.gate.set()
    options = {"local_answers": 10, "tenant_entries": 5, **kind}
    async with (
        opened(redis_url, name, load, **options) as cache,
        opened(redis_url, name, load, **options) as beside,
    ):
        await cache.loaded()
        await beside.loaded()
        for scope in (ACME, OTHER):
            await cache.store("refund at 30", "a", scope=scope, tags=("refunds",))
            await cache.store("other at 90", "b", scope=scope)
        assert len(await cache.browse()) == 4
        for scope in (ACME, OTHER):
            assert await beside.lookup("refund at 31", scope=scope) is not None
            assert await beside.lookup("refund at 30", scope=scope) is not None  # kept here, or not
        assert (await cache.would_invalidate(tags=("refunds",))).count == 2
        assert await cache.invalidate(tags=("refunds",)) == 2
        for scope in (ACME, OTHER):
            assert await beside.lookup("refund at 30", scope=scope) is None
            assert await beside.lookup("refund at 31", scope=scope) is None
        assert await cache.invalidate(tenant="acme") == 1
        versioned = [Scope(tenant=scope.tenant, namespace="docs") for scope in (ACME, OTHER)]
        for scope in versioned:
            await cache.store("refund at 30", "old", scope=scope)
        await cache.bump_version("docs")
        assert [await cache.lookup("refund at 30", scope=one) for one in versioned] == [None, None]
        await cache.check()


async def test_flights_are_shared_by_the_model_of_their_scope(redis_url: str, name: str) -> None:
    load, llm = Models(), GatedLLM()
    load.gate.set()
    async with (
        opened(redis_url, name, load) as cache,
        opened(redis_url, name, load) as beside,
    ):
        await cache.loaded()
        await beside.loaded()
        leader = asyncio.create_task(cache.get_or_generate("refund at 30", llm, scope=ACME))
        await until(lambda: bool(llm.prompts))
        other = asyncio.create_task(beside.get_or_generate("money back at 45", llm, scope=ACME))
        alone = asyncio.create_task(beside.get_or_generate("refund at 45", llm, scope=OTHER))
        await until(lambda: len(llm.prompts) == 2 and cache.stats().waiting == 2)
        llm.gate.set()
        assert (await other).text == (await leader).text == "answer to refund at 30"
        assert (await alone).source is Source.GENERATED
        assert beside.stats().followed == 1


async def test_a_verdict_goes_by_the_model_of_its_entry(redis_url: str, name: str) -> None:
    """The two wordings are 0.015 apart for its model, and 0.06 for the other one: what is 0.017
    off is not served any longer, and what is 0.005 off is."""
    load = Models()
    load.gate.set()
    async with opened(redis_url, name, load) as cache:
        await cache.loaded()
        entry = await cache.store("refund at 30", "a", scope=ACME)
        assert await cache.lookup("money back at 51", scope=ACME) is not None
        assert await cache.feedback("money back at 50", entry, right=False)
        assert await cache.lookup("money back at 51", scope=ACME) is None
        assert await cache.lookup("money back at 42", scope=ACME) is not None


@SLOW_ON_DEBUG
async def test_real_ones_side_by_side(
    redis_url: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each tells apart what its own tokenizer tells apart, and shows what it takes."""
    monkeypatch.setenv("SEMCACHE_CACHE_DIR", str(tmp_path / "cache"))
    first, second = write_model(tmp_path / "first"), write_model(tmp_path / "second", seed=2)
    rule = ModelRule(model=str(second), locales=("de", "fr-*"), max_distance=1.9)
    config = CacheConfig(name=name, models=(rule,), store_timeout_s=30.0, max_distance=0.01)
    german = Scope(locale="de")

    def load(model: str | None) -> Embedder:
        assert model is not None
        return load_embedder(model, backend="onnxruntime", progress=False)

    opening = SemanticCache.open(redis_url, config=config, model=first, load=load)
    async with opening as cache:
        await cache.loaded()
        vectors = [(await cache.embed(["how money"], scope=scope))[0] for scope in (german, ACME)]
        expected = [cache.embedders[str(path)].embed(["how money"]) for path in (second, first)]
        for vector, rows in zip(vectors, expected, strict=True):
            assert vector is not None
            assert (vector == rows).all()
        await cache.store("is my card lost?", "a", scope=german)
        assert await cache.lookup("is my card lost", scope=german) is not None
        assert await cache.lookup("is my c\u00e4rd lost?", scope=german) is None  # erased
        assert [one.name for one in cache.models()] == [str(first), str(second)]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (lambda: CacheConfig(models=(ModelRule(model="m", max_distance=0.1),)), "must name"),
        (lambda: CacheConfig(models=(ModelRule(model="m", llms=("x",), max_distance=3),)), "2"),
        (lambda: CacheConfig(models="m"), "ModelRule"),  # type: ignore[arg-type]
        (lambda: SemanticCache.open(store=MemoryStore(), config=CacheConfig(models=(RULE,))), "Re"),
        (lambda: SemanticCache.open(model="m", embedder=AngleEmbedder()), "not both"),
    ],
)
def test_nonsense_is_refused(made: Callable[[], object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        made()
