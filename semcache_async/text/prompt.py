"""Prompts at the edge: what is refused, and what counts as the same wording."""

from __future__ import annotations

import re
import unicodedata

from semcache_async.errors import PromptError

__all__ = ["check_text", "compose", "is_prose", "normalise"]

_LONGEST_PROSE = 1_000
_SPACES = re.compile(" {2,}")
_CLOSING = "?\uff1f\u061f"
# What no ASCII prose holds: another character; a hyphen, an apostrophe or a comma out of place.
_NO_PROSE = re.compile(r"[^A-Za-z ,'-]|(?<![A-Za-z])[,'-]|['-](?![A-Za-z])|,(?! )")
_WITHIN = "'\u2019-\u2010"
_LONE_I = re.compile(r" i(?='| [a-z]{2})")
_BEFORE = (
    "do did can could should would will shall may might must am was have had if when where how "
    "what why that which and but so as because than while after before since until once then"
)
BEFORE_I = frozenset(_BEFORE.split())
"""After these, a lone ``i`` is the pronoun."""
_ASKS = (
    "if who whose whom what when where why how which what's who's where's how's is are am was were "
    "isn't aren't do does did don't doesn't didn't can can't could couldn't should shouldn't would "
    "wouldn't will won't shall may might must has have had "
    "wer wen wem wessen wann wo wohin woher warum wieso wie welche welcher welches kann ist sind "
    "qui que quoi quand comment pourquoi combien quel quelle quels quelles "
    "wat wanneer waar waarom hoe welke quando come quanto quale dove como quem onde qual por"
)
_ASKING = frozenset(_ASKS.split())
_RUN = re.compile(r"(?<![^\w\x00-\x7f])[^\w\x00-\x7f]{31,}")
_MOST_MARKS = 30


def check_text(what: str, text: object) -> str:
    """``text`` itself if it is non-blank, valid Unicode without NUL, else ``PromptError``."""
    if not isinstance(text, str):
        raise PromptError(f"The {what} must be a str, not {type(text).__name__}.")
    if not text or text.isspace():
        raise PromptError(f"The {what} is empty; there is nothing to look up or keep.")
    if "\0" in text:
        raise PromptError(f"The {what} holds a NUL character; remove it.")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise PromptError(
                f"The {what} holds a lone surrogate at index {error.start}, which is not valid "
                "Unicode; decode its source with errors='replace'."
            ) from None
    return text if type(text) is str else str.__str__(text)


def normalise(prompt: str) -> str:
    """The exact tier's key text. Idempotent, and linear in the prompt's length.

    Canonical composition and outer white space never count. Where the prompt is prose
    (``is_prose``), neither do the case of its first letter, where no capital or mark follows it; an
    ``i`` that is the English pronoun by the words around it; runs of spaces; and a closing question
    mark, where the first word asks or the last one is not ASCII (a regular expression and a Ruby
    method may end in one). Everything else counts, everywhere.
    """
    text = prompt.strip() if prompt.isascii() else compose(prompt).strip()
    if not is_prose(text):
        return text
    if text[-1] in _CLOSING:
        text = _without_mark(text)
    if "  " in text:
        text = _SPACES.sub(" ", text)
    if " i " in text or " i'" in text:
        text = _LONE_I.sub(_pronoun, text)
    return small_first(text)


def is_prose(text: str) -> bool:
    """Are these plain words? Three or more, in at most 1,000 characters, with spaces between.

    A word is letters and marks of any script, with single hyphens or apostrophes inside and
    perhaps a comma after it. The last has two letters or more, and may be followed by one question
    mark. No digits, line breaks, quotes or other signs; ``text`` has no outer white space.
    """
    if not 5 < len(text) <= _LONGEST_PROSE:
        return False
    body = text[:-1].rstrip(" ") if text[-1] in _CLOSING else text
    if body.isascii():
        letters = body.replace(" ", "")
        if not letters.isalpha():
            others = letters.replace(",", "").replace("'", "").replace("-", "")
            if not others.isalpha() or _NO_PROSE.search(body):
                return False
        return body[-2:].isalpha() and len(body.split(None, 2)) > 2
    if not _is_letter(body[-1:]) or not _is_letter(body[-2:-1]):
        return False
    return len(body.split()) > 2 and all(map(_is_word, body.split(" ")))


def compose(text: str) -> str:
    """Its canonical composition (NFC), or itself where more than 30 combining marks follow one
    another (UAX 15's stream-safe bound): to order those takes quadratic time."""
    if text.isascii() or any(_holds_long_run(run.group()) for run in _RUN.finditer(text)):
        return text
    return unicodedata.normalize("NFC", text)


def small_first(text: str) -> str:
    """``text`` with a small first letter, unless a capital or a mark follows it (US; a decomposed
    letter may compose when small only)."""
    first, second = text[:1], text[1:2]
    if not first.isupper() or second.isupper() or len(first.lower()) != 1:
        return text
    if second and not second.isascii() and not second.isalpha():
        return text
    return first.lower() + text[1:]


def _pronoun(found: re.Match[str]) -> str:
    before = found.string[max(0, found.start() - 8) : found.start()]
    return " I" if before.rpartition(" ")[2].lower() in BEFORE_I else " i"


def _without_mark(text: str) -> str:
    body = text[:-1].rstrip(" ")
    asks = text[-1] != "?" or not body[-1].isascii() or body.split(" ", 1)[0].lower() in _ASKING
    return body if asks else text


def _holds_long_run(run: str) -> bool:
    marks = 0
    for char in run:
        marks = marks + 1 if unicodedata.combining(char) else 0
        if marks > _MOST_MARKS:
            return True
    return False


def _is_letter(char: str) -> bool:
    return char.isalpha() or unicodedata.category(char)[0] == "M" if char else False


def _is_word(word: str) -> bool:
    """Of text that is not ASCII; the empty one stands between two spaces."""
    letters = word.removesuffix(",").removesuffix("\uff0c")
    for sign in _WITHIN:
        letters = letters.replace(sign, " ")
    parts = letters.split(" ")
    return not word or all(part and all(map(_is_letter, part)) for part in parts)
