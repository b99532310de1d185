"""English words: which are known, what they mean, what is their opposite, which form is of which.

Read once, on first need, from ``lexicon.txt.gz``, which scripts/derive-lexicon makes from WordNet.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib import resources
from typing import NamedTuple

__all__ = ["Lexicon", "lemma", "lexicon", "meanings"]


class Lexicon(NamedTuple):
    words: dict[str, str]
    """Of each known word, the names of its main senses and of its family; often none."""
    antonyms: frozenset[tuple[str, str]]
    """Pairs in alphabetical order."""
    irregular: dict[str, str]
    """Irregular forms and their base."""


@cache
def lexicon() -> Lexicon:
    packed = (resources.files(__package__) / "lexicon.txt.gz").read_bytes()
    lines = iter(gzip.decompress(packed).decode("ascii").splitlines())

    def section() -> Iterator[str]:
        for line in lines:
            if line[0] == "#":
                return
            yield line

    next(lines)
    words = {word: ids for word, _, ids in (line.partition(" ") for line in section())}
    antonyms = frozenset((one, two) for one, _, two in (line.partition(" ") for line in section()))
    irregular = dict(line.split(" ", 1) for line in section())
    return Lexicon(words, antonyms, irregular)


def meanings(word: str) -> frozenset[str]:
    """The names of a word's main senses and of its family."""
    ids = lexicon().words.get(word)
    return frozenset(ids.split(" ")) if ids else frozenset()


_ENDINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ies", ("y", "ie")),
    ("ied", ("y",)),
    ("ing", ("e", "")),
    ("est", ("e", "")),
    ("es", ("e", "")),
    ("ed", ("e", "")),
    ("er", ("e", "")),
    ("s", ("",)),
)
_VOWELS = frozenset("aeiou")


def _bases(word: str) -> Iterator[str]:
    for ending, replacements in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 2:
            stem = word[: -len(ending)]
            for replacement in replacements:
                if ending in {"ing", "ed"} and replacement == "e" and stem[-1] in "aeioywx":
                    continue
                yield stem + replacement
            if ending in {"ing", "ed", "er", "est"} and stem[-1:] == stem[-2:-1]:
                yield stem[:-1]


@lru_cache(maxsize=1 << 16)
def lemma(word: str) -> str:
    """The base form of an English word in lower case; a word not known comes back as it is, but
    for a plural or third-person "s" where what is left is known.

    A comparative counts as a form of its adjective, an agent ("sender") does not."""
    entries = lexicon()
    base = entries.irregular.get(word)
    if base is not None:
        return base
    known = entries.words
    if len(word) <= 3 or word.endswith("ss"):
        return word
    if word in known and not word.endswith(("s", "ing", "ed")):
        return word
    for candidate in _bases(word):
        if (
            candidate in known
            and len(candidate) >= 3
            and any(c in _VOWELS or c == "y" for c in candidate)
        ):
            return candidate
    return word
