"""What an encoder must show before its vectors are used: parity, and no say for the company."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semcache_async.embed.tokenizer import pair_tokens

__all__ = ["INVARIANCE", "PARITY", "PARITY_F32", "PROBES", "invariance", "parity", "probes"]

Run: TypeAlias = Callable[[Sequence[NDArray[np.int32]]], NDArray[np.float32]]
"""One forward pass over all the texts given, together."""

PARITY_F32 = 0.9999
PARITY = {"f32": PARITY_F32, "bf16": 0.999, "int8": 0.98}
"""The least cosine to float32, by precision."""
INVARIANCE = 0.9999

PROBES = (
    "How do I reset my password?",
    "my card hasn't arrived yet",
    "What is the exchange rate from EUR to USD on 2024-02-29?",
    "order 123456",
    "order 654321",
    "hi",
    "?",
    "Why is the sky blue",
    "WHY IS THE SKY BLUE!!!",
    "disable two factor authentication",
    "enable two factor authentication",
    "Can I get my money back?",
    "refund policy",
    "def f(x): return [y ** 2 for y in x if y % 2 == 0]",
    "SELECT name, COUNT(*) FROM users WHERE age >= 18 GROUP BY name ORDER BY 2 DESC;",
    "Wie hoch sind die Gebühren für eine Überweisung ins Ausland?",
    "¿Cuánto tarda una transferencia internacional?",
    "Почему мой платёж не прошёл?",
    "如何重置我的密码",
    "パスワードを忘れました",
    "كيف يمكنني تغيير كلمة المرور؟",
    "मेरा पैसा कहाँ है?",
    "🙂🙃 is my account ok? 💳",
    "C",
    "C++",
    "3.14159 26535 89793 23846",
    "https://example.org/a/b?c=d&e=f#g",
    "user@example.org cannot log in; error 0x80070005 (E_ACCESSDENIED)",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "the the the the the the the the the the the the the the the the the the the the the the",
    (
        "I topped up my account with a cheque three days ago, the app showed the money for an hour "
        "and then it vanished; can somebody tell me whether it was returned or simply delayed?"
    ),
    (
        "Summarise in two sentences: a cache keeps answers that were expensive to make close to "
        "those who ask for them, and is only as good as its judgement of when two questions are "
        "the same; too strict and it never helps, too loose and it answers what nobody asked."
    ),
)
"""Texts of many kinds and lengths, whose vectors every new encoder is judged by."""


def probes(
    tokenizer: Any, window: int, *, pairs: bool = False, second: int = 0
) -> list[NDArray[np.int32]]:
    """The probe texts' tokens, or those of each with the next and of some with themselves, cut to
    the window: they only have to be various."""
    if not pairs:
        return [np.array(tokenizer.encode(text).ids, np.int32)[:window] for text in PROBES]
    asked = [*pairwise(PROBES), *((text, text) for text in PROBES[::6])]
    return [ids[:window] for ids in pair_tokens(tokenizer, asked, second)]


def parity(vectors: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Smallest cosine between rows, both ``[n, dim]`` and of unit length; NaN where any is NaN. Of
    scores ``[n, 1]``, what the largest difference leaves of 1."""
    if vectors.shape[1] == 1:
        return 1.0 - float(np.abs(vectors - truth).max())
    return float(np.einsum("nd,nd->n", vectors, truth, dtype=np.float64).min())


def invariance(run: Run, items: Sequence[NDArray[np.int32]], rounds: int = 4) -> float:
    """Smallest cosine between a text's vector alone and in company.

    Each round shuffles the texts (seeded) and cuts them into packs of another size, so that a text
    meets other neighbours and another place.
    """
    alone = np.concatenate([run([item]) for item in items])
    worst, random = 1.0, np.random.default_rng(7)
    for turn in range(rounds):
        size = 2 << turn
        order = random.permutation(len(items))
        for start in range(0, len(items), size):
            some = order[start : start + size]
            worst = float(np.minimum(worst, parity(run([items[i] for i in some]), alone[some])))
    return worst
