"""The oracle: a plain float32 forward pass in numpy, nothing packed and nothing padded."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from semcache_async.embed.encoder.weights import Architecture, Tensors

__all__ = ["reference_vectors"]

Array = NDArray[np.float32]

_TOKENS = 256
"""In one pass at most, unless one text has more: beyond it nothing is gained."""


def reference_vectors(
    architecture: Architecture, tensors: Tensors, items: Sequence[NDArray[np.int32]]
) -> Array:
    """Float32 ``[len(items), dim]``, unit length. Only texts of equal length share a pass."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, ids in enumerate(items):
        by_length[len(ids)].append(index)
    vectors = np.empty((len(items), architecture.hidden), np.float32)
    for length, indices in by_length.items():
        rows = max(1, _TOKENS // length)
        for start in range(0, len(indices), rows):
            some = indices[start : start + rows]
            vectors[some] = _forward(architecture, tensors, np.stack([items[i] for i in some]))
    return vectors


def _forward(architecture: Architecture, tensors: Tensors, ids: NDArray[np.int32]) -> Array:
    offset, tokens = architecture.position_offset, ids.shape[1]

    def norm(name: str, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        spread = np.sqrt((centred * centred).mean(-1, keepdims=True) + architecture.epsilon)
        scaled: Array = (
            centred / spread * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]
        ).astype(np.float32, copy=False)
        return scaled

    def linear(name: str, x: Array) -> Array:
        flat = x.reshape(-1, x.shape[-1]) @ tensors[f"{name}.weight"].T
        return (flat + tensors[f"{name}.bias"]).reshape(*x.shape[:-1], -1)

    x = norm(
        "embeddings.LayerNorm",
        tensors["embeddings.word_embeddings.weight"][ids]
        + tensors["embeddings.position_embeddings.weight"][offset : offset + tokens]
        + tensors["embeddings.token_type_embeddings.weight"][0],
    )
    for layer in range(architecture.layers):
        name = f"encoder.layer.{layer}."
        query, key, value = (
            linear(f"{name}attention.self.{part}", x)
            .reshape(*x.shape[:2], architecture.heads, -1)
            .swapaxes(1, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(2, 3) / np.float32(query.shape[-1] ** 0.5)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        mixed = (shares @ value).swapaxes(1, 2).reshape(x.shape)
        x = norm(
            f"{name}attention.output.LayerNorm", linear(f"{name}attention.output.dense", mixed) + x
        )
        inner = _gelu(linear(f"{name}intermediate.dense", x))
        x = norm(f"{name}output.LayerNorm", linear(f"{name}output.dense", inner) + x)
    pooled = x[:, 0] if architecture.pooling == "cls" else x.mean(1)
    lengths = np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
    unit: Array = (pooled / lengths).astype(np.float32, copy=False)
    return unit


def _gelu(x: Array) -> Array:
    """``x * Phi(x)``, erf by Abramowitz and Stegun 7.1.26 (error below 1.5e-7)."""
    z = np.abs(x) * np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = np.zeros_like(t)
    for factor in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series += np.float32(factor)
        series *= t
    erf = np.copysign(1 - series * np.exp(-z * z), x)
    gelu: Array = np.float32(0.5) * x * (1 + erf)
    return gelu
