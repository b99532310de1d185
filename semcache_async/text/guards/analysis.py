"""What a prompt says, as far as guards ask: made once per prompt, compared many times."""

# ruff: noqa: RUF001  (letters of many scripts are the subject here)

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from semcache_async.text.guards.measures import between_numbers
from semcache_async.text.guards.reading.lists import (
    FUNCTION,
    QUESTIONS,
    SETS,
    UNSPACED_HARMLESS,
)
from semcache_async.text.guards.reading.phrases import ENGLISH, GERMAN, PREFIXES, joined, separable
from semcache_async.text.guards.reading.tokens import read
from semcache_async.text.guards.reading.words import Token, word

__all__ = ["Analysis", "LIMIT", "analyse"]

LIMIT = 8_000
"""Characters of a prompt that are read; what comes after is compared as written."""

_QUOTED = re.compile(
    "[\"“”„«»‘’]([^\"“”„«»‘’]{1,400})[\"“”„«»’]|(?<![^\\W_])'([^']{1,400})'(?![^\\W_])"
)

_QUOTES = frozenset("\"“„«'‘")

_SIGNS = str.maketrans(
    {"²": "^2", "³": "^3", "≥": ">=", "≤": "<=", "≠": "!=", "×": "*", "÷": "/", "−": "-", "→": "->"}
)
"""Signs and how they are typed."""

_ONE_QUOTE = str.maketrans({"'": '"', "`": None})

_HARMLESS = re.compile("|".join(sorted(map(re.escape, UNSPACED_HARMLESS), key=len, reverse=True)))

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

_COUNTED = frozenset({"number", "identifier"})
_WHO = SETS["pronouns"]
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
            head = unicodedata.normalize("NFKC", head.translate(_SIGNS))
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
            tokens = [
                token
                for index, token in enumerate(tokens)
                if token.kind != "code" or between_numbers(tokens, index)
            ]
        if tokens and tokens[-1].low in PREFIXES and tokens[0].low in GERMAN:
            tokens = separable(tokens)
        words = joined(tokens)
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
        """Quoted spans."""
        self.flat = ""
        """Of a text with quotes, all of it, in the form in which quoted spans are looked for."""
        if not _QUOTES.isdisjoint(head):
            self.flat = _flat(head)
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
            if kind == "negation" and key == "not":
                if token.raw[0] != low[0] and index:
                    continue
                if low == "no" and index + 1 < count and kinds[index + 1].kind in _COUNTED:
                    continue
                if (
                    low == "not"
                    and 0 < index <= 2
                    and kinds[index - 1].low in _AUXILIARIES
                    and _first(kinds, index)
                ):
                    continue
                negations += 1
                continue
            if kind == "must":
                must = True
                continue
            if kind == "question":
                question = question or key
                questions.add(key)
                continue
            if index and low != key and low.endswith("ed") and kinds[index - 1].low in _WHO:
                past = True
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


def _german(tokens: Sequence[Token], index: int) -> bool:
    """Whether "was" asks, as in German."""
    before = tokens[index - 1].low if index else ""
    after = tokens[index + 1].low if index + 1 < len(tokens) else ""
    return after not in ENGLISH and (
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
