"""All guards by name, and doubt."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from semcache_async.text.guards.difference import Difference
from semcache_async.text.guards.form import code, entities, marks, template
from semcache_async.text.guards.guard import Guard
from semcache_async.text.guards.meaning import (
    answer_format,
    antonyms,
    comparison,
    conditions,
    negation,
    quantifiers,
    question,
)
from semcache_async.text.guards.order import roles
from semcache_async.text.guards.reading.unspaced import unspaced_doubt
from semcache_async.text.guards.values import dates, identifiers, numbers, units, versions

__all__ = ["GUARDS", "doubtful"]

_ALL = (
    Guard("versions", "another version, or a version too many", versions),
    Guard("dates", "another date, time, weekday or span of time", dates),
    Guard("identifiers", "another id, code, address or URL", identifiers),
    Guard("units", "another unit, or a case that carries meaning", units),
    Guard("numbers", "another number, amount or currency, or one too many", numbers),
    Guard("code", "another token, operator or nesting within code", code),
    Guard("negation", "a negation too many or too few", negation),
    Guard("comparison", "more for less, at least for at most", comparison),
    Guard("quantifiers", "all for some, none or one; first for last", quantifiers),
    Guard("antonyms", "a word for its opposite", antonyms),
    Guard("roles", "two things that have changed places", roles),
    Guard("conditions", "before for after, was for will, if for unless", conditions),
    Guard("format", "another language, form, tone or length of the answer", answer_format),
    Guard("question", "when, where, why, who or how much for one another", question, False),
    Guard("marks", "an accent or a sign that makes another word", marks, False),
    Guard(
        "template",
        "a long common frame around another payload; another quotation",
        template,
        False,
    ),
    Guard("entities", "one name for another", entities, False),
)

GUARDS: Mapping[str, Guard] = MappingProxyType({guard.name: guard for guard in _ALL})
"""All guards by name, in the order in which they are asked."""


def doubtful(d: Difference) -> bool:
    """Whether a small difference remains that is not known to be harmless."""
    return unspaced_doubt(d) or _doubt(d)


_FACT = 3
"""Words of content that one prompt has besides the other, whole, with which it says something more:
a fact, a wish, another question."""
_SHARED = 2
"""So many words that both prompts have make a frame for a word in the place of another."""


def _doubt(d: Difference) -> bool:
    left, right = d.content()
    if not (left or right):
        return False
    if left and right:
        return d.near(2) and (d.common > 0 or min(len(d.a.words), len(d.b.words)) > _SHARED)
    more = left or right
    if not d.near(1):
        return len(more) >= _FACT and (d.contained() or d.long())
    return more[0].kind != "name"
