"""What a prompt says, as far as guards ask: made once per prompt, compared many times."""

# ruff: noqa: RUF001  (letters of many scripts are the subject here)

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from semcache_async.text.guards.lists import (
    FUNCTION,
    KINDS,
    MONTHS,
    NUMBERS,
    PHRASES,
    QUESTIONS,
    SCALES,
    SETS,
    UNITS,
    UNITS_BY_CASE,
    UNSPACED_HARMLESS,
)
from semcache_async.text.guards.tokens import Token, number, read, word

__all__ = ["LIMIT", "Analysis", "analyse"]

LIMIT = 8_000
"""Characters of a prompt that are read; what comes after is compared as written."""


_Options = list[tuple[tuple[str, ...], tuple[Token, ...]]]


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


_PHRASES = _phrases()
_QUOTED = re.compile(
    "[\"“”„«»‘’]([^\"“”„«»‘’]{1,400})[\"“”„«»’]|(?<![^\\W_])'([^']{1,400})'(?![^\\W_])"
)
_QUOTES = frozenset("\"“„«'‘")
_SUPERSCRIPTS = str.maketrans({"²": "^2", "³": "^3"})
_ONE_QUOTE = str.maketrans({"'": '"', "`": None})
_HARMLESS = re.compile("|".join(sorted(map(re.escape, UNSPACED_HARMLESS), key=len, reverse=True)))
_SPECIAL = frozenset({"number", "month", "currency", "unit", "date", "ordinal", "version"})
_SPANS = {"second": (1.0, "time"), "minute": (60.0, "time"), "hour": (3600.0, "time"),
          "day": (86400.0, "time"), "week": (604800.0, "time"), "fortnight": (1209600.0, "time"),
          "month": (1.0, "months"), "year": (12.0, "months"), "decade": (120.0, "months"),
          "century": (1200.0, "months"), "%": (0.01, "")}  # fmt: skip
_AUXILIARIES = SETS["auxiliaries"]
_GREETINGS = SETS["greetings"]
_MEASURES = {
    "viel": "much",
    "viele": "count",
    "lange": "long",
    "oft": "often",
    "weit": "far",
    "alt": "age",
}
_PAST = SETS["past"]
_FUTURE = SETS["future"]
_HAVE = SETS["have"]
_PERFECT = ("ed", "en", "t", "ado", "ido", "é", "ée", "és")


class Analysis:
    """A prompt's tokens and what follows from them. Immutable by agreement; equal texts have
    equal analyses."""

    __slots__ = (
        "bag",
        "code",
        "flat",
        "indents",
        "must",
        "negations",
        "pieces",
        "question",
        "questions",
        "quoted",
        "rest",
        "size",
        "squeezed",
        "tense",
        "text",
        "tokens",
        "typed",
        "unspaced",
        "words",
    )

    def __init__(self, text: str) -> None:
        self.text = text
        head, rest = text[:LIMIT], text[LIMIT:]
        if not head.isascii():
            head = unicodedata.normalize("NFKC", head.translate(_SUPERSCRIPTS))
            head, rest = head[:LIMIT], head[LIMIT:] + rest
        self.rest = rest
        """What is not read, only compared."""
        tokens: list[Token] = []
        unspaced: list[str] = []
        codelike = False
        starts = True
        for piece in head.split():
            found = read(piece)
            tokens += found.tokens
            if found.unspaced:
                unspaced.append(found.unspaced)
            if found.codelike:
                codelike = True
            if starts and found.tokens:
                first = found.tokens[0]
                if len(first.raw) == 1 and first.low in FUNCTION:
                    tokens[-len(found.tokens)] = word(first.low)
            starts = found.ends
        if not codelike:
            tokens = [token for token in tokens if token.kind != "code"]
        if tokens and tokens[-1].low in _PREFIXES and tokens[0].low in _GERMAN:
            tokens = _separable(tokens)
        words = _joined(tokens)
        self.tokens: tuple[Token, ...] = tuple(words)
        """The tokens in order, phrases, amounts and dates put together."""
        self.words = tuple(token.low for token in tokens)
        """The words as written, in lower case."""
        self.unspaced = _HARMLESS.sub("", "".join(unspaced)) if unspaced else ""
        """The text in scripts without spaces, without what only carries the question."""
        self.code: tuple[str, ...] = ()
        self.indents: tuple[int, ...] = ()
        self.squeezed = ""
        self.pieces: tuple[str, ...] = ()
        """A text with code in it, without white space and with quotes of one kind."""
        if codelike:
            self.pieces = tuple(head.translate(_ONE_QUOTE).split())
            squeezed = "".join(self.pieces).rstrip("?!.")
            self.squeezed = squeezed[:1].lower() + squeezed[1:]
            self.code = tuple(token.raw for token in tokens if token.kind == "code")
            self.indents = _indents(head)
        self.quoted: tuple[str, ...] = ()
        """Quoted spans, and the whole text in the form in which they are looked for."""
        self.flat = ""
        if not _QUOTES.isdisjoint(head):
            self.quoted = tuple(
                flat for one, two in _QUOTED.findall(head) if (flat := _flat(one or two))
            )
        self._facts()

    def _facts(self) -> None:
        bag: dict[tuple[str, str], int] = {}
        typed: set[str] = set()
        negations = size = 0
        question = ""
        questions: set[str] = set()
        must = False
        past = future = False
        kinds = self.tokens
        count = len(kinds)
        for index, token in enumerate(kinds):
            kind, key, low, _, _ = token
            if kind == "function":
                if low in _PAST and (low != "was" or not _german(kinds, index)):
                    past = True
                elif low in QUESTIONS:
                    asked = _asked(kinds, index, count)
                    if asked:
                        questions.add(asked)
                        question = question or asked
                elif low in _FUTURE:
                    future = True
                elif low in _HAVE:
                    past = past or _perfect(kinds, index)
                continue
            if kind == "negation":
                if key == "not":
                    if token.raw[0] != low[0] and index:
                        continue
                    if (
                        0 < index <= 2
                        and kinds[index - 1].low in _AUXILIARIES
                        and _first(kinds, index)
                    ):
                        continue
                    negations += 1
                    continue
            elif kind == "must":
                must = True
                continue
            elif kind == "question":
                question = question or key
                questions.add(key)
                continue
            size += 1
            typed.add(kind)
            identity = (kind, key)
            bag[identity] = bag.get(identity, 0) + 1
        self.bag = bag
        self.typed = typed
        self.size = size
        self.negations = negations
        if not question and count:
            first = next((t for t in kinds[:3] if t.low not in _GREETINGS), None)
            if first is not None and first.low in _AUXILIARIES:
                question = "whether"
        self.question = question
        """What the first question asks for."""
        self.questions = questions
        self.must = must
        self.tense = (1 if past else 0) - (1 if future else 0)

    def __repr__(self) -> str:
        return f"Analysis({self.text[:60]!r})"


def analyse(text: str) -> Analysis:
    """What the guards need to know of a prompt."""
    return Analysis(text)


def _flat(text: str) -> str:
    return " ".join(text.split()).strip(" .,;:!?\"'“”„«»").casefold()


def _indents(text: str) -> tuple[int, ...]:
    """How the lines of a text are nested: of each, the rank of its white space in front."""
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) < 2:
        return ()
    widths = [len(line) - len(line.lstrip()) for line in lines]
    tabs = [len(line) - len(line.lstrip("\t")) for line in lines]
    widths = [4 * tab if tab else width for width, tab in zip(widths, tabs, strict=True)]
    ranks = {width: rank for rank, width in enumerate(sorted(set(widths)))}
    return tuple(ranks[width] for width in widths)


_ENGLISH = SETS["english"]


def _german(tokens: Sequence[Token], index: int) -> bool:
    """Whether "was" asks, as in German."""
    before = tokens[index - 1].low if index else ""
    after = tokens[index + 1].low if index + 1 < len(tokens) else ""
    return after not in _ENGLISH and (
        not index or before in {"auf", "für", "erkläre", "mir", "bitte"}
    )


def _first(tokens: Sequence[Token], index: int) -> bool:
    """Whether the auxiliary before ``index`` opens the question ("isn't there ...?")."""
    return index == 1 or tokens[0].low in _GREETINGS


def _asked(tokens: Sequence[Token], index: int, count: int) -> str:
    low = tokens[index].low
    name = QUESTIONS[low]
    following = tokens[index + 1] if index + 1 < count else None
    if following is None:
        return name
    if low in {"was", "que", "come", "comment", "quando", "jak"} and index > 2:
        return ""
    if name == "when" and index > 1 and following.low not in _AUXILIARIES:
        return ""
    if name == "how":
        if following.low in _MEASURES:
            return _MEASURES[following.low]
        if (
            following.kind in {"word", "name", "format", "ordinal"}
            and following.low not in _AUXILIARIES
        ):
            return "degree"
    return name


def _perfect(tokens: Sequence[Token], index: int) -> bool:
    """Whether "has" or "have" begins a perfect ("has expired")."""
    for token in tokens[index + 1 : index + 5]:
        if token.low == "to":
            return False
        if token.kind == "word" and (token.low.endswith(("ed", "en")) or token.low != token.key):
            return True
        if token.kind == "name" and len(token.low) > 4 and token.low.endswith(_PERFECT):
            return True
    return False


def _phrase(tokens: list[Token], index: int) -> tuple[int, tuple[Token, ...]] | None:
    """The longest phrase that begins at a token: how many tokens it has and what it means."""
    seconds = _PHRASES.get(tokens[index].low)
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


def _joined(tokens: list[Token]) -> list[Token]:
    """The tokens with phrases read as what they mean, then amounts and dates as wholes."""
    found: list[Token] = []
    index = 0
    special = False
    apart = _MOST_APART
    count = len(tokens)
    while index < count:
        token = tokens[index]
        low = token.low
        if low in _PHRASES:
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
    return _numbered(found) if special else found


_UNSURE = frozenset({"may", "march", "half", "version"})
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
            if tokens[place].low == "on" and following in _ENGLISH:
                return tokens
            meant = word("enable" if tokens[place].low == "on" else "disable")
            return [*tokens[:index], meant, *tokens[index + 1 : place], *tokens[place + 1 :]]
    return tokens


_PREFIXES = SETS["prefixes"]
_GERMAN = SETS["german"]


def _separable(tokens: list[Token]) -> list[Token]:
    """A German verb and its prefix at the end ("schalte ... aus") as one word."""
    for index, token in enumerate(tokens[:3]):
        if token.kind in {"name", "word"} and token.raw == token.low and token.low[-1] in "ent":
            joined = word(tokens[-1].low + token.low)
            return [*tokens[:index], joined, *tokens[index + 1 : -1]]
    return tokens


def _float(token: Token) -> float | None:
    if token.kind != "number":
        return None
    try:
        return float(token.key)
    except ValueError:
        return None


_FILLERS = frozenset({"of", "de", "the", "del", "den", "a", "в"})


def _numbered(tokens: list[Token]) -> list[Token]:
    """Numbers with their scale and unit, times and dates as one token each."""
    out: list[Token] = []
    index = 0
    count = len(tokens)
    while index < count:
        token = tokens[index]
        kind = token.kind
        if kind == "number":
            index = _number(tokens, index, out)
        elif kind == "currency" and index + 1 < count and tokens[index + 1].kind == "number":
            index = _number(tokens, index + 1, out, token.key)
        elif token.low == "half":
            out.append(Token("number", "0.5", "half", "half"))
            index += 1
            while index < count and tokens[index].low in {"of", "a", "an"}:
                index += 1
        elif kind == "month" or (token.low in MONTHS and _dated(tokens, index, out)):
            index = _month(tokens, index, out)
        elif kind == "ordinal" and token.key.isdigit() and _month_near(tokens, index + 1):
            out.append(Token("number", token.key, token.low, token.raw))
            index += 1
        elif (
            token.low == "version"
            and index + 1 < count
            and tokens[index + 1].kind in {"number", "version"}
        ):
            following = tokens[index + 1]
            key = following.low if following.kind == "number" else following.key
            out.append(Token("version", key, following.low, following.raw))
            index += 2
        else:
            out.append(token)
            index += 1
    return out


def _month_near(tokens: list[Token], index: int) -> bool:
    for token in tokens[index : index + 2]:
        if token.kind == "month" or token.low in MONTHS:
            return True
        if token.low not in _FILLERS:
            return False
    return False


def _dated(tokens: list[Token], index: int, out: list[Token]) -> bool:
    """Whether a word that may be a month ("may", "march") is one here."""
    before = next((t for t in reversed(out[-2:]) if t.low not in _FILLERS), None)
    if before is not None and _day(before):
        return True
    after = tokens[index + 1] if index + 1 < len(tokens) else None
    return after is not None and tokens[index].raw[:1].isupper() and (_day(after) or _year(after))


def _day(token: Token) -> bool:
    if token.kind not in {"number", "ordinal"} or not token.key.isdigit() or len(token.key) > 2:
        return False
    return 1 <= int(token.key) <= 31


def _year(token: Token) -> bool:
    return token.kind == "number" and len(token.key) == 4 and token.key[:2] in {"19", "20"}


def _month(tokens: list[Token], index: int, out: list[Token]) -> int:
    month = MONTHS.get(tokens[index].low, tokens[index].key)
    day = year = ""
    fillers: list[Token] = []
    while out and len(fillers) < 2 and out[-1].low in _FILLERS:
        fillers.append(out.pop())
    if out and _day(out[-1]):
        day = f"{int(out.pop().key):02}"
    else:
        out += reversed(fillers)
    index += 1
    if not day and index < len(tokens) and _day(tokens[index]):
        day = f"{int(tokens[index].key):02}"
        index += 1
    skip = index
    while skip < len(tokens) and skip < index + 1 and tokens[skip].low in _FILLERS:
        skip += 1
    if skip < len(tokens) and _year(tokens[skip]):
        year = tokens[skip].key
        index = skip + 1
    key = f"{year}-{month}-{day}".strip("-") if day else f"{year}-{month}"
    key = f"{year}-{month}-{day}" if day else key
    out.append(Token("date", key, key, key))
    return index


def _number(tokens: list[Token], index: int, out: list[Token], unit: str = "") -> int:
    """Reads one amount that begins at ``index``; the index after it."""
    token = tokens[index]
    value = _float(token)
    count = len(tokens)
    following = tokens[index + 1] if index + 1 < count else None
    index += 1
    if value is None or following is None:
        out.append(Token("number", token.key, token.low, token.raw, _unit(unit)))
        return index
    exact, low = token.key, token.low
    spelled = token.low in NUMBERS
    while following is not None and following.kind == "number":
        more = _float(following)
        if more is None:
            break
        if following.low in NUMBERS and more in SCALES and value < more:
            value *= more
        elif (
            spelled
            and following.low in NUMBERS
            and value % 10 == 0
            and value % 100 >= 20
            and more < 10
        ):
            value += more
        elif (
            token.raw.isdigit() and len(token.raw) <= 3 and following.raw.isdigit()
            and len(following.raw) == 3 and value >= 1
        ):  # fmt: skip
            value = value * 1000 + more
        else:
            break
        exact = low = number(value)
        index += 1
        following = tokens[index] if index < count else None
    if following is not None and following.low == "grand":
        value *= 1000
        exact, low, index = number(value), number(value), index + 1
        following = tokens[index] if index < count else None
    name = ""
    if following is not None:
        if following.kind in {"unit", "currency", "caseunit"}:
            name = following.key
        elif following.low in {"am", "pm", "uhr"} and value <= 24:
            hour = (
                int(value) % 12 + (12 if following.low == "pm" else 0)
                if following.low != "uhr"
                else int(value)
            )
            out.append(Token("date", f"{hour:02}:00", f"{hour:02}:00", token.raw))
            return index + 1
        elif len(following.low) <= 2:
            name = UNITS_BY_CASE.get(following.raw) or UNITS.get(following.low, "")
    if name:
        index += 1
        if name in _SPANS:
            factor, base = _SPANS[name]
            out.append(
                Token(
                    "number", number(value * factor), number(value * factor), token.raw, _unit(base)
                )
            )
            return index
        if name == "cent" and value < 100:
            value, name = value / 100, ""
        exact = number(value)
    elif unit:
        exact = number(value)
    out.append(Token("number", exact, low, token.raw, _unit(name or unit)))
    return index


def _unit(name: str) -> frozenset[str]:
    return frozenset({name}) if name else frozenset()
