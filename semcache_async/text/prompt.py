"""Prompts at the edge: what is refused, and what counts as the same wording."""

from __future__ import annotations

import re
import unicodedata

from semcache_async.errors import PromptError

__all__ = ["check_text", "normalise"]

_SPACES = re.compile(" {2,}")
_ENDING = "?!." + "".join(chr(code) for code in range(0x3001) if chr(code).isspace())


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
    """The exact tier's key text: case, canonical composition, outer white space, repeated spaces
    and closing ``? ! .`` do not count. Everything else does: digits, inner punctuation, ``+``,
    ``#``, line breaks, and a ``!`` that closes a number (5! is a factorial).

    Idempotent. Caseless matching as Unicode 3.13, definition D145, kept in NFC.
    """
    if prompt.isascii():
        text = prompt.lower()
    else:
        decomposed = unicodedata.normalize("NFD", prompt).casefold()
        text = unicodedata.normalize("NFC", unicodedata.normalize("NFD", decomposed))
    text = text.strip()
    if "  " in text:
        text = _SPACES.sub(" ", text)
    if text[-1:] in "?!.":
        text = _without_ending(text)
    return text


def _without_ending(text: str) -> str:
    body = text.rstrip(_ENDING)
    if not body:
        return text
    if text[len(body)] == "!" and (body[-1].isdigit() or body[-1] == ")"):
        marks = text[len(body) :]
        return body + marks[: len(marks) - len(marks.lstrip("!"))]
    return body
