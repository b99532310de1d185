"""Ours with padded batches: 32 texts at most, in arrival order, each as long as the longest.

Runtime, precision and CPUs are the packed embedder's. OpenVINO compiles every shape, so there
batches are padded further, to the next of a few shapes, the usual ones compiled beforehand.
"""

from __future__ import annotations

import bisect
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.contenders import Contender, Setup, ours

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from semcache_async.embed import TextEmbedder

ENVIRONMENT = ours.ENVIRONMENT
PACKAGES = ours.PACKAGES

_ROWS = (1, 4, 16, 32)
_TOKENS = (16, 24, 32, 48, 64, 96, 128, 256)
_USUAL = 96
"""Tokens of the longest shapes that are compiled beforehand."""

_opened: dict[Path, _Padded] = {}
"""By model: a process that opens the contender again need not compile again."""


class _Padded:
    """Offers neither ``tokenise`` nor ``embed_tokens``, so it is given texts."""

    streams = 1

    def __init__(self, packed: TextEmbedder, model: Path) -> None:
        self.dim, self.fingerprint = packed.dim, packed.fingerprint
        runtime, precision = packed.backend.split("-")[:2]
        self.backend = f"{runtime}-{precision}-padded"
        self._packed = packed
        self._fixed = runtime == "openvino"
        self._requests: dict[tuple[int, int], Any] = {}
        with tempfile.TemporaryDirectory() as scratch:
            graph = write_padded(model, Path(scratch))
            if self._fixed:
                self._load(graph, precision)
            else:
                from semcache_async.embed.runtimes.encoders import open_session, usable_cpus

                self._session = open_session(graph, usable_cpus())

    def embed(self, texts: Sequence[str], /) -> NDArray[np.float32]:
        items = self._packed.tokenise(texts)
        rows, tokens = len(items), max(map(len, items))
        if self._fixed:
            rows, tokens = _next(_ROWS, rows), _next(_TOKENS, tokens)
        ids = np.zeros((rows, tokens), np.int64)
        mask = np.zeros_like(ids)
        for row, item in enumerate(items):
            ids[row, : len(item)], mask[row, : len(item)] = item, 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        if self._fixed:
            hidden = self._request(rows, tokens).infer(inputs)["last_hidden_state"]
        else:
            hidden = self._session.run(None, inputs)[0]
        count = len(items)
        summed = np.einsum("btd,bt->bd", hidden[:count], mask[:count].astype(np.float32))
        unit: NDArray[np.float32] = summed / np.linalg.norm(summed, axis=1, keepdims=True)
        return unit

    def _load(self, graph: Path, precision: str) -> None:
        from semcache_async.embed.runtimes.encoders import import_openvino, usable_cpus

        self._core = import_openvino().Core()
        self._options = {
            "INFERENCE_PRECISION_HINT": precision,
            "INFERENCE_NUM_THREADS": usable_cpus(),
            "NUM_STREAMS": 1,
        }
        self._model = self._core.read_model(graph)
        for rows in _ROWS:
            for tokens in _TOKENS[: _TOKENS.index(_USUAL) + 1]:
                self._request(rows, tokens)

    def _request(self, rows: int, tokens: int) -> Any:
        if (rows, tokens) not in self._requests:
            shaped = self._model.clone()
            shaped.reshape({name.any_name: [rows, tokens] for name in shaped.inputs})
            compiled = self._core.compile_model(shaped, "CPU", self._options)
            self._requests[rows, tokens] = compiled.create_infer_request()
        return self._requests[rows, tokens]


def _padded(packed: TextEmbedder, model: Path) -> _Padded:
    if model not in _opened:
        _opened[model] = _Padded(packed, model)
    return _opened[model]


def _next(sizes: Sequence[int], size: int) -> int:
    return sizes[bisect.bisect_left(sizes, size)]


def write_padded(model: Path, directory: Path) -> Path:
    """The model as an exporter writes it, as ``model.onnx``."""
    import onnx

    from semcache_async.embed.encoder.architecture import Architecture
    from semcache_async.embed.encoder.graph import read_graph_tensors
    from semcache_async.embed.encoder.layout import read_json
    from semcache_async.embed.models.installed import GRAPH, MANIFEST
    from tests.embed.tiny import padded_graph

    architecture = Architecture.of_json(read_json(model / MANIFEST)["architecture"])
    path = directory / "model.onnx"
    onnx.save(padded_graph(architecture, read_graph_tensors(model / GRAPH)), path)
    return path


@asynccontextmanager
async def open_contender(setup: Setup) -> AsyncIterator[Contender]:
    async with ours.open_ours(setup, using=lambda packed: _padded(packed, setup.model)) as opened:
        yield opened
