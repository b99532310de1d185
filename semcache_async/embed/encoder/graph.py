"""The packed encoder as a standard ONNX graph: several whole texts in one row of tokens.

Inputs, all int32: ``input_ids [T]``, ``position_ids [T]`` (from 0 within each text),
``segment_ids [T]`` (which text a token belongs to; -1 is padding) and ``slot_ids [S]`` (the
segments to answer). Output: ``embeddings [S, dim]``, float32, unit length, or of a model that
compares two texts its scores ``[S, 1]``; what a slot holds that no token belongs to means nothing.
T and S are free.

Weights stay as published, under their own names, so the file can be read back as the model it was
built from. The runtimes fold the constant expressions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from semcache_async.embed.encoder.places import RELATIVE_REACH, bias_by_distance, rotations

if TYPE_CHECKING:
    from pathlib import Path

    from semcache_async.embed.encoder.architecture import Activation, Architecture, Tensors

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
    rows = graph.op("Unsqueeze", "segment_ids", graph.const(np.array([0])))
    x = _embed(graph, architecture)
    layers = _Layers(graph, architecture, rows)
    for layer in range(architecture.layers):
        x = layers.layer(layer, x)
    if architecture.norm_first:
        x = graph.norm("final_norm", x, architecture.epsilon)
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
            [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["S", architecture.dim])],
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
        self.has = tensors.__contains__
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
        return self.op("Gemm", x, *self._weight_and_bias(name), transB=1)

    def norm(self, name: str, x: str, epsilon: float) -> str:
        weights = self._weight_and_bias(name)
        return self.op("LayerNormalization", x, *weights, axis=-1, epsilon=epsilon)

    def _weight_and_bias(self, name: str) -> list[str]:
        names = (f"{name}.weight", f"{name}.bias")
        return [self.weight(each) for each in names if self.has(each)]

    def activation(self, kind: Activation, x: str) -> str:
        if kind == "identity":
            return x
        if kind == "gelu_tanh":
            return self.op("Gelu", x, approximate="tanh")
        return self.op(
            {"gelu": "Gelu", "relu": "Relu", "tanh": "Tanh", "sigmoid": "Sigmoid"}[kind], x
        )


def _embed(graph: _Graph, architecture: Architecture) -> str:
    from onnx import TensorProto

    ids, kinds = "input_ids", graph.const(np.int32(0))
    if architecture.second:
        second = graph.const(np.int32(architecture.second))
        kinds = graph.op("Cast", graph.op("GreaterOrEqual", ids, second), to=TensorProto.INT32)
        ids = graph.op("Sub", ids, graph.op("Mul", kinds, second))
    x = graph.op("Gather", graph.weight("embeddings.word_embeddings.weight"), ids)
    if architecture.token_types:
        types = graph.weight("embeddings.token_type_embeddings.weight")
        x = graph.op("Add", x, graph.op("Gather", types, kinds))
    if architecture.position_offset is not None:
        positions = "position_ids"
        if architecture.position_offset:
            offset = graph.const(np.int32(architecture.position_offset))
            positions = graph.op("Add", positions, offset)
        table = graph.weight("embeddings.position_embeddings.weight")
        x = graph.op("Add", x, graph.op("Gather", table, positions))
    return graph.norm("embeddings.LayerNorm", x, architecture.epsilon)


class _Layers:
    """What all layers share, and how each is made from it."""

    def __init__(self, graph: _Graph, architecture: Architecture, rows: str) -> None:
        self._graph, self._architecture = graph, architecture
        columns = graph.op("Unsqueeze", "segment_ids", graph.const(np.array([1])))
        same = graph.op("Equal", columns, rows)
        self._mask = self._local_mask = self._masked(same)
        if architecture.relative_buckets:
            bias = self._relative_bias()
            self._mask = self._local_mask = graph.op("Add", self._mask, bias)
        if architecture.local_layers:
            far = graph.op("Abs", self._gaps())
            near = graph.op("LessOrEqual", far, graph.const(np.int32(architecture.reach)))
            self._local_mask = self._masked(graph.op("And", same, near))
        self._turns = [self._angles(base) for base in architecture.rotary or ()]

    def layer(self, number: int, x: str) -> str:
        graph, name = self._graph, f"encoder.layer.{number}."
        attended = self._attend(number, self._before(f"{name}attention.output.LayerNorm", x))
        x = self._after(f"{name}attention.output.LayerNorm", graph.op("Add", attended, x))
        seen = self._before(f"{name}output.LayerNorm", x)
        inner = graph.linear(f"{name}intermediate.dense", seen)
        inner = graph.activation(self._architecture.activation, inner)
        if self._architecture.gated:
            inner = graph.op("Mul", inner, graph.linear(f"{name}gate.dense", seen))
        widened = graph.linear(f"{name}output.dense", inner)
        return self._after(f"{name}output.LayerNorm", graph.op("Add", widened, x))

    def _before(self, norm: str, x: str) -> str:
        wanted = self._architecture.norm_first and self._graph.has(f"{norm}.weight")
        return self._graph.norm(norm, x, self._architecture.epsilon) if wanted else x

    def _after(self, norm: str, x: str) -> str:
        wanted = not self._architecture.norm_first
        return self._graph.norm(norm, x, self._architecture.epsilon) if wanted else x

    def _attend(self, number: int, x: str) -> str:
        graph, heads = self._graph, self._architecture.heads
        wide = self._architecture.hidden // heads
        name, local = f"encoder.layer.{number}.", number in self._architecture.local_layers
        by_head = graph.const(np.array([-1, heads, wide]))

        def project(part: str, perm: list[int]) -> str:
            flat = graph.linear(f"{name}attention.self.{part}", x)
            if self._turns and part != "value":
                flat = self._turn(flat, by_head, self._turns[local])
                return graph.op("Transpose", flat, perm=perm)
            return graph.op("Transpose", graph.op("Reshape", flat, by_head), perm=perm)

        query, key = project("query", [1, 0, 2]), project("key", [1, 2, 0])
        value = project("value", [1, 0, 2])
        scale = graph.const(np.float32(wide**-0.5))
        scores = graph.op("Mul", graph.op("MatMul", query, key), scale)
        mask = self._local_mask if local else self._mask
        shares = graph.op("Softmax", graph.op("Add", scores, mask), axis=-1)
        mixed = graph.op("Transpose", graph.op("MatMul", shares, value), perm=[1, 0, 2])
        joined = graph.op("Reshape", mixed, graph.const(np.array([-1, self._architecture.hidden])))
        return graph.linear(f"{name}attention.output.dense", joined)

    def _masked(self, seen: str) -> str:
        graph = self._graph
        return graph.op("Where", seen, graph.const(np.float32(0)), graph.const(_MASKED))

    def _gaps(self) -> str:
        """Int32 ``[T, T]``: how far behind the token of the row that of the column stands."""
        graph = self._graph
        first, second = (
            graph.op("Unsqueeze", "position_ids", graph.const(np.array([axis]))) for axis in (0, 1)
        )
        return graph.op("Sub", first, second)

    def _relative_bias(self) -> str:
        graph, table = self._graph, self._graph.weight("encoder.relative_attention_bias.weight")
        buckets = bias_by_distance(self._architecture.relative_buckets)
        by_head = graph.op("Transpose", table, perm=[1, 0])
        by_gap = graph.op("Gather", by_head, graph.const(buckets), axis=1)
        reach = graph.const(np.int32(RELATIVE_REACH))
        least = graph.const(np.int32(-RELATIVE_REACH))
        place = graph.op("Add", graph.op("Clip", self._gaps(), least, reach), reach)
        return graph.op("Gather", by_gap, place, axis=1)

    def _angles(self, base: float) -> tuple[str, str]:
        """Cosines and sines ``[T, 1, wide / 2]``."""
        graph, architecture = self._graph, self._architecture
        wide = architecture.hidden // architecture.heads
        cosines, sines = (
            graph.op("Gather", graph.const(table[:, None]), "position_ids")
            for table in rotations(architecture.window, wide, base)
        )
        return cosines, sines

    def _turn(self, flat: str, by_head: str, angles: tuple[str, str]) -> str:
        """Queries or keys ``[T, heads, wide]``, each half of them turned with the other."""
        from onnx import helper

        graph, (cosine, sine) = self._graph, angles
        split = graph.op("Reshape", flat, by_head)
        first, second = f"{split}_first", f"{split}_second"
        graph.nodes.append(
            helper.make_node("Split", [split], [first, second], axis=-1, num_outputs=2)
        )
        left = graph.op("Sub", graph.op("Mul", first, cosine), graph.op("Mul", second, sine))
        right = graph.op("Add", graph.op("Mul", second, cosine), graph.op("Mul", first, sine))
        return graph.op("Concat", left, right, axis=-1)


def _pool(graph: _Graph, architecture: Architecture, x: str, rows: str) -> None:
    """Sums each segment's rows (or takes one of them): a mean's divisor matters only to what
    follows before the length is made 1."""
    from onnx import TensorProto

    slots = graph.op("Unsqueeze", "slot_ids", graph.const(np.array([1])))
    chosen = graph.op("Equal", slots, rows)
    if architecture.pooling == "cls":
        first = graph.op("Equal", "position_ids", graph.const(np.int32(0)))
        chosen = graph.op("And", chosen, first)
    elif architecture.pooling == "last":
        chosen = graph.op("And", chosen, _ends(graph))
    shares = graph.op("Cast", chosen, to=TensorProto.FLOAT)
    pooled = graph.op("MatMul", shares, x)
    if architecture.dense and architecture.pooling == "mean":
        count = graph.op("ReduceSum", shares, graph.const(np.array([1])), keepdims=1)
        pooled = graph.op("Div", pooled, graph.op("Max", count, graph.const(np.float32(1))))
    for number, activation in enumerate(architecture.dense):
        pooled = graph.activation(activation, graph.linear(f"dense.{number}", pooled))
        if graph.has(f"dense.{number}.norm.weight"):
            pooled = graph.norm(f"dense.{number}.norm", pooled, architecture.epsilon)
    if architecture.scores:
        graph.op("Identity", pooled, out=OUTPUT)
        return
    length = graph.op("ReduceL2", pooled, graph.const(np.array([1])), keepdims=1)
    graph.op("Div", pooled, graph.op("Max", length, graph.const(np.float32(1e-12))), out=OUTPUT)


def _ends(graph: _Graph) -> str:
    """Bool ``[T]``: tokens that another segment's follows, or none."""
    zero, one = graph.const(np.array([0])), graph.const(np.array([1]))
    most = graph.const(np.array([np.iinfo(np.int64).max]))
    behind = graph.op("Slice", "segment_ids", one, most, zero)
    following = graph.op("Concat", behind, graph.const(np.array([-2], np.int32)), axis=0)
    return graph.op("Not", graph.op("Equal", "segment_ids", following))
