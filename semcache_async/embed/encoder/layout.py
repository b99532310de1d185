"""What a sentence-transformers directory says of a model, beside its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from semcache_async.embed.encoder.architecture import Activation, Architecture, Pooling
from semcache_async.embed.encoder.families import family_of
from semcache_async.embed.wording import brief
from semcache_async.errors import ModelError

__all__ = [
    "Layout",
    "digest",
    "lowers",
    "read_architecture",
    "read_json",
    "read_layout",
    "read_modules",
    "read_prompt",
    "read_window",
]

_POOLINGS: Mapping[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "mean": "mean",
    "pooling_mode_cls_token": "cls",
    "cls": "cls",
    "pooling_mode_lasttoken": "last",
    "lasttoken": "last",
}
_ACTIVATIONS: Mapping[str, Activation] = {
    "Identity": "identity",
    "Tanh": "tanh",
    "GELU": "gelu",
    "ReLU": "relu",
}


class Layout(NamedTuple):
    """The steps of a model, as its modules.json lists them."""

    transformer: Path
    """Where config.json, the tokenizer and the weights lie."""
    pooling: Pooling
    dense: tuple[tuple[Path, Activation, int], ...]
    """Directories of the layers behind the pooling, with how many values each gives."""


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; raises ``ModelError`` where it is absent or is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"{path} is missing; name a directory that holds config.json, tokenizer.json and "
            "model.safetensors, or an exported model.onnx with its tokenizer.json."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
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


def read_layout(directory: Path) -> Layout:
    """Mean pooling where nothing is said; raises ``ModelError`` for a step that this package cannot
    do."""
    transformer, pooling = directory, directory / "1_Pooling"
    dense = []
    for kind, path in read_modules(directory):
        if kind == "Transformer":
            transformer = path
        elif kind == "Pooling":
            pooling = path
        elif kind == "Dense":
            dense.append(_dense(path))
        elif kind not in ("Normalize", "Dropout"):
            raise ModelError(
                f"{directory / 'modules.json'} has a step {kind}, and only Transformer, Pooling, "
                "Dense and Normalize can be packed; use another model, or an export with a "
                "sentence_embedding output."
            )
    return Layout(transformer, _pooling(pooling / "config.json"), tuple(dense))


def read_modules(directory: Path) -> list[tuple[str, Path]]:
    """Kinds and directories of the steps in modules.json; none where there is no such file."""
    path = directory / "modules.json"
    if not path.exists():
        return []
    try:
        steps = json.loads(path.read_text(encoding="utf-8"))
        found = [(str(s["type"]).rpartition(".")[2], directory / s["path"]) for s in steps]
        inside = [where.resolve().is_relative_to(directory.resolve()) for _, where in found]
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(
            f"{path} is no list of modules ({brief(error)}); fetch it again."
        ) from error
    if not all(inside):
        raise ModelError(f"{path} leads out of its directory; use another model.")
    return found


def _pooling(path: Path) -> Pooling:
    if not path.exists():
        return "mean"
    config = read_json(path)
    modes = [k for k, v in config.items() if k.startswith("pooling_mode_") and v is True]
    named = config.get("pooling_mode", modes[0] if len(modes) == 1 else modes)
    if not isinstance(named, str) or named not in _POOLINGS:
        raise ModelError(
            f"{path} asks for {named} pooling; use a model with mean, CLS or last-token pooling."
        )
    if config.get("include_prompt") is False:
        raise ModelError(f"{path} leaves the prompt out of the pooling, which cannot be packed.")
    return _POOLINGS[named]


def _dense(directory: Path) -> tuple[Path, Activation, int]:
    path = directory / "config.json"
    config = read_json(path)
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = _ACTIVATIONS.get(name.rpartition(".")[2])
    wide = config.get("out_features")
    if activation is None or not isinstance(wide, int) or config.get("use_residual"):
        raise ModelError(
            f"{path} describes a layer that cannot be packed; one with {', '.join(_ACTIVATIONS)} "
            "and without a residual can."
        )
    return directory, activation, wide


def read_prompt(directory: Path) -> str:
    """What belongs before every text: the prompt that a model names as its default, else the one
    for queries, which is what both sides of a comparison are here; "" where there is none."""
    path = directory / "config_sentence_transformers.json"
    config = read_json(path) if path.exists() else {}
    prompts, name = config.get("prompts") or {}, config.get("default_prompt_name") or "query"
    prompt = (prompts.get(str(name)) or "") if isinstance(prompts, dict) else None
    if not isinstance(prompt, str):
        raise ModelError(f"{path} has a prompt that is no text; fetch it again.")
    return prompt


def read_window(directory: Path, positions: int) -> int:
    """The most tokens one text may have: ``max_seq_length`` where said, else what the tokenizer's
    configuration says, and never more than ``positions``."""
    for name, key in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        path = directory / name
        said = read_json(path).get(key) if path.exists() else None
        if isinstance(said, int | float) and said > 1:
            return int(min(positions, said))
    return positions


def lowers(transformer: Path) -> bool:
    """Are texts put into small letters before the tokenizer reads them?"""
    path = transformer / "sentence_bert_config.json"
    return path.exists() and read_json(path).get("do_lower_case") is True


def read_architecture(directory: Path) -> tuple[Architecture, Layout]:
    """Raises ``ModelError`` for a model that cannot be packed."""
    layout = read_layout(directory)
    path = layout.transformer / "config.json"
    config = read_json(path)
    try:
        family = family_of(config)
        shape = family.shape(config)
        shape["window"] = read_window(layout.transformer, shape["window"])
        for name in ("layers", "heads", "hidden", "window"):
            if not shape[name] > 0:
                raise ValueError(f"{name} = {shape[name]}")
        shape["pooling"] = layout.pooling
        shape["dense"] = tuple(activation for _, activation, _ in layout.dense)
        shape["dim"] = layout.dense[-1][2] if layout.dense else shape["hidden"]
        if _scores_pairs(directory, config):
            shape |= family.scoring(config)
            if not _tells_types(layout.transformer):
                shape["second"] = 0
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} lacks or garbles {error}; fetch the model again.") from error
    return Architecture(**shape), layout


def _tells_types(directory: Path) -> bool:
    """Does the model's tokenizer say of which text of a pair a token is?"""
    path = directory / "tokenizer_config.json"
    config = read_json(path) if path.exists() else {}
    if listed := config.get("model_input_names"):
        return "token_type_ids" in listed
    return str(config.get("tokenizer_class") or "Bert").startswith("Bert")


def _scores_pairs(directory: Path, config: Mapping[str, Any]) -> bool:
    """Is it a cross-encoder? Raises ``ModelError`` for one whose output is no score: of what it
    ends with, Sigmoid or nothing, the former is done in either case, which leaves the order."""
    kinds = config.get("architectures") or [""]
    if not str(kinds[0]).endswith("ForSequenceClassification"):
        return False
    labels = int(config.get("num_labels") or len(config.get("id2label") or "12"))
    path = directory / "config_sentence_transformers.json"
    said = read_json(path) if path.exists() else config.get("sentence_transformers") or {}
    ending = said.get("activation_fn") or config.get("sbert_ce_default_activation_function")
    name = str(ending or "Sigmoid").rpartition(".")[2]
    if labels != 1 or name not in ("Sigmoid", "Identity"):
        raise ModelError(
            f"{directory} gives {labels} labels by {name}; use a cross-encoder that gives one, by "
            "Sigmoid or Identity."
        )
    return True
