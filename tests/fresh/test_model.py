"""Storing, asking, expiring, bumping, purging, evicting and dying in any order, in two processes on
one Redis, against a list of what was made when: nothing of a foreign scope, an old version, a
purged tag or a time that is over is served after the bound that is stated."""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.fresh.process import LEASE_S, OPTIONS

ROOT = Path(__file__).parents[2]
LIVES_S = {
    "exact": OPTIONS["exact_ttl_s"] + OPTIONS["stale_ttl_s"],
    "semantic": OPTIONS["semantic_ttl_s"] + OPTIONS["stale_ttl_s"],
}
REACH = 0.12
"""The default ``max_distance``."""
SCOPES: list[dict[str, Any]] = [
    {"tenant": "a"},
    {"tenant": "a", "namespace": "n"},
    {"tenant": "b", "namespace": "n"},
    {"tenant": "a", "namespace": "m"},
    {"tenant": "a", "attributes": {"plan": "pro"}},
]
ANGLES = (0, 10, 20, 45)

scopes, angles, sides = st.sampled_from(SCOPES), st.sampled_from(ANGLES), st.integers(0, 1)


class Served(NamedTuple):
    side: int
    scope: dict[str, Any]
    angle: int
    sent: float
    said: dict[str, Any]
    passed: float


class Remote:
    """One of the processes."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._process: subprocess.Popen[str] | None = None

    def tell(self, **command: Any) -> Any:
        self.send(**command)
        return self.read()

    def read(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def send(self, **command: Any) -> None:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.fresh.process", self._url],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


class Machine(RuleBasedStateMachine):
    """``seq`` numbers what happened: commands are told one after the other, and only flights that
    were begun by hand last longer than the command that began them."""

    numbers = itertools.count()

    def __init__(self, remotes: list[Remote], client: redis.Redis, name: str) -> None:
        super().__init__()
        self._remotes = remotes
        self._client = client
        self._name = f"{name}-{next(self.numbers)}"
        self._passed = 0.0
        self._seq = 0
        self._made_at: dict[str, float] = {}
        """When each text was first seen, in passed seconds: no later than it was stored."""
        self._bumps: list[tuple[int, int, str, float]] = []
        self._purges: list[tuple[int, dict[str, Any]]] = []
        self._crashes = 0
        self._flights: dict[int, tuple[int, dict[str, Any], int]] = {}
        for side in (0, 1):
            self._open(side)

    def teardown(self) -> None:
        for number in list(self._flights):
            self.end(number)
        for key in self._client.scan_iter(f"{self._name}:*"):
            self._client.delete(key)

    # -- what may happen

    @rule(side=sides, scope=scopes, angle=angles)
    def store(self, side: int, scope: dict[str, Any], angle: int) -> None:
        text = self._tell(side, "store", **asked(scope, angle))
        if "namespace" not in scope:
            found = self._ask(side, scope, angle)
            assert found is not None, "what was just stored is not found"
            assert found.said["text"] == text

    @rule(side=sides, scope=scopes, angle=angles)
    def generate(self, side: int, scope: dict[str, Any], angle: int) -> None:
        if any(scope == flown and near(angle, at) for _, flown, at in self._flights.values()):
            return  # it would wait for that
        self._serve(side, "generate", scope, angle)

    @precondition(lambda self: len(self._flights) < 3)
    @rule(side=sides, scope=scopes, angle=angles)
    def begin(self, side: int, scope: dict[str, Any], angle: int) -> None:
        if any(scope == flown for _, flown, _ in self._flights.values()):
            return
        number = self._seq + 1
        self._tell(side, "begin", flight=number, **asked(scope, angle))
        self._flights[number] = (side, scope, angle)

    @precondition(lambda self: not self._flights)
    @rule(side=sides, scope=scopes, angle=angles, by=sides, how=st.sampled_from("bgt"))
    def overtake(self, side: int, scope: dict[str, Any], angle: int, by: int, how: str) -> None:
        """What began before is delivered after what it must not outlive."""
        self.begin(side, scope, angle)
        if how == "b":
            self.bump(by, scope.get("namespace", "n"))
        elif how == "g":
            self.purge_tag(by, angle)
        else:
            self.purge_tenant(by, scope["tenant"])
        for number in list(self._flights):
            self.end(number)

    @precondition(lambda self: self._flights)
    @rule(data=st.data())
    def land(self, data: st.DataObject) -> None:
        self.end(data.draw(st.sampled_from(sorted(self._flights))))

    @rule(seconds=st.sampled_from([30.0, 60.0, 110.0]))
    def expire(self, seconds: float) -> None:
        self._passed += seconds

    @rule(side=sides, namespace=st.sampled_from("nm"))
    def bump(self, side: int, namespace: str) -> None:
        self._tell(side, "bump", namespace=namespace)
        self._bumps.append((self._seq, side, namespace, time.monotonic()))

    @rule(side=sides, angle=angles)
    def purge_tag(self, side: int, angle: int) -> None:
        self._purge(side, tags=tags_of(angle))

    @rule(side=sides, tenant=st.sampled_from("ab"))
    def purge_tenant(self, side: int, tenant: str) -> None:
        self._purge(side, tenant=tenant)

    @rule(side=sides, scope=st.sampled_from([SCOPES[0], SCOPES[4]]))
    def purge_scope(self, side: int, scope: dict[str, Any]) -> None:
        self._purge(side, scope=scope)

    @rule(data=st.data())
    def evict(self, data: st.DataObject) -> None:
        keys = sorted(self._client.scan_iter(f"{self._name}:*"))
        kept = [key for key in keys if b":fence:" not in key and b"claims" not in key]
        if kept:
            self._client.delete(kept[data.draw(st.integers(0, 10**6)) % len(kept)])

    @precondition(lambda self: self._crashes < 1)
    @rule(side=sides)
    def crash(self, side: int) -> None:
        self._crashes += 1
        self._remotes[side].kill()
        self._flights = {
            number: flight for number, flight in self._flights.items() if flight[0] != side
        }
        self._open(side)

    @rule()
    def wait_for_the_lease(self) -> None:
        time.sleep(LEASE_S * 1.1)  # or else most bumps are too young to be judged

    # -- what must not

    def _check(self, served: Served) -> None:
        made = json.loads(served.said["text"])
        scope, angle = served.scope, served.angle
        assert fixed(made["scope"]) == fixed(scope), "of a foreign scope"
        attributes = scope.get("attributes", {}).items()
        assert attributes <= made["scope"].get("attributes", {}).items(), "lacks an attribute"
        at = int(made["prompt"].removeprefix("at "))
        assert near(angle, at), "too far"
        lived = served.passed - self._made_at.setdefault(served.said["text"], served.passed)
        assert lived < LIVES_S.get(served.said["source"], math.inf), "past its end"
        for seq, conditions in self._purges:
            if made["seq"] < seq:
                assert not concerns(conditions, made), f"purged by {conditions}"
        for seq, side, namespace, done in self._bumps:
            bound = 0.0 if side == served.side else LEASE_S
            if made["seq"] < seq and served.sent >= done + bound:
                assert scope.get("namespace") != namespace, "of an old version"

    @invariant()
    def nothing_wrong_is_served(self) -> None:
        questions = [(scope, angle) for scope in SCOPES for angle in ANGLES]
        for side in (0, 1):
            sent = time.monotonic()
            said = self._tell(side, "sweep", asked=[asked(*one) for one in questions])
            for (scope, angle), found in zip(questions, said, strict=True):
                if found is not None:
                    self._check(Served(side, scope, angle, sent, found, self._passed))

    # -- helpers

    def end(self, number: int) -> None:
        side, _, _ = self._flights.pop(number)
        said = self._tell(side, "end", flight=number)
        self._made_at[said["text"]] = max(
            self._passed, self._made_at.get(said["text"], self._passed)
        )

    def _open(self, side: int) -> None:
        self._tell(side, "open", name=self._name, options={})

    def _purge(self, side: int, **conditions: Any) -> None:
        self._tell(side, "purge", **conditions)
        self._purges.append((self._seq, conditions))

    def _ask(self, side: int, scope: dict[str, Any], angle: int) -> Served | None:
        return self._serve(side, "ask", scope, angle)

    def _serve(self, side: int, how: str, scope: dict[str, Any], angle: int) -> Served | None:
        sent = time.monotonic()
        said = self._tell(side, how, **asked(scope, angle))
        if said is None:
            return None
        served = Served(side, scope, angle, sent, said, self._passed)
        self._check(served)
        return served

    def _tell(self, side: int, do: str, **more: Any) -> Any:
        self._seq += 1
        said = self._remotes[side].tell(do=do, seq=self._seq, passed=self._passed, **more)
        if do == "store":
            self._made_at[said] = self._passed
        return said


def asked(scope: dict[str, Any], angle: int) -> dict[str, Any]:
    return {"scope": scope, "prompt": f"at {angle}", "tags": tags_of(angle)}


def tags_of(angle: int) -> list[str]:
    return [f"tag-{angle % 20}"]


def fixed(scope: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in scope.items() if name != "attributes"}


def near(one: int, other: int) -> bool:
    return 1.0 - math.cos(math.radians(one - other)) <= REACH + 1e-3


def concerns(conditions: dict[str, Any], made: dict[str, Any]) -> bool:
    scope = made["scope"]
    if "tags" in conditions and not set(conditions["tags"]) & set(made["tags"]):
        return False
    if "tenant" in conditions and conditions["tenant"] != scope["tenant"]:
        return False
    if "scope" in conditions:
        asked_for = conditions["scope"]
        carried = scope.get("attributes", {}).items()
        return fixed(asked_for) == fixed(scope) and (
            asked_for.get("attributes", {}).items() <= carried
        )
    return True


@pytest.fixture
def remotes(redis_url: str) -> Iterator[list[Remote]]:
    both = [Remote(redis_url), Remote(redis_url)]
    yield both
    for one in both:
        one.kill()


def run(remotes: list[Remote], url: str, name: str, examples: int, steps: int) -> None:
    with redis.Redis.from_url(url) as client:
        run_state_machine_as_test(
            lambda: Machine(remotes, client, name),  # type: ignore[arg-type]
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_model(remotes: list[Remote], redis_url: str, name: str) -> None:
    run(remotes, redis_url, name, examples=4, steps=40)


if __name__ == "__main__":  # python -m tests.fresh.test_model URL EXAMPLES
    both = [Remote(sys.argv[1]), Remote(sys.argv[1])]
    run(both, sys.argv[1], f"model-{time.time_ns()}", examples=int(sys.argv[2]), steps=40)
