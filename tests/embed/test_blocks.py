"""Attention by blocks: the same vectors, and never a score of every token for every token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from semcache_async.embed import load_embedder
from semcache_async.embed.encoder.blocks import BLOCKS, in_blocks
from semcache_async.embed.encoder.graph import OUTPUT
from semcache_async.embed.models.installed import GRAPH, build_packed
from semcache_async.embed.runtimes.encoders import lay_out, open_session
from tests.embed.tiny import HEADS, INNER, write_model

if TYPE_CHECKING:
    from pathlib import Path

TOKENS = 4_096


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("kind", ["bert", "mpnet", "modernbert"])
def test_blocks_change_nothing(tmp_path: Path, kind: str) -> None:
    tiny = write_model(tmp_path / "tiny", kind=kind)
    graph = build_packed(tiny, progress=False) / GRAPH
    texts = ["how do i reset my password?", "c++", "money " * 20]
    items = load_embedder(tiny, backend="onnxruntime", progress=False).tokenise(texts)
    inputs = lay_out(items, 2 * BLOCKS, 4)  # with padding, and a slot without tokens
    whole = open_session(graph, 1).run([OUTPUT], inputs)[0]
    blocked = open_session(in_blocks(onnx.load(graph)).SerializeToString(), 1)
    np.testing.assert_allclose(blocked.run([OUTPUT], inputs)[0], whole, atol=1e-6)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("kind", ["bert", "modernbert"])
def test_no_part_is_as_large_as_all_scores(tmp_path: Path, kind: str) -> None:
    directory = build_packed(write_model(tmp_path / "tiny", kind=kind), progress=False)
    model = in_blocks(onnx.load(directory / GRAPH))
    for each in model.graph.input:
        each.type.tensor_type.shape.dim[0].dim_value = 1 if each.name == "slot_ids" else TOKENS
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    sizes = {
        each.name: int(np.prod([dim.dim_value for dim in each.type.tensor_type.shape.dim]))
        for each in inferred.value_info
    }
    assert len(sizes) >= len(model.graph.node) - 1
    assert max(sizes.values()) == max(HEADS * TOKENS**2 // BLOCKS, TOKENS * INNER)
