"""Reads the weights of a model from safetensors files, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semcache_async.embed.encoder.architecture import LAYER_LINEARS, Architecture, Tensors
from semcache_async.embed.encoder.families import family_of
from semcache_async.embed.encoder.layout import Layout, read_json
from semcache_async.embed.wording import brief
from semcache_async.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_tensors", "weight_files"]

_SINGLE, _SHARDED = "model.safetensors", "model.safetensors.index.json"
_MOST_BYTES = 1_900_000_000
"""A graph has to stay below 2 GiB, in float32."""


def weight_files(layout: Layout) -> list[Path]:
    """Every file that weights are read from, in order."""
    directory = layout.transformer
    files = [directory / _SINGLE]
    if not files[0].exists() and (directory / _SHARDED).exists():
        shards = read_json(directory / _SHARDED).get("weight_map")
        named = shards.values() if isinstance(shards, dict) else ()
        names = sorted({str(name).rpartition("/")[2] for name in named})
        files = [directory / name for name in names] or files
    return [*files, *(path / _SINGLE for path, _, _ in layout.dense)]


def read_tensors(layout: Layout, architecture: Architecture) -> Tensors:
    """The weights of a forward pass, in float32, under the names that they have in this package.

    Raises ``ModelError`` where they are missing, are of another kind, or do not fit.
    """
    files = weight_files(layout)
    main = files[: len(files) - len(layout.dense)]
    published: dict[str, Any] = {}
    for path in main:
        published |= _open(path)
    config = read_json(layout.transformer / "config.json")
    family = family_of(config)
    prefix = _prefix(published, family.words)
    tensors: dict[str, NDArray[np.float32]] = {}
    for name, parts in family.sources(config, architecture.layers):
        tensor = _take(main[0], published, prefix + name)
        if len(tensor) % len(parts):
            raise _misfit(main[0], [name])
        tensors |= zip(parts, np.split(tensor, len(parts)), strict=True)
    for number, path in enumerate(files[len(main) :]):
        found = _open(path)
        for kind in ("weight", "bias"):
            if kind == "weight" or f"linear.{kind}" in found:
                tensors[f"dense.{number}.{kind}"] = _take(path, found, f"linear.{kind}")
    for name, part in family.head.items() if architecture.scores else ():
        whole = name if f"{name}.weight" in published else prefix + name
        for kind in ("weight", "bias"):
            if kind == "weight" or f"{whole}.{kind}" in published:
                tensors[f"{part}.{kind}"] = _take(main[0], published, f"{whole}.{kind}")
    _check_shapes(main[0], architecture, tensors)
    return tensors


def _open(path: Path) -> dict[str, Any]:
    import safetensors

    deserialize: Any = safetensors.deserialize
    try:
        return dict(deserialize(path.read_bytes()))
    except FileNotFoundError as error:
        raise ModelError(
            f"{path} is missing; fetch the model again, in safetensors form: no other is read."
        ) from error
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(
            f"{path} is not a safetensors file ({brief(error)}); fetch it again."
        ) from error


def _prefix(found: Iterable[str], words: str) -> str:
    """What a model with a head puts before every name, such as ``bert.``."""
    return next((name.removesuffix(words) for name in found if name.endswith(words)), "")


def _take(path: Path, found: Mapping[str, Any], name: str) -> NDArray[np.float32]:
    if name not in found:
        raise ModelError(
            f"{path} has no tensor {name}; it does not match its config.json: fetch both again."
        )
    kind, shape, data = found[name]["dtype"], found[name]["shape"], found[name]["data"]
    if kind == "BF16":
        bits = np.frombuffer(data, np.uint16).astype(np.uint32) << 16
        return bits.view(np.float32).reshape(shape)
    if kind in ("F16", "F32"):
        stored = np.frombuffer(data, np.float16 if kind == "F16" else np.float32)
        return stored.astype(np.float32, copy=False).reshape(shape)
    raise ModelError(f"{path} stores {name} as {kind}; use weights in F32, F16 or BF16.")


def _check_shapes(path: Path, architecture: Architecture, tensors: Tensors) -> None:
    hidden, buckets = architecture.hidden, architecture.relative_buckets
    wrong = [name for name, shape in _shapes(architecture).items() if tensors[name].shape != shape]
    if architecture.position_offset is not None:
        table = tensors["embeddings.position_embeddings.weight"]
        if len(table) < architecture.window + architecture.position_offset:
            wrong.append("embeddings.position_embeddings.weight")
    if buckets and len(tensors["encoder.relative_attention_bias.weight"]) != buckets:
        wrong.append("encoder.relative_attention_bias.weight")
    if wrong or hidden % architecture.heads:
        raise _misfit(path, wrong)
    if sum(tensor.nbytes for tensor in tensors.values()) > _MOST_BYTES:
        raise ModelError(f"{path} has more than 2 GB of weights in float32; use a smaller model.")


def _shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Of what must fit together, the linear layers that are as wide as the model."""
    hidden = architecture.hidden
    shapes: dict[str, tuple[int, ...]] = {
        f"encoder.layer.{layer}.{part}.weight": (hidden, hidden)
        for layer in range(architecture.layers)
        for part in LAYER_LINEARS[:4]
    }
    if architecture.scores:
        shapes |= {"dense.0.weight": (hidden, hidden), "dense.1.weight": (1, hidden)}
    return shapes


def _misfit(path: Path, wrong: Sequence[str]) -> ModelError:
    return ModelError(
        f"{path} does not match its config.json ({', '.join(wrong) or 'heads'}); fetch both again."
    )
