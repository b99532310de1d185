"""What a forked child must not take over from its parent: locks that somebody held, and runtimes
whose threads are not there."""

from __future__ import annotations

import ctypes
import os
import threading
import weakref
from contextlib import suppress

__all__ = ["ForkLock", "give_back", "leave_behind", "never_destroy_in_a_child"]


class ForkLock:
    """A re-entrant lock that is free in a forked child, whoever held it in the parent."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def free(self) -> None:
        """Forget who holds it."""
        self._lock = threading.RLock()


_locks: weakref.WeakSet[ForkLock] = weakref.WeakSet()
_runtimes: weakref.WeakSet[object] = weakref.WeakSet()


def never_destroy_in_a_child(runtime: object) -> None:
    """Its destructor, and its library's at the end of the process, wait for threads. So a forked
    child keeps it for ever and, where the C library allows, ends without such destructors."""
    _runtimes.add(runtime)


def leave_behind(*things: object) -> None:
    """Never destroy these, not even as the interpreter ends."""
    for thing in things:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def give_back() -> None:
    """Return to the system what the C library keeps of memory that is free: after a model was
    loaded, or a long text embedded, that is more than the model itself."""
    with suppress(OSError, AttributeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)


def _in_child() -> None:
    for lock in list(_locks):
        lock.free()
    runtimes = list(_runtimes)
    leave_behind(*runtimes)
    if runtimes:
        with suppress(OSError, AttributeError):  # glibc has on_exit
            libc = ctypes.CDLL(None)
            libc.on_exit(libc._exit, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
