"""What is known of one entry's answer for other prompts: kept with the entry, gone with it."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from semcache_async.bounds.histogram import Sample
from semcache_async.bounds.logistic import Curve
from semcache_async.bounds.per_entry import learn, reach_after
from semcache_async.text.decide import Standing
from semcache_async.text.prompt import normalise
from semcache_async.types import Entry

__all__ = ["Verdicts", "pair_of", "read_verdicts", "write_verdicts"]

_KEPT = 32
"""Prompts of each kind, and samples, that an entry keeps: the last ones."""


class Verdicts(msgspec.Struct, frozen=True, omit_defaults=True):
    """The verdicts on one entry's answer. Prompts are named as by ``pair_of``."""

    of: float
    """``created_at`` of the entry they are about: another answer under its key starts anew."""
    reach: float = 3.0
    """From this distance on it is not served: a wrong one lay there."""
    right: tuple[str, ...] = ()
    """The prompts that it was right for."""
    wrong: tuple[str, ...] = ()
    """Those that it was wrong for."""
    settled: tuple[str, ...] = ()
    """Those of both kinds that people judged: no judge overrules them."""
    samples: tuple[Sample, ...] = ()
    """For the mode ``verified``."""
    curve: Curve | None = None
    """What the samples say, once they are enough."""

    def standing(self, pair: str, distance: float) -> Standing:
        """What they say of serving the answer to a prompt."""
        if pair in self.right:
            return Standing.RIGHT
        if pair in self.wrong or distance >= self.reach:
            return Standing.VERDICT
        return Standing.OPEN

    def known(self, pair: str) -> bool | None:
        """Was it right for a prompt? None where nobody said."""
        return True if pair in self.right else False if pair in self.wrong else None

    def after(
        self,
        pair: str,
        sample: Sample,
        *,
        by_people: bool = False,
        moves_reach: bool = True,
        sampled: bool = False,
    ) -> Verdicts:
        """These and one more. A wrong one shrinks the reach to below its distance and is never
        outweighed by right ones farther in; a later verdict on the same prompt replaces it, but for
        a judge's after a person's. Without ``moves_reach`` it concerns that prompt alone.
        ``sampled``: the entry's curve is fitted anew (some 100 us)."""
        if pair in self.settled and not by_people:
            return self
        samples, curve = self.samples, self.curve
        if sampled:
            samples = (*samples, sample)[-_KEPT:]
            curve = learn(samples)
        return Verdicts(
            of=self.of,
            reach=reach_after([sample], self.reach) if moves_reach else self.reach,
            right=_with(self.right, pair, sample.right),
            wrong=_with(self.wrong, pair, not sample.right),
            settled=_with(self.settled, pair, by_people),
            samples=samples,
            curve=curve,
        )


def _with(pairs: tuple[str, ...], pair: str, belongs: bool) -> tuple[str, ...]:
    others = tuple(known for known in pairs if known != pair)
    return (*others, pair)[-_KEPT:] if belongs else others


def pair_of(prompt: str) -> str:
    """24 hex digits for a prompt's exact wording, as verdicts name it."""
    return blake2b(normalise(prompt).encode(), digest_size=12).hexdigest()


_decode = msgspec.json.Decoder(Verdicts).decode


def read_verdicts(notes: bytes | None, entry: Entry) -> Verdicts | None:
    """The verdicts on this very answer, if there are any that can be read."""
    if notes is None:
        return None
    try:
        found = _decode(notes)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if found.of == entry.created_at else None


def write_verdicts(verdicts: Verdicts) -> bytes:
    """What ``read_verdicts`` reads."""
    return msgspec.json.encode(verdicts)
