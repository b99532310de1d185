"""Stand-ins for tests, ours and yours: a store in memory, gates and faults for any store, an
embedder one can reason about, a simulated LLM; and what every store has to pass."""

from semcache_async.testing.conformance import OpenStore, store_conformance
from semcache_async.testing.embedder import AngleEmbedder
from semcache_async.testing.gates import GatedStore
from semcache_async.testing.llm import SimulatedLLM
from semcache_async.testing.memory import MemoryStore

__all__ = [
    "AngleEmbedder",
    "GatedStore",
    "MemoryStore",
    "OpenStore",
    "SimulatedLLM",
    "store_conformance",
]
