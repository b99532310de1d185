"""The packed graph in OpenVINO: fixed sizes, each with its memory bound to it once, and any size
for texts over the budget.

OpenVINO's Python binding has initialisers that run once in a process and, met by two threads at
once, stop both and the interpreter with them. So one thread at a time makes a pass ready and runs
it for the first time, and what runs later takes no dictionary and converts nothing.
"""

from __future__ import annotations

import logging
import os
import threading
from bisect import bisect_left
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from semcache_async.embed.encoder.graph import INPUTS
from semcache_async.embed.encoder.int8 import in_int8
from semcache_async.embed.runtimes.encoders import (
    BUDGET,
    LONG,
    MOST_STREAMS,
    PATIENCE_S,
    import_openvino,
    lay_out,
)
from semcache_async.embed.runtimes.forks import ForkLock, never_destroy_in_a_child
from semcache_async.embed.runtimes.packs import plan_packs
from semcache_async.embed.runtimes.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from semcache_async.embed.runtimes.encoders import Ids, Vectors

__all__ = ["OpenVinoPacked"]

_log = logging.getLogger(__name__)

_SHORT = (16, 24, 32, 48)
"""Tokens of the passes that several threads share, so that a lone prompt is quick."""
_LARGE = 200_000_000
"""Bytes of a graph from which on it has few sizes: each has a copy of the weights."""
_SHORT_THREADS = 4
_FEW_STREAMS = 2
"""Where there are no more, short passes take turns on all CPUs rather than one CPU each."""
_INT8_GROUP = 64
"""Values of a row that share a scale where activations are quantised."""

_binding = ForkLock()
"""Held by whoever makes a pass ready, up to the end of its first inference."""

_used_in: int | None = None
"""The process that uses OpenVINO, or from which this one was forked."""


class OpenVinoPacked:
    """A ladder of fixed pack sizes, each compiled for 0.1 to 0.2 s.

    The budget's is compiled here and serves every pack until the smaller ones are there: a thread
    compiles them when one is first wanted, and nobody waits for it. Texts over the budget take
    turns on all CPUs, those that take seconds apart from the others.
    """

    budget = BUDGET
    sizes = _SHORT
    """What a verdict on its vectors depends on, beside the runtime."""

    def __init__(self, model: Path, *, threads: int, precision: str) -> None:
        _claim()
        self.name, self.precision = f"openvino-{precision}-packed", precision
        self.streams = min(threads, MOST_STREAMS)
        self._threads = threads
        self._watch = Watch(self.name)
        small = model.stat().st_size < _LARGE
        smallest = _SHORT[-1] if self.streams <= _FEW_STREAMS else _SHORT[0] // 2
        self._usual = [self.budget]
        step = 2 if small else 4
        while self._usual[0] // step > smallest:
            self._usual.insert(0, self._usual[0] // step)
        self._lone = _SHORT if small else _SHORT[::3]
        never_destroy_in_a_child(self)
        self._running = 0
        self._counting = threading.Lock()
        self._compiling = threading.RLock()
        self._filling: threading.Thread | None = None
        self._short: dict[int, _Rung] = {}
        self._long: dict[int, _Rung] = {}
        self._free: dict[bool, _Free] = {}
        with _binding, self._watch:
            self._core = import_openvino().Core()
            self._model = self._core.read_model(_int8(model) if precision == "int8" else model)
            self._add(self.budget, short=False)

    def complete(self) -> None:
        """Compile every usual size now."""
        for size in self._lone:
            self._add(size, short=True)
        for size in self._usual:
            self._add(size, short=False)

    def reopen(self) -> None:
        """In a forked child: raises, since OpenVINO, started anew there, at times never returns."""
        _claim()

    def plan(self, lengths: Sequence[int]) -> list[list[int]]:
        return plan_packs([max(length, 2) for length in lengths], self.budget)

    def run(self, items: Sequence[Ids]) -> Vectors:
        tokens = max(sum(map(len, items)), 2 * len(items))  # a slot for two tokens
        if tokens > self.budget:
            return self._any_size(tokens > LONG).run(items)
        with self._counting:
            alone = self._running == 0
            self._running += 1
        try:
            return self._rung(tokens, alone=alone).run(items, self._watch)
        finally:
            with self._counting:
                self._running -= 1

    def _rung(self, tokens: int, *, alone: bool) -> _Rung:
        short = tokens <= _SHORT[-1] and (alone or self.streams <= _FEW_STREAMS)
        size = _next(self._lone if short else self._usual, tokens)
        found = (self._short if short else self._long).get(size)
        if found is not None:
            return found
        self._fill()
        return self._long[self.budget]

    def _fill(self) -> None:
        """Have a thread compile what is missing, until the process ends."""
        with self._counting:
            if self._filling is not None:
                return
            self._filling = threading.Thread(
                target=self._fill_all, name="semcache-compile", daemon=False
            )
            self._filling.start()

    def _fill_all(self) -> None:
        wanted = [(size, True) for size in self._lone] + [(size, False) for size in self._usual]
        try:
            for size, short in wanted:
                if not threading.main_thread().is_alive():
                    return
                self._add(size, short=short)
        except Exception:  # any failure inside the runtime
            _log.exception("%s cannot compile all sizes: larger ones serve", self.name)

    def _add(self, size: int, *, short: bool) -> _Rung:
        rungs = self._short if short else self._long
        with self._compiling:
            found = rungs.get(size)
            if found is None:
                threads = min(self._threads, _SHORT_THREADS) if short else self._threads
                fixed = self._model.clone()
                shape = {name: [size // 2 if name == "slot_ids" else size] for name in INPUTS}
                fixed.reshape(shape)
                found = _Rung(self._compile(fixed, 1 if short else self.streams, threads), size)
                rungs[size] = found
            return found

    def _any_size(self, long: bool) -> _Free:
        found = self._free.get(long)
        if found is not None:
            return found
        with self._compiling:
            if long not in self._free:
                compiled = self._compile(self._model, 1, self._threads)
                self._free[long] = _Free(compiled, Watch(self.name, PATIENCE_S), frugal=long)
            return self._free[long]

    def _compile(self, model: Any, streams: int, threads: int) -> Any:
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": streams,
        }
        if self.precision == "int8":  # bfloat16 beside it would let the company have a say
            options["INFERENCE_PRECISION_HINT"] = "f32"
            options["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = _INT8_GROUP
        return self._core.compile_model(model, "CPU", options)


def _int8(graph: Path) -> BytesIO:
    import onnx

    return BytesIO(in_int8(onnx.load(graph)).SerializeToString())


def _claim() -> None:
    """Take OpenVINO for this process. Raises in one that was forked from a process that uses it."""
    global _used_in
    if _used_in not in (None, os.getpid()):
        raise RuntimeError("OpenVINO was in use as the process forked")
    _used_in = os.getpid()


def _next(sizes: Sequence[int], tokens: int) -> int:
    """The smallest of ``sizes`` that holds so many."""
    return sizes[bisect_left(sizes, tokens)]


class _Rung:
    """One compiled size, and the passes over it that are not in use."""

    def __init__(self, compiled: Any, size: int) -> None:
        self._compiled = compiled
        self._size = size
        with _binding:
            self._idle = [_Pass(compiled, size)]

    def run(self, items: Sequence[Ids], watch: Watch) -> Vectors:
        with watch:
            try:
                one = self._idle.pop()
            except IndexError:
                with _binding:
                    one = _Pass(self._compiled, self._size)
            vectors = one.run(items)
        self._idle.append(one)
        return vectors


class _Pass:
    """An inference request bound to arrays of its own, which it does not keep alive. It has run
    once."""

    def __init__(self, compiled: Any, size: int) -> None:
        from openvino import Tensor

        self._steps = np.arange(size, dtype=np.int32)
        self._ids, self._positions = np.zeros(size, np.int32), np.zeros(size, np.int32)
        self._segments = np.full(size, -1, np.int32)
        slots = self._slots = self._steps[: size // 2].copy()
        self._vectors = np.zeros((len(slots), compiled.outputs[0].shape[1]), np.float32)
        self._request = compiled.create_infer_request()
        bound = (self._ids, self._positions, self._segments, slots)
        for name, array in zip(INPUTS, bound, strict=True):
            self._request.set_tensor(name, Tensor(array, shared_memory=True))
        self._request.set_output_tensor(Tensor(self._vectors, shared_memory=True))
        self._request.infer(share_outputs=True)

    def run(self, items: Sequence[Ids]) -> Vectors:
        ids, positions, segments = self._ids, self._positions, self._segments
        at = 0
        for slot, item in enumerate(items):
            end = at + len(item)
            ids[at:end], positions[at:end] = item, self._steps[: end - at]
            segments[at:end] = slot
            at = end
        ids[at:], positions[at:], segments[at:] = 0, 0, -1
        self._request.infer(share_outputs=True)
        return self._vectors[: len(items)].copy()


class _Free:
    """The graph for passes of any size, one at a time. OpenVINO itself makes their attention by
    blocks (seen with AVX-512, where it is chosen)."""

    def __init__(self, compiled: Any, watch: Watch, *, frugal: bool) -> None:
        self._compiled, self._watch, self._frugal = compiled, watch, frugal
        self._turn = threading.Lock()
        with _binding:
            self._request = compiled.create_infer_request()
            self._infer([np.zeros(1, np.int32)])

    def run(self, items: Sequence[Ids]) -> Vectors:
        with self._turn, self._watch:
            vectors = self._infer(items)
            if self._frugal:
                self._compiled.release_memory()
        return vectors

    def _infer(self, items: Sequence[Ids]) -> Vectors:
        from openvino import Tensor

        inputs = lay_out(items, sum(map(len, items)), len(items))
        for name, array in inputs.items():
            self._request.set_tensor(name, Tensor(array, shared_memory=True))
        self._request.infer(share_outputs=True)
        vectors: Vectors = self._request.get_output_tensor().data.copy()
        return vectors
