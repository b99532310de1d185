"""The embedded Redis's guard: a process that keeps one redis-server alive while it has users.

A script for ``python -I -S``, of the standard library alone:
``_guard.py GUARD_FD HOME SOCKET REDIS_SERVER ARGUMENT...``

Who holds which file in HOME locked (``flock``, so that the kernel lets go for a killed process):

``users.lock``   every user, shared. The guard ends the server once it holds it exclusively, and
                 keeps it until it is gone itself: whoever holds it has a guard that stays.
``guard.lock``   the guard, handed down by the user that took it as an open file.
``server.lock``  redis-server, handed down by the guard: one server at most writes to HOME.
``door.lock``    a leaving user, for one look at who is left.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

USERS, GUARD, SERVER, DOOR = LOCKS = ("users.lock", "guard.lock", "server.lock", "door.lock")
RECORD = "socket"
"""The file in HOME that holds the path of the server's socket."""
LOG = "redis.log"

LOOK_S = 0.05
STOP_S = 10.0
"""From SIGTERM to SIGKILL."""
RAPID_S = 60.0
RAPID_DEATHS = 5
"""More deaths than this within ``RAPID_S``, and the guard gives up."""


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Lock an open file if that needs no waiting."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(fd: int) -> None:
    """Let go, for every process that holds the same open file."""
    fcntl.flock(fd, fcntl.LOCK_UN)


def open_lock(path: str) -> int:
    """Open a lock file that is there already: a new one in its place would lock nobody out."""
    return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)


def ask(path: str, command: bytes) -> bytes:
    """What a server on this socket answers to one word; empty where none does."""
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.settimeout(1.0)
        connection.connect(path)
        connection.sendall(command + b"\r\n")
        return connection.recv(256)
    return b""


class Server:
    """One redis-server: our child, or one that a killed guard left behind (``adopted``)."""

    def __init__(self, home: str, path: str, command: list[str]) -> None:
        self.lock = os.path.join(home, SERVER)  # noqa: PTH118 - no pathlib: this must start fast
        self.path = path
        self.command = command
        self.child = 0
        self.adopted = False
        self.answered = False
        self.deaths: list[float] = []
        self.not_before = 0.0

    def tend(self) -> None:
        """Take one look, and start the server where there is none."""
        if self.child:
            ended, status = os.waitpid(self.child, os.WNOHANG)
            if ended:
                self.child = 0
                self._count_death(killed=os.WIFSIGNALED(status))
            elif not self.answered:
                self.answered = ask(self.path, b"PING").startswith(b"+PONG")
        elif self.adopted:
            self.adopted = self._is_locked()
        elif time.monotonic() >= self.not_before:
            self._start()

    def end(self) -> None:
        """Let the server write out what it has and exit; kill it if it does not."""
        if self.child:
            os.kill(self.child, signal.SIGTERM)
            if not _within(STOP_S, lambda: os.waitpid(self.child, os.WNOHANG)[0] != 0):
                os.kill(self.child, signal.SIGKILL)
                os.waitpid(self.child, 0)
            self.child = 0
        elif self._is_locked():  # adopted, or about to be
            ask(self.path, b"SHUTDOWN")
            if not _within(STOP_S, lambda: not self._is_locked()):
                sys.exit("A server that another guard started does not shut down; left alone.")

    def _count_death(self, *, killed: bool) -> None:
        now = time.monotonic()
        self.deaths = [*(at for at in self.deaths if now - at < RAPID_S), now]
        if not self.answered and not killed:
            sys.exit("The server ended before it answered.")
        if len(self.deaths) > RAPID_DEATHS:
            sys.exit(f"The server died {len(self.deaths)} times within {RAPID_S:.0f} s.")
        self.not_before = now + LOOK_S * 2 ** (len(self.deaths) - 1)

    def _is_locked(self) -> bool:
        lock = open_lock(self.lock)
        try:
            return not try_lock(lock)
        finally:
            os.close(lock)

    def _start(self) -> None:
        lock = open_lock(self.lock)
        try:
            if not try_lock(lock):
                self.adopted = True
                return
            with suppress(FileNotFoundError):
                os.unlink(self.path)  # noqa: PTH108
            guard = os.getpid()
            self.child = os.fork()
            if not self.child:
                self._become(lock, guard)
        finally:
            os.close(lock)

    def _become(self, lock: int, guard: int) -> NoReturn:
        """In the child: redis-server, which holds the lock and dies with the guard."""
        try:
            _die_with_parent()
            if os.getppid() == guard:
                os.set_inheritable(lock, True)
                os.execv(self.command[0], self.command)  # noqa: S606
        except BaseException as error:
            os.write(2, f"{self.command[0]}: {error}\n".encode(errors="replace"))
        finally:
            os._exit(127)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        with suppress(ImportError):  # a Python built without libffi
            import ctypes

            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _within(seconds: float, done: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_S / 2)
    return True


def main(argv: list[str]) -> None:
    """Guard until the last user has gone, or SIGTERM."""
    guard_lock, home, path, *command = argv
    os.umask(0o077)
    os.set_inheritable(int(guard_lock), False)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW
    log = os.open(f"{home}/{LOG}", flags, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    run = os.path.dirname(path)  # noqa: PTH120
    try_lock(os.open(run, os.O_RDONLY))  # systemd-tmpfiles spares a locked directory
    users = open_lock(f"{home}/{USERS}")
    told: list[int] = []

    def on_signal(number: int, _frame: FrameType | None) -> None:
        told.append(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    server = Server(home, path, command)
    while not (unused := try_lock(users)) and not told:
        server.tend()
        time.sleep(LOOK_S)
    server.end()
    if unused:
        with suppress(FileNotFoundError):
            os.unlink(f"{home}/{RECORD}")  # noqa: PTH108
        shutil.rmtree(run, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])
