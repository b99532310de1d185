"""How two prompts differ: what is left of each when all that is equal, or known to say the same,
has been taken away."""

from __future__ import annotations

from collections.abc import Sequence
from operator import ne

from semcache_async.text.guards.analysis import Analysis
from semcache_async.text.guards.reading.lists import ASKED, SETS
from semcache_async.text.guards.reading.words import Token, fold, same_hand_made
from semcache_async.text.guards.sameness import (
    PLAIN,
    as_typed,
    initials,
    joint,
    opposite,
    same,
    sloppy,
)

__all__ = ["Difference", "ends"]

_MOST = 24
"""So many left tokens of each side are matched with each other; more is no small difference."""

_LONG = 14

_SOFT = SETS["soft"]

_CONTENT = frozenset(
    {
        "word",
        "name",
        "format",
        "language",
        "identifier",
        "unit",
        "caseunit",
        "ordinal",
        "sign",
        "currency",
        "code",
    }
)


def _unmarked(a: Analysis, b: Analysis, left: list[Token], right: list[Token]) -> bool:
    """Whether one prompt was typed without any accents: then each of several words lacks them."""
    if not (a.text.isascii() or b.text.isascii()):
        return False
    return all(fold(x.low) == fold(y.low) for x, y in zip(left, right, strict=True))


def _unasked(tokens: list[Token], question: str) -> list[Token]:
    """The tokens without those that name what the other prompt's question asks for."""
    names = ASKED.get(question)
    return [token for token in tokens if token.low not in names] if names else tokens


def _unechoed(tokens: list[Token], other: Analysis) -> list[Token]:
    """The tokens without those that a word of structure in the other prompt says as well."""
    if not tokens:
        return tokens
    said = [(each, ids) for each in set(other.words) if (ids := same_hand_made(each))]
    return [
        token
        for token in tokens
        if token.kind not in PLAIN
        or all(each == token.low or token.meanings.isdisjoint(ids) for each, ids in said)
    ]


def ends(one: Sequence[str], two: Sequence[str]) -> tuple[int, int]:
    """How long the common beginning is, and then the common end."""
    size = min(len(one), len(two))
    start = 0
    while start < size and one[start] == two[start]:
        start += 1
    size -= start
    end = 0
    while end < size and one[-1 - end] == two[-1 - end]:
        end += 1
    return start, end


def _weighs(token: Token) -> bool:
    return token.kind in _CONTENT and token.low not in _SOFT


class Difference:
    """What is left of two prompts beside what they share."""

    __slots__ = (
        "_apart",
        "a",
        "b",
        "common",
        "flipped",
        "kinds",
        "left",
        "matched",
        "named",
        "right",
        "small",
    )

    def __init__(self, a: Analysis, b: Analysis) -> None:
        self.a = a
        self.b = b
        self._apart: int | None = None
        self.named = False
        """Whether one prompt names what the other one's question asks for."""
        self.flipped = False
        """Whether a negation on one side undoes an opposite on the other ("not valid",
        "invalid")."""
        left, right = _over(a, b), _over(b, a)
        self.common = a.size - len(left)
        """Tokens of content that both have."""
        self.matched: list[tuple[Token, Token]] = []
        """Different tokens that say the same."""
        if left and right and len(left) <= _MOST and len(right) <= _MOST:
            left, right = self._match(left, right)
        if left and right and (initials(left, right) or initials(right, left)):
            left, right = [], []
        if left and right and len(left) == len(right) > 1 and _unmarked(a, b, left, right):
            left, right = [], []
        if a.question != b.question:
            size = len(left) + len(right)
            left = _unasked(left, b.question)
            right = _unasked(right, a.question)
            self.named = len(left) + len(right) < size
        left, right = _unechoed(left, b), _unechoed(right, a)
        self.left = left
        """Of the first prompt, the tokens that the second one has no equal of."""
        self.right = right
        self.common += len(self.matched)
        self.kinds = {token.kind for token in left} | {token.kind for token in right}
        self.small = (
            len(left) <= 3 and len(right) <= 3 and self.common >= max(len(left), len(right))
        )
        """Whether the wording is so near that single words decide."""

    def _match(self, left: list[Token], right: list[Token]) -> tuple[list[Token], list[Token]]:
        together = joint(left)
        if together and together == joint(right):
            self.matched += zip(left, right, strict=False)
            return [], []
        rest: list[Token] = []
        hasty = sloppy(self.a.text) or sloppy(self.b.text)
        odd = (self.a.negations - self.b.negations) % 2 == 1
        for one in left:
            for index, two in enumerate(right):
                if odd and not self.flipped and opposite(one.low, two.low):
                    self.flipped = True
                    del right[index]
                    break
                if same(one, two) or (hasty and as_typed(one, two)):
                    self.matched.append((one, two))
                    del right[index]
                    break
            else:
                rest.append(one)
        return rest, right

    def near(self, words: int) -> bool:
        """Whether the prompts are written alike but for one place of so many words, or for so many
        words in their places."""
        if self._apart is None:
            one, two = self.a.words, self.b.words
            if len(one) == len(two):
                self._apart = sum(map(ne, one, two))
            else:
                self._apart = max(len(one), len(two)) - sum(ends(one, two))
        return self._apart <= words

    def long(self) -> bool:
        """Whether both prompts are so long that a few words move them little."""
        return min(len(self.a.words), len(self.b.words)) >= _LONG

    def contained(self) -> bool:
        """Whether one prompt is the other one with more words in one place."""
        one, two = self.a.words, self.b.words
        return sum(ends(one, two)) == min(len(one), len(two))

    def alike(self, share: float) -> bool:
        """Whether so great a share of the words as written is in both prompts, in any order."""
        one, two = self.a.words, self.b.words
        there: dict[str, int] = {}
        for each in one:
            there[each] = there.get(each, 0) + 1
        shared = 0
        for each in two:
            if there.get(each, 0):
                there[each] -= 1
                shared += 1
        return shared >= share * max(len(one), len(two))

    def of(self, *kinds: str) -> tuple[list[Token], list[Token]]:
        """What is left of the kinds named, on both sides."""
        return (
            [token for token in self.left if token.kind in kinds],
            [token for token in self.right if token.kind in kinds],
        )

    def content(self) -> tuple[list[Token], list[Token]]:
        """What is left of words and names that say more than a filler does."""
        return (
            [token for token in self.left if _weighs(token)],
            [token for token in self.right if _weighs(token)],
        )

    def sequences(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """The shared content of both prompts in its order, synonyms under one name."""
        alias = {(two.kind, two.key): (one.kind, one.key) for one, two in self.matched}
        gone = _counted(self.left), _counted(self.right)
        return _sequence(self.a.tokens, gone[0], {}), _sequence(self.b.tokens, gone[1], alias)


_NO_CONTENT = frozenset({"function", "negation", "must", "question"})

_NO_ORDER = _NO_CONTENT | {"compare", "condition", "quantifier"}


def _counted(tokens: Sequence[Token]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for token in tokens:
        identity = (token.kind, token.key)
        found[identity] = found.get(identity, 0) + 1
    return found


def _sequence(
    tokens: Sequence[Token],
    gone: dict[tuple[str, str], int],
    alias: dict[tuple[str, str], tuple[str, str]],
) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for token in tokens:
        if token.kind in _NO_ORDER:
            continue
        identity = (token.kind, token.key)
        if gone.get(identity):
            gone[identity] -= 1
            continue
        found.append(alias.get(identity, identity))
    return found


def _over(a: Analysis, b: Analysis) -> list[Token]:
    """The tokens of content that one prompt has more of than the other."""
    found: list[Token] = []
    spare: dict[tuple[str, str], int] = {}
    other = b.bag
    for token in a.tokens:
        kind = token.kind
        if kind in _NO_CONTENT and (kind != "negation" or token.key == "not"):
            continue
        identity = (kind, token.key)
        there = other.get(identity, 0)
        if not there:
            found.append(token)
            continue
        used = spare.get(identity, 0)
        if used < there:
            spare[identity] = used + 1
        else:
            found.append(token)
    return found
