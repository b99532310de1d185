"""The packed encoder as a standard ONNX graph: several whole texts in one row of tokens.

Inputs, all int32: ``input_ids [T]``, ``position_ids [T]`` (from 0 within each text),
``segment_ids [T]`` (which text a token belongs to; -1 is padding) and ``slot_ids [S]`` (the
segments to answer). Output: ``embeddings [S, dim]``, float32, unit length; a slot that no token
belongs to is all zeros. T and S are free.

Weights stay as published, under their own names, so the file can be read back as the model it was
built from. The runtimes fold the constant expressions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from semcache_async.embed.encoder.weights import Architecture, Tensors

__all__ = ["INPUTS", "OUTPUT", "build_graph", "read_graph_tensors"]

INPUTS = ("input_ids", "position_ids", "segment_ids", "slot_ids")
OUTPUT = "embeddings"
_OPSET = 20
_IR_VERSION = 9
_MASKED = np.float32(-1e4)
"""Far below any score, and still finite in half precision: a row of padding stays finite too."""


def build_graph(architecture: Architecture, tensors: Tensors) -> Any:
    """An ``onnx.ModelProto``."""
    from onnx import TensorProto, helper

    graph = _Graph(tensors)
    segments = "segment_ids"
    columns = graph.op("Unsqueeze", segments, graph.const(np.array([1])))
    rows = graph.op("Unsqueeze", segments, graph.const(np.array([0])))
    same = graph.op("Equal", columns, rows)
    mask = graph.op("Where", same, graph.const(np.float32(0)), graph.const(_MASKED))
    x = _embed(graph, architecture)
    for layer in range(architecture.layers):
        x = _layer(graph, architecture, f"encoder.layer.{layer}.", x, mask)
    _pool(graph, architecture, x, rows)
    sizes = {"slot_ids": "S"}
    return helper.make_model(
        helper.make_graph(
            graph.nodes,
            "packed",
            [
                helper.make_tensor_value_info(i, TensorProto.INT32, [sizes.get(i, "T")])
                for i in INPUTS
            ],
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["S", architecture.hidden])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="semcache_async",
    )


def read_graph_tensors(path: Path) -> Tensors:
    """The weights inside a packed graph, as they were published."""
    import onnx
    from onnx import numpy_helper

    stored = onnx.load(path).graph.initializer
    return {t.name: numpy_helper.to_array(t) for t in stored if "." in t.name}


class _Graph:
    def __init__(self, tensors: Tensors) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._tensors = tensors

    def const(self, value: Any, name: str | None = None) -> str:
        from onnx import numpy_helper

        name = name or f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def weight(self, name: str) -> str:
        return self.const(self._tensors[name], name)

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        out = out or f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [out], **attributes))
        return out

    def linear(self, name: str, x: str) -> str:
        weight, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.op("Gemm", x, weight, bias, transB=1)

    def norm(self, name: str, x: str, epsilon: float) -> str:
        weight, bias = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=epsilon)


def _embed(graph: _Graph, architecture: Architecture) -> str:
    first_type = graph.op(
        "Gather", graph.weight("embeddings.token_type_embeddings.weight"), graph.const(np.int32(0))
    )
    places = graph.op("Add", graph.weight("embeddings.position_embeddings.weight"), first_type)
    positions = "position_ids"
    if architecture.position_offset:
        offset = graph.const(np.int32(architecture.position_offset))
        positions = graph.op("Add", positions, offset)
    words = graph.op("Gather", graph.weight("embeddings.word_embeddings.weight"), "input_ids")
    x = graph.op("Add", words, graph.op("Gather", places, positions))
    return graph.norm("embeddings.LayerNorm", x, architecture.epsilon)


def _layer(graph: _Graph, architecture: Architecture, name: str, x: str, mask: str) -> str:
    heads, hidden, epsilon = architecture.heads, architecture.hidden, architecture.epsilon
    by_head = graph.const(np.array([-1, heads, hidden // heads]))

    def project(part: str, perm: list[int]) -> str:
        flat = graph.linear(f"{name}attention.self.{part}", x)
        return graph.op("Transpose", graph.op("Reshape", flat, by_head), perm=perm)

    query, key = project("query", [1, 0, 2]), project("key", [1, 2, 0])
    value = project("value", [1, 0, 2])
    scale = graph.const(np.float32((hidden // heads) ** -0.5))
    scores = graph.op("Mul", graph.op("MatMul", query, key), scale)
    shares = graph.op("Softmax", graph.op("Add", scores, mask), axis=-1)
    mixed = graph.op("Transpose", graph.op("MatMul", shares, value), perm=[1, 0, 2])
    joined = graph.op("Reshape", mixed, graph.const(np.array([-1, hidden])))
    attended = graph.op("Add", graph.linear(f"{name}attention.output.dense", joined), x)
    x = graph.norm(f"{name}attention.output.LayerNorm", attended, epsilon)
    inner = graph.op("Gelu", graph.linear(f"{name}intermediate.dense", x))
    widened = graph.op("Add", graph.linear(f"{name}output.dense", inner), x)
    return graph.norm(f"{name}output.LayerNorm", widened, epsilon)


def _pool(graph: _Graph, architecture: Architecture, x: str, rows: str) -> None:
    """Sums each segment's rows (or takes its first): a mean's divisor goes with the length."""
    from onnx import TensorProto

    slots = graph.op("Unsqueeze", "slot_ids", graph.const(np.array([1])))
    chosen = graph.op("Equal", slots, rows)
    if architecture.pooling == "cls":
        first = graph.op("Equal", "position_ids", graph.const(np.int32(0)))
        chosen = graph.op("And", chosen, first)
    pooled = graph.op("MatMul", graph.op("Cast", chosen, to=TensorProto.FLOAT), x)
    length = graph.op("ReduceL2", pooled, graph.const(np.array([1])), keepdims=1)
    graph.op("Div", pooled, graph.op("Max", length, graph.const(np.float32(1e-12))), out=OUTPUT)
