"""An answer of one API, given to who asked in another."""

from __future__ import annotations

from functools import lru_cache

import msgspec

from semcache_async.serve.apis import api_of, made_in
from semcache_async.serve.apis.api import UNREADABLE, Api, Convertible, Delta, Frame, Part
from semcache_async.serve.sse import EventSplitter, data_of

__all__ = ["Crossing", "crossing_of", "given_in", "told_in"]

_COMMENT = b":\n\n"
_REMEMBERED, _LONGEST_REMEMBERED = 1_024, 8_192


def given_in(text: str, api: Api) -> tuple[str, Api]:
    """A whole answer as ``api`` writes it, and the API in which it was made. One that is of ``api``
    or of none is given as it is."""
    make = _given_in if len(text) <= _LONGEST_REMEMBERED else _given_in.__wrapped__
    return make(text, api)


@lru_cache(maxsize=_REMEMBERED)
def _given_in(text: str, api: Api) -> tuple[str, Api]:
    known = made_in(text)
    if known is None or known[0] is api or not isinstance(api, Convertible):
        return text, api
    source, answer = known
    said = source.said(answer)
    return (text, api) if said is None else (msgspec.json.encode(api.wrote(said)).decode(), source)


def told_in(event: bytes) -> Api | None:
    """The API of whose stream it is an event; None where it does not say."""
    data = data_of(event)
    try:
        told = None if data is None else msgspec.json.decode(data)
    except UNREADABLE:
        return None
    return api_of(told) if isinstance(told, dict) else None


class Crossing:
    """One stream of ``source`` as one of ``api``."""

    def __init__(self, source: Convertible, api: Convertible) -> None:
        self._source = source
        self._api = api
        self._writer = api.writer()
        self._ids: dict[int, str] = {}
        self._numbers: dict[int, int] = {}
        self._calls = 0

    def cross(self, frame: Frame) -> Frame:
        """What says the same. A comment stays, and stands for what the other API does not tell: it
        keeps the connection alive while a model thinks."""
        data = data_of(frame.raw)
        if data is None:
            return frame
        deltas = map(self._numbered, self._source.deltas(data))
        return Frame(self._writer.write(deltas) or _COMMENT)

    def _numbered(self, delta: Delta) -> Delta:
        """With a number of its own for each call: some servers give none, or all the same."""
        if not isinstance(delta, Part) or delta.call is None:
            return delta
        call, known = delta.call, self._ids.get(delta.call)
        if known is None or (delta.name and delta.id and delta.id != known):
            self._ids[call], self._numbers[call] = delta.id, self._calls
            self._calls += 1
        return delta._replace(call=self._numbers[call])

    def end(self) -> list[Frame]:
        """What comes at the end."""
        reader = self._api.reader()
        return [reader.read(event) for event in EventSplitter().feed(self._writer.end())]


def crossing_of(source: Api, api: Api) -> Crossing | None:
    """None where the one is the other, or one of them is told in no other."""
    if source is api or not (isinstance(source, Convertible) and isinstance(api, Convertible)):
        return None
    return Crossing(source, api)
