"""What this process knows of Redis's clock."""

from __future__ import annotations

import pytest

from semcache_async.errors import StoreError
from semcache_async.store.clock import ServerClock


def test_the_clock_is_early_never_late_and_gets_better() -> None:
    local, truth = [50.0], [1_000_000.0]

    def passes(seconds: float, *, fast: float = 1.0) -> None:
        local[0] += seconds * fast
        truth[0] += seconds

    def reply() -> list[bytes]:
        return [b"%d" % int(truth[0]), b"%d" % round(truth[0] % 1 * 1e6)]

    def ask(there: float, back: float) -> None:
        sent = local[0]
        passes(there)
        said = reply()
        passes(back)
        clock.learn(sent, said)

    clock = ServerClock(monotonic=lambda: local[0])
    assert clock.due()
    assert not clock.due()
    ask(0.5, 0.5)
    assert clock.now() == pytest.approx(truth[0] - 0.5, abs=1e-3)
    ask(0.01, 0.01)
    assert clock.now() == pytest.approx(truth[0] - 0.01, abs=1e-3)
    ask(0.4, 0.4)  # a slow answer takes nothing back
    assert clock.now() == pytest.approx(truth[0] - 0.01, abs=1e-3)
    assert clock.learn(local[0], StoreError("no")) is None
    for fast in (1.0004, 0.9996):
        passes(3_600, fast=fast)
        assert truth[0] - 5 < clock.now() <= truth[0]
        assert clock.due()
        ask(0.01, 0.01)
        assert truth[0] - 0.03 < clock.now() <= truth[0]


@pytest.mark.parametrize("step", [-3_600.0, 3_600.0])
def test_a_clock_that_was_set_is_believed(step: float) -> None:
    local = [0.0]
    clock = ServerClock(monotonic=lambda: local[0])
    clock.learn(0.0, [b"1000000", b"0"])
    local[0] = 10.0
    clock.learn(10.0, [b"%d" % (1_000_010 + step), b"0"])
    assert clock.now() == pytest.approx(1_000_010 + step, abs=0.1)
