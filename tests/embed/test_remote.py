"""An embedder behind an API: what is sent, what is believed, when it is asked again, and what a
cache does while it is down."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web

from semcache_async import CacheConfig, RemoteEmbedder, SemanticCache, Source
from semcache_async.embed.tokenizer import open_tokenizer
from semcache_async.errors import (
    ConfigError,
    EmbedderUnavailableError,
    EmbeddingError,
    IndexMismatchError,
    ModelError,
    PromptError,
    WrongLoopError,
)
from semcache_async.flow.vectors import open_vectors
from semcache_async.testing import AngleEmbedder, MemoryStore
from tests.embed.service import Fake, encoded, fake, refused
from tests.helpers import GatedLLM, check_sums, until
from tests.serve.upstreams import answer, scripted

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

EXCHANGES = [
    json.loads(line)
    for line in Path(__file__).with_name("exchanges.jsonl").read_text().splitlines()
]
TEXTS = ["x at 30", "x at 60", "x at 90"]


@pytest.fixture
async def service() -> AsyncIterator[Fake]:
    async with fake() as service:
        yield service


@asynccontextmanager
async def opened(service: Fake, **options: Any) -> AsyncIterator[RemoteEmbedder]:
    """Without what was asked while it was opened."""
    async with RemoteEmbedder.open(service.url, **{"model": "m", **options}) as embedder:
        service.bodies.clear()
        yield embedder


def is_right(found: np.ndarray, texts: list[str]) -> bool:
    return bool(np.allclose(found, AngleEmbedder().embed(texts), atol=1e-6))


# -- what is sent, and what comes of it


async def test_vectors_come_in_order_and_of_unit_length(
    service: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    async with RemoteEmbedder.open(
        service.url, model="m", key="sk-secret", dimensions=8, usd_per_million_tokens=20.0
    ) as embedder:
        assert service.sizes == [1, 2]  # a probe alone, and in company
        assert (embedder.dim, embedder.backend) == (8, f"m at {service.url[7:-3]}")
        assert is_right(await embedder.embed(TEXTS), TEXTS)
        assert service.bodies[-1] == {
            "model": "m",
            "dimensions": 8,
            "encoding_format": "base64",
            "input": TEXTS,
        }
        assert (embedder.tokens, embedder.requests) == (6 * 7, 3)
        assert embedder.usd == pytest.approx(6 * 7 * 20e-6)
        assert (await embedder.embed([])).shape == (0, 8)
        said = repr(embedder) + embedder.fingerprint + caplog.text + repr(vars(embedder))
    assert service.headers[0]["Authorization"] == "Bearer sk-secret"
    assert "secret" not in said
    assert "Prompts leave this process" in caplog.text


async def test_the_fingerprint_tells_what_is_asked_and_not_of_whom(service: Fake) -> None:
    asked: list[dict[str, Any]] = [
        {},
        {"key": "other"},
        {"model": "n"},
        {"dimensions": 8},
        {"prefix": "query: "},
        {"revision": "2"},
    ]
    seen = []
    for options in asked:
        async with opened(service, **options) as embedder:
            seen.append(embedder.fingerprint)
    assert len(set(seen)) == 5
    assert seen[0] == seen[1]


async def test_azure_has_its_own_form(service: Fake) -> None:
    url = service.url.replace("/v1", "/openai/deployments/d?api-version=2024-10-21")
    async with RemoteEmbedder.open(url, model="m", key="k"):
        pass
    assert service.paths[0] == "/openai/deployments/d/embeddings?api-version=2024-10-21"
    assert service.headers[0]["api-key"] == "k"
    assert "Authorization" not in service.headers[0]


async def test_numbers_where_base64_is_refused_and_a_prefix(service: Fake) -> None:
    service.answers.append(lambda _: refused(422))
    async with opened(service, prefix="query: ") as embedder:
        assert is_right(await embedder.embed(TEXTS), TEXTS)
        assert service.bodies[-1]["encoding_format"] == "float"
        assert service.bodies[-1]["input"][0] == "query: x at 30"


async def test_many_texts_go_in_parts_several_at_once(service: Fake) -> None:
    texts = [f"x at {n}" for n in range(100)]
    async with opened(service, streams=2) as embedder:
        service.gate.clear()
        task = asyncio.create_task(embedder.embed(texts))
        await until(lambda: service.under_way == 2)
        service.gate.set()
        assert is_right(await task, texts)
        assert sorted(service.sizes) == [4, 32, 32, 32]
        assert service.most_under_way == 2


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda one: one["server"])
async def test_exchanges_with_known_servers(exchange: dict[str, Any], service: Fake) -> None:
    async with opened(service) as embedder:
        embedder.dim = exchange["dim"]
        reply = web.json_response(exchange["answer"], status=exchange["status"])
        service.answers += [lambda _: reply] * 3
        texts = ["a"] * exchange["texts"]
        if exchange["status"] == 200:
            embedder._names.add(exchange["answer"]["model"])
            found = await embedder.embed(texts)
            assert np.allclose(np.linalg.norm(found, axis=1), 1.0)
            return
        with pytest.raises(PromptError) as caught:
            await embedder.embed(texts)
        assert "tokens" not in str(caught.value)  # the service's words may hold a text


# -- what is not believed

BAD: dict[str, Callable[[Fake, dict[str, Any]], Any]] = {
    "no list": lambda fake, body: {"object": "list"},
    "no JSON": lambda fake, body: web.Response(text="<html>busy</html>"),
    "too few": lambda fake, body: fake.told(body, data=fake.told(body)["data"][1:]),
    "one twice": lambda fake, body: fake.told(
        body, data=[{"index": 0, "embedding": [1.0] * 8}] * len(body["input"])
    ),
    "other length": lambda fake, body: fake.told(
        body, data=[{"embedding": [1.0] * 9}] * len(body["input"])
    ),
    "ragged": lambda fake, body: fake.told(
        body,
        data=[{"embedding": encoded([1.0] * (8 + n % 2))} for n in range(len(body["input"]))],
    ),
    "no base64": lambda fake, body: fake.told(
        body, data=[{"embedding": "*" * 44}] * len(body["input"])
    ),
    "deep": lambda fake, body: web.Response(text="[" * 50_000),
    "huge number": lambda fake, body: web.Response(
        text='{"data": [{"embedding": [1e999]}, {"embedding": [1]}, {"embedding": [1]}]}'
    ),
    "endless": lambda fake, body: web.Response(body=b" " * 2_000_000),
    "a bomb": lambda fake, body: web.Response(
        body=gzip.compress(b" " * 10**7), headers={"Content-Encoding": "gzip"}
    ),
    "redirect": lambda fake, body: web.Response(
        status=307, headers={"Location": fake.url.replace("127.0.0.1", "localhost")}
    ),
    "key refused": lambda fake, body: refused(401),
    "gone": lambda fake, body: refused(404),
    "half": lambda fake, body: web.Response(status=206, text="{}"),
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_answer_is_an_outage_and_not_asked_for_twice(kind: str, service: Fake) -> None:
    async with opened(service, key="sk-secret") as embedder:
        service.always = lambda body: BAD[kind](service, body)
        with pytest.raises(EmbedderUnavailableError) as caught:
            await embedder.embed(TEXTS)
        assert len(service.bodies) == 1
        assert "secret" not in str(caught.value)
        service.always = None
        assert is_right(await embedder.embed(TEXTS), TEXTS)


@pytest.mark.parametrize(
    "none",
    [
        '"' + encoded([float("nan")] * 8) + '"',
        "[" + "NaN, " * 7 + "NaN]",
        "[null, 0, 0, 0, 0, 0, 0, 0]",
        "[0, 0, 0, 0, 0, 0, 0, 0]",
    ],
)
async def test_nonsense_for_one_text_is_that_texts_alone(none: str, service: Fake) -> None:
    raw = ", ".join(f'{{"embedding": {none if n == 1 else [0.0] * 7 + [1.0]}}}' for n in range(3))
    async with opened(service) as embedder, open_vectors(embedder, remembered=0) as vectors:
        service.answers.append(lambda _: web.Response(text=f'{{"model": "m", "data": [{raw}]}}'))
        found = await asyncio.gather(*map(vectors.vector, TEXTS), return_exceptions=True)
        assert [isinstance(one, EmbeddingError) for one in found] == [False, True, False]
        assert vectors.breaker.is_open is False


async def test_a_vector_may_spell_nan(service: Fake) -> None:
    row = np.frombuffer(bytes.fromhex("35a3403f") + bytes(28), "<f4")
    assert encoded(row).startswith("NaN")
    async with opened(service) as embedder:
        service.answers.append(lambda body: service.told(body, data=[{"embedding": encoded(row)}]))
        assert (await embedder.embed(["a"])).tolist() == [[1.0] + [0.0] * 7]


async def test_no_prompt_is_taken_for_shorter_than_it_is(service: Fake, minilm: Path) -> None:
    readme = Path(__file__).parents[2].joinpath("README.md").read_text(encoding="utf-8")
    parts = [readme[start : start + 600] for start in range(0, len(readme), 600)]
    parts += ["1,2,3," * 50, "a b c d " * 50, "{}[]();:" * 50, "Почему мой платёж не прошёл? " * 9]
    tokenizer = open_tokenizer(minilm / "tokenizer.json")
    async with opened(service) as embedder:
        for part in parts:
            assert embedder.estimate(part) >= len(tokenizer.encode(part).ids), part


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"model": ""}, ConfigError),
        ({"url": "ftp://a/v1"}, ConfigError),
        ({"url": "http://user@a/v1"}, ConfigError),
        ({"url": "http://a:99999/v1"}, ConfigError),
        ({"key": "a\nb"}, ConfigError),
        ({"streams": 0}, ConfigError),
        ({"url": "http://127.0.0.1:9/v1"}, EmbedderUnavailableError),
    ],
)
async def test_what_cannot_be_opened(options: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        await RemoteEmbedder.open(
            **{"url": "http://a/v1", "model": "m", "timeout_s": 0.1, **options}
        )


async def test_a_model_that_is_refused_is_told_in_the_services_words(service: Fake) -> None:
    for status, kind in ((404, EmbedderUnavailableError), (400, ModelError)):
        service.always = lambda _, status=status: refused(status, "no model `m` for sk-secret")
        with pytest.raises(kind, match=r"no model `m` for \(the key\)"):
            await RemoteEmbedder.open(service.url, model="m", key="sk-secret")


async def test_a_service_that_mixes_texts_up_is_not_opened(service: Fake) -> None:
    def swapped(body: dict[str, Any]) -> Any:
        return service.told({**body, "input": body["input"][::-1]})

    def first(body: dict[str, Any]) -> Any:
        return service.told({**body, "input": body["input"][:1] * len(body["input"])})

    for wrong in (swapped, first):
        service.always = wrong
        with pytest.raises(EmbeddingError, match="another vector in company"):
            await RemoteEmbedder.open(service.url, model="m")


# -- another model under the same name


async def test_another_model_is_noticed_when_it_comes_back(service: Fake) -> None:
    async with opened(service) as embedder:
        service.answers.append(lambda _: refused(401))
        with pytest.raises(EmbedderUnavailableError, match="key"):
            await embedder.embed(TEXTS)
        service.turned = True
        for _ in range(2):
            with pytest.raises(EmbedderUnavailableError, match="another model"):
                await embedder.embed(TEXTS)
        service.turned = False
        assert is_right(await embedder.embed(TEXTS), TEXTS)


async def test_another_name_in_an_answer_is_looked_into(service: Fake) -> None:
    async with opened(service) as embedder:
        service.model = "m-2"
        assert is_right(await embedder.embed(TEXTS), TEXTS)  # the same model, however it is called
        assert service.sizes == [3, 2]
        service.model, service.turned = "m-3", True
        with pytest.raises(EmbedderUnavailableError, match="another model"):
            await embedder.embed(TEXTS)


async def test_it_is_looked_again_now_and_then(service: Fake) -> None:
    async with opened(service, check_s=1e-9) as embedder:
        await embedder.embed(TEXTS)
        assert service.sizes == [2, 3]
        service.turned = True
        with pytest.raises(EmbedderUnavailableError, match="another model"):
            await embedder.embed(TEXTS)


async def test_an_index_belongs_to_one_model(service: Fake, redis_url: str, name: str) -> None:
    config = CacheConfig(name=name, store_timeout_s=30.0)

    async def open_once(**options: Any) -> None:
        async with (
            opened(service, **options) as embedder,
            SemanticCache.open(redis_url, config=config, embedder=embedder),
        ):
            pass

    await open_once()
    await open_once()
    service.turned = True
    with pytest.raises(IndexMismatchError, match="revision"):
        await open_once()
    await open_once(revision="2")
    service.turned = False
    await open_once()


# -- asked again


async def test_a_passing_failure_is_asked_again(service: Fake) -> None:
    async with opened(service) as embedder:
        service.answers.append(lambda _: refused(429, Retry_After="0"))
        service.answers.append(lambda _: refused(500, Retry_After="0"))
        assert is_right(await embedder.embed(TEXTS), TEXTS)
        assert (len(service.bodies), embedder.retries) == (3, 2)


async def test_whoever_asks_to_be_left_alone_is(service: Fake) -> None:
    async with opened(service) as embedder:
        service.always = lambda _: refused(429, Retry_After="3600")
        with pytest.raises(EmbedderUnavailableError, match="429"):
            await embedder.embed(TEXTS)
        for _ in range(100):
            with pytest.raises(EmbedderUnavailableError, match="left alone for 60 s"):
                await embedder.embed(TEXTS)
        assert len(service.bodies) == 1


@pytest.mark.parametrize("pieces", [("hang",), (answer("{}")[:-2] + b" ", "hang"), (None,)])
async def test_one_deadline_bounds_all_of_it(pieces: Any, service: Fake) -> None:
    async with scripted(*pieces) as (url, there):
        with pytest.raises(EmbedderUnavailableError):
            await RemoteEmbedder.open(url, model="m", timeout_s=0.05)
        await until(lambda: there.open == 0)


# -- loops, forks, ends


async def test_it_belongs_to_its_loop(service: Fake) -> None:
    async with opened(service) as embedder:

        def elsewhere() -> None:
            with pytest.raises(WrongLoopError):
                asyncio.run(embedder.embed(TEXTS))

        await asyncio.to_thread(elsewhere)
        embedder._pid += 1  # as in a child
        with pytest.raises(WrongLoopError):
            await embedder.embed(TEXTS)


async def test_closing_lets_everybody_go(service: Fake) -> None:
    async with opened(service, streams=2) as embedder:
        service.gate.clear()
        waiting = [asyncio.create_task(embedder.embed([f"x at {n}"])) for n in range(5)]
        await until(lambda: service.under_way == 2)
        await embedder.aclose()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(one, EmbedderUnavailableError) for one in found)
    with pytest.raises(EmbedderUnavailableError, match="closed"):
        await embedder.embed(TEXTS)


async def test_cancelled_callers_leave_nothing_behind(service: Fake) -> None:
    async with opened(service, streams=2) as embedder:
        service.gate.clear()
        tasks = [asyncio.create_task(embedder.embed(TEXTS * 40)) for _ in range(3)]
        await until(lambda: service.under_way == 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        service.gate.set()
        assert is_right(await embedder.embed(TEXTS), TEXTS)


# -- in batches


async def test_batches_by_count_and_by_tokens_several_at_once(service: Fake) -> None:
    async with (
        opened(service, streams=3, most_texts=4, most_tokens=400, window=200) as embedder,
        open_vectors(embedder, remembered=0) as vectors,
    ):
        service.bodies.clear()
        short = [f"x at {n}" for n in range(9)]
        service.gate.clear()
        waiting = [asyncio.create_task(vectors.vector(text)) for text in short]
        await until(lambda: service.under_way == 3)
        service.gate.set()
        await asyncio.gather(*waiting)
        assert sorted(service.sizes) == [1, 4, 4]
        service.bodies.clear()
        long = [f"x at {n} ".ljust(290) for n in range(6)]  # 97 tokens: all but half the window
        await asyncio.gather(*map(vectors.vector, long))
        assert sorted(service.sizes) == [2, 4]
        service.bodies.clear()
        longer = [f"x at {n} ".ljust(350) for n in range(2)]  # might be too long: each alone
        await asyncio.gather(*map(vectors.vector, [*longer, *short[:3]]))
        assert sorted(service.sizes) == [1, 1, 3]
        service.bodies.clear()
        assert await vectors.vector("x" * 601) is None  # surely too long, and not sent
        assert service.bodies == []


async def test_one_text_that_is_refused_costs_its_neighbours_nothing(service: Fake) -> None:
    async with opened(service) as embedder, open_vectors(embedder, remembered=0) as vectors:
        service.longest = 50
        service.bodies.clear()
        texts = [f"x at {n}".ljust(60 if n in (3, 17) else 9) for n in range(32)]
        service.gate.clear()
        waiting = [asyncio.create_task(vectors.vector(text)) for text in texts]
        await until(lambda: service.under_way == 1)
        service.gate.set()
        service.gate.clear()
        await until(lambda: service.under_way == 2)  # its halves go together
        service.gate.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [n for n, one in enumerate(found) if isinstance(one, PromptError)] == [3, 17]
        assert all(isinstance(one, np.ndarray) for n, one in enumerate(found) if n not in (3, 17))
        assert len(service.bodies) < 32
        assert vectors.breaker.is_open is False


async def test_an_error_of_the_server_about_one_text_is_no_outage(service: Fake) -> None:
    """llama.cpp's."""
    async with opened(service) as embedder:
        service.answers.append(lambda _: refused(500, "input is too large to process"))
        with pytest.raises(PromptError):
            await embedder.embed(TEXTS)


async def test_a_text_that_the_server_fails_over_is_no_outage(service: Fake) -> None:
    def told(body: dict[str, Any]) -> Any:
        poisoned = "x at 3" in body["input"]
        return refused(500, Retry_After="0") if poisoned else service.told(body)

    async with opened(service) as embedder, open_vectors(embedder, remembered=0) as vectors:
        service.always = told
        waiting = [asyncio.create_task(vectors.vector(f"x at {n}")) for n in range(8)]
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [n for n, one in enumerate(found) if not isinstance(one, np.ndarray)] == [3]
        assert isinstance(found[3], PromptError)
        assert vectors.breaker.is_open is False


# -- a cache in front of it


async def test_down_means_the_exact_tier_alone_and_back_means_all(
    service: Fake, caplog: pytest.LogCaptureFixture
) -> None:
    llm = GatedLLM(opened=True)
    async with (
        opened(service, usd_per_million_tokens=1.0) as embedder,
        SemanticCache.open(
            store=MemoryStore(), embedder=embedder, config=CacheConfig(max_distance=0.01, guards=())
        ) as cache,
    ):
        await cache.get_or_generate("x at 10", llm)
        service.always = lambda _: refused(401)
        assert (await cache.get_or_generate("x at 50", llm)).source is Source.GENERATED
        stats = cache.stats()
        assert (stats.embedder_up, stats.embed_errors) == (False, 1)
        asked = len(service.bodies)
        for n in range(20):
            assert (await cache.get_or_generate("x at 10", llm)).source is Source.EXACT
            assert await cache.lookup(f"x at {100 + n}") is None
        assert cache.stats().embed_skips >= 20
        assert len(service.bodies) < asked + 5  # probes alone
        assert "The embedder is out of reach" in caplog.text
        service.always = None
        await until(lambda: cache.stats().embedder_up)
        answer = await cache.get_or_generate("y at 11", llm)
        assert (answer.source, answer.text) == (Source.SEMANTIC, "answer to x at 10")
        stats = check_sums(cache)
        assert stats.embed_tokens == embedder.tokens > 0
        assert stats.embed_usd == pytest.approx(embedder.tokens * 1e-6)


async def test_it_may_be_down_at_a_later_start(service: Fake, tmp_path: Path) -> None:
    llm = GatedLLM(opened=True)
    store = MemoryStore()

    @asynccontextmanager
    async def started(**options: Any) -> AsyncIterator[SemanticCache]:
        config = CacheConfig(max_distance=0.01, guards=())
        async with (
            opened(service, directory=tmp_path / "kept", **options) as embedder,
            SemanticCache.open(store=store, embedder=embedder, config=config) as cache,
        ):
            yield cache

    service.answers.append(lambda _: refused(422))  # no base64
    async with started() as cache:
        await cache.get_or_generate("x at 10", llm)
    service.always = lambda _: refused(401)
    with pytest.raises(EmbedderUnavailableError):
        async with started(revision="2"):
            pass
    async with started() as cache:
        assert not cache.stats().embedder_up
        assert (await cache.get_or_generate("x at 10", llm)).source is Source.EXACT
        service.always, service.turned = None, True
        asked = len(service.bodies)
        await until(lambda: len(service.bodies) > asked + 1)
        assert not cache.stats().embedder_up  # another model is not taken for it
        service.turned = False
        await until(lambda: cache.stats().embedder_up)
        assert (await cache.get_or_generate("y at 11", llm)).source is Source.SEMANTIC
    for path in (tmp_path / "kept").iterdir():
        path.write_bytes(b"damaged")
    service.always = lambda _: refused(401)
    with pytest.raises(EmbedderUnavailableError):
        async with started():
            pass


async def test_a_thousand_callers_at_once(service: Fake) -> None:
    async with (
        opened(service, streams=4) as embedder,
        SemanticCache.open(store=MemoryStore(), embedder=embedder) as cache,
    ):
        service.bodies.clear()
        found = await asyncio.gather(*(cache.lookup(f"x at {n}") for n in range(1_000)))
        assert found == [None] * 1_000
        assert service.most_under_way <= 4
        assert 32 <= len(service.bodies) <= 40
        stats = check_sums(cache)
        assert (stats.embed_errors, stats.lookup_timeouts) == (0, 0)


async def test_callers_who_left_hide_no_outage(service: Fake) -> None:
    """All time out before the request does; whoever comes next is not kept waiting."""
    async with (
        opened(service, timeout_s=0.1) as embedder,
        SemanticCache.open(
            store=MemoryStore(), embedder=embedder, config=CacheConfig(lookup_budget_s=0.01)
        ) as cache,
    ):
        service.gate.clear()
        assert await cache.lookup("x at 10") is None
        assert cache.stats().lookup_timeouts == 1
        await until(lambda: not cache.stats().embedder_up)
        assert await cache.lookup("x at 20") is None
        assert (cache.stats().lookup_timeouts, cache.stats().embed_skips) == (1, 1)
