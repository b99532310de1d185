"""The words of each kind, as ``lists.txt`` has them: read once, when guards are first asked for."""

from __future__ import annotations

from importlib import resources

__all__ = [
    "ANTONYMS",
    "ASKED",
    "CONTRACTIONS",
    "COORDINATORS",
    "CURRENCIES",
    "FUNCTION",
    "KINDS",
    "KIND_WORDS",
    "MONTHS",
    "NUMBERS",
    "ORDINALS",
    "PHRASES",
    "QUESTIONS",
    "SCALES",
    "SETS",
    "SIDES",
    "SYNONYMS",
    "UNITS",
    "UNITS_BY_CASE",
    "UNSPACED_ANTONYMS",
    "UNSPACED_HARMLESS",
    "UNSPACED_NEGATION",
    "UNSURE_DAYS",
    "UNSURE_MONTHS",
    "WEEKDAYS",
]


def _sections() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    name = ""
    text = (resources.files(__package__) / "lists.txt").read_text("utf-8")
    for line in text.splitlines():
        if line.startswith("["):
            name = line.strip("[]")
            found[name] = []
        elif line and not line.startswith("#"):
            found[name].append(line)
    return found


_LINES = _sections()


def _words(section: str) -> list[str]:
    return [word for line in _LINES[section] for word in line.split()]


def _read_as(section: str) -> dict[tuple[str, ...], tuple[str, ...]]:
    found = {}
    for line in _LINES[section]:
        written, _, read = line.partition(" = ")
        found[tuple(written.split())] = tuple(read.split())
    return found


def _groups(section: str) -> list[tuple[str, ...]]:
    return [tuple(line.split()) for line in _LINES[section]]


def _keys(section: str) -> dict[str, str]:
    """Each word of a section and the key of its line."""
    found: dict[str, str] = {}
    for line in _LINES[section]:
        key, _, words = line.rpartition(":")
        for word in words.split():
            found[word.replace("_", " ")] = key
    return found


def _sets(section: str) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for line in _LINES[section]:
        name, _, words = line.partition(":")
        found[name] = found.get(name, frozenset()) | frozenset(words.split())
    return found


SETS = _sets("sets")
FUNCTION = frozenset(_words("function"))
"""Words that carry structure or politeness rather than the subject, in any of the languages."""
CONTRACTIONS = {written[0]: read for written, read in _read_as("contractions").items()}
PHRASES = _read_as("phrases")
"""Phrases and what they are read as. A word that begins with ``<`` names a kind by its sign in
KINDS, and a key."""
KINDS = {
    "=": "compare",
    "?": "condition",
    "w": "question",
    "!": "must",
    "d": "date",
    "f": "format",
    "l": "language",
}
SYNONYMS = _groups("synonyms")
ANTONYMS = _groups("antonyms")
SIDES = _groups("sides")
KIND_WORDS: dict[str, tuple[str, str]] = {
    word: (name.split(" ")[0], name.split(" ")[1]) for word, name in _keys("kinds").items()
}
"""Words of a kind: the kind, and the key under which equal ones meet."""
NUMBERS = {word: int(value) for word, value in _keys("numbers").items()}
SCALES = frozenset({100, 1000, 10**5, 10**6, 10**7, 10**9, 10**12})
"""Numbers that multiply the one before them ("two thousand")."""
ORDINALS = _keys("ordinals")
MONTHS = _keys("months")
UNSURE_MONTHS = SETS["unsure-months"]
"""Months that are other words as well: they count with a capital, or beside a day."""
WEEKDAYS = _keys("weekdays")
UNSURE_DAYS = SETS["unsure-days"]
CURRENCIES = _keys("currencies")
QUESTIONS = _keys("questions")
ASKED = _sets("asked")
"""What a question asks for, by the words that name it ("how much": "price")."""
UNITS = _keys("units")
UNITS_BY_CASE = _keys("cased-units")
"""Units whose case makes another unit of them ("MW", "mW")."""
COORDINATORS = SETS["coordinators"]
"""Words between two things that may change places."""
UNSPACED_HARMLESS = tuple(_words("unspaced-harmless"))
UNSPACED_NEGATION = tuple(_words("unspaced-negation"))
UNSPACED_ANTONYMS = _groups("unspaced-antonyms")
