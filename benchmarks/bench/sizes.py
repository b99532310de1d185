"""How much of everything: the whole comparison, the quick one, and the smallest that runs."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["AGAIN", "BEFORE", "QUICK", "TINY", "WHOLE", "Sizes", "against"]

AGAIN = "ours (again)"
"""``ours`` a second time: what it differs by is noise."""
BEFORE = "before"
"""``ours`` of another checkout."""
_PEERS = ("redisvl-async", "redisvl-threads", "langchain-redis", "gptcache")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Seconds are of one turn."""

    entries: int = 10_000
    callers: int = 64
    max_distance: float = 0.1
    """Cosine, 0..2."""
    seed: int = 0

    peers: tuple[str, ...] = _PEERS
    ablated: tuple[str, ...] = ("ours-unpacked", "ours-unpipelined")
    rounds: int = 4
    load_s: float = 5.0
    rest_s: float = 3.0
    embed_s: float = 1.5
    embed_rest_s: float = 0.8
    exact_s: float = 0.0
    """Exact hits, by ``exact_callers``; 0 for none."""
    exact_callers: int = 256

    sweep: tuple[int, ...] = (4, 16, 256)
    """Callers, beside one and ``callers``."""
    sweep_s: float = 3.0
    sweep_rounds: int = 2
    fractions: tuple[float, ...] = (0.3, 0.5, 0.7, 0.85, 1.0)
    """Of a contender's capacity."""
    offered_s: float = 8.0
    offered_rounds: int = 2

    intents_rounds: int = 2
    intents: int = 8
    """Of a burst."""
    zipf: float = 1.1
    zipf_rate: float = 10.0
    zipf_requests: int = 120
    closed_requests: int = 300
    llm_ms: float = 800.0
    llm_sigma: float = 0.35

    parts_rounds: int = 5
    embedder_texts: int = 256
    embedder_rounds: int = 4

    http_entries: int = 1_000
    http_rounds: int = 3
    http_s: float = 5.0


WHOLE = Sizes()
QUICK = replace(
    WHOLE,
    entries=1_000,
    peers=("redisvl-async",),
    ablated=(),
    rounds=2,
    load_s=3.0,
    rest_s=2.5,
    embed_s=1.0,
    embed_rest_s=0.5,
    sweep=(16,),
    sweep_s=2.5,
    sweep_rounds=1,
    fractions=(0.7, 1.0),
    offered_s=4.0,
    offered_rounds=1,
    intents_rounds=1,
    zipf_requests=40,
    closed_requests=128,
    parts_rounds=1,
    embedder_texts=96,
    embedder_rounds=2,
    http_entries=300,
    http_rounds=1,
    http_s=3.0,
)
TINY = replace(
    QUICK,
    entries=200,
    callers=16,
    load_s=0.6,
    rest_s=0.3,
    embed_s=0.2,
    embed_rest_s=0.2,
    sweep=(4,),
    sweep_s=0.5,
    fractions=(0.5, 0.7),
    offered_s=1.0,
    intents=4,
    zipf_requests=15,
    closed_requests=30,
    llm_ms=100.0,
    parts_rounds=1,
    embedder_texts=32,
    embedder_rounds=1,
    http_entries=40,
    http_s=1.0,
)


def against(sizes: Sizes) -> Sizes:
    """For two checkouts of ours and nobody else: more rounds, and exact hits too."""
    return replace(
        sizes,
        peers=(),
        ablated=(BEFORE,),
        rounds=2 * sizes.rounds,
        embed_s=0.0,
        embed_rest_s=0.0,
        exact_s=sizes.load_s / 2,
    )
