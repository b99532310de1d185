"""How two prompts differ: what is left of each when all that is equal, or known to say the same,
has been taken away."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from semcache_async.text.guards.analysis import Analysis
from semcache_async.text.guards.lexicon import lemma, lexicon
from semcache_async.text.guards.lists import ANTONYMS, ASKED, SETS
from semcache_async.text.guards.tokens import Token, fold, same_hand_made, stem

__all__ = ["Difference", "ends", "opposite", "same"]

_MOST = 24
"""So many left tokens of each side are matched with each other; more is no small difference."""


def _pairs() -> frozenset[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for one, *others in ANTONYMS:
        for two in others:
            found |= {(one, two), (two, one)}
    return frozenset(found)


_OPPOSITES = _pairs()
_REVERSING = (
    "un", "in", "im", "ir", "il", "dis", "non", "de", "des", "dés", "mis", "ent", "anti", "not"
)  # fmt: skip
_PREFIXES = tuple(
    pair
    for one, two in (("ein", "aus"), ("an", "ab"), ("an", "aus"), ("auf", "zu"), ("hinzu", "weg"))
    for pair in ((one, two), (two, one))
)
_OPPOSITE_STEMS = frozenset((stem(one), stem(two)) for one, two in _OPPOSITES)
_SOFT = SETS["soft"]
_ENDINGS = SETS["endings"]


@lru_cache(maxsize=1 << 14)
def opposite(one: str, two: str) -> bool:
    """Whether two words in lower case are opposites."""
    if (one, two) in _OPPOSITES:
        return True
    base, other = lemma(one), lemma(two)
    if (base, other) in _OPPOSITES:
        return True
    words = lexicon().words
    if base not in words and other not in words and (stem(one), stem(two)) in _OPPOSITE_STEMS:
        return True
    known = lexicon().antonyms
    if (min(base, other), max(base, other)) in known or (min(one, two), max(one, two)) in known:
        return True
    if len(base) > len(other):
        base, other = other, base
    for x, y in _PREFIXES:
        if one.startswith(x) and two.startswith(y) and len(one) > len(x) + 3:
            rest, end = one[len(x) :], two[len(y) :]
            if rest == end or _inflected(rest, end):
                return True
    if len(base) < 4 or not other.endswith(base):
        return False
    return other[: -len(base)] in _REVERSING


@lru_cache(maxsize=1 << 14)
def _near_miss(one: str, two: str) -> bool:
    """Whether one word is the other with one letter too many, too few, wrong or two swapped."""
    if (
        one == two
        or min(len(one), len(two)) < 4
        or one[0] != two[0]
        or abs(len(one) - len(two)) > 1
    ):
        return False
    if len(one) >= 7 and one[-1] == two[-1] and sorted(one) == sorted(two):
        return True
    start = 0
    while start < min(len(one), len(two)) and one[start] == two[start]:
        start += 1
    a, b = one[start:], two[start:]
    if len(a) == len(b):
        return a[1:] == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])
    return a == b[1:] or a[1:] == b


def _inflected(one: str, two: str) -> bool:
    """Whether two words that no lexicon knows look like forms of one word."""
    shared = 0
    for x, y in zip(one, two, strict=False):
        if x != y:
            break
        shared += 1
    if shared < 4 or shared < 0.55 * max(len(one), len(two)):
        return False
    return (one[shared:] in _ENDINGS or not one[shared:]) and (
        two[shared:] in _ENDINGS or not two[shared:]
    )


def same(one: Token, two: Token) -> bool:
    """Whether two different tokens are known to say the same."""
    if one.kind == "number" or two.kind == "number":
        return False
    if one.meanings and two.meanings and not one.meanings.isdisjoint(two.meanings):
        return True
    if one.kind not in _PLAIN or two.kind not in _PLAIN:
        return False
    if one.key == two.key:
        return True
    low, other = one.low, two.low
    if one.kind == "name" or two.kind == "name":
        if not (low.isascii() and other.isascii()) and _folded(low, other):
            return True
        typo = one.kind != two.kind or not (low.isascii() and other.isascii())
        if (
            typo
            and low.isascii()
            and other.isascii()
            and (_near_miss(low, other) or _near_miss(one.key, two.key))
        ):
            return (one if one.kind == "name" else two).raw.islower()
        if one.kind == two.kind == "name" and one.raw == low and two.raw == other:
            return _inflected(low, other)
    return False


def _sloppy(text: str) -> bool:
    """Whether a text was typed in haste: no accents, no capitals."""
    return text.isascii() and text == text.lower()


def _as_typed(one: Token, two: Token) -> bool:
    """Whether one word is the other without its accents."""
    if one.kind not in _PLAIN or two.kind not in _PLAIN or one.low.isascii() == two.low.isascii():
        return False
    return len(one.low) > 3 and fold(one.low) == fold(two.low)


def _folded(one: str, two: str) -> bool:
    """Whether one word is the other as typed without accents. A short word may be another one."""
    if one.replace("ß", "ss") == two.replace("ß", "ss"):
        return True
    umlauts = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
    if one.translate(umlauts) == two.translate(umlauts):
        return True
    if not (one.isascii() or two.isascii()) or fold(one) != fold(two):
        return False
    return len(one) >= 8 or fold(one) in lexicon().words


_PLAIN = frozenset({"word", "name", "format", "language"})
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


def _initials(one: list[Token], two: list[Token]) -> bool:
    """Whether one name is the initials of what the other prompt spells out."""
    if len(one) != 1 or not 2 <= len(two) <= 5:
        return False
    return one[0].low == "".join(token.low[0] for token in two)


def _unmarked(a: Analysis, b: Analysis, left: list[Token], right: list[Token]) -> bool:
    """Whether one prompt was typed without any accents: then each of several words lacks them."""
    if not (a.text.isascii() or b.text.isascii()):
        return False
    return all(fold(x.low) == fold(y.low) for x, y in zip(left, right, strict=True))


def _unasked(tokens: list[Token], question: str) -> list[Token]:
    """The tokens without those that name what the other prompt's question asks for."""
    names = ASKED.get(question)
    return [token for token in tokens if token.low not in names] if names else tokens


def _echoed(token: Token, other: Analysis) -> bool:
    """Whether a word of structure in the other prompt says the same."""
    if token.kind not in _PLAIN or not token.meanings:
        return False
    low = token.low
    return any(
        each != low and not token.meanings.isdisjoint(same_hand_made(each)) for each in other.words
    )


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


_BETWEEN_DIGITS = re.compile(r"(?<=\d)[._-](?=\d)|\A-(?=\d)")


def _spelling(token: Token) -> str:
    """A token as it is compared with others run together: signs between digits count."""
    if token.kind == "number":
        plain = token.raw.isdigit() and not token.meanings
        text = token.low if plain else token.key + "".join(token.meanings)
    elif token.kind == "identifier":
        text = token.key
    else:
        return token.low
    return _BETWEEN_DIGITS.sub("p", text)


def _joint(tokens: Iterable[Token]) -> str:
    return "".join(c for token in tokens for c in _spelling(token) if c.isalnum() or c == "+")


class Difference:
    """What is left of two prompts beside what they share."""

    __slots__ = (
        "_slot",
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
        self._slot: tuple[int, int] | None = None
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
        if left and right and (_initials(left, right) or _initials(right, left)):
            left, right = [], []
        if left and right and len(left) == len(right) > 1 and _unmarked(a, b, left, right):
            left, right = [], []
        if a.question != b.question:
            size = len(left) + len(right)
            left = _unasked(left, b.question)
            right = _unasked(right, a.question)
            self.named = len(left) + len(right) < size
        left = [token for token in left if not _echoed(token, b)]
        right = [token for token in right if not _echoed(token, a)]
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
        joint = _joint(left)
        if joint and joint == _joint(right):
            self.matched += zip(left, right, strict=False)
            return [], []
        rest: list[Token] = []
        sloppy = _sloppy(self.a.text) or _sloppy(self.b.text)
        odd = (self.a.negations - self.b.negations) % 2 == 1
        for one in left:
            for index, two in enumerate(right):
                if odd and not self.flipped and opposite(one.low, two.low):
                    self.flipped = True
                    del right[index]
                    break
                if same(one, two) or (sloppy and _as_typed(one, two)):
                    self.matched.append((one, two))
                    del right[index]
                    break
            else:
                rest.append(one)
        return rest, right

    def slot(self) -> tuple[int, int]:
        """Between the common beginning and the common end as written: how many words of each."""
        if self._slot is None:
            start, end = ends(self.a.words, self.b.words)
            self._slot = len(self.a.words) - start - end, len(self.b.words) - start - end
        return self._slot

    def near(self, words: int) -> bool:
        """Whether the prompts are written alike but for one place of so many words, or for so many
        words in their places."""
        if max(self.slot()) <= words:
            return True
        one, two = self.a.words, self.b.words
        if len(one) != len(two) or not one:
            return False
        return sum(x != y for x, y in zip(one, two, strict=True)) <= words

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
        if kind == "function" or (
            kind in _NO_CONTENT and not (kind == "negation" and token.key != "not")
        ):
            continue
        identity = (kind, token.key)
        there = other.get(identity, 0)
        if not there:
            found.append(token)
            continue
        used = spare.get(identity, 0)
        if used < there:
            spare[identity] = used + 1
        elif a.bag[identity] > there:
            found.append(token)
    return found
