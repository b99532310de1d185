"""Weights as int8: what is stored, what comes out, and that the company has no say."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from semcache_async.embed.encoder.graph import read_graph_tensors
from semcache_async.embed.encoder.int8 import in_int8
from semcache_async.embed.models.installed import GRAPH
from semcache_async.embed.runtimes.backends import _packed
from semcache_async.embed.runtimes.checks import INVARIANCE, PARITY, invariance, parity
from semcache_async.embed.runtimes.encoders import open_session
from semcache_async.embed.runtimes.fixed import OpenVinoPacked

if TYPE_CHECKING:
    from pathlib import Path

    from semcache_async.embed import TextEmbedder


def test_weights_and_words_are_a_quarter_and_near(minilm: Path, tmp_path: Path) -> None:
    model = in_int8(onnx.load(minilm / GRAPH))
    onnx.checker.check_model(model)
    onnx.save(model, tmp_path / GRAPH)
    assert (tmp_path / GRAPH).stat().st_size < 24e6
    before, after = read_graph_tensors(minilm / GRAPH), read_graph_tensors(tmp_path / GRAPH)
    for name, weight in before.items():
        if after[name].dtype == np.int8:
            scales = after[f"{name}_scale"][:, None]  # of an output, or a word
            assert (abs(after[name] * scales - weight) <= scales * 0.5001).all()
    assert sum(tensor.dtype == np.int8 for tensor in after.values()) == 6 * 6 + 1


def test_plain_products_too_and_an_output_without_weights() -> None:
    """``x @ W`` has its outputs along the other axis; one that is all zeros stays so."""
    weight = np.random.default_rng(3).standard_normal((8, 5)).astype("f4")
    weight[:, 2] = 0
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [info("x", 1, ["T", 8])],
        [info("y", 1, ["T", 5])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 20)])
    session = open_session(in_int8(model).SerializeToString(), 1)
    found = session.run(None, {"x": np.eye(8, dtype="f4")})[0]
    assert not found[:, 2].any()
    assert (abs(found - weight) <= abs(weight).max(0) / 254 * 1.001).all()


def test_openvino_keeps_the_bound_in_any_company(
    minilm: Path, embedder: TextEmbedder, questions: list[str]
) -> None:
    pytest.importorskip("openvino")
    items = embedder.tokenise(questions[:24])
    encoder = OpenVinoPacked(minilm / GRAPH, threads=2, precision="int8")
    found = _packed(encoder, items)
    assert PARITY["int8"] < parity(found, embedder.embed_tokens(items)) < PARITY["bf16"]
    assert invariance(partial(_packed, encoder), items, rounds=2) >= INVARIANCE
