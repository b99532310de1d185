"""Whose questions: a set of texts by intent, and drawing from it (pure, seeded)."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from semcache_async.data import Question, banking77
from semcache_async.load.extra import LoadError
from semcache_async.load.traffic.workload import Popularity

__all__ = ["TextSet", "draw", "grouped", "load_texts"]

_DRAWN_AT_ONCE = 1_024


class TextSet(NamedTuple):
    """Questions, and where they come from."""

    questions: Sequence[Question]
    about: str


def load_texts(source: str) -> TextSet:
    """``"banking77"``, or a file, gzipped or not: a text a line (``.txt``), or JSON lines with
    ``text`` and perhaps ``intent``, or with ``text_a``, ``text_b`` and ``label`` (1: one intent;
    such pairs chain). Raises ``LoadError`` for any other.
    """
    if source == "banking77":
        questions, name = banking77("train"), "BANKING77 (train; CC BY 4.0)"
    else:
        path = Path(source)
        questions, name = _read(path), path.name
    intents = len({question.intent for question in questions})
    return TextSet(questions, f"{name}, {len(questions):,} questions of {intents:,} intents")


def draw(texts: TextSet, zipf: float, seed: int) -> Iterator[Question]:
    """Questions without end, popular by Zipf's law. One seed, one sequence."""
    random = np.random.default_rng(seed)
    popularity = Popularity(texts.questions, zipf, random)
    while True:
        yield from popularity.draw(_DRAWN_AT_ONCE, random)


def _read(path: Path) -> list[Question]:
    try:
        raw = path.read_bytes()
        lines = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode().splitlines()
        lines = [line for line in lines if line.strip()]
        if ".txt" in path.suffixes:
            return _checked([Question(line.strip(), line.strip()) for line in lines])
        rows = [msgspec.json.decode(line) for line in lines]
        pairs = bool(rows) and "text_a" in rows[0]
        return _checked(grouped(rows) if pairs else [_question(row) for row in rows])
    except (KeyError, TypeError) as error:
        raise LoadError(f"{path}: a line without the field {error}.") from error
    except (OSError, EOFError, ValueError) as error:
        raise LoadError(f"{path} cannot be read as questions: {error}") from error


def _checked(questions: list[Question]) -> list[Question]:
    if not questions:
        raise ValueError("it is empty")
    return questions


def _question(row: dict[str, Any]) -> Question:
    return Question(str(row["text"]), str(row.get("intent", row["text"])))


def grouped(rows: Iterable[dict[str, Any]]) -> list[Question]:
    """Of pairs (``text_a``, ``text_b``, ``label``) each text once; its intent is the first text of
    those that the labels join it to."""
    parent: dict[str, str] = {}

    def first(text: str) -> str:
        while parent.setdefault(text, text) != text:
            parent[text] = text = parent[parent[text]]
        return text

    for row in rows:
        one, other = first(str(row["text_a"])), first(str(row["text_b"]))
        if int(row["label"]) == 1:
            parent[other] = one
    return [Question(text, first(text)) for text in parent]
