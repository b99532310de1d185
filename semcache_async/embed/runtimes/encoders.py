"""The runtimes: token ids of several texts in, unit vectors out, one forward pass at a time."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from semcache_async.embed.encoder.blocks import BLOCKS, in_blocks
from semcache_async.embed.encoder.graph import INPUTS, OUTPUT
from semcache_async.embed.runtimes.forks import leave_behind, never_destroy_in_a_child
from semcache_async.embed.runtimes.packs import plan_packs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from semcache_async.embed.encoder.architecture import Pooling

__all__ = [
    "BUDGET",
    "LONG",
    "MOST_STREAMS",
    "PATIENCE_S",
    "Encoder",
    "Ids",
    "OnnxPacked",
    "OnnxPadded",
    "Vectors",
    "usable_cpus",
]

Ids: TypeAlias = NDArray[np.int32]
"""The tokens of one text, special ones included: int32 ``[tokens]``."""
Vectors: TypeAlias = NDArray[np.float32]
"""Float32 ``[n, dim]``, each row of unit length."""

BUDGET = 128
MOST_STREAMS = 8
LONG = 8 * BUDGET
"""Tokens of a text beyond which a pass may take seconds, and needs attention by blocks."""
PATIENCE_S = 600.0
"""Seconds that a pass over a text beyond the budget may take."""
_LONE_TOKENS, _LONE_THREADS = 48, 4
"""A pass this short, with no other under way, is worth several threads."""


class Encoder(Protocol):
    """A model in a runtime. Every method may be called from several threads at once."""

    name: str
    precision: str
    budget: int
    """Tokens in one pass beyond which throughput no longer grows."""
    streams: int
    """How many passes may usefully run at once."""

    def plan(self, lengths: Sequence[int]) -> list[list[int]]:
        """Which texts share a pass, as indices; ``lengths`` in tokens."""

    def run(self, items: Sequence[Ids]) -> Vectors:
        """One pass over all of ``items`` (at least one) together."""

    def complete(self) -> None:
        """Return once everything is ready that would be made ready in the background."""

    def reopen(self) -> None:
        """Make anew what a forked child cannot take over from its parent."""


def usable_cpus() -> int:
    """How many CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def lay_out(items: Sequence[Ids], tokens: int, slots: int) -> dict[str, Ids]:
    """The inputs of one pack of ``tokens`` tokens, padded at its end."""
    ids, positions = np.zeros(tokens, np.int32), np.zeros(tokens, np.int32)
    segments = np.full(tokens, -1, np.int32)
    at = 0
    for slot, item in enumerate(items):
        end = at + len(item)
        ids[at:end], positions[at:end], segments[at:end] = item, np.arange(end - at), slot
        at = end
    return dict(
        zip(INPUTS, (ids, positions, segments, np.arange(slots, dtype=np.int32)), strict=True)
    )


class OnnxPacked:
    """The packed graph in onnxruntime: passes are exactly as long as their texts."""

    name = "onnxruntime-f32-packed"
    precision = "f32"
    budget = BUDGET

    def __init__(self, model: Path, *, threads: int) -> None:
        self.streams = min(threads, MOST_STREAMS)
        self._path = model
        self._threads = threads
        never_destroy_in_a_child(self)
        self._open()

    def complete(self) -> None:
        """It is."""

    def reopen(self) -> None:
        leave_behind(self._session, self._lone_session, self._blocks)
        self._open()

    def _open(self) -> None:
        self._session = open_session(self._path, self._threads // self.streams)
        self._lone_session = self._session
        if self.streams > 1:
            self._lone_session = open_session(self._path, min(self._threads, _LONE_THREADS))
        self._blocks: Any = None
        self._running = 0
        self._lock, self._turn = threading.Lock(), threading.Lock()

    def plan(self, lengths: Sequence[int]) -> list[list[int]]:
        return plan_packs(lengths, self.budget)

    def run(self, items: Sequence[Ids]) -> Vectors:
        tokens = sum(map(len, items))
        if tokens > LONG:
            return self._run_in_blocks(items, tokens)
        with self._lock:
            lone = tokens > self.budget or (self._running == 0 and tokens <= _LONE_TOKENS)
            self._running += 1
        session = self._lone_session if lone else self._session
        try:
            vectors: Vectors = session.run([OUTPUT], lay_out(items, tokens, len(items)))[0]
        finally:
            with self._lock:
                self._running -= 1
        return vectors

    def _run_in_blocks(self, items: Sequence[Ids], tokens: int) -> Vectors:
        """One such pass at a time, on all CPUs; it gives its memory back."""
        import onnx
        import onnxruntime

        with self._turn:
            if self._blocks is None:
                graph = in_blocks(onnx.load(self._path)).SerializeToString()
                self._blocks = open_session(graph, self._threads)
            options = onnxruntime.RunOptions()
            options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
            inputs = lay_out(items, -(-tokens // BLOCKS) * BLOCKS, len(items))
            vectors: Vectors = self._blocks.run([OUTPUT], inputs, options)[0]
        return vectors


class OnnxPadded:
    """An ordinary exported model: rows of equal length under an attention mask."""

    name = "onnxruntime-padded"
    precision = "exported"
    budget = BUDGET * 4

    def __init__(self, model: Path, *, threads: int, pooling: Pooling, pad_id: int) -> None:
        self.streams = min(threads, MOST_STREAMS)
        self._path = model
        self._threads = threads // self.streams
        never_destroy_in_a_child(self)
        self._session = open_session(model, self._threads)
        self._pooling, self._pad_id = pooling, pad_id
        kinds = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
        self._inputs = {i.name: kinds[i.type] for i in self._session.get_inputs()}
        names = [output.name for output in self._session.get_outputs()]
        self.pools = "sentence_embedding" in names
        self._output = "sentence_embedding" if self.pools else names[0]

    def complete(self) -> None:
        """It is."""

    def reopen(self) -> None:
        leave_behind(self._session)
        self._session = open_session(self._path, self._threads)

    def plan(self, lengths: Sequence[int]) -> list[list[int]]:
        """Neighbours in length, as many as keep rows times longest within the budget."""
        batches: list[list[int]] = []
        for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
            if batches and (len(batches[-1]) + 1) * lengths[index] <= self.budget:
                batches[-1].append(index)
            else:
                batches.append([index])
        return batches

    def run(self, items: Sequence[Ids]) -> Vectors:
        longest = max(map(len, items))
        ids = np.full((len(items), longest), self._pad_id, np.int64)
        mask = np.zeros((len(items), longest), np.int64)
        for row, item in enumerate(items):
            ids[row, : len(item)], mask[row, : len(item)] = item, 1
        offered = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        asked = {name: offered[name].astype(kind) for name, kind in self._inputs.items()}
        found = self._session.run([self._output], asked)[0]
        if found.ndim == 3:
            if self._pooling == "mean":
                found = (found * mask.astype(np.float32)[:, :, None]).sum(1)
            else:
                place = mask.sum(1) - 1 if self._pooling == "last" else np.zeros(len(items), int)
                found = found[np.arange(len(items)), place]
        unit: Vectors = found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
        return unit.astype(np.float32, copy=False)


def open_session(model: Path | bytes, threads: int) -> Any:
    """An onnxruntime session on the CPU whose idle threads sleep."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, threads)
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def import_openvino() -> Any:
    """The ``openvino`` module, imported without its telemetry."""
    blocked = "openvino" not in sys.modules and "openvino_telemetry" not in sys.modules
    if blocked:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        if blocked:
            del sys.modules["openvino_telemetry"]
    return openvino
