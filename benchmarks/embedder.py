"""Packed embedding against padded batches of the same model, by alternating rounds.

    python -m benchmarks.embedder QUESTIONS.jsonl[.gz] [--texts 512] [--rounds 5] [--json FILE]

The baseline is what sentence-transformers does with its onnx backend: the exported float32 graph
in onnxruntime with its own defaults, in arrival order, one text at a time or 32 to a batch.
"""

from __future__ import annotations

import argparse
import gzip
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from semcache_async.embed import TextEmbedder, load_embedder, pull_model
from semcache_async.embed.encoder.architecture import Architecture
from semcache_async.embed.encoder.graph import read_graph_tensors
from semcache_async.embed.encoder.layout import read_json
from semcache_async.embed.models.installed import GRAPH, MANIFEST
from semcache_async.embed.runtimes.checks import PARITY
from semcache_async.embed.runtimes.encoders import usable_cpus
from tests.embed.tiny import padded_graph

if TYPE_CHECKING:
    from collections.abc import Callable
Vectors = NDArray[np.float32]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("questions", type=Path)
    options.add_argument("--texts", type=int, default=512)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--json", type=Path, help="where to write every round")
    chosen = options.parse_args()
    texts = read_texts(chosen.questions, chosen.texts)
    embedder = load_embedder()
    single = load_embedder(threads=1)
    items = embedder.tokenise(texts)
    tokens, cpus = sum(map(len, items)), usable_cpus()
    both = f"{cpus} CPUs"
    padded = {threads: padded_session(threads) for threads in {1, cpus}}
    ways: dict[str, tuple[int, Callable[[], Vectors]]] = {
        "padded, one at a time, 1 CPU": (1, lambda: run_padded(padded[1], items, 1)),
        "padded, 32 in arrival order, 1 CPU": (1, lambda: run_padded(padded[1], items, 32)),
        f"padded, 32 in arrival order, {both}": (cpus, lambda: run_padded(padded[cpus], items, 32)),
        "packed, one at a time, 1 CPU": (1, lambda: one_by_one(single, items)),
        "packed, 1 CPU": (1, lambda: single.embed_tokens(items)),
        f"packed, {both}": (cpus, lambda: embedder.embed(texts)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    truth, cosine = single.embed_tokens(items), 1.0
    for turn in range(chosen.rounds + 1):  # the first one warms up
        for name, (_, run) in ways.items():
            started = time.perf_counter()
            vectors = run()
            if turn:
                seconds[name].append(time.perf_counter() - started)
            nearest = float(np.einsum("nd,nd->n", vectors, truth).min())
            assert nearest > PARITY[single.backend.split("-")[1]], name
            cosine = min(cosine, nearest)
    peak, flops = gemm_peak(), forward_flops(pull_model(progress=False))
    print(f"{len(texts)} texts, {tokens / len(texts):.1f} tokens each; {embedder!r}")
    print(
        f"float32 GEMM peak of one CPU: {peak / 1e9:.0f} GFLOP/s, {flops / 1e6:.1f} MFLOP a token"
    )
    base = np.array(seconds["padded, 32 in arrival order, 1 CPU"])
    print(f"{'':38}{'texts/s':>9}{'tokens/s/CPU':>14}{'of peak':>9}{'ratio':>7}  (min-max)")
    for name, (used, _) in ways.items():
        took = np.array(seconds[name])
        rate, ratios = tokens / np.median(took) / used, base / took
        print(
            f"{name:38}{len(texts) / np.median(took):9.0f}{rate:14.0f}{rate * flops / peak:9.0%}"
            f"{np.median(ratios):7.2f}  ({ratios.min():.2f}-{ratios.max():.2f})"
        )
    if chosen.json:
        found = {
            "texts": len(texts),
            "tokens": tokens,
            "backend": embedder.backend,
            "cosine": cosine,
            "peak_flops": peak,
            "flops_per_token": flops,
            "cpus": cpus,
            "ways": {name: {"cpus": n, "seconds": seconds[name]} for name, (n, _) in ways.items()},
        }
        chosen.json.write_text(json.dumps(found, indent=1), encoding="utf-8")


def read_texts(path: Path, count: int) -> list[str]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line)["text"] for line in lines][:count]


def one_by_one(embedder: TextEmbedder, items: list[NDArray[np.int32]]) -> Vectors:
    return np.concatenate([embedder.embed_tokens([item]) for item in items])


def padded_session(threads: int) -> Any:
    packed = pull_model(progress=False)
    architecture = Architecture.of_json(read_json(packed / MANIFEST)["architecture"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        onnx.save(padded_graph(architecture, read_graph_tensors(packed / GRAPH)), path)
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run_padded(session: Any, items: list[NDArray[np.int32]], size: int) -> Vectors:
    vectors = []
    for start in range(0, len(items), size):
        some = items[start : start + size]
        ids = np.zeros((len(some), max(map(len, some))), np.int64)
        mask = np.zeros_like(ids)
        for row, item in enumerate(some):
            ids[row, : len(item)], mask[row, : len(item)] = item, 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        hidden = session.run(None, inputs)[0]
        vectors.append((hidden * mask[:, :, None].astype("f4")).sum(1))
    joined = np.concatenate(vectors)
    unit: Vectors = joined / np.linalg.norm(joined, axis=1, keepdims=True)
    return unit


def forward_flops(model: Path) -> float:
    """Multiplications and additions of the linear layers, for one token."""
    tensors = read_graph_tensors(model / GRAPH)
    return 2.0 * sum(t.size for n, t in tensors.items() if n.startswith("encoder") and t.ndim == 2)


def gemm_peak() -> float:
    """FLOP/s of the quickest of many ``[512, 1536] x [1536, 1536]`` products on one thread."""
    weight = np.ones((1536, 1536), np.float32)
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "gemm",
        [info("x", 1, [512, 1536])],
        [info("y", 1, [512, 1536])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    opset = onnx.helper.make_opsetid("", 20)
    model = onnx.helper.make_model(graph, ir_version=9, opset_imports=[opset])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    best = float("inf")
    for _ in range(40):
        started = time.perf_counter()
        session.run(None, {"x": weight[:512]})
        best = min(best, time.perf_counter() - started)
    return 2 * 512 * 1536 * 1536 / best


if __name__ == "__main__":
    main()
