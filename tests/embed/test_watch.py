from __future__ import annotations

import threading

import pytest

from semcache_async.embed.runtimes.watch import Watch


def test_a_call_that_does_not_return_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    watch = Watch("the-backend", limit_s=30.0, clock=lambda: now[0])
    with watch:
        now[0] = 30.0
        assert not watch.check()
        now[0] = 31.0
        assert watch.check()
        assert watch.check()
    assert caplog.text.count("the-backend has not returned for 31 s") == 1
    assert not watch.check()


def test_its_thread_ends_with_the_calls() -> None:
    watch = Watch("quick", limit_s=0.003)
    with watch:
        looking = [t for t in threading.enumerate() if t.name == "semcache-watch"]
        assert looking
    for thread in looking:
        if thread is watch.thread:
            thread.join()
    assert watch.thread is None


def test_nested_calls_of_one_thread_are_one() -> None:
    now = [0.0]
    watch = Watch("nested", clock=lambda: now[0])
    with watch:
        now[0] = 20.0
        with watch:
            now[0] = 35.0
            assert watch.check()
        assert watch.check()
    assert not watch.check()
