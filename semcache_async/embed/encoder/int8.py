"""A packed graph with its weights as int8: a quarter of the size, and int8 products where the
runtime quantises the other factor itself, row by row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["in_int8"]

_LARGE = 1 << 20
"""Values of a table that is worth quantising: that of words, and none of positions."""


def in_int8(model: Any) -> Any:
    """``model`` (an ``onnx.ModelProto``), changed: the weights of its linear layers are int8 with a
    scale for each output, and large tables that are looked up with a scale for each row."""
    from onnx import helper, numpy_helper

    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[Any] = []
    floats: dict[str, str] = {}
    for node in graph.node:
        for place, axis in _weights(node, stored):
            name = node.input[place]
            if name not in floats:
                floats[name] = f"{name}_float"
                whole, scales = _quantised(numpy_helper.to_array(stored[name]), axis)
                graph.initializer.remove(stored[name])
                graph.initializer.append(numpy_helper.from_array(whole, name))
                graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scale"))
                inputs = [name, f"{name}_scale"]
                nodes.append(
                    helper.make_node("DequantizeLinear", inputs, [floats[name]], axis=axis)
                )
            node.input[place] = floats[name]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _weights(node: Any, stored: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Which inputs to quantise, and the axis that keeps scales of its own."""
    if node.op_type in ("Gemm", "MatMul"):
        turned = any(a.name == "transB" and a.i for a in node.attribute)
        if node.input[1] in stored and len(stored[node.input[1]].dims) == 2:
            yield 1, 0 if turned else 1
    elif node.op_type == "Gather" and node.input[1] not in stored:
        dims = stored[node.input[0]].dims if node.input[0] in stored else []
        if len(dims) == 2 and dims[0] * dims[1] >= _LARGE:
            yield 0, 0


def _quantised(
    weight: NDArray[np.float32], axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    most = np.abs(weight).max(1 - axis)
    scales = (np.where(most > 0, most, 1) / 127).astype(np.float32)
    return np.rint(weight / np.expand_dims(scales, 1 - axis)).astype(np.int8), scales
