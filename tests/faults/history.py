"""What a soak's history must show, whatever was done to the system."""

from __future__ import annotations

import json
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["History", "Span", "read_history"]

NEAR = 4.0
"""Degrees within which an answer may be shared."""
DEADLINE_S = 30.0
"""A request ends within it: some LLM calls, leases and time limits."""
_FDS, _MEMORY = 16, 1.3
"""How many more file descriptors, and how many times the memory, late as early."""
_TELLING = 20
"""Samples of a life that are enough to tell."""


class Span(NamedTuple):
    """When something was disturbed, with its effects, in Unix seconds."""

    since: float
    until: float
    what: str


class History:
    """The events of each life of each process, in order."""

    def __init__(self, lives: dict[str, list[dict[str, Any]]], ended: set[str]) -> None:
        """``ended``: the lives that came to their end unharmed."""
        self._lives = lives
        self._ended = ended

    def events(self, *kinds: str) -> Iterator[dict[str, Any]]:
        for events in self._lives.values():
            yield from (event for event in events if event["event"] in kinds)

    def faults(self, disturbed: Sequence[Span]) -> list[str]:
        """Everything that must not have happened."""
        found = list(self._foreign())
        found += self._unsettled()
        found += self._errors(disturbed)
        found += self._doubled(disturbed)
        found += self._claims()
        found += self._sums()
        found += self._growth()
        return found

    def _took_s(self) -> Iterator[float]:
        """How long each request took."""
        for events in self._lives.values():
            asked = {event["id"]: event["at"] for event in events if event["event"] == "ask"}
            for event in events:
                if event["event"] in ("got", "left", "error"):
                    yield event["at"] - asked[event["id"]]

    def summary(self) -> dict[str, Any]:
        """How often what happened, and the longest request in seconds."""
        counts = Counter(event["event"] for events in self._lives.values() for event in events)
        totals: Counter[str] = Counter()
        for stats in self.events("stats"):
            for name in ("followed", "takeovers", "unclaimed", "shared", "exact", "semantic"):
                totals[name] += stats[name]
        longest_s = round(max(self._took_s(), default=0.0), 2)
        return {"lives": len(self._lives), "longest_s": longest_s, **counts, **totals}

    def _foreign(self) -> Iterator[str]:
        """No answer from another scope, or to another question."""
        for events in self._lives.values():
            asked = {event["id"]: event for event in events if event["event"] == "ask"}
            for event in events:
                if event["event"] == "got":
                    ask = asked[event["id"]]
                    tenant, _, angle, *_ = event["text"].split()
                    if tenant != ask["tenant"] or abs(float(angle) - ask["angle"]) > NEAR:
                        yield f"{ask['tenant']} at {ask['angle']} got {event['text']!r}"

    def _unsettled(self) -> Iterator[str]:
        """Every request of a process that lives settles in time."""
        for life, events in self._lives.items():
            asked = {event["id"]: event["at"] for event in events if event["event"] == "ask"}
            for event in events:
                if event["event"] in ("got", "left", "error"):
                    took_s = event["at"] - asked.pop(event["id"])
                    if took_s > DEADLINE_S:
                        yield f"{life}: request {event['id']} took {took_s:.1f} s"
            if life in self._ended and asked:
                yield f"{life}: {len(asked)} requests never settled"

    def _errors(self, disturbed: Sequence[Span]) -> Iterator[str]:
        """The cache fails open: the one error there is is a stream whose leader died."""
        for event in self.events("error"):
            lost = event["kind"] == "FlightLostError" and event["streams"]
            if not lost or not _within(disturbed, event["at"], event["at"]):
                yield f"a request ended with {event['kind']} at {event['at']:.2f}"

    def _doubled(self, disturbed: Sequence[Span]) -> Iterator[str]:
        """One LLM call an intent, but for what was disturbed or purged."""
        purges = [
            Span(event["at"] - 1.0, event["at"] + 1.0, event["tenant"])
            for event in self.events("purge", "purged", "unpurged")
        ]
        calls: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for call in sorted(self.events("call"), key=lambda call: float(call["at"])):
            for other in calls[call["tenant"]]:
                if abs(other["angle"] - call["angle"]) > NEAR:
                    continue
                purged = [span for span in purges if span.what == call["tenant"]]
                if not _within([*disturbed, *purged], other["at"], call["at"]):
                    yield (
                        f"{call['tenant']} at {call['angle']}: called by {other['id']} at "
                        f"{other['at']:.2f}, and again by {call['id']} at {call['at']:.2f}"
                    )
            calls[call["tenant"]].append(call)

    def _claims(self) -> Iterator[str]:
        """At most one completed call a lease."""
        claim_of = {call["id"]: call["claim"] for call in self.events("call")}
        made = Counter(claim_of[event["id"]] for event in self.events("made"))
        for claim, count in made.items():
            if claim is not None and count > 1:
                yield f"{count} calls were completed under the claim {claim}"

    def _sums(self) -> Iterator[str]:
        """Counters add up, and nothing is under way at the end."""
        for stats in self.events("stats"):
            parts = ("exact", "semantic", "shared", "generated", "bypassed", "shed", "failed")
            if stats["requests"] != sum(stats[part] for part in parts):
                yield f"the counters do not add up: {stats}"
            waiting = stats["waiting"] and not stats["flights"]  # else it leads for others
            if waiting or stats["queued"]:
                yield f"{stats['waiting']} callers and {stats['queued']} items are left"
        missing = self._ended - {
            life
            for life, events in self._lives.items()
            if events and events[-1]["event"] == "stats"
        }
        for life in missing:
            yield f"{life} did not come to its end"

    def _growth(self) -> Iterator[str]:
        """Memory and file descriptors stay flat."""
        for life, events in self._lives.items():
            samples = [event for event in events if event["event"] == "sample"]
            if len(samples) < _TELLING:
                continue
            third = len(samples) // 3
            early, late = samples[third // 2 : third], samples[-third:]
            fds = [statistics.median(one["fds"] for one in part) for part in (early, late)]
            memory = [statistics.median(one["memory"] for one in part) for part in (early, late)]
            if fds[1] > fds[0] + _FDS:
                yield f"{life}: file descriptors went from {fds[0]} to {fds[1]}"
            if memory[1] > memory[0] * _MEMORY:
                yield f"{life}: memory went from {memory[0]} to {memory[1]} bytes"


def read_history(folder: Path, ended: set[str]) -> History:
    """What the processes wrote; a line that one was killed in is left out."""
    lives = {}
    for path in sorted(folder.glob("*.jsonl")):
        events = []
        for line in path.read_text().splitlines():
            try:
                events.append(json.loads(line))
            except ValueError:
                continue
        lives[path.stem] = events
    return History(lives, ended)


def _within(spans: Sequence[Span], since: float, until: float) -> bool:
    return any(span.since <= until and span.until >= since for span in spans)
