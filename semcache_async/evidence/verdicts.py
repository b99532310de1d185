"""What is known of one entry's answer for other prompts: kept with the entry, gone with it."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from semcache_async.bounds.histogram import Sample
from semcache_async.bounds.logistic import Curve
from semcache_async.bounds.per_entry import MARGIN, learn
from semcache_async.text.decide import Standing
from semcache_async.text.prompt import normalise
from semcache_async.types import Entry

__all__ = ["Verdicts", "pair_of", "read_verdicts", "write_verdicts"]

_KEPT = 32
"""Prompts judged right, and samples, that an entry keeps: the last ones."""


class Verdicts(msgspec.Struct, frozen=True, omit_defaults=True):
    """The verdicts on one entry's answer."""

    of: float
    """``created_at`` of the entry they are about: another answer under its key starts anew."""
    reach: float = 3.0
    """From this distance on it is not served: a wrong one lay there."""
    right: tuple[str, ...] = ()
    """The prompts, as ``pair_of`` names them, that it was right for."""
    samples: tuple[Sample, ...] = ()
    """For the mode ``verified``."""
    curve: Curve | None = None
    """What the samples say, once they are enough."""

    def standing(self, pair: str, distance: float) -> Standing:
        """What they say of serving the answer to a prompt."""
        if pair in self.right:
            return Standing.RIGHT
        return Standing.OPEN if distance < self.reach else Standing.VERDICT

    def after(
        self, pair: str, distance: float, right: bool, weight: float, *, sampled: bool
    ) -> Verdicts:
        """These and one more. A wrong one shrinks the reach to below its distance and is never
        outweighed by right ones farther in; a later verdict on the same prompt replaces it.
        ``sampled``: the entry's curve is fitted anew (some 100 us)."""
        others = tuple(known for known in self.right if known != pair)
        samples, curve = self.samples, self.curve
        if sampled:
            samples = (*samples, Sample(distance, right, weight))[-_KEPT:]
            curve = learn(samples)
        return Verdicts(
            of=self.of,
            reach=self.reach if right else min(self.reach, distance - MARGIN),
            right=(*others, pair)[-_KEPT:] if right else others,
            samples=samples,
            curve=curve,
        )


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
