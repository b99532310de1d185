"""The packed encoder against two independent truths, and against itself in other company."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic

from semcache_async.embed.encoder.architecture import Architecture
from semcache_async.embed.encoder.graph import INPUTS, OUTPUT, read_graph_tensors
from semcache_async.embed.encoder.layout import read_json
from semcache_async.embed.encoder.reference import reference_vectors
from semcache_async.embed.models.installed import GRAPH, MANIFEST
from semcache_async.embed.runtimes.checks import INVARIANCE, invariance, parity
from semcache_async.embed.runtimes.encoders import OnnxPacked, lay_out, open_session

if TYPE_CHECKING:
    from semcache_async.embed import TextEmbedder

HERE = Path(__file__).parent


def test_sentence_transformers_agrees(embedder: TextEmbedder) -> None:
    """64 vectors that sentence-transformers 6.2 on torch 2.13 gave for the same weights."""
    golden = np.load(HERE / "golden_minilm.npz")
    assert parity(embedder.embed(golden["texts"].tolist()), golden["vectors"]) >= 0.99999


@pytest.mark.timeout(300)
def test_reference_agrees_on_500_questions(
    minilm: Path, embedder: TextEmbedder, questions: list[str]
) -> None:
    architecture = Architecture.of_json(read_json(minilm / MANIFEST)["architecture"])
    items = embedder.tokenise(questions[:500])
    truth = reference_vectors(architecture, read_graph_tensors(minilm / GRAPH), items)
    assert parity(embedder.embed_tokens(items), truth) >= 0.99999


def test_vectors_are_unit_float32(embedder: TextEmbedder, questions: list[str]) -> None:
    vectors = embedder.embed(questions[:50])
    assert vectors.dtype == np.float32
    assert vectors.shape == (50, embedder.dim) == (50, 384)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_company_does_not_matter(embedder: TextEmbedder, questions: list[str]) -> None:
    items = embedder.tokenise(questions[:160])
    assert invariance(lambda some: embedder._encoder.run(some), items, rounds=5) >= 0.999999


@pytest.mark.parametrize("size", [16, 17, 64, 128, 300])
@pytest.mark.parametrize("place", ["first", "last"])
def test_pack_size_and_place_do_not_matter(
    minilm: Path, embedder: TextEmbedder, size: int, place: str
) -> None:
    """Padding after the text, and other texts before it, in packs of any size."""
    text, other = embedder.tokenise(["Why was my card declined?", "top up"])
    company = [other] * ((size - len(text)) // len(other))
    pack = [text, *company] if place == "first" else [*company, text]
    session = open_session(minilm / GRAPH, 1)
    found = session.run([OUTPUT], lay_out(pack, size, len(pack) + 1))[0]
    assert parity(found[[pack.index(text) if place == "first" else -2]], _alone(embedder, text)) > (
        0.999999
    )
    assert not found[-1].any()  # a slot without tokens


def _alone(embedder: TextEmbedder, item: np.ndarray) -> np.ndarray:
    return embedder.embed_tokens([item])


def test_the_check_catches_dynamic_int8(
    tmp_path: Path, minilm: Path, embedder: TextEmbedder, questions: list[str]
) -> None:
    """Its scale spans the whole pack, so a vector depends on the neighbours: refused."""
    model = tmp_path / GRAPH
    quantize_dynamic(minilm / GRAPH, model, weight_type=QuantType.QInt8, per_channel=True)
    encoder = OnnxPacked(model, threads=1)
    items = embedder.tokenise(questions[:64])
    assert invariance(encoder.run, items) < INVARIANCE


def test_graph_is_standard_onnx(minilm: Path) -> None:
    """Nothing of a vendor's: any runtime reads it. The weights are there once."""
    model = onnx.load(minilm / GRAPH)
    assert {node.domain for node in model.graph.node} == {""}
    assert [i.name for i in model.graph.input] == list(INPUTS)
    onnx.checker.check_model(model)
    assert (minilm / GRAPH).stat().st_size < 92e6
