"""The guards: each a question about how two prompts differ, under a name."""

# ruff: noqa: RUF001  (letters of many scripts are the subject here)

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from semcache_async.text.guards.analysis import Analysis
from semcache_async.text.guards.difference import Difference, ends, opposite
from semcache_async.text.guards.lists import (
    COORDINATORS,
    SETS,
    UNSPACED_ANTONYMS,
    UNSPACED_NEGATION,
)
from semcache_async.text.guards.tokens import Token, fold

__all__ = ["GUARDS", "Guard", "doubtful"]


class Guard(NamedTuple):
    """One reason not to serve a neighbour's answer. Calling it with two analyses says whether
    this reason holds; it depends on nothing else."""

    name: str
    refuses: str
    check: Callable[[Difference], bool]
    sure: bool = True
    """Whether what it says is a refusal; otherwise it is a doubt, for a judge to settle."""

    def __call__(self, a: Analysis, b: Analysis) -> bool:
        return self.check(Difference(a, b))


def _values(tokens: list[Token]) -> list[Token]:
    return [token for token in tokens if token.kind == "number"]


def _numbers(d: Difference) -> bool:
    """A number, amount or currency that the other prompt does not have."""
    if not (d.kinds & {"number", "currency"} or "number" in d.a.typed):
        return _unspaced_numbers(d)
    left, right = _values(d.left), _values(d.right)
    if left and right:
        return True
    for token in left or right:
        if token.key != "1" and not _said(token, d.b if left else d.a):
            return d.common > 0 and (d.near(4) or d.alike(0.6))
    currencies = d.of("currency")
    if currencies[0] and currencies[1]:
        return True
    return _different_currencies(d)


def _said(token: Token, other: Analysis) -> bool:
    """Whether the other prompt has the number in another dress: within a name or a code."""
    return any(
        token.key in each.key or token.low in each.low
        for each in other.tokens
        if each.kind in {"identifier", "version", "ordinal", "date"}
    )


_CURRENCIES = frozenset({"usd", "eur", "gbp", "jpy", "inr", "chf", "krw", "rub", "pln", "brl", "sek",
                         "dkk", "nok", "cny", "cad", "aud", "btc"})  # fmt: skip


def _different_units(d: Difference, currencies: bool) -> bool:
    units: dict[str, set[str]] = {}
    for token in d.a.tokens:
        if token.kind == "number" and token.meanings:
            units.setdefault(token.key, set()).update(token.meanings)
    if not units:
        return False
    for token in d.b.tokens:
        if token.kind == "number" and token.meanings and token.key in units:
            if token.meanings.isdisjoint(units[token.key]):
                money = not token.meanings.isdisjoint(_CURRENCIES)
                return money == currencies
    return False


def _different_currencies(d: Difference) -> bool:
    return "number" in d.a.typed and _different_units(d, True)


_HAN_DIGITS = frozenset("一二三四五六七八九十百千万億亿两零〇")


def _middles(d: Difference) -> tuple[str, str]:
    """Of text in scripts without spaces, what lies between the common beginning and end."""
    one, two = d.a.unspaced, d.b.unspaced
    if one == two:
        return "", ""
    start, end = ends(one, two)
    return one[start : len(one) - end], two[start : len(two) - end]


def _unspaced_numbers(d: Difference) -> bool:
    if not d.a.unspaced or not d.b.unspaced:
        return False
    left, right = _middles(d)
    one = [c for c in left if c in _HAN_DIGITS]
    two = [c for c in right if c in _HAN_DIGITS]
    return bool(one and two and one != two and len(left) <= 4 and len(right) <= 4)


def _dates(d: Difference) -> bool:
    """A date, time, weekday or span of time that the other prompt does not have."""
    if "date" not in d.kinds and "month" not in d.kinds:
        return False
    left, right = d.of("date", "month")
    if left and right:
        return not _compatible(left, right)
    if any(token.key == "today" for token in left or right) or not d.near(4):
        return False
    return d.common > 0 and any(not _said(t, d.b if left else d.a) for t in left or right)


def _compatible(left: list[Token], right: list[Token]) -> bool:
    """Whether one date is the other one without its year or day of the week."""
    return any(
        one.key.endswith(two.key) or two.key.endswith(one.key) for one in left for two in right
    )


def _versions(d: Difference) -> bool:
    """A version that the other prompt does not have."""
    if "version" not in d.kinds and "number" not in d.kinds:
        return False
    left, right = d.of("version")
    if left and right:
        return True
    if left or right:
        others = _values(d.right if left else d.left)
        key = (left or right)[0].key
        if any(token.low == key or token.key == key for token in others):
            return False
        return d.small
    left, right = _values(d.left), _values(d.right)
    return bool(left and right) and any("." in t.raw and not t.meanings for t in left + right)


def _identifiers(d: Difference) -> bool:
    """An id, code, address or URL that the other prompt does not have."""
    if "identifier" not in d.kinds:
        return False
    left, right = d.of("identifier")
    if left and right:
        return True
    if not d.near(4) and not d.alike(0.6):
        return False
    sure = [
        t
        for t in left or right
        if sum(map(str.isdigit, t.key)) >= 2 or "." in t.key or "@" in t.key
    ]
    if not sure:
        return False
    other = (d.b if left else d.a).words
    flat = "".join("".join(c for c in each if c.isalnum()) for each in other)
    return any("".join(c for c in t.key if c.isalnum()) not in flat for t in sure)


def _negation(d: Difference) -> bool:
    """A "not", "no", "without" or "unless" too many or too few."""
    left, right = d.a.negations, d.b.negations
    if d.flipped:
        return False
    if d.a.unspaced and d.b.unspaced and not (left or right):
        return _unspaced_negation(d)
    if (left - right) % 2 == 0:
        soft = d.of("negation")
        return left == right == 0 and bool(soft[0]) != bool(soft[1]) and d.near(2)
    if not d.near(4) and not d.alike(0.65):
        return False
    if len(d.left) > 4 or len(d.right) > 4 or not d.common:
        return False
    fewer = d.left if left < right else d.right
    more = d.right if left < right else d.left
    if any(token.kind == "negation" for token in fewer):
        return False
    if any(token.kind == "quantifier" and token.key in {"none", "only"} for token in fewer):
        return False
    if any(opposite(one.low, two.low) for one in fewer for two in more):
        return False
    return not (_complaint(d.a, d.b) or _complaint(d.b, d.a))


def _complaint(one: Analysis, two: Analysis) -> bool:
    """Whether one prompt says that something cannot be done and the other asks how to do it."""
    if one.question or two.question not in {"how", "where"}:
        return False
    words = one.words
    return any(
        word == "not" and index and words[index - 1] in {"can", "could"}
        for index, word in enumerate(words)
    )


def _unspaced_negation(d: Difference) -> bool:
    left, right = _middles(d)
    if len(left) > 6 or len(right) > 6:
        return False
    one = sum(left.count(sign) for sign in UNSPACED_NEGATION)
    two = sum(right.count(sign) for sign in UNSPACED_NEGATION)
    return (one > 0) != (two > 0)


_SIDES = {"on": "off", "in": "out", "up": "down", "before": "after",
          "over": "under", "ein": "aus", "an": "ab", "auf": "zu", "for": "against",
          "within": "outside", "über": "unter", "vor": "nach", "sobre": "bajo"}  # fmt: skip
_SIDED = (
    frozenset(_SIDES.items())
    | {(two, one) for one, two in _SIDES.items()}
    | {("an", "aus"), ("aus", "an")}
)


def _antonyms(d: Difference) -> bool:
    """A word in the place of its opposite."""
    if len(d.left) > 4 or len(d.right) > 4:
        return False
    flips = 0
    for one in d.left:
        for two in d.right:
            if opposite(one.low, two.low) or opposite(one.key, two.key):
                flips += 1
    if flips:
        return (flips + d.a.negations + d.b.negations) % 2 == 1 and not _turned(d)
    if d.a.unspaced and d.b.unspaced:
        left, right = _middles(d)
        if left and right and len(left) <= 4 and len(right) <= 4:
            return any(
                (one in left and two in right) or (two in left and one in right)
                for one, two in UNSPACED_ANTONYMS
                if one not in two
            ) or {left, right} in ({"上", "下"}, {"下", "上"})
    if d.left or d.right:
        return False
    return _particles(d)


def _turned(d: Difference) -> bool:
    """Whether opposite words stand between arguments that have changed places ("longer than the
    red one", "shorter than the blue one")."""
    one, two = d.sequences()
    return one != two and sorted(one) == sorted(two) and len(d.left) == 1 and len(d.right) == 1


def _particles(d: Difference) -> bool:
    """Whether otherwise equal words differ in one particle and its opposite ("on", "off")."""
    one, two = list(d.a.words), list(d.b.words)
    if len(one) != len(two):
        return False
    pairs = [(x, y) for x, y in zip(one, two, strict=True) if x != y]
    return len(pairs) <= 2 and any(pair in _SIDED for pair in pairs)


_BINDING = frozenset(
    [
        "from",
        "to",
        "into",
        "onto",
        "by",
        "than",
        "before",
        "after",
        "against",
        "without",
        "over",
        "under",
        "via",
        "for",
        "of",
        "with",
        "von",
        "nach",
        "aus",
        "zu",
        "zum",
        "zur",
        "vor",
        "durch",
        "gegen",
        "für",
        "mit",
        "ohne",
        "als",
        "bei",
        "de",
        "a",
        "desde",
        "hasta",
        "hacia",
        "por",
        "para",
        "contra",
        "con",
        "sin",
        "que",
        "al",
        "del",
        "du",
        "vers",
        "depuis",
        "par",
        "pour",
        "avec",
        "sans",
        "à",
        "au",
        "des",
        "из",
        "в",
        "от",
        "до",
        "с",
        "на",
        "к",
        "для",
        "про",
        "w",
        "z",
        "do",
        "od",
        "na",
        "di",
        "da",
        "per",
    ]
)
_DIRECTED = SETS["directed"]


def _bindings(tokens: tuple[Token, ...]) -> dict[tuple[str, str], str]:
    """What each content token is bound by: the direction word nearest before it."""
    found: dict[tuple[str, str], str] = {}
    pending = ""
    for token in tokens:
        if token.kind == "function":
            if token.low in _DIRECTED:
                pending = token.low
            continue
        if pending and token.kind not in {"negation", "must", "question"}:
            found.setdefault((token.kind, token.key), pending)
            pending = ""
    return found


_ORDERLESS = 40


def _roles(d: Difference) -> bool:
    """Who does what to whom: the same words with two of them in each other's place."""
    if d.a.unspaced and d.b.unspaced and _unspaced_roles(d):
        return True
    if len(d.left) > 2 or len(d.right) > 2 or d.common < 2:
        return False
    one, two = d.sequences()
    if one == two or len(one) != len(two):
        return False
    here = _bindings(d.a.tokens)
    there = _bindings(d.b.tokens)
    moved = [i for i, (x, y) in enumerate(zip(one, two, strict=True)) if x != y]
    changed = {one[i] for i in moved}
    turned = [x for x in changed if here.get(x) and there.get(x) and here[x] != there[x]]
    exchanged = {(here[x], there[x]) for x in turned}
    if any((after, before) in exchanged for before, after in exchanged):
        return True
    first, last = moved[0], moved[-1] + 1
    swap = _swap(one[first:last], two[first:last])
    if swap is None or _passive(d):
        return False
    if 2 < len(one) == len(swap[0]) + len(swap[1]):
        return False
    if _coordinated(d.a, *swap):
        return False
    return _same_frame(d, *swap)


_LONGEST_NAME = 3
Identity = tuple[str, str]


def _swap(one: list[Identity], two: list[Identity]) -> tuple[list[Identity], list[Identity]] | None:
    """The two runs that have changed places, where that is all that has changed."""
    size = len(one)
    for head in range(1, min(_LONGEST_NAME, size - 1) + 1):
        for tail in range(1, min(_LONGEST_NAME, size - head) + 1):
            middle = one[head : size - tail]
            if two == one[size - tail :] + middle + one[:head]:
                return one[:head], one[size - tail :]
    return None


_ARTICLES = SETS["articles"]


def _same_frame(d: Difference, one: list[Identity], two: list[Identity]) -> bool:
    """Whether the two prompts are the same words in the same order but for the runs named."""
    places = {identity[1] for identity in (*one, *two)}
    left = [t.low for t in d.a.tokens if t.key not in places and t.low not in _ARTICLES]
    right = [t.low for t in d.b.tokens if t.key not in places and t.low not in _ARTICLES]
    return left == right


_MUTUAL = SETS["mutual"]


def _coordinated(a: Analysis, one: list[Identity], two: list[Identity]) -> bool:
    """Whether two runs stand side by side ("X and Y", "X or Y", "difference between X and Y")."""
    begins, ends_at = one[-1], two[0]
    between = False
    joined = any(token.key in _MUTUAL for token in a.tokens)
    for token in a.tokens:
        identity = (token.kind, token.key)
        if between:
            if identity == ends_at:
                return joined
            if token.low in COORDINATORS:
                joined = True
            elif token.low in _DIRECTED or (token.kind != "function" and not joined):
                return False
        elif identity == begins:
            between = True
    return False


_PASSIVE = frozenset({"by", "von", "por", "par", "durch"})


def _passive(d: Difference) -> bool:
    """Whether one prompt says in the passive what the other says in the active."""
    return (not _PASSIVE.isdisjoint(d.a.words)) != (not _PASSIVE.isdisjoint(d.b.words))


def _unspaced_roles(d: Difference) -> bool:
    left, right = _middles(d)
    return (
        left != right
        and 2 <= len(left) == len(right)
        and sorted(left) == sorted(right)
        and any(sign in left for sign in "从到比对给把被から")
    )


def _comparison(d: Difference) -> bool:
    """More or less, at least or at most."""
    if "compare" not in d.kinds:
        return False
    left, right = d.of("compare")
    if not (left and right):
        return False
    up = frozenset({"more", "max", "at-least"})
    sides = [{("up" if t.key in up else "down") for t in side} for side in (left, right)]
    bound = [{t.key for t in side} & {"at-least", "at-most"} for side in (left, right)]
    if bound[0] and bound[1]:
        return bound[0] != bound[1]
    return sides[0].isdisjoint(sides[1]) and not _turned(d)


def _code(d: Difference) -> bool:
    """Another token, operator or indentation within code."""
    one, two = d.a.code, d.b.code
    if d.a.squeezed and d.a.squeezed == d.b.squeezed:
        return d.a.indents != d.b.indents
    if one == two:
        return (
            bool(one)
            and len(d.a.indents) == len(d.b.indents)
            and d.a.indents != d.b.indents
            and d.small
        )
    if d.a.pieces and d.b.pieces and _other_piece(d.a.pieces, d.b.pieces):
        return True
    if not one or not two:
        return False
    if sorted(one) == sorted(two) and "-" not in "".join(one):
        return len(d.left) == 0 and len(d.right) == 0 and one != two
    plain = [tuple(part for part in code if part not in '()"`;:,.') for code in (one, two)]
    if sorted(plain[0]) == sorted(plain[1]):
        return plain[0] != plain[1] and not all(p.startswith("-") or len(p) == 1 for p in plain[0])
    extra = d.a.words if len(one) < len(two) else d.b.words
    short, long = (plain[0], plain[1]) if len(plain[0]) < len(plain[1]) else (plain[1], plain[0])
    return not (
        Counter(short) <= Counter(long)
        and len(short) < len(long)
        and all(part.lower() in extra for part in Counter(long) - Counter(short))
    )


_SIGNS = frozenset("{}[]<>=+*|&^~\\_;()$@#%/-!?")


def _other_piece(one: Sequence[str], two: Sequence[str]) -> bool:
    """Whether two texts are the same but for one piece of code."""
    start, end = ends(one, two)
    left, right = one[start : len(one) - end], two[start : len(two) - end]
    if not left or not right or len(left) > 2 or len(right) > 2:
        return False
    return all(
        not _SIGNS.isdisjoint(" ".join(side).strip("?!.,()")) for side in (left, right)
    ) and ("".join(left).strip("?!.,") != "".join(right).strip("?!.,"))


def _format(d: Difference) -> bool:
    """Another language, form, tone, length or reader of the answer."""
    if "language" in d.kinds:
        left, right = d.of("language")
        if left and right and (d.small or len(left) == len(right) == 1):
            return True
    if "format" in d.kinds:
        left, right = d.of("format")
        if left and right and (len(d.left) <= 6 and len(d.right) <= 6):
            return True
    return False


def _units(d: Difference) -> bool:
    """Another unit, or another case where the case carries meaning ("MW" and "mW")."""
    if d.kinds & {"unit", "caseunit"}:
        left, right = d.of("unit", "caseunit")
        if left and right and d.common:
            return True
    if "number" in d.a.typed and _different_units(d, False):
        return True
    if d.left or d.right:
        return False
    return _case(d)


_CASED = frozenset({"word", "name", "function", "unit", "caseunit", "currency"})


def _case(d: Difference) -> bool:
    """Whether otherwise equal words differ in a case that makes another word of one."""
    if len(d.a.tokens) != len(d.b.tokens):
        return False
    other = [
        (x, y)
        for x, y in zip(d.a.tokens, d.b.tokens, strict=True)
        if x.raw != y.raw and x.low == y.low and x.kind in _CASED
    ]
    if not other or len(other) > 2:
        return False
    for x, y in other:
        index = d.a.tokens.index(x)
        if index and d.a.tokens[index - 1].kind == "number" and len(x.raw) <= 4:
            return x.raw != y.raw
        if x is d.a.tokens[0] or y is d.b.tokens[0]:
            continue
        mixed = x.raw != x.low and y.raw != y.low
        if mixed and len(x.raw) <= 3:
            return True
        if len(x.raw) == 1 and d.a.text != d.a.text.lower() and d.b.text != d.b.text.lower():
            return True
    return False


_FRAME = 14


def _template(d: Difference) -> bool:
    """A long common frame: what is put into it decides."""
    if d.a.rest != d.b.rest:
        return True
    for one, other in ((d.a, d.b), (d.b, d.a)):
        if one.quoted and other.quoted:
            text = " ".join(other.text.split()).casefold()
            if any(span not in text for span in one.quoted) and len(d.left) + len(d.right) <= 12:
                if not _harmless_quotes(d):
                    return True
    if min(len(d.a.words), len(d.b.words)) < _FRAME:
        return False
    left, right = d.content()
    if not (left or right):
        return False
    if not (left and right) and min(len(d.a.words), len(d.b.words)) < 2 * _FRAME:
        return False
    return not _reworded(d)


def _harmless_quotes(d: Difference) -> bool:
    return not d.left and not d.right and d.a.code == d.b.code and bool(d.a.code)


def _reworded(d: Difference) -> bool:
    """Whether the words around are so different that the frame is none."""
    one, two = d.a.words, d.b.words
    start, end = ends(one, two)
    return start + end < 0.6 * max(len(one), len(two)) or start + end < _FRAME


def _entities(d: Difference) -> bool:
    """A name, or another word that no dictionary has, in the place of another one."""
    if "name" not in d.kinds and "word" not in d.kinds:
        return False
    left, right = d.content()
    if not left or not right or len(left) > 3 or len(right) > 3 or not d.small:
        return False
    if not d.near(4):
        return False
    one = [t for t in left if _named(t, d.a)]
    two = [t for t in right if _named(t, d.b)]
    return bool(one and two)


def _named(token: Token, of: Analysis) -> bool:
    if token.kind == "name":
        return token.low.isascii() or token.raw != token.low or True
    if token.kind != "word" or token.raw == token.low:
        return False
    return of.tokens[0] is not token and of.text != of.text.upper()


def _quantifiers(d: Difference) -> bool:
    """All, some, none, only; first, last, next; one of several."""
    if not d.kinds & {"quantifier", "ordinal"}:
        return False
    left, right = d.of("ordinal")
    if left and right and len(d.left) <= 4 and len(d.right) <= 4:
        return True
    left, right = d.of("quantifier")
    if not d.near(4) and not d.alike(0.7):
        return False
    if len(d.left) > 4 or len(d.right) > 4 or not d.common:
        return False
    if left and right:
        return {t.key for t in left}.isdisjoint({t.key for t in right})
    if left or right:
        keys = {t.key for t in left or right}
        others = d.right if left else d.left
        if "all" in keys and any(t.kind in {"number", "compare"} for t in others):
            return True
        if "only" in keys and "just" in (d.b if left else d.a).words:
            return False
        if "only" in keys or "none" in keys:
            return d.small and d.a.negations == d.b.negations
    return False


_PLACED = frozenset(
    {"when", "where", "why", "who", "much", "count", "long", "often", "far", "age", "till"}
)
_TIMELY = SETS["timely"]


def _question(d: Difference) -> bool:
    """Another question about the same thing: when, where, why, who, how much, how long."""
    one, two = d.a.question, d.b.question
    if one == two or one in d.b.questions or two in d.a.questions:
        return False
    left, right = d.content()
    if len(left) > 1 or len(right) > 1 or not d.common:
        return False
    if not d.near(4) and _reworded(d):
        return False
    if one in _PLACED and two in _PLACED:
        return True
    placed, other = (one, two) if one in _PLACED else (two, one)
    if placed not in _PLACED or not other:
        return False
    if placed == "when" and other == "what" and not _TIMELY.isdisjoint(d.a.words):
        return False
    if placed == "where" and other in {"how", "whether"}:
        return False
    return not left and not right


def _conditions(d: Difference) -> bool:
    """What was and what will be; if, unless, once, already."""
    if not d.small or not (d.near(4) or d.alike(0.65)):
        return False
    if "condition" in d.kinds:
        left, right = d.of("condition")
        if left and right:
            return True
        keys = {token.key for token in left or right}
        if keys & {"even-if"}:
            return True
        if "once" in keys or "before" in keys:
            if any(token.kind == "condition" for token in d.left + d.right):
                one, two = d.of("word", "name")
                if not one and not two:
                    return False
    if d.a.tense * d.b.tense < 0:
        return True
    if d.a.tense != d.b.tense and d.a.question == d.b.question == "whether" and d.near(1):
        return not d.left and not d.right
    if d.a.must != d.b.must and d.a.question == d.b.question == "whether":
        return not (d.left or d.right)
    return False


def _marks(d: Difference) -> bool:
    """An accent, a vowel sign or an emoji that makes another word."""
    if d.a.text.isascii() and d.b.text.isascii():
        return False
    left, right = d.of("sign")
    if left and right:
        return True
    for one in d.left:
        for two in d.right:
            if one.low != two.low and fold(one.low) == fold(two.low) and d.small:
                return True
    return False


_ALL = (
    Guard("versions", "another version, or a version too many", _versions),
    Guard("dates", "another date, time, weekday or span of time", _dates),
    Guard("identifiers", "another id, code, address or URL", _identifiers),
    Guard("units", "another unit, or a case that carries meaning", _units),
    Guard("numbers", "another number, amount or currency, or one too many", _numbers),
    Guard("code", "another token, operator or nesting within code", _code),
    Guard("negation", "a negation too many or too few", _negation),
    Guard("comparison", "more for less, at least for at most", _comparison),
    Guard("quantifiers", "all for some, none or one; first for last", _quantifiers),
    Guard("antonyms", "a word for its opposite", _antonyms),
    Guard("roles", "two things that have changed places", _roles),
    Guard("conditions", "before for after, was for will, if for unless", _conditions),
    Guard("format", "another language, form, tone or length of the answer", _format),
    Guard("question", "when, where, why, who or how much for one another", _question, False),
    Guard("marks", "an accent or a sign that makes another word", _marks, False),
    Guard(
        "template",
        "a long common frame around another payload; another quotation",
        _template,
        False,
    ),
    Guard("entities", "one name for another", _entities, False),
)
GUARDS: Mapping[str, Guard] = MappingProxyType({guard.name: guard for guard in _ALL})
"""All guards by name, in the order in which they are asked."""


def doubtful(d: Difference) -> bool:
    """Whether a small difference remains that is not known to be harmless."""
    return _unspaced_doubt(d) or _doubt(d)


def _unspaced_doubt(d: Difference) -> bool:
    left, right = _middles(d)
    if not (left or right):
        return False
    size = max(len(left), len(right))
    shared = max(len(d.a.unspaced), len(d.b.unspaced)) - size
    few = 8 if "\u0e00" <= (left or right)[0] <= "\u17ff" else 4
    return size <= few if shared else size <= 2


def _doubt(d: Difference) -> bool:
    left, right = d.content()
    if not d.common or not (left or right):
        return False
    if left and right:
        return d.near(2)
    return d.near(1) and (left or right)[0].kind != "name"
