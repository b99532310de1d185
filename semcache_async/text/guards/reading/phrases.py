"""Phrases read as what they mean: "turn off", "no more than", "is there a way to"."""

from __future__ import annotations

from functools import cache

from semcache_async.text.guards.measures import numbered
from semcache_async.text.guards.reading.lists import (
    KINDS,
    PHRASES,
    SETS,
)
from semcache_async.text.guards.reading.tokens import read
from semcache_async.text.guards.reading.words import Token, word

__all__ = ["ENGLISH", "GERMAN", "PREFIXES", "joined", "separable"]

_Options = list[tuple[tuple[str, ...], tuple[Token, ...]]]


@cache
def _phrases() -> dict[str, dict[str, _Options]]:
    """The phrases by their first and second word; "" stands for no second word."""
    found: dict[str, dict[str, _Options]] = {}
    for words, meant in PHRASES.items():
        tokens: list[Token] = []
        for each in meant:
            if each[0] == "<" and len(each) > 1:
                tokens.append(Token(KINDS[each[1]], each[2:], each[2:], each[2:]))
            else:
                tokens += read(each).tokens
        second = words[1] if len(words) > 1 else ""
        found.setdefault(words[0], {}).setdefault(second, []).append((words[2:], tuple(tokens)))
    for seconds in found.values():
        for options in seconds.values():
            options.sort(key=lambda option: -len(option[0]))
    return found


_SPECIAL = frozenset({"number", "month", "currency", "unit", "date", "ordinal", "version"})


def _phrase(tokens: list[Token], index: int) -> tuple[int, tuple[Token, ...]] | None:
    """The longest phrase that begins at a token: how many tokens it has and what it means."""
    seconds = _phrases().get(tokens[index].low)
    if seconds is None:
        return None
    count = len(tokens)
    options = seconds.get(tokens[index + 1].low) if index + 1 < count else None
    for rest, meant in options or ():
        end = index + 2 + len(rest)
        if end <= count and all(map(_is, tokens[index + 2 : end], rest)):
            return 2 + len(rest), meant
    alone = seconds.get("")
    return (1, alone[0][1]) if alone else None


def _is(token: Token, low: str) -> bool:
    return token.low == low


def joined(tokens: list[Token]) -> list[Token]:
    """The tokens with phrases read as what they mean, then amounts and dates as wholes."""
    found: list[Token] = []
    index = 0
    special = False
    apart = _MOST_APART
    phrases = _phrases()
    count = len(tokens)
    while index < count:
        token = tokens[index]
        low = token.low
        if low in phrases:
            phrase = _phrase(tokens, index)
            if phrase is not None:
                size, meant = phrase
                for each in meant:
                    if each.kind in _SPECIAL:
                        special = True
                found += meant
                index += size
                continue
        if token.kind in _SPECIAL or low in _UNSURE:
            special = True
        elif token.key in _PHRASAL and token.kind in _VERBS and apart:
            apart -= 1
            tokens = _phrasal(tokens, index)
            token, count = tokens[index], len(tokens)
        found.append(token)
        index += 1
    return numbered(found) if special else found


_UNSURE = frozenset({"may", "march", "half", "mitad", "moitié", "hälfte", "version"})

_VERBS = frozenset({"word", "function"})

_PHRASAL = frozenset({"turn", "switch", "shut", "turning", "switching"})

_APART = 5

_MOST_APART = 8
"""So many verbs with a particle apart are put together in one prompt."""


def _phrasal(tokens: list[Token], index: int) -> list[Token]:
    """A verb and its "on" or "off" that stand apart ("turn the mails off") as one word."""
    for place in range(index + 2, min(index + _APART, len(tokens))):
        if tokens[place].low in {"on", "off"}:
            following = tokens[place + 1].low if place + 1 < len(tokens) else ""
            if tokens[place].low == "on" and following in ENGLISH:
                return tokens
            meant = word("enable" if tokens[place].low == "on" else "disable")
            return [*tokens[:index], meant, *tokens[index + 1 : place], *tokens[place + 1 :]]
    return tokens


PREFIXES = SETS["prefixes"]

GERMAN = SETS["german"]


def separable(tokens: list[Token]) -> list[Token]:
    """A German verb and its prefix at the end ("schalte ... aus") as one word."""
    for index, token in enumerate(tokens[:3]):
        if token.kind in {"name", "word"} and token.raw == token.low and token.low[-1] in "ent":
            joined = word(tokens[-1].low + token.low)
            return [*tokens[:index], joined, *tokens[index + 1 : -1]]
    return tokens


ENGLISH = SETS["english"]
