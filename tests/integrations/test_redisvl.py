"""A program written for RedisVL: on RedisVL itself, and with its import changed."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis
from redisvl.extensions.cache.llm import SemanticCache as Original
from redisvl.query.filter import Num, Tag
from redisvl.utils.vectorize import CustomVectorizer

from semcache_async import CacheConfig, Scope
from semcache_async import SemanticCache as Core
from semcache_async.embed import TextEmbedder
from semcache_async.errors import CacheClosedError, ConfigError, EmbeddingError, StoreError
from semcache_async.integrations.redisvl import SemanticCache
from semcache_async.integrations.threads import Background
from semcache_async.testing import AngleEmbedder, MemoryStore
from tests.pages import DOCS, code_of

PAGE = DOCS / "integrations" / "redisvl.md"
ANGLES = {
    "How do I return an item?": 0.0,
    "How can I return an item?": 10.0,
    "What does it take to return an item?": -12.0,
    "Where is my parcel?": 90.0,
}
PROGRAM = Path(__file__).with_name("redisvl_program.py").read_text(encoding="utf-8")
ORIGINAL = "from redisvl.extensions.cache.llm import SemanticCache\n"
OURS = "from semcache_async.integrations.redisvl import SemanticCache\n"


def vector(text: str) -> list[float]:
    """Not of unit length, as RedisVL takes them."""
    unit = AngleEmbedder().embed([f"at {ANGLES.get(text, AngleEmbedder.angle(text))}"])[0]
    return [3.0 * float(number) for number in unit]


@pytest.fixture
def options(redis_url: str, name: str) -> dict[str, Any]:
    vectorizer = CustomVectorizer(embed=vector)
    return {"name": name, "redis_url": redis_url, "vectorizer": vectorizer}


@pytest.fixture
def cache(options: dict[str, Any]) -> Iterator[SemanticCache]:
    fields = [{"name": "user", "type": "tag"}, {"name": "year", "type": "numeric"}]
    with SemanticCache(**options, filterable_fields=fields, distance_threshold=0.05) as opened:
        yield opened


# -- one edit


def test_a_program_goes_on_after_its_import_was_changed(options: dict[str, Any]) -> None:
    assert PROGRAM.count(ORIGINAL) == 1
    outcomes = []
    for line in (ORIGINAL, OURS):
        made: dict[str, Any] = {}
        exec(PROGRAM.replace(ORIGINAL, line), made)
        outcomes.append([*made["plain"](**options), *asyncio.run(made["awaited"](**options))])
    for original, own in zip(*outcomes, strict=True):
        assert own == original
    assert str(outcomes[0]).count("By post") > 10


def test_every_method_has_its_parameters() -> None:
    beyond = {"index", "aindex"}
    names = {name for name in dir(Original) if not name.startswith("_")} - beyond
    for name in ("__init__", *names):
        theirs, own = getattr(Original, name), getattr(SemanticCache, name)
        if callable(theirs):
            expected = dict(inspect.signature(theirs).parameters)
            expected = {key: one for key, one in expected.items() if one.kind != one.VAR_KEYWORD}
            found = dict(inspect.signature(own).parameters)
            assert [*expected] == [*found][: len(expected)], name
            for key, one in expected.items():
                assert found[key].default == one.default, (name, key)
            assert inspect.iscoroutinefunction(own) is inspect.iscoroutinefunction(theirs), name


def test_the_page(
    redis_url: str,
    text_embedder: TextEmbedder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setattr("semcache_async.embed.load_embedder", lambda _: text_embedder)
    for block in code_of(PAGE):
        exec(block, {"__name__": "__main__"})
    response = "By post, within 30 days."
    expected = [f"asked: {response}", response, "generated", "semantic"]
    assert capsys.readouterr().out.splitlines() == expected


# -- what cannot be done


@pytest.mark.parametrize(
    "expression",
    [
        Tag("user") != "ann",
        Tag("user") == ["ann", "bob"],
        Tag("user") % "an*",
        (Tag("user") == "ann") | (Tag("user") == "bob"),
        (Tag("user") == "ann") & (Tag("user") == "bob"),
        Num("year") == 2020,
        Tag("user").is_missing(),
        "@user:{ann} -@user:{bob}",
        "~@user:{ann}",
        "@user:{ann}|@user:{bob}",
        "@user:{ann}=>{$weight: 2}",
        "@user:{}",
        "()",
        "ann",
        Tag("plan") == "pro",
    ],
    ids=str,
)
def test_other_filters_are_refused(cache: SemanticCache, expression: object) -> None:
    with pytest.raises(ConfigError, match=r"one check for each|filterable_fields"):
        cache.check("Where is my parcel?", filter_expression=expression)


def test_half_a_filter_is_none(cache: SemanticCache) -> None:
    with pytest.raises(TypeError):
        cache.check("Where is my parcel?", filter_expression=Tag("user"))


def test_what_makes_no_sense_is_said(cache: SemanticCache, options: dict[str, Any]) -> None:
    prompt, store = "Where is my parcel?", cache.store
    for filters in ({"user": "a,b"}, {"user": True}, {"user": None}, {"user": ["a"]}):
        with pytest.raises(ConfigError, match="user"):
            store(prompt, "Here.", filters=filters)
    metadata: Any
    for metadata in ([], "a", {"a": object()}):
        with pytest.raises(TypeError):
            store(prompt, "Here.", metadata=metadata)
    with pytest.raises(TypeError):
        store(prompt, 7)  # type: ignore[arg-type]
    for call in (lambda: store(prompt, "Here.", [0.1]), lambda: cache.check(vector=[0.1])):
        with pytest.raises(ConfigError, match="vectorizer"):
            call()
    with pytest.raises(ConfigError, match="store the entry anew"):
        cache.update("key", prompt="Where?")
    with pytest.raises(TypeError):
        cache.update("key", metadata=None)
    with pytest.raises(ValueError, match="At least one"):
        cache.drop()
    for wrong in (
        {"create_index": False},
        {"distance_threshold": 2.1},
        {"ttl": 1.5},
        {"filterable_fields": [{"name": "prompt", "type": "tag"}]},
        {"redis_client": redis.RedisCluster.__new__(redis.RedisCluster)},
    ):
        with pytest.raises(ConfigError):
            SemanticCache(**{**options, **wrong})
    with pytest.raises(TypeError):
        SemanticCache(vectorizer=object())


def test_dropping_nothing_drops_nothing(cache: SemanticCache) -> None:
    key = cache.store("Where is my parcel?", "", filters={"year": 2020})
    cache.drop(ids=[], keys=[])
    cache.drop(ids=["*", "nobody's"], keys=[f"other:{key}", "*"])
    (hit,) = cache.check("Where is my parcel?")
    assert (hit["response"], hit["year"]) == ("", "2020")


# -- decisions


def test_guards_speak_unless_told_not_to(options: dict[str, Any]) -> None:
    prompts = "How do I return 2 items at 10?", "How do I return 3 items at 10?"
    for guards, more in (("numbers",), 0), ((), 1):
        config = CacheConfig(guards=guards)
        with SemanticCache(**options, config=config) as cache:
            cache.clear()
            cache.store(prompts[0], "By post.")
            assert len(cache.check(prompts[1])) == more
            cache.store(prompts[1], "By van.")
            assert len(cache.check(prompts[1], num_results=3)) == 1 + more


def test_what_others_wrote_there_is_no_hit(cache: SemanticCache, redis_url: str) -> None:
    """A response that is no JSON of ours, or is JSON of another shape."""
    prompt, scope = "Where is my parcel?", Scope(parameters={"api": "redisvl"})

    async def replace(text: str) -> str:
        config = CacheConfig(name=f"semcache-{cache.name}")
        async with Core.open(redis_url, config=config, embedder=cache._embedder) as core:
            found = await core.lookup(prompt, scope=scope)
            await core.store(prompt, text, scope=scope)
        return found.text if found else ""

    for text in ("Here.", "[" * 100_000, '{"response": 1}'):
        key = cache.store(prompt, '{"response": "Here."}', metadata={"n": float("inf")})
        (hit,) = cache.check(prompt)
        assert (hit["response"], hit["metadata"]) == ('{"response": "Here."}', {"n": float("inf")})
        assert "Here." in asyncio.run(replace(text))
        assert cache.check(prompt, num_results=2) == []
        cache.update(key, response="There.")
        assert cache.check(prompt) == []


def test_times_to_live(cache: SemanticCache, redis_url: str) -> None:
    prompt = "Where is my parcel?"

    def seconds() -> int:
        with redis.Redis.from_url(redis_url) as client:
            keys = client.scan_iter(f"semcache-{cache.name}:*", _type="hash")
            return max(int(client.ttl(key)) for key in keys)

    key = cache.store(prompt, "Here.", ttl=500)
    cache.update(key, response="There.")
    cache.expire(key)
    assert 400 < seconds() <= 501
    cache.expire(key, 1_000)
    assert 900 < seconds() <= 1_001
    cache.set_ttl(2_000)
    cache.update(key)
    assert 1_900 < seconds() <= 2_001
    cache.set_ttl(0)
    assert cache.ttl is None
    cache.store(prompt, "Here.")
    assert seconds() > 9 * 365 * 86_400


# -- vectorizers, threads, loops, processes


def test_a_vectorizer_that_fails(options: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    def failing(texts: Sequence[str], **_: Any) -> list[list[float]]:
        if "Where is my parcel?" in texts:
            raise ValueError("Embedding texts failed: 401, key sk-1234")
        return [vector(text) for text in texts]

    options["vectorizer"] = CustomVectorizer(embed=vector, embed_many=failing)
    with SemanticCache(**options) as cache:
        assert cache.check("Where is my parcel?") == []
        with pytest.raises(EmbeddingError):
            cache.store("Where is my parcel?", "Here.")
        cache.store("How do I return an item?", "By post.")
        assert len(cache.check("How do I return an item?")) == 1
    assert "The vectorizer failed" in caplog.text
    assert "sk-1234" not in caplog.text


def test_threads_and_loops_share_one(cache: SemanticCache) -> None:
    prompt = "How do I return an item?"
    cache.store(prompt, "By post.")

    async def both() -> int:
        found = await asyncio.gather(*(cache.acheck(prompt) for _ in range(20)))
        return sum(map(len, found)) + len(cache.check(prompt))

    before = threading.active_count()
    assert [asyncio.run(both()) for _ in range(2)] == [21, 21]
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(cache.check, [prompt] * 40))
    assert threading.active_count() <= before


def test_disconnecting_ends_what_is_under_way(options: dict[str, Any]) -> None:
    begun, gate = threading.Event(), threading.Event()

    def held(text: str) -> list[float]:
        if text in ANGLES:
            begun.set()
            gate.wait()
        return vector(text)

    options["vectorizer"] = CustomVectorizer(embed=held)
    prompt = "How do I return an item?"
    cache = SemanticCache(**options)
    cache.clear()

    async def ask() -> None:
        asked = asyncio.create_task(cache.acheck(prompt))
        await asyncio.to_thread(begun.wait)
        storing = asyncio.create_task(asyncio.to_thread(cache.store, prompt, "By post."))
        cancelled = asyncio.create_task(cache.acheck(prompt))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait((cancelled,))
        assert cancelled.cancelled()
        closing = asyncio.create_task(cache.adisconnect())
        results = await asyncio.gather(asked, storing, return_exceptions=True)
        gate.set()
        await closing
        assert [type(one) for one in results] == [CacheClosedError] * 2

    asyncio.run(ask())
    assert cache.check(prompt) == []
    cache.disconnect()


def test_closing_leaves_nobody_waiting() -> None:
    """Not even who waits for something that has no end."""
    background = Background(lambda: Core.open(embedder=AngleEmbedder(), store=MemoryStore()))
    waiting = background.submit(lambda: asyncio.sleep(3_600))
    background.close()
    background.close()
    with pytest.raises(CacheClosedError, match="meanwhile"):
        waiting.result()
    with pytest.raises(CacheClosedError):
        background.wait(lambda: asyncio.sleep(0))


FORKED = """
import os, sys, threading
from semcache_async.integrations.redisvl import SemanticCache
from semcache_async.testing import AngleEmbedder
from tests.pages import DOCS, code_of

class Vectors:
    dims, model = 8, "m"
    def embed_many(self, texts):
        return AngleEmbedder().embed(texts)

def made():
    return SemanticCache(sys.argv[1], redis_url=sys.argv[2], vectorizer=Vectors())

cache = made()
cache.store("refund at 10", "By post.")
child = os.fork()
print(cache.check("refund at 10")[0]["response"], flush=True)
if child:
    assert os.waitpid(child, 0)[1] == 0
    other = made()
    other.check("refund at 10")
    del other
    assert [one.name for one in threading.enumerate()].count("semcache") == 1
"""


def test_forks_and_exits(redis_url: str, name: str) -> None:
    """Nobody disconnects."""
    command = [sys.executable, "-c", FORKED, name, redis_url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.stderr, done.returncode) == ("By post.\n" * 2, "", 0)


# -- where Redis is


def test_a_client_names_its_server(options: dict[str, Any], redis_url: str) -> None:
    path = redis_url.removeprefix("unix://")
    for more in (
        {"redis_client": redis.Redis.from_url(redis_url)},
        {"redis_client": redis.Redis(unix_socket_path=path, decode_responses=True)},
        {"connection_kwargs": {"socket_timeout": 5}},
    ):
        url = redis_url if "connection_kwargs" in more else "redis://127.0.0.1:1"
        with SemanticCache(**options | {"redis_url": url} | more) as cache:
            cache.clear()


def test_a_client_of_another_server(options: dict[str, Any]) -> None:
    secure: dict[str, Any] = {"username": "u", "password": "p@/", "ssl_ca_certs": "/none.pem"}
    for client in (
        redis.Redis(host="127.0.0.1", port=1, password="p@/#"),
        redis.Redis(host="127.0.0.1", port=1, ssl=True, **secure),
        redis.Redis(unix_socket_path="/none/127.0.0.1:1", username="u", password="p"),
    ):
        with pytest.raises(StoreError, match=r"127\.0\.0\.1:1"):
            SemanticCache(**options, redis_client=client).check("Where is my parcel?")
    with pytest.raises(ConfigError, match="database 0"):
        SemanticCache(**options, redis_client=redis.Redis(db=2)).check("Where is my parcel?")
