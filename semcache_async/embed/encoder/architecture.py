"""The shape of one encoder, whatever family it is of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

__all__ = ["LAYER_LINEARS", "LAYER_NORMS", "Activation", "Architecture", "Pooling", "Tensors"]

Tensors: TypeAlias = Mapping[str, NDArray[np.float32]]
"""Weights under the names that ``BertModel`` gives them, linear ones ``[out, in]``; beside those
``encoder.relative_attention_bias.weight`` ``[buckets, heads]``, each layer's ``gate.dense``, the
``final_norm``, and ``dense.N`` behind the pooling, perhaps with a ``dense.N.norm``. A bias that a
model lacks is not there."""
Pooling: TypeAlias = Literal["mean", "cls", "last"]
Activation: TypeAlias = Literal["gelu", "gelu_tanh", "relu", "tanh", "sigmoid", "identity"]

LAYER_LINEARS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
LAYER_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")


class Architecture(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``window`` counts tokens, special ones included. What has a default is as in BERT."""

    layers: int
    heads: int
    hidden: int
    epsilon: float
    pooling: Pooling
    window: int
    dim: int
    """Of the vectors: what is left where a model says that they may be cut (Matryoshka)."""

    position_offset: int | None = 0
    """Row of the position table that the first token uses; None: there is no table."""
    token_types: bool = True
    relative_buckets: int = 0
    """Of a bias by how far apart two tokens are, in all layers; 0: there is none."""
    rotary: tuple[float, float] | None = None
    """Bases of the angles by which queries and keys are turned, in layers that see the whole text
    and in local ones; None: they are not."""
    local_layers: tuple[int, ...] = ()
    reach: int = 0
    """How many tokens a local layer sees, before and behind."""
    norm_first: bool = False
    """Before attention and the inner layers, and once more at the end."""
    gated: bool = False
    """The inner layer is a product of two."""
    activation: Activation = "gelu"
    dense: tuple[Activation, ...] = ()
    """What follows the layers behind the pooling, one each."""
    scores: bool = False
    """Its one value is what it makes of a pair of texts, 0..1, and no direction."""
    second: int = 0
    """By how much the ids of a pair's second text are higher, which is how they are told apart; 0:
    they are not."""

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found

    @classmethod
    def of_json(cls, found: object) -> Architecture:
        """Raises ``msgspec.ValidationError``."""
        return msgspec.convert(found, cls)

    def peculiarities(self) -> dict[str, Any]:
        """What differs from BERT."""
        return {name: value for name, value in self.as_json().items() if name not in _ALWAYS}


_ALWAYS = frozenset(("layers", "heads", "hidden", "epsilon", "pooling", "window", "dim"))
