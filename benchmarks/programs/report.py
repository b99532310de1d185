"""What the programs' requests came to, as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Outcome", "Row", "render"]

_ABOUT = """# Programs

Programs that people run, unchanged but for the URL, each in front of a `semcache serve` with
default settings but for what is named, the real model and a simulated LLM. Asked was, each time by
a new process:

{steps}

Each cell tells what became of all the requests that the program made: `generated` (an LLM call),
`exact`, `semantic`, `shared`, or `bypassed` and the reason. Written by
`python -m benchmarks.programs`.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run of a program, by the service's counters."""

    results: Mapping[str, int]
    reasons: Mapping[str, int]
    """Of bypasses, which are the last of the results, and of answers that were not kept."""
    errors: Mapping[str, int]
    status: int
    """Its own, at its end."""
    said: str
    """The end of what it wrote."""

    def __str__(self) -> str:
        told = [name if count == 1 else f"{count} {name}" for name, count in self.results.items()]
        if self.reasons:
            told[-1:] = [f"{one} ({', '.join(self.reasons)})" for one in told[-1:]]
        told += [f"HTTP {status}" for status in self.errors]
        if self.status:
            told.append(f"**it failed ({self.status})**")
        return ", ".join(told) or "nothing asked"


@dataclass(slots=True)
class Row:
    """One program."""

    name: str
    about: str
    why: str
    """What explains the figures; "" where nothing has to be."""
    version: str
    steps: dict[str, Outcome | None] = field(default_factory=dict)
    """None: it cannot be asked so."""
    bodies: list[Any] = field(default_factory=list)
    """What reached the LLM."""
    left_out: str = ""
    """Why it was not asked."""

    @property
    def protocol(self) -> str:
        """By the bodies' shapes."""
        kinds = {
            "completions": "prompt",
            "chat/completions": "messages",
            "responses": "input",
        }
        found = [
            kind
            for kind, name in kinds.items()
            if any(name in body and "max_uses" not in body for body in self.bodies)
        ]
        return ", ".join(f"`{kind}`" for kind in found)


def render(rows: Sequence[Row], steps: Mapping[str, str]) -> str:
    """As markdown. ``steps``: what was asked in each."""
    lines = [["program", "asked by", "speaks", *steps]]
    lines.append(["---"] * len(lines[0]))
    for row in rows:
        if row.left_out:
            lines.append([row.name, row.about, "", f"not asked: {row.left_out}"])
            continue
        cells = [str(outcome) if outcome else "-" for outcome in row.steps.values()]
        lines.append([f"{row.name} {row.version}", row.about, row.protocol, *cells])
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    asked = "\n".join(f"- *{step}*: {prompt}" for step, prompt in steps.items())
    why = "".join(f"\n- **{row.name}**: {row.why}" for row in rows if row.why)
    return f"{_ABOUT.format(steps=asked)}\n{table}\n{why}\n"


def shown(row: Row) -> str:
    """For who waits: with what a program said that failed or asked nothing."""
    if row.left_out:
        return f"{row.name}: {row.left_out}"
    lines = [f"{row.name} {row.version}"]
    for step, outcome in row.steps.items():
        lines.append(f"  {step}: {outcome or '-'}")
        if outcome and (outcome.status or outcome.errors or not outcome.results):
            lines.append(f"--- it said ---\n{outcome.said}\n---")
    return "\n".join(lines)
