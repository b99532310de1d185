"""Reads a directory in sentence-transformers form: BERT-family weights, pooling and window."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from semcache_async.embed.wording import brief
from semcache_async.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "LAYER_LINEARS",
    "LAYER_NORMS",
    "Architecture",
    "Pooling",
    "Tensors",
    "digest",
    "read_architecture",
    "read_json",
    "read_pooling",
    "read_tensors",
    "read_window",
]

Tensors: TypeAlias = Mapping[str, NDArray[np.float32]]
"""Weights under the names that ``BertModel`` gives them, linear ones ``[out, in]``."""
Pooling: TypeAlias = Literal["mean", "cls"]

LAYER_LINEARS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
LAYER_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
_EMBEDDINGS = (
    "embeddings.word_embeddings.weight",
    "embeddings.position_embeddings.weight",
    "embeddings.token_type_embeddings.weight",
    "embeddings.LayerNorm.weight",
    "embeddings.LayerNorm.bias",
)
_ROBERTA = ("roberta", "xlm-roberta", "camembert")


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """The shape of one encoder. ``window`` counts tokens, special ones included."""

    layers: int
    heads: int
    hidden: int
    epsilon: float
    position_offset: int
    """Row of the position table that the first token uses."""
    pooling: Pooling
    window: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; raises ``ModelError`` where it is absent or is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{path} is missing; name a directory that holds config.json, tokenizer.json and "
            "model.safetensors, or an exported model.onnx with its tokenizer.json."
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read as JSON ({brief(error)}); fetch it again."
        ) from error
    if not isinstance(found, dict):
        raise ModelError(f"{path} holds no JSON object; fetch it again.")
    return cast("dict[str, Any]", found)


def digest(path: Path) -> str:
    """Hex sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_pooling(directory: Path) -> Pooling:
    """Mean where nothing is said; raises ``ModelError`` for a pooling this package cannot do."""
    path = directory / "1_Pooling" / "config.json"
    if not path.exists():
        return "mean"
    config = read_json(path)
    modes = sorted(k for k, v in config.items() if k.startswith("pooling_mode_") and v is True)
    named = config.get("pooling_mode")
    if modes == ["pooling_mode_mean_tokens"] or named == "mean":
        return "mean"
    if modes == ["pooling_mode_cls_token"] or named == "cls":
        return "cls"
    raise ModelError(f"{path} asks for {named or modes} pooling; use a mean or CLS pooling model.")


def read_window(directory: Path, positions: int) -> int:
    """The most tokens one text may have: ``max_seq_length`` where said, else ``positions``."""
    path = directory / "sentence_bert_config.json"
    said = read_json(path).get("max_seq_length") if path.exists() else None
    return min(positions, said) if isinstance(said, int) and said > 0 else positions


def read_architecture(directory: Path) -> Architecture:
    """From config.json and its neighbours; raises ``ModelError`` for an unsupported model."""
    config = read_json(directory / "config.json")
    kind = config.get("model_type")
    if kind != "bert" and kind not in _ROBERTA:
        raise ModelError(
            f"Model type {kind!r} cannot be packed (bert, {', '.join(_ROBERTA)} can); put an "
            "exported model.onnx beside its tokenizer.json instead."
        )
    for name, only in (
        ("hidden_act", "gelu"),
        ("position_embedding_type", "absolute"),
        ("is_decoder", False),
    ):
        if config.get(name, only) != only:
            raise ModelError(
                f"config.json says {name} = {config[name]!r}, and only {only!r} can be packed; "
                "put an exported model.onnx beside its tokenizer.json instead."
            )
    modules = directory / "modules.json"
    if modules.exists() and "models.Dense" in modules.read_text(encoding="utf-8"):
        raise ModelError(
            f"{modules} adds a Dense layer after pooling, which cannot be packed; use a model "
            "without one, or an export with a sentence_embedding output."
        )
    try:
        offset = int(config["pad_token_id"]) + 1 if kind in _ROBERTA else 0
        return Architecture(
            layers=int(config["num_hidden_layers"]),
            heads=int(config["num_attention_heads"]),
            hidden=int(config["hidden_size"]),
            epsilon=float(config.get("layer_norm_eps", 1e-12)),
            position_offset=offset,
            pooling=read_pooling(directory),
            window=read_window(directory, int(config["max_position_embeddings"]) - offset),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{directory / 'config.json'} lacks or garbles {error}; fetch the model again."
        ) from error


def read_tensors(path: Path, architecture: Architecture) -> Tensors:
    """The weights a forward pass needs, in float32, prefixes such as ``bert.`` removed."""
    import safetensors

    deserialize: Any = safetensors.deserialize

    try:
        found = dict(deserialize(path.read_bytes()))
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing; fetch the model again.") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(
            f"{path} is not a safetensors file ({brief(error)}); fetch it again."
        ) from error
    prefix = _prefix(found)
    tensors = {}
    for name in _names(architecture.layers):
        if prefix + name not in found:
            raise ModelError(
                f"{path} has no tensor {prefix + name}; it does not match its config.json: fetch "
                "both again."
            )
        tensors[name] = _widen(path, name, found[prefix + name])
    _check_shapes(path, architecture, tensors)
    return tensors


def _names(layers: int) -> Iterable[str]:
    yield from _EMBEDDINGS
    for layer in range(layers):
        for part in LAYER_LINEARS + LAYER_NORMS:
            yield f"encoder.layer.{layer}.{part}.weight"
            yield f"encoder.layer.{layer}.{part}.bias"


def _prefix(found: Iterable[str]) -> str:
    for name in found:
        if name.endswith(_EMBEDDINGS[0]):
            return name.removesuffix(_EMBEDDINGS[0])
    return ""


def _widen(path: Path, name: str, tensor: Mapping[str, Any]) -> NDArray[np.float32]:
    kind, shape, data = tensor["dtype"], tensor["shape"], tensor["data"]
    if kind == "BF16":
        bits = np.frombuffer(data, np.uint16).astype(np.uint32) << 16
        return bits.view(np.float32).reshape(shape)
    if kind in ("F16", "F32"):
        stored = np.frombuffer(data, np.float16 if kind == "F16" else np.float32)
        return stored.astype(np.float32, copy=False).reshape(shape)
    raise ModelError(f"{path} stores {name} as {kind}; use weights in F32, F16 or BF16.")


def _check_shapes(path: Path, architecture: Architecture, tensors: Tensors) -> None:
    hidden, heads = architecture.hidden, architecture.heads
    positions = tensors["embeddings.position_embeddings.weight"].shape[0]
    wrong = [
        name
        for name, tensor in tensors.items()
        if tensor.shape[-1 if "output.dense.weight" not in name else 0] != hidden
        and "intermediate" not in name
    ]
    if wrong or hidden % heads or positions < architecture.window + architecture.position_offset:
        raise ModelError(
            f"{path} does not match its config.json ({wrong or 'heads or positions'}); fetch both "
            "again."
        )
