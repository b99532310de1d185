"""Pipelines over one's own protocol: order, limits, losses, and redis-py as the reference."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import trustme

from semcache_async.errors import (
    ConfigError,
    SearchModuleMissingError,
    StoreAuthError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from semcache_async.store.wire import Command, redis_pipelines
from semcache_async.store.wire.address import check_database
from tests.helpers import until
from tests.store.helpers import relay

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_leftovers")]

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(handler: Handler, directory: Path) -> AsyncIterator[str]:
    """A server of the test's own on a unix socket."""

    handling: list[asyncio.Task[None]] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handling.append(task)
        try:
            await handler(reader, writer)
        except (ConnectionError, RuntimeError, asyncio.CancelledError):
            pass  # uvloop's word for a client that has left is RuntimeError
        finally:
            writer.close()

    path = directory / "s"
    async with await asyncio.start_unix_server(handle, path) as listening:
        try:
            yield f"unix://{path}"
        finally:
            listening.close()
            for task in handling:
                task.cancel()
            await asyncio.gather(*handling)


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer redis-py's handshake."""
    while True:
        data = await reader.read(65_536)
        if not data:
            return
        if b"HELLO" in data:
            writer.write(b"%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n")
        replies = data.count(b"SETINFO") + data.count(b"SELECT")
        writer.write(b"+OK\r\n" * replies)
        if b"PING" in data:
            return


async def black_hole(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65_536):
        pass


async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await greet(reader, writer)
    for _ in range(1_000):
        writer.write(b"$")
        await writer.drain()
        await asyncio.sleep(0.04)


async def mute_after_greeting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await greet(reader, writer)
    await black_hole(reader, writer)


COMMANDS: list[Command] = [
    ("PING",),
    ("SET", "wire:{k}", b"\x00\xff\r\n"),
    ("GET", "wire:{k}"),
    ("GET", "wire:nothing"),
    ("INCRBY", "wire:{n}", 5),
    ("HSET", "wire:{h}", "a", 1, b"b", "é"),
    ("HGETALL", "wire:{h}"),
    ("LRANGE", "wire:none", 0, -1),
    ("DEL", "wire:{k}", "wire:{n}", "wire:{h}"),
    ("NO SUCH COMMAND",),
    ("INCR", "wire:{s}", "too many"),
    ("PING",),
]


async def test_answers_what_redis_py_answers(redis_url: str) -> None:
    client = redis.asyncio.Redis.from_url(redis_url, protocol=3)
    pipeline = client.pipeline(transaction=False)
    for command in COMMANDS:
        pipeline.execute_command(*command)
    expected = await pipeline.execute(raise_on_error=False)
    await client.aclose()
    async with redis_pipelines(redis_url, connections=2, timeout_s=5) as pipelines:
        replies = await pipelines.execute(COMMANDS)

    def plain(reply: object) -> object:
        if isinstance(reply, Exception):
            return "error"
        return b"OK" if reply is True else reply

    def pong(reply: object) -> object:
        return True if reply == b"PONG" else reply

    assert [pong(plain(r)) for r in replies] == [
        True if i in (0, 11) else plain(r) for i, r in enumerate(expected)
    ]
    assert all(isinstance(r, StoreError) for r in replies if isinstance(r, Exception))


@pytest.mark.parametrize("handler", [black_hole, trickle, mute_after_greeting])
async def test_a_server_that_never_answers_costs_the_time_limit(
    tmp_path: Path, handler: Handler
) -> None:
    async with (
        server(handler, tmp_path) as url,
        redis_pipelines(url, connections=2, timeout_s=0.2) as pipelines,
    ):
        for _ in range(3):
            with pytest.raises(StoreUnavailableError):
                await pipelines.execute([("PING",)])
            assert pipelines.connections == 0


async def test_a_refused_port_is_named_at_once(free_tcp_port: int) -> None:
    async with redis_pipelines(
        f"redis://:hush@127.0.0.1:{free_tcp_port}/0", connections=2, timeout_s=5
    ) as pipelines:
        with pytest.raises(StoreUnavailableError, match=str(free_tcp_port)) as caught:
            await pipelines.execute([("PING",)])
        assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost", "http://x", "redis://host:port/0", "redis://h/0?no_such_option=1"),
        "redis://user:SEC/RET@localhost:6379/0",
        "redis://user:SEC#RET@localhost:6379/0",
        "redis://user:SEC?RET@localhost:6379/0",
        "redis://:SEC:RET@localhost:RET/0",
        "redis://user:SEC[RET@localhost:6379/0",
        "redis://:6379/SECRET@localhost:6379/0",
        "rediss://user:12/RET@localhost",
        "unix://user:SEC/RET@/tmp/redis.sock",
        "redis://localhost/SECRET",
        *("redis+sentinel://h:1", "redis+sentinel://h/a/b", "unix+sentinel:///s", "redis+x://h/s"),
        *("redis+sentinel://:1/s", "redis+sentinel://h:p/s", "redis+cluster://h/s"),
        *("redis+cluster://", "redis+cluster://h,", "redis+cluster://h/0?no_such_option=1"),
        "redis+sentinel://u:SEC/RET@h:1/s",
        "redis+sentinel://u:SEC?RET@h:1/s",
        "redis+cluster://u:SEC#RET@h:1",
        "redis+sentinel://h:1/s?db=SECRET",
        "rediss://h/0?ssl_cert_reqs=SECRET",
    ],
)
async def test_an_unreadable_url(url: str) -> None:
    with pytest.raises(ConfigError, match="redis://host:6379/0") as caught:
        async with redis_pipelines(url, connections=2, timeout_s=1):
            pass
    shown = "".join(traceback.format_exception(caught.value.with_traceback(None)))
    assert "SEC" not in shown
    assert "RET" not in shown


@pytest.mark.parametrize(
    "url",
    [
        *("redis://h", "redis://h/", "redis://h:1/0", "redis://u:p%40%2F@h:1/0?db=0"),
        *("redis://:p@[::1]:1", "unix:///tmp/a@b", "unix://u:p@/tmp/s?db=0", "rediss://h/00"),
        *(
            "redis+sentinel://h/s",
            "rediss+sentinel://u:p%2F@h:1,[::1]:2/my-s.1/0",
            "redis+cluster://h",
        ),
        "redis+sentinel://h:1/s?db=0&sentinel_username=a&sentinel_password=b%40%2F",
        "rediss+cluster://:p@h:1,h2/0?ssl_cert_reqs=none",
    ],
)
async def test_a_readable_url(url: str) -> None:
    check_database(url)
    async with redis_pipelines(url, connections=2, timeout_s=1):
        pass


@pytest.mark.parametrize(
    "url",
    [
        *("redis://h/1", "redis://h/0?db=2", "unix:///s?db=1", "redis+cluster://h/1"),
        *("redis+sentinel://h/s/1", "rediss+sentinel://h/s?db=1"),
    ],
)
async def test_another_database(url: str) -> None:
    with pytest.raises(ConfigError, match="database 0"):
        check_database(url)


async def test_a_wrong_password(redis_url: str) -> None:
    client = redis.asyncio.Redis.from_url(redis_url)
    await client.acl_setuser("someone", enabled=True, passwords=["+right"], commands=["+ping"])
    try:
        for password in ("wrong", "right"):
            url = redis_url.replace("unix://", f"unix://someone:{password}@")
            async with redis_pipelines(url, connections=2, timeout_s=5) as pipelines:
                try:
                    (error,) = await pipelines.execute([("FT.INFO", "x")])
                except StoreAuthError as refused:
                    error = refused
                assert isinstance(error, StoreAuthError)
                assert password not in str(error)
    finally:
        await client.acl_deluser("someone")
        await client.aclose()


async def test_error_replies_become_typed_errors(tmp_path: Path) -> None:
    async def errors(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        writer.write(
            b"-ERR unknown command 'FT.SEARCH', with args beginning with: \r\n"
            b"-LOADING Redis is loading the dataset in memory\r\n"
            b"-OOM command not allowed\r\n"
            b">2\r\n$4\r\npush\r\n:1\r\n"
            b"-NOPERM no\r\n"
        )
        await black_hole(reader, writer)

    async with (
        server(errors, tmp_path) as url,
        redis_pipelines(url, connections=2, timeout_s=5) as pipelines,
    ):
        replies = await pipelines.execute([("PING",)] * 4)
        assert [type(reply) for reply in replies] == [
            SearchModuleMissingError,
            StoreUnavailableError,
            StoreFullError,
            StoreAuthError,
        ]


async def test_a_demoted_master_is_left(tmp_path: Path) -> None:
    async def replica(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        writer.write(b"-READONLY You can't write against a read only replica.\r\n")
        await black_hole(reader, writer)

    async with (
        server(replica, tmp_path) as url,
        redis_pipelines(url, connections=2, timeout_s=5) as pipelines,
    ):
        (reply,) = await pipelines.execute([("PING",)])
        assert isinstance(reply, StoreUnavailableError)
        assert pipelines.connections == 0


@pytest.mark.parametrize("garbage", [b"!nonsense\r\n", b"+OK\r\n+OK\r\n+OK\r\n"])
async def test_garbage_drops_the_connection(tmp_path: Path, garbage: bytes) -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        writer.write(garbage)
        await black_hole(reader, writer)

    async with (
        server(babble, tmp_path) as url,
        redis_pipelines(url, connections=2, timeout_s=0.5) as pipelines,
    ):
        with contextlib.suppress(StoreUnavailableError):
            await pipelines.execute([("PING",)])
        await until(lambda: pipelines.connections == 0)


async def test_a_lost_connection_fails_what_is_on_it_and_the_next_use_reconnects(
    redis_url: str,
) -> None:
    async with redis_pipelines(redis_url, connections=1, timeout_s=5) as pipelines:
        await pipelines.execute([("PING",)])
        task = asyncio.create_task(pipelines.execute([("BLPOP", "wire:never", 60)]))
        other = redis.asyncio.Redis.from_url(redis_url)
        for _ in range(500):
            blocked = [c for c in await other.client_list() if c["cmd"] == "blpop"]
            if blocked:
                break
        await other.client_kill_filter(_id=blocked[0]["id"])
        await other.aclose()
        with pytest.raises(StoreUnavailableError, match="lost"):
            await task
        assert await pipelines.execute([("ECHO", "back")]) == [b"back"]
        assert pipelines.connections == 1


async def test_one_command_that_cannot_be_packed_fails_alone(redis_url: str) -> None:
    strange: Any = [object(), None, [1]]
    async with redis_pipelines(redis_url, connections=1, timeout_s=5) as pipelines:
        replies = await pipelines.execute(
            [("ECHO", "a"), ("ECHO", strange[0]), ("ECHO", "b"), ("ECHO", strange[2])]
        )
        assert [reply for reply in replies if isinstance(reply, bytes)] == [b"a", b"b"]
        assert isinstance(replies[1], StoreError)
        assert isinstance(replies[3], StoreError)
        assert isinstance((await pipelines.execute([("ECHO", strange[1])]))[0], StoreError)


async def test_where_no_further_connection_opens_the_open_ones_serve(
    redis_url: str, tmp_path: Path
) -> None:
    async with (
        relay(redis_url, tmp_path) as (between, url),
        redis_pipelines(url, connections=4, timeout_s=20) as pipelines,
    ):
        await pipelines.execute([("PING",)])
        between.refuses = True
        refused = between.refused
        replies = await asyncio.gather(
            *[pipelines.execute([("ECHO", str(n))]) for n in range(100)],
        )
        assert replies == [[str(n).encode()] for n in range(100)]
        assert pipelines.connections == 1
        await until(lambda: between.refused > refused)
        tried = between.refused
        for _ in range(5):  # not at every request
            await asyncio.gather(*[pipelines.execute([("ECHO", "x")]) for _ in range(20)])
        assert between.refused <= tried + 3


async def test_what_a_dead_idle_connection_swallowed_is_sent_again(
    redis_url: str, tmp_path: Path
) -> None:
    async with (
        relay(redis_url, tmp_path) as (between, url),
        redis_pipelines(url, connections=3, timeout_s=20, silent_s=0.0, patience_s=0.05) as one,
    ):
        await asyncio.gather(*[one.execute([("PING",)]) for _ in range(9)])
        between.silence()
        replies = await asyncio.gather(*[one.execute([("ECHO", str(n))]) for n in range(9)])
        assert replies == [[str(n).encode()] for n in range(9)]
        between.silence()
        replies = await asyncio.gather(
            *[one.execute([("ECHO", str(n))], again=False) for n in range(9)]
        )
        assert replies == [[str(n).encode()] for n in range(9)]
        between.silence()
        async with one.session() as session:
            assert await session.execute([("ECHO", "a")]) == [b"a"]
            assert await session.execute([("ECHO", "b")]) == [b"b"]


async def test_one_that_was_heard_a_moment_ago_may_be_dead_too(
    redis_url: str, tmp_path: Path
) -> None:
    async with (
        relay(redis_url, tmp_path) as (between, url),
        redis_pipelines(url, connections=3, timeout_s=4, silent_s=1e9) as one,
    ):
        await asyncio.gather(*[one.execute([("PING",)]) for _ in range(9)])
        await until(lambda: one.connections == 3)
        between.silence()
        assert await one.execute([("ECHO", "a")]) == [b"a"]
        for n in range(9):
            assert await one.execute([("ECHO", str(n))]) == [str(n).encode()]
        assert between.opened == 4


async def test_a_slow_answer_on_a_connection_that_lives_is_waited_for(tmp_path: Path) -> None:
    go, connections = asyncio.Event(), 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await greet(reader, writer)
        writer.write(b"+PONG\r\n")
        await reader.read(65_536)
        writer.write(b"+first\r\n")
        await go.wait()
        writer.write(b"+second\r\n")
        await black_hole(reader, writer)

    async with (
        server(slow, tmp_path) as url,
        redis_pipelines(url, connections=1, timeout_s=20, silent_s=0.0, patience_s=0.3) as one,
    ):
        await one.execute([("PING",)])
        asking = asyncio.create_task(one.execute([("GET", "a"), ("GET", "b")]))
        await asyncio.wait([asking], timeout=0.6)
        go.set()
        assert await asking == [b"first", b"second"]
        assert connections == 1


async def test_a_session_is_alone_and_ends_with_its_connection_where_it_fails(
    redis_url: str,
) -> None:
    async with redis_pipelines(redis_url, connections=1, timeout_s=20) as pipelines:
        inside = 0

        async def hold(n: int) -> None:
            nonlocal inside
            async with pipelines.session() as session:
                inside += 1
                assert inside == 1
                await session.execute([("WATCH", f"wire:{n}")])
                await session.execute([("UNWATCH",)])
                inside -= 1

        await asyncio.gather(*[hold(n) for n in range(20)])
        assert pipelines.connections == 1
        with contextlib.suppress(ZeroDivisionError):
            async with pipelines.session() as session:
                await session.execute([("WATCH", "wire:x")])
                raise ZeroDivisionError
        assert pipelines.connections == 0


async def test_connections_open_only_as_needed(redis_url: str) -> None:
    async with redis_pipelines(redis_url, connections=3, timeout_s=5) as pipelines:
        for _ in range(5):
            await pipelines.execute([("PING",)])
        assert pipelines.connections == 1
        await asyncio.gather(*[pipelines.execute([("PING",)] * 3) for _ in range(10)])
        assert pipelines.connections <= 3
    assert pipelines.connections == 0


async def test_tls(redis_url: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_unix_connection(redis_url.removeprefix("unix://"))

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            while data := await source.read(65_536):
                sink.write(data)
            sink.close()

        with contextlib.suppress(ConnectionError):
            await asyncio.gather(pump(reader, back), pump(there, writer))

    async with await asyncio.start_server(relay, "localhost", 0, ssl=context) as listening:
        port = listening.sockets[0].getsockname()[1]
        url = f"rediss://localhost:{port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}"
        async with redis_pipelines(url, connections=2, timeout_s=5) as pipelines:
            big = b"x" * 1_000_000
            assert await pipelines.execute([("ECHO", big), ("ECHO", "b")]) == [big, b"b"]
        await until(lambda: len(asyncio.all_tasks()) <= 3)
