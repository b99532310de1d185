"""Questions to replay and pairs to judge. Files beside the checkout are used where they are there.

One's own replay is a file of JSON lines, ``{"text": ..., "intent": ...}``, gzipped or not, in the
order of arrival: texts with the same intent are to get the same answer. A line may carry
``label``/``text_a``/``text_b`` instead: pairs, whose labels join texts into intents.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from semcache_async.data import Question, banking77
from semcache_async.load.traffic.texts import grouped
from semcache_async.tune.pairs import Pair, read_pairs

__all__ = ["PairSet", "Replay", "Skipped", "pair_sets", "read_replay", "replays", "shared"]


class Skipped(Exception):  # noqa: N818 - not an error
    """A set that is not there, and why."""


@dataclass(frozen=True)
class Replay:
    """Questions in the order of the file."""

    name: str
    about: str
    questions: tuple[Question, ...]

    def ordered(self, seed: int, at_most: int) -> list[Question]:
        """``at_most`` of them in an order of that seed; seed 0 is the file's own."""
        if seed == 0:
            return list(self.questions[:at_most])
        places = np.random.default_rng(seed).permutation(len(self.questions))
        return [self.questions[place] for place in places[:at_most]]


@dataclass(frozen=True)
class PairSet:
    """Pairs with labels and kinds."""

    name: str
    about: str
    pairs: tuple[Pair, ...]


def shared(name: str) -> Path:
    """A file of the folder ``shared`` beside the checkout or in it. Raises ``Skipped``."""
    root = Path(__file__).parents[2]
    for place in (root.parent / "shared", root / "shared", root.parent.parent / "shared"):
        if (place / name).is_file():
            return place / name
    raise Skipped(f"../shared/{name} is not there")


def replays(own: Iterable[Path] = ()) -> Iterator[Replay | tuple[str, str]]:
    """Each replay, or a name and the reason why it is left out."""
    questions = [*banking77("train"), *banking77("test")]
    places = np.random.default_rng(77).permutation(len(questions))
    shuffled = tuple(questions[place] for place in places)
    yield Replay(
        "BANKING77", "bank customers' questions, 77 intents, about 14 % mislabelled", shuffled
    )
    try:
        yield quora_clusters(shared("data/qqp_dev.jsonl.gz"))
    except Skipped as why:
        yield "Quora clusters", str(why)
    for path in own:
        yield read_replay(path)


def quora_clusters(path: Path) -> Replay:
    """Questions that the labels join into groups of three and more, in an order of their own."""
    members: dict[str, list[str]] = {}
    for question in grouped(json.loads(line) for line in _lines(path)):
        members.setdefault(question.intent, []).append(question.text)
    kept = [Question(t, name) for name, texts in members.items() if len(texts) > 2 for t in texts]
    places = np.random.default_rng(20).permutation(len(kept))
    about = f"Quora questions in {len({q.intent for q in kept})} groups of 3 and more duplicates"
    return Replay("Quora clusters", about, tuple(kept[place] for place in places))


def read_replay(path: Path) -> Replay:
    """One's own questions. Raises ``ValueError`` that names the line."""
    rows = []
    for number, line in enumerate(_lines(path), start=1):
        row = json.loads(line)
        if not isinstance(row, dict) or not ({"text", "intent"} <= row.keys() or "text_a" in row):
            raise ValueError(f"{path}, line {number}: needs text and intent.")
        rows.append(row)
    if not rows:
        raise ValueError(f"{path} holds no questions.")
    if "text_a" in rows[0]:
        questions = grouped(rows)
    else:
        questions = [Question(str(row["text"]), str(row["intent"])) for row in rows]
    name = path.name.split(".")[0]
    return Replay(name, f"{len({q.intent for q in questions})} intents", tuple(questions))


def pair_sets() -> Iterator[PairSet | tuple[str, str]]:
    """Each set of pairs, or a name and the reason why it is left out."""
    for name, file, about in (
        ("near misses", "cases/near_misses.jsonl", "written as traps and controls, by kind"),
        ("Quora pairs", "data/qqp_dev.jsonl.gz", "labelled duplicate or not by their readers"),
        ("PAWS", "data/paws_wiki_dev.jsonl.gz", "sentences of Wikipedia with words exchanged"),
    ):
        try:
            pairs = read_pairs(shared(file))
        except Skipped as why:
            yield name, str(why)
            continue
        yield PairSet(name, about, tuple(pairs))


def _lines(path: Path) -> list[str]:
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode()
    return [line for line in text.split("\n") if line.strip()]
