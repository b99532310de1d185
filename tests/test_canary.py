"""Secrets stay where they were put: whatever fails, no log, error, metric or page repeats one.

Errors that reach a caller may hold what that caller's own LLM call raised; nothing else may.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis.asyncio
from aiohttp import web

from semcache_async import CacheConfig, SemanticCache
from semcache_async.errors import SemcacheError
from semcache_async.serve.keys import Caller, KeyRing, hash_key
from semcache_async.serve.options import variable_of
from semcache_async.serve.process.logs import _JsonLines
from semcache_async.serve.settings import Settings, read_settings
from semcache_async.serve.upstream.passing import Passing
from semcache_async.store.sealing import sealer_of
from semcache_async.store.wire.replies import reply_error
from semcache_async.testing import AngleEmbedder
from semcache_async.types import Case, Scope
from tests.helpers import until
from tests.serve.running import ACME_KEY, ADMIN_KEY, live, settled
from tests.serve.upstreams import completion
from tests.store.helpers import Relay, everything, relay

pytestmark = pytest.mark.anyio

MARK = "qz" + "7x9"
"""Is in every secret, and in no line of source that a traceback may show."""
PROMPT, OTHER = f"{MARK}-prompt-1f at 10", f"{MARK}-wording-2f at 12"
ANSWER, TAG, TENANT = f"{MARK}-answer-3f", f"{MARK}-tag-4f", f"{MARK}-tenant-5f"
SYSTEM, ATTRIBUTE = f"{MARK}-system-6f", f"{MARK}-attribute-7f"
USER, PASSWORD, UPSTREAM_KEY = f"{MARK}-user-8f", f"{MARK}-password-9f", f"{MARK}-upstream-af"
CACHE_SECRET, JUDGE_WORD = f"{MARK}-secret-bf", f"{MARK}-judge-cf"
ENCRYPTION_KEY = base64.b64encode(bytes(range(32))).decode()
SECRETS = (MARK, ENCRYPTION_KEY, ACME_KEY, ADMIN_KEY)

SCOPE = Scope(tenant=TENANT, system_prompt=SYSTEM, attributes={"plan": ATTRIBUTE})
CONFIG = {"secret": CACHE_SECRET, "encryption_keys": (ENCRYPTION_KEY,)}


def clean(told: str, *, but: tuple[str, ...] = ()) -> bool:
    """Is no secret in it, ``but`` those taken away?"""
    for allowed in but:
        told = told.replace(allowed, "")
    return not any(secret in told for secret in SECRETS)


def words_of(error: BaseException | None) -> str:
    """All that an error says: its traceback as it is shown, and its arguments along the chain."""
    told = [] if error is None else traceback.format_exception(error)
    while error is not None:
        told += [repr(error), repr(error.args)]
        hidden = error.__suppress_context__
        error = error.__cause__ or (None if hidden else error.__context__)
    return "\n".join(told)


class Watch(logging.Handler):
    """Everything that is logged, at any level, with its arguments and extras."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.told: list[str] = []
        self.setFormatter(logging.Formatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.told += [self.format(record), repr(record.__dict__), _JsonLines().format(record)]


@pytest.fixture
def watch() -> Iterator[Watch]:
    """The log, which has to be clean in the end."""
    handler, root = Watch(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield handler
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert [line for line in handler.told if not clean(line)] == []


# -- the cache

Cache = SemanticCache
Act = Callable[[Cache], Awaitable[object]]


async def answered(_prompt: str) -> str:
    return ANSWER


async def differently(_prompt: str) -> str:
    return f"{ANSWER} in other words"


async def streamed(cache: Cache) -> list[str]:
    async def pieces(_prompt: str) -> AsyncIterator[str]:
        yield ANSWER

    return [piece async for piece in cache.stream(PROMPT, pieces, scope=SCOPE)]


ACTS: dict[str, Act] = {
    "answer": lambda cache: cache.get_or_generate(PROMPT, answered, scope=SCOPE, tags=(TAG,)),
    "stream": streamed,
    "other wording": lambda cache: cache.get_or_generate(OTHER, answered, scope=SCOPE),
    "lookup": lambda cache: cache.lookup(PROMPT, scope=SCOPE),
    "exact": lambda cache: cache.lookup_exact(PROMPT, scope=SCOPE),
    "nearest": lambda cache: cache.nearest(OTHER, scope=SCOPE),
    "store": lambda cache: cache.store(PROMPT, ANSWER, scope=SCOPE, tags=(TAG,)),
    "embed": lambda cache: cache.embed([PROMPT, OTHER]),
    "browse": lambda cache: cache.browse(tags=(TAG,)),
    "dry run": lambda cache: cache.would_invalidate(tenant=TENANT, tags=(TAG,)),
    "invalidate": lambda cache: cache.invalidate(tenant=TENANT, tags=(TAG,)),
    "scope": lambda cache: cache.invalidate(scope=SCOPE),
    "feedback": lambda cache: cache.feedback(OTHER, "ab" * 16, right=False),
    "check": lambda cache: cache.check(),
}
NONSENSE: dict[str, Act] = {
    "prompt": lambda cache: cache.lookup(f"{PROMPT}\ud800", scope=SCOPE),
    "NUL": lambda cache: cache.lookup(f"{PROMPT}\0", scope=SCOPE),
    "bytes": lambda cache: cache.lookup(PROMPT.encode(), scope=SCOPE),  # type: ignore[arg-type]
    "scope": lambda cache: cache.lookup(PROMPT, scope=TENANT),  # type: ignore[arg-type]
    "tags": lambda cache: cache.store(PROMPT, ANSWER, tags=TAG),
    "tag": lambda cache: cache.store(PROMPT, ANSWER, tags=(f"{TAG}\ud800",)),
    "answer": lambda cache: cache.store(PROMPT, f"{ANSWER}\ud800"),
    "long": lambda cache: cache.store(PROMPT, ANSWER * 100_000),
    "no text": lambda cache: cache.get_or_generate(PROMPT, nothing, scope=SCOPE),  # type: ignore[arg-type]
    "ids": lambda cache: cache.invalidate(entry_ids=PROMPT),
    "tenant": lambda cache: cache.invalidate(tenant=PROMPT.encode()),  # type: ignore[arg-type]
    "text": lambda cache: cache.feedback(f"{PROMPT}\0", "ab" * 16, right=True),
}


async def nothing(_prompt: str) -> None:
    return None


async def outcomes(cache: Cache, acts: dict[str, Act]) -> dict[str, BaseException | None]:
    """What each raised."""
    raised: dict[str, BaseException | None] = {}
    for name, act in acts.items():
        try:
            await act(cache)
            raised[name] = None
        except Exception as error:
            raised[name] = error
    return raised


async def all_clean(cache: Cache, *, raises: bool = True) -> None:
    found = await outcomes(cache, ACTS)
    assert [name for name, error in found.items() if not clean(words_of(error))] == []
    assert any(found.values()) or not raises
    assert clean(repr(dict(cache.stats())))


@asynccontextmanager
async def opened(url: str, name: str, **options: Any) -> AsyncIterator[Cache]:
    embedder, judge = options.pop("embedder", AngleEmbedder()), options.pop("judge", None)
    config = CacheConfig(name=name, **CONFIG, **{"store_timeout_s": 0.3} | options)  # type: ignore[arg-type]
    async with SemanticCache.open(url, config=config, embedder=embedder, judge=judge) as cache:
        yield cache


async def test_nonsense(redis_url: str, name: str, watch: Watch) -> None:
    async with opened(redis_url, name) as cache:
        for act, error in (await outcomes(cache, NONSENSE)).items():
            assert error is not None, act
            assert clean(words_of(error)), act


async def test_redis_is_lost(redis_url: str, name: str, tmp_path: Path, watch: Watch) -> None:
    async with relay(redis_url, tmp_path) as (between, url), opened(url, name) as cache:
        await all_clean(cache, raises=False)
        between.hold(b"\r\n")
        await all_clean(cache)
        between.refuses = True
        await between.aclose()
        await all_clean(cache)
        assert watch.told


async def test_what_lies_there_is_of_another_kind(
    redis_url: str, name: str, client: redis.asyncio.Redis, watch: Watch
) -> None:
    async with opened(redis_url, name) as cache:
        entry_id = await cache.store(PROMPT, ANSWER, scope=SCOPE)
        (key,) = [key async for key in client.scan_iter(f"{name}:*{entry_id}")]
        await client.delete(key)
        await client.set(key, PROMPT)
        await all_clean(cache)
        await client.delete(key)
        await client.hset(key, mapping={"entry": f'{{"prompt": "{PROMPT}"', "scope": "x"})
        await all_clean(cache, raises=False)
        await client.execute_command("FT.DROPINDEX", key.rpartition(b":")[0])
        await all_clean(cache, raises=False)
    assert watch.told


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_url(redis_url, protocol=3)
    yield client
    await client.aclose()


@pytest.mark.parametrize(
    "rights",
    [
        ("on", f">{PASSWORD}x"),
        ("off", f">{PASSWORD}"),
        ("on", f">{PASSWORD}", "~*", "+ping"),
        ("on", f">{PASSWORD}", "~*", "+@all", "-hset"),
        ("on", f">{PASSWORD}", "~*", "+@all", "-ft.search"),
        ("on", f">{PASSWORD}", "~elsewhere:*", "+@all"),
    ],
)
async def test_redis_refuses(
    redis_url: str,
    name: str,
    client: redis.asyncio.Redis,
    watch: Watch,
    rights: tuple[str, ...],
) -> None:
    await client.execute_command("ACL", "SETUSER", USER, "reset", *rights)
    url = redis_url.replace("unix://", f"unix://{USER}:{PASSWORD}@")
    try:
        with pytest.raises(SemcacheError) as caught:
            async with opened(url, name):
                pass
    finally:
        await client.execute_command("ACL", "DELUSER", USER)
    assert clean(words_of(caught.value))


async def test_rights_that_end(
    redis_url: str, name: str, client: redis.asyncio.Redis, watch: Watch
) -> None:
    set_user = ("ACL", "SETUSER", USER)
    await client.execute_command(*set_user, "reset", "on", f">{PASSWORD}", "~*", "+@all")
    url = redis_url.replace("unix://", f"unix://{USER}:{PASSWORD}@")
    try:
        keys = KeyRing({hash_key(ACME_KEY): Caller(tenant=TENANT)})
        cache = CONFIG
        async with live(url, name, keys=keys, cache=cache) as service:
            await client.execute_command(*set_user, "-@all", "+hset")
            await all_clean(service.service.cache)
            assert clean(str(await service.service.readiness.trouble()))
    finally:
        await client.execute_command("ACL", "DELUSER", USER)
    assert watch.told


@pytest.mark.parametrize(
    "url",
    [
        f"redis://{USER}:{PASSWORD}@127.0.0.1:1/0",
        f"redis://{USER}:{PASSWORD}#x@127.0.0.1:1/0",
        f"redis://{USER}:{PASSWORD}/x@127.0.0.1:1/0",
        f"redis://{USER}:{PASSWORD}@127.0.0.1:1/7",
        f"redis://{USER}:{PASSWORD}@127.0.0.1:1/0?socket_timeout={PASSWORD}",
        f"redis://{USER}:{PASSWORD}@nowhere.invalid:1/0",
        f"rediss://{USER}:{PASSWORD}@127.0.0.1:1/0",
        f"unix://{USER}:{PASSWORD}@/nowhere/redis.sock",
        f"http://{USER}:{PASSWORD}@127.0.0.1:1",
    ],
)
async def test_urls_that_lead_nowhere(url: str, name: str, watch: Watch) -> None:
    with pytest.raises(SemcacheError) as caught:
        async with opened(url, name):
            pass
    assert clean(words_of(caught.value))


@pytest.mark.parametrize(
    "reply",
    [
        f"ERR unknown command 'HSET', with args beginning with: 'k' 'entry' '{PROMPT}' ",
        f"NOPERM User {USER} has no permissions to run the 'hset' command",
        f"NOPERM User {USER} has no permissions to access one of the keys used as arguments",
        f"User {USER} has no permissions to run the 'hello' command",
    ],
)
def test_replies_that_repeat_what_was_sent(reply: str) -> None:
    assert clean(words_of(reply_error(reply)))


async def test_others_that_fail(redis_url: str, name: str, watch: Watch) -> None:
    """The embedder, the judge and the LLM, each with the texts it was given in its error."""
    embedder, judged = AngleEmbedder(), asyncio.Event()

    async def judge(case: Case) -> float:
        judged.set()
        raise RuntimeError(f"{JUDGE_WORD} {case.prompt} {case.stored_text}")

    async def refused(prompt: str) -> str:
        raise RuntimeError(f"No answer to {prompt}")

    options: dict[str, Any] = {"embedder": embedder, "judge": judge, "target_precision": 0.9}
    async with opened(redis_url, name, **options, store_timeout_s=5.0) as cache:
        await cache.get_or_generate(PROMPT, answered, scope=SCOPE)
        await cache.get_or_generate(f"{MARK}-third-df at 45", differently, scope=SCOPE)
        await judged.wait()
        await until(lambda: cache.stats().judge_errors == 1)
        embedder.fail(RuntimeError(f"cannot read {PROMPT}"), times=1_000)
        found = await outcomes(
            cache,
            {
                "lookup": lambda cache: cache.lookup(f"{MARK}-new-1 at 50", scope=SCOPE),
                "store": lambda cache: cache.store(f"{MARK}-new-2 at 50", ANSWER, scope=SCOPE),
                "nearest": lambda cache: cache.nearest(f"{MARK}-new-3 at 50", scope=SCOPE),
                "embed": lambda cache: cache.embed([f"{MARK}-new-4 at 50"]),
            },
        )
        assert all(clean(words_of(error)) for error in found.values())
        assert sum(error is not None for error in found.values()) == 3
        with pytest.raises(RuntimeError, match="No answer to"):  # its own, for its own caller
            await cache.get_or_generate(f"{MARK}-new-5 at 50", refused, scope=SCOPE)
        abandoned = asyncio.create_task(
            cache.get_or_generate(f"{MARK}-new-6 at 50", refused, scope=SCOPE)
        )
        await asyncio.sleep(0)
        abandoned.cancel()
        await asyncio.gather(abandoned, return_exceptions=True)
        await until(lambda: cache.stats().flights == 0)
        assert clean(repr(dict(cache.stats())))
    assert watch.told


def test_reprs() -> None:
    config = CacheConfig(**CONFIG)  # type: ignore[arg-type]
    settings = Settings(
        upstream_url="https://llm.example/v1",
        upstream_key=UPSTREAM_KEY,
        redis_url=f"redis://{USER}:{PASSWORD}@host:6379/0",
        cache=config,
    )
    keys = KeyRing({hash_key(ACME_KEY): Caller(tenant="acme")})
    for shown in (config, settings, sealer_of(config), keys):
        assert clean(repr(shown))
    assert TENANT in repr(SCOPE)  # a scope is its owner's to show


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("encryption_keys", f"{MARK},{MARK}"),
        ("secret", MARK * 50),
        ("redis_url", [MARK]),
    ],
)
def test_options_that_make_no_sense(option: str, text: Any, tmp_path: Path) -> None:
    path = tmp_path / "semcache.toml"
    table = "" if option == "redis_url" else "[cache]\n"
    path.write_text(f"{table}{option} = {msgspec.json.encode(text).decode()}\n")
    with pytest.raises(SemcacheError) as caught:
        read_settings({}, env={}, file=path, asks_llm=False)
    assert clean(words_of(caught.value))
    if isinstance(text, str):
        with pytest.raises(SemcacheError) as caught:
            read_settings({}, env={variable_of(option): text}, asks_llm=False)
        assert clean(words_of(caught.value))


# -- the service


def upstream(answers: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.Application:
    app = web.Application()
    app.router.add_post("/v1/chat/completions", answers)
    return app


async def echo_error(request: web.Request) -> web.StreamResponse:
    """An error that repeats all it was sent, the key too."""
    said = f"{await request.text()} {request.headers['Authorization']}"
    return web.Response(status=500, text=said)


async def echo_key_refused(request: web.Request) -> web.StreamResponse:
    said = {"error": {"message": f"Wrong key {request.headers['Authorization']}"}}
    return web.json_response(said, status=401)


async def echo_key(request: web.Request) -> web.StreamResponse:
    said = {"error": {"message": f"Over quota: {request.headers['Authorization']}"}}
    return web.json_response(said, status=429)


async def echo_as_success(request: web.Request) -> web.StreamResponse:
    return web.json_response({"error": {"message": f"Wrong {request.headers['Authorization']}"}})


async def echo_in_a_stream(request: web.Request) -> web.StreamResponse:
    said = {"error": {"message": f"Wrong {request.headers['Authorization']}"}}
    text = f'data: {{"choices": []}}\n\ndata: {msgspec.json.encode(said).decode()}\n\n'
    return web.Response(text=text, content_type="text/event-stream")


async def fine(_request: web.Request) -> web.StreamResponse:
    return web.json_response(completion("Like this."))


async def garbage(request: web.Request) -> web.StreamResponse:
    return web.Response(text=await request.text())


async def broken(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.write(b"HTTP/1.1 2x0 " + (await request.read())[:500] + b"\r\n\r\n")
    request.transport.close()
    return web.Response()


async def elsewhere(_request: web.Request) -> web.StreamResponse:
    return web.Response(status=307, headers={"Location": f"http://127.0.0.1:9/{MARK}"})


async def silent(_request: web.Request) -> web.StreamResponse:
    await asyncio.Event().wait()
    return web.Response()


CHAT = {"model": "m", "messages": [{"role": "system", "content": SYSTEM}]}
TALE = [{"role": "user", "content": PROMPT}]
REQUESTS: list[tuple[str, str, Any]] = [
    ("POST", "/v1/chat/completions", {**CHAT, "messages": CHAT["messages"] + TALE}),  # type: ignore[operator]
    ("POST", "/v1/chat/completions", {**CHAT, "messages": TALE, "stream": True}),
    ("POST", "/v1/chat/completions", {"model": "m", "messages": PROMPT}),
    ("POST", "/v1/chat/completions", f'{{"model": "{PROMPT}"'),
    ("POST", "/v1/chat/completions", f'{{"model": "{PROMPT}", "model": "{PROMPT}"}}'),
    ("POST", "/v1/embeddings", {"model": "all-MiniLM-L6-v2", "input": [PROMPT, 5]}),
    ("POST", "/v1/caches/c/entries", {"prompt": PROMPT, "response": ANSWER}),
    ("POST", "/v1/caches/c/entries", {"prompt": PROMPT, "response": 5}),
    ("POST", "/v1/caches/c/entries/search", {"prompt": OTHER, "similarityThreshold": PROMPT}),
    ("POST", "/semantic-cache/answer", {"prompt": PROMPT, "model": "m"}),
    ("POST", "/semantic-cache/answer", {"prompt": PROMPT, "tags": [5]}),
    ("POST", "/semantic-cache/answer", {"prompt": PROMPT, "tenant": TENANT}),
    ("GET", "/metrics", None),
    ("GET", "/readyz", None),
    ("GET", "/healthz", None),
    ("GET", "/semantic-cache/metrics", None),
    ("GET", f"/v1/{PROMPT.replace(' ', '%20')}", None),
]


async def asked(url: str, key: str | None, header: str = "Authorization") -> dict[str, str]:
    """What each request is answered with, headers too."""
    import aiohttp

    headers = {} if key is None else {header: f"Bearer {key}" if header[0] == "A" else key}
    told = {}
    async with aiohttp.ClientSession(headers=headers) as session:
        for n, (method, path, body) in enumerate(REQUESTS):
            data = body if isinstance(body, str) else msgspec.json.encode(body) if body else None
            kind = {"Content-Type": "application/json"} if data else {}
            async with session.request(method, url + path, data=data, headers=kind) as response:
                told[f"{n} {method} {path[:24]} {response.status}"] = await response.text() + repr(
                    response.headers
                )
    return told


@pytest.mark.parametrize(
    "answers", [echo_error, echo_key_refused, echo_key, garbage, broken, elsewhere, silent]
)
async def test_the_service_when_the_upstream_fails(
    answers: Any, redis_url: str, name: str, watch: Watch
) -> None:
    keys = KeyRing({hash_key(ACME_KEY): Caller(tenant=TENANT)})
    options: dict[str, Any] = {"upstream_key": UPSTREAM_KEY, "upstream_timeout_s": 0.2}
    async with live(
        redis_url, name, keys=keys, llm=upstream(answers), cache=CONFIG, **options
    ) as service:
        for key in (ACME_KEY, f"sk-{MARK}", None):
            told = await asked(service.url, key)
            assert [where for where, said in told.items() if not clean(said)] == []
        assert clean(repr(dict(service.service.cache.stats())))


@pytest.mark.parametrize("header", ["Authorization", "x-api-key"])
@pytest.mark.parametrize(
    "answers",
    [echo_error, echo_key_refused, echo_key, echo_as_success, echo_in_a_stream, broken, fine],
)
async def test_callers_own_keys(
    answers: Any,
    header: str,
    redis_url: str,
    name: str,
    client: redis.asyncio.Redis,
    watch: Watch,
) -> None:
    key = f"sk-{MARK}-callers-own"
    config = {**CONFIG, "target_precision": 0.9}
    async with live(
        redis_url, name, llm=upstream(answers), cache=config, pass_keys=True
    ) as service:
        told = await asked(service.url, key, header)  # its own matched prompts among others
        dirty = [where for where, said in told.items() if not clean(said, but=(PROMPT,))]
        assert dirty == []
        assert any("401" in where for where in told) == (answers is echo_key_refused)
        await settled(service.service)
        assert clean(repr(service.service.keys.caller({header: f"Bearer {key}"})))
        assert clean(repr(Passing(service.service.settings).of({header: key}, {})))
    held = await everything(client, name)
    assert bool(held) == (answers is fine)
    assert clean(held.decode("latin-1"))


async def test_the_service_when_redis_is_lost(
    redis_url: str, name: str, tmp_path: Path, watch: Watch
) -> None:
    keys = KeyRing({hash_key(ACME_KEY): Caller(tenant=TENANT)})
    cache = {**CONFIG, "store_timeout_s": 0.3}
    async with (
        relay(redis_url, tmp_path) as (between, url),
        live(url, name, keys=keys, llm=upstream(garbage), cache=cache) as service,
    ):
        await lose(between)
        told = await asked(service.url, ACME_KEY)
        assert [where for where, said in told.items() if not clean(said)] == []
        assert any("503" in where or "424" in where for where in told)
    assert watch.told


async def lose(between: Relay) -> None:
    between.refuses = True
    await between.aclose()
