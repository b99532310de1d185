"""A packed graph for long texts: attention by blocks of rows, so that the scores of all tokens for
all tokens (3.2 GB for 12 heads and 8,192 tokens) are never there at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BLOCKS", "in_blocks"]

BLOCKS = 32
"""The tokens of a pass must be a multiple."""
_BY_VALUE = (
    *("Abs", "Add", "And", "Cast", "Clip", "Equal", "LessOrEqual", "Mul", "Not", "Or", "Sub"),
    "Where",
)
"""What makes a row of its output from the same row of its inputs."""


def in_blocks(model: Any) -> Any:
    """``model`` (an ``onnx.ModelProto``), changed: each product of queries and keys, with what
    leads to the mask on it, its softmax and the product with the values, is made for one block of
    rows after the other."""
    import onnx

    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        each.name: each.type.tensor_type.shape.dim
        for each in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    graph = model.graph
    makers = {node.output[0]: node for node in graph.node}
    users = {name: node for node in graph.node for name in node.input}
    stored = {tensor.name for tensor in graph.initializer}
    pieces: dict[str, list[str]] = {}
    attention = {
        users[node.output[0]].output[0]: _Attention(node, users, makers, stored, shapes)
        for node in graph.node
        if node.op_type == "Softmax"
    }
    nodes: list[Any] = []
    for node in graph.node:
        found = attention.get(node.output[0])
        nodes += [node] if found is None else found.nodes(pieces)
    needed = {each.name for each in graph.output}
    del graph.node[:]
    for node in reversed(nodes):
        if not needed.isdisjoint(node.output):
            needed.update(node.input)
            graph.node.insert(0, node)
    return model


class _Attention:
    """What lies between queries, keys and values, and their mixture."""

    def __init__(
        self,
        softmax: Any,
        users: Mapping[str, Any],
        makers: Mapping[str, Any],
        stored: set[str],
        shapes: Mapping[str, Any],
    ) -> None:
        self._makers, self._stored, self._shapes = makers, stored, shapes
        self._steps: list[Any] = []
        self._cut: dict[str, int] = {}
        """Inputs that have a row for each token, with the axis of the rows."""
        self._trace(softmax.input[0])
        self._steps += [softmax, users[softmax.output[0]]]

    def _trace(self, name: str) -> None:
        maker = self._makers.get(name)
        if maker in self._steps or name in self._stored:
            return
        if maker is not None and maker.op_type == "MatMul":
            self._cut[maker.input[0]] = 1
        elif maker is not None and maker.op_type in _BY_VALUE:
            for each in maker.input:
                self._trace(each)
        else:
            shape = self._shapes[name]
            if len(shape) > 1 and shape[-2].dim_value != 1:
                self._cut[name] = len(shape) - 2
            return
        self._steps.append(maker)

    def nodes(self, pieces: dict[str, list[str]]) -> list[Any]:
        """``pieces``: the blocks of what was cut before."""
        from onnx import helper

        made: list[Any] = []
        for name, axis in self._cut.items():
            if name not in pieces:
                pieces[name] = [f"{name}_{block}" for block in range(BLOCKS)]
                made.append(
                    helper.make_node("Split", [name], pieces[name], axis=axis, num_outputs=BLOCKS)
                )
        result = self._steps[-1].output[0]
        parts = [f"{result}_part_{block}" for block in range(BLOCKS)]
        for block, part in enumerate(parts):
            names = {name: pieces[name][block] for name in self._cut}
            for step in self._steps:
                names[step.output[0]] = f"{part}_{step.output[0]}"
            names[result] = part
            for step in self._steps:
                copy = type(step)()
                copy.CopyFrom(step)
                copy.input[:] = [names.get(name, name) for name in step.input]
                copy.output[:] = [names[step.output[0]]]
                made.append(copy)
        return [*made, helper.make_node("Concat", parts, [result], axis=1)]
