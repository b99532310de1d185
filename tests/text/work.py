"""Work counted, not timed: Python's calls and the characters they are given, and the steps of a
regular expression."""

from __future__ import annotations

import re
import sys
from re import _constants as op
from re import _parser
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, ModuleType

_MOST_BOUNDED = 64


def work(call: Callable[[], object]) -> int:
    """One for each call of Python or C that ``call`` makes, and one for each character of a text
    that is given to a function in Python."""
    done = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal done
        if event == "c_call":
            done += 1
        elif event == "call":
            done += 1 + sum(len(v) for v in frame.f_locals.values() if isinstance(v, str))

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        call()
    finally:
        sys.setprofile(before)
    return done


def patterns(module: ModuleType) -> dict[str, re.Pattern[str]]:
    """The module's compiled patterns, by name."""
    return {name: v for name, v in vars(module).items() if isinstance(v, re.Pattern)}


def unbounded(pattern: re.Pattern[str]) -> list[str]:
    """Its repeats that may make a search superlinear.

    A repeat is harmless where its bound is small; or where it repeats one set of characters, and
    either is the last thing of the pattern, or cannot begin inside a run of that set (after a
    negative lookbehind of it) and is followed by lookaheads alone.
    """
    return list(_unbounded(_parser.parse(pattern.pattern, pattern.flags), last=True))


def _unbounded(items: Any, *, last: bool) -> Iterator[str]:
    items = list(items)
    for index, (code, value) in enumerate(items):
        rest = items[index + 1 :]
        at_end = last and not rest
        if code in (op.MAX_REPEAT, op.MIN_REPEAT):
            if value[1] > _MOST_BOUNDED and not _harmless(items, index, at_end):
                yield f"{code} {value}"
            yield from _unbounded(value[2], last=False)
        elif code is op.SUBPATTERN:
            yield from _unbounded(value[3], last=at_end)
        elif code is op.BRANCH:
            for branch in value[1]:
                yield from _unbounded(branch, last=at_end)
        elif code in (op.ASSERT, op.ASSERT_NOT):
            yield from _unbounded(value[1], last=False)


def _harmless(items: list[Any], index: int, at_end: bool) -> bool:
    body = list(items[index][1][2])
    if len(body) != 1 or body[0][0] not in (op.IN, op.LITERAL, op.NOT_LITERAL, op.ANY):
        return False
    if at_end:
        return True
    if not index or items[index - 1][0] is not op.ASSERT_NOT:
        return False
    direction, guard = items[index - 1][1]
    guarded = direction == -1 and list(guard) == body
    return guarded and all(item[0] is op.ASSERT and item[1][0] == 1 for item in items[index + 1 :])


def steps(pattern: re.Pattern[str], text: str) -> int:
    """What a plain backtracking matcher does to find every ``pattern`` in ``text``."""
    matcher = _Matcher(text, bool(pattern.flags & re.IGNORECASE))
    items = list(_parser.parse(pattern.pattern, pattern.flags))
    start = 0
    while start <= len(text):
        end = next(matcher.ends(items, start), None)
        found = pattern.match(text, start)
        assert end == (found.end() if found else None), (pattern.pattern, text, start)
        start = max(start + 1, end or 0)
    return matcher.done


class _Matcher:
    def __init__(self, text: str, ignore_case: bool) -> None:
        self.text = text
        self.flags = re.IGNORECASE if ignore_case else 0
        self.done = 0

    def ends(self, items: list[Any], at: int) -> Iterator[int]:
        if not items:
            yield at
            return
        (code, value), rest = items[0], items[1:]
        for end in self._item(code, value, at):
            yield from self.ends(rest, end)

    def _item(self, code: Any, value: Any, at: int) -> Iterator[int]:
        self.done += 1
        if code in (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY):
            if at < len(self.text) and self._is_in(code, value, self.text[at]):
                yield at + 1
        elif code is op.AT:
            if self._at(value, at):
                yield at
        elif code is op.SUBPATTERN:
            yield from self.ends(list(value[3]), at)
        elif code is op.BRANCH:
            for branch in value[1]:
                yield from self.ends(list(branch), at)
        elif code in (op.ASSERT, op.ASSERT_NOT):
            start = at if value[0] == 1 else at - value[1].getwidth()[0]
            found = start >= 0 and next(self.ends(list(value[1]), start), None) is not None
            if found == (code is op.ASSERT):
                yield at
        elif code is op.MAX_REPEAT:
            least, most, body = value
            yield from self._repeat(least, most, list(body), at)
        else:
            raise ValueError(f"no pattern of ours has a {code}; count its work here first")

    def _repeat(self, least: int, most: int, body: list[Any], at: int) -> Iterator[int]:
        if len(body) == 1 and body[0][0] in (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY):
            end, (code, value) = at, body[0]
            while end - at < most and next(self._item(code, value, end), None) is not None:
                end += 1
            for stop in range(end, at + least - 1, -1):
                self.done += 1
                yield stop
            return
        if most:
            for end in self.ends(body, at):
                if end > at:
                    yield from self._repeat(max(0, least - 1), most - 1, body, end)
        if not least:
            yield at

    def _is_in(self, code: Any, value: Any, char: str) -> bool:
        if code is op.LITERAL:
            return char == chr(value) or bool(self.flags and char.lower() == chr(value).lower())
        if code is op.NOT_LITERAL:
            return char != chr(value)
        if code is op.ANY:
            return char != "\n"
        inverted = value[0][0] is op.NEGATE
        return any(self._of_set(item, char) for item in value[inverted:]) != inverted

    def _of_set(self, item: Any, char: str) -> bool:
        code, value = item
        if code is op.LITERAL:
            return char == chr(value)
        if code is op.RANGE:
            return bool(value[0] <= ord(char) <= value[1])
        return _CATEGORIES[value](char)

    def _at(self, value: Any, at: int) -> bool:
        if value is op.AT_BOUNDARY:
            around = self.text[at - 1 : at] if at else "", self.text[at : at + 1]
            return len({bool(re.match(r"\w", char)) for char in around}) == 2
        if value is op.AT_END:
            return at == len(self.text) or self.text[at:] == "\n"
        raise ValueError(f"no pattern of ours has a {value}; count its work here first")


_CATEGORIES: dict[Any, Callable[[str], bool]] = {
    op.CATEGORY_WORD: lambda char: char.isalnum() or char == "_",
    op.CATEGORY_NOT_WORD: lambda char: not (char.isalnum() or char == "_"),
    op.CATEGORY_DIGIT: str.isdecimal,
    op.CATEGORY_SPACE: str.isspace,
    op.CATEGORY_NOT_SPACE: lambda char: not char.isspace(),
}
