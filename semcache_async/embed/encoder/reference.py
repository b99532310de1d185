"""The oracle: a plain float32 forward pass in numpy, nothing packed and nothing padded."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from semcache_async.embed.encoder.places import RELATIVE_REACH, bias_by_distance, rotations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from semcache_async.embed.encoder.architecture import Activation, Architecture, Tensors

__all__ = ["reference_vectors"]

Array = NDArray[np.float32]

_TOKENS = 256
"""In one pass at most, unless one text has more: beyond it nothing is gained."""


def reference_vectors(
    architecture: Architecture, tensors: Tensors, items: Sequence[NDArray[np.int32]]
) -> Array:
    """Float32 ``[len(items), dim]``, unit length where they are no scores. Only texts of equal
    length share a pass."""
    forward = _Forward(architecture, tensors)
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, ids in enumerate(items):
        by_length[len(ids)].append(index)
    vectors = np.empty((len(items), architecture.dim), np.float32)
    for length, indices in by_length.items():
        rows = max(1, _TOKENS // length)
        for start in range(0, len(indices), rows):
            some = indices[start : start + rows]
            vectors[some] = forward.vectors(np.stack([items[i] for i in some]))
    return vectors


class _Forward:
    """Over texts of one length: int32 ``[texts, tokens]``."""

    def __init__(self, architecture: Architecture, tensors: Tensors) -> None:
        self._architecture, self._tensors = architecture, tensors

    def vectors(self, ids: NDArray[np.int32]) -> Array:
        architecture = self._architecture
        x = self._embed(ids)
        for layer in range(architecture.layers):
            x = self._layer(layer, x)
        if architecture.norm_first:
            x = self._norm("final_norm", x)
        pooled = {"cls": x[:, 0], "last": x[:, -1]}.get(architecture.pooling)
        pooled = x.mean(1) if pooled is None else pooled
        for number, activation in enumerate(architecture.dense):
            pooled = _activate(activation, self._linear(f"dense.{number}", pooled))
            if f"dense.{number}.norm.weight" in self._tensors:
                pooled = self._norm(f"dense.{number}.norm", pooled)
        if architecture.scores:
            return pooled
        lengths = np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)
        unit: Array = (pooled / lengths).astype(np.float32, copy=False)
        return unit

    def _embed(self, ids: NDArray[np.int32]) -> Array:
        offset = self._architecture.position_offset
        second = self._architecture.second
        kinds = ids // second if second else np.zeros_like(ids)
        x = self._tensors["embeddings.word_embeddings.weight"][ids - kinds * second]
        if offset is not None:
            table = self._tensors["embeddings.position_embeddings.weight"]
            x = x + table[offset : offset + ids.shape[1]]
        if self._architecture.token_types:
            x = x + self._tensors["embeddings.token_type_embeddings.weight"][kinds]
        return self._norm("embeddings.LayerNorm", x)

    def _layer(self, number: int, x: Array) -> Array:
        name, first = f"encoder.layer.{number}.", self._architecture.norm_first
        norm = f"{name}attention.output.LayerNorm"
        bare = not first or f"{norm}.weight" not in self._tensors
        x = x + self._attend(number, x if bare else self._norm(norm, x))
        x = x if first else self._norm(norm, x)
        norm = f"{name}output.LayerNorm"
        seen = self._norm(norm, x) if first else x
        inner = self._linear(f"{name}intermediate.dense", seen)
        inner = _activate(self._architecture.activation, inner)
        if self._architecture.gated:
            inner = inner * self._linear(f"{name}gate.dense", seen)
        x = x + self._linear(f"{name}output.dense", inner)
        return x if first else self._norm(norm, x)

    def _attend(self, number: int, x: Array) -> Array:
        name, heads = f"encoder.layer.{number}.attention.", self._architecture.heads
        local = number in self._architecture.local_layers
        query, key, value = (
            self._linear(f"{name}self.{part}", x).reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)
            for part in ("query", "key", "value")
        )
        if self._architecture.rotary:
            base = self._architecture.rotary[local]
            query, key = _turn(query, base), _turn(key, base)
        scores = query @ key.swapaxes(2, 3) / np.float32(query.shape[-1] ** 0.5)
        gaps = np.arange(x.shape[1])[None] - np.arange(x.shape[1])[:, None]
        if self._architecture.relative_buckets:
            near = np.clip(gaps, -RELATIVE_REACH, RELATIVE_REACH) + RELATIVE_REACH
            buckets = bias_by_distance(self._architecture.relative_buckets)[near]
            table = self._tensors["encoder.relative_attention_bias.weight"]
            scores = scores + table[buckets].transpose(2, 0, 1)
        if local:
            scores = np.where(np.abs(gaps) <= self._architecture.reach, scores, -np.inf)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        return self._linear(f"{name}output.dense", (shares @ value).swapaxes(1, 2).reshape(x.shape))

    def _norm(self, name: str, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        spread = np.sqrt((centred * centred).mean(-1, keepdims=True) + self._architecture.epsilon)
        scaled = centred / spread * self._tensors[f"{name}.weight"]
        found: Array = (scaled + self._bias(name)).astype(np.float32, copy=False)
        return found

    def _linear(self, name: str, x: Array) -> Array:
        flat = x.reshape(-1, x.shape[-1]) @ self._tensors[f"{name}.weight"].T
        return (flat + self._bias(name)).reshape(*x.shape[:-1], -1)

    def _bias(self, name: str) -> Array:
        return self._tensors.get(f"{name}.bias", np.zeros(1, np.float32))


def _turn(x: Array, base: float) -> Array:
    cosines, sines = rotations(x.shape[2], x.shape[3], base)
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate(
        [first * cosines - second * sines, second * cosines + first * sines], axis=-1
    )


def _activate(kind: Activation, x: Array) -> Array:
    if kind == "gelu":
        return _gelu(x)
    if kind == "gelu_tanh":
        slope = np.float32((2 / np.pi) ** 0.5)
        smooth: Array = (
            np.float32(0.5) * x * (1 + np.tanh(slope * (x + np.float32(0.044715) * x**3)))
        )
        return smooth
    if kind == "relu":
        return np.maximum(x, np.float32(0))
    if kind == "sigmoid":
        logistic: Array = np.float32(0.5) * (1 + np.tanh(np.float32(0.5) * x))
        return logistic
    return np.tanh(x) if kind == "tanh" else x


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
