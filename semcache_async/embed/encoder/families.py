"""What each family of encoders calls its weights, and what its config.json says of its shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from semcache_async.embed.encoder.architecture import LAYER_LINEARS, LAYER_NORMS, Activation
from semcache_async.errors import ModelError

__all__ = ["FAMILIES", "Family", "Source", "family_of"]

_ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}

Config = Mapping[str, Any]


class Source(NamedTuple):
    """A published tensor, and the names under which its equal parts, in order, are used here."""

    published: str
    parts: tuple[str, ...]


class Family(NamedTuple):
    layer: str
    """What the names of a layer's weights begin with; ``{}`` is its number."""
    parts: Mapping[str, tuple[str, ...]]
    """Within a layer: published names, and the names that their parts have here."""
    outside: Mapping[str, tuple[str, ...]]
    """The same beyond the layers."""
    shape: Callable[[Config], dict[str, Any]]
    """Fields of an ``Architecture``; raises as subscription does."""
    has_bias: Callable[[Config, str], bool] = lambda _config, _part: True
    norm_of_first: bool = True
    """Does the first layer have a norm before its attention?"""
    head: Mapping[str, str] = {}
    """Behind the pooling of a model that scores pairs: published names, and those here."""
    head_activation: Callable[[Config], Activation] = lambda _config: "tanh"
    """Between the two layers there."""

    def scoring(self, config: Config) -> dict[str, Any]:
        """Fields of an ``Architecture`` that scores pairs; raises as ``shape`` does."""
        return {
            "pooling": config.get("classifier_pooling", "cls"),
            "dense": (self.head_activation(config), "sigmoid"),
            "dim": 1,
            "scores": True,
            "second": int(config["vocab_size"]) if config.get("type_vocab_size", 1) > 1 else 0,
        }

    def sources(self, config: Config, layers: int) -> Iterator[Source]:
        """Every tensor that a forward pass needs."""
        for name, parts in self.outside.items():
            yield from self._weight_and_bias(config, name, parts)
        for layer in range(layers):
            for name, parts in self.parts.items():
                if layer or self.norm_of_first or parts != (LAYER_NORMS[0],):
                    here = tuple(f"encoder.layer.{layer}.{part}" for part in parts)
                    yield from self._weight_and_bias(
                        config, f"{self.layer.format(layer)}.{name}", here
                    )

    def _weight_and_bias(
        self, config: Config, name: str, parts: tuple[str, ...]
    ) -> Iterator[Source]:
        yield Source(f"{name}.weight", tuple(f"{part}.weight" for part in parts))
        if not _is_table(parts[0]) and self.has_bias(config, parts[0]):
            yield Source(f"{name}.bias", tuple(f"{part}.bias" for part in parts))

    @property
    def words(self) -> str:
        """The published name of the table of words."""
        name = next(n for n, p in self.outside.items() if p == ("embeddings.word_embeddings",))
        return f"{name}.weight"


def family_of(config: Config) -> Family:
    """Raises ``ModelError`` for a model that cannot be packed."""
    kind = config.get("model_type")
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None:
        raise ModelError(
            f"Model type {kind!r} cannot be packed ({', '.join(FAMILIES)} can); put an exported "
            "model.onnx beside its tokenizer.json instead."
        )
    for name, only in (("position_embedding_type", "absolute"), ("is_decoder", False)):
        if config.get(name, only) != only:
            raise _cannot(name, config[name], repr(only))
    return family


def _is_table(name: str) -> bool:
    return name.endswith(("_embeddings", "relative_attention_bias"))


def _cannot(name: str, value: object, can: str) -> ModelError:
    return ModelError(
        f"config.json says {name} = {value!r}, and only {can} can be packed; put an exported "
        "model.onnx beside its tokenizer.json instead."
    )


def _activation(config: Config, name: str) -> Activation:
    said = config.get(name, "gelu")
    if said not in _ACTIVATIONS:
        raise _cannot(name, said, " or ".join(map(repr, _ACTIVATIONS)))
    return _ACTIVATIONS[said]


def _bert(config: Config) -> dict[str, Any]:
    return {
        "layers": int(config["num_hidden_layers"]),
        "heads": int(config["num_attention_heads"]),
        "hidden": int(config["hidden_size"]),
        "epsilon": float(config.get("layer_norm_eps", 1e-12)),
        "window": int(config["max_position_embeddings"]),
        "activation": _activation(config, "hidden_act"),
    }


def _roberta(config: Config) -> dict[str, Any]:
    found = _bert(config)
    offset = int(config["pad_token_id"]) + 1
    return found | {"window": found["window"] - offset, "position_offset": offset}


def _mpnet(config: Config) -> dict[str, Any]:
    found = _roberta({"pad_token_id": 1, **config})
    buckets = int(config.get("relative_attention_num_buckets", 32))
    return found | {"token_types": False, "relative_buckets": buckets}


def _distilbert(config: Config) -> dict[str, Any]:
    return {
        "layers": int(config["n_layers"]),
        "heads": int(config["n_heads"]),
        "hidden": int(config["dim"]),
        "epsilon": 1e-12,
        "window": int(config["max_position_embeddings"]),
        "activation": _activation(config, "activation"),
        "token_types": False,
    }


def _modernbert(config: Config) -> dict[str, Any]:
    layers = int(config["num_hidden_layers"])
    every = int(config.get("global_attn_every_n_layers", 3))
    kinds = config.get("layer_types") or [
        "sliding_attention" if layer % every else "full_attention" for layer in range(layers)
    ]
    bases = {
        "full_attention": config.get("global_rope_theta", 160_000.0),
        "sliding_attention": config.get("local_rope_theta") or 10_000.0,
    }
    for kind, said in (config.get("rope_parameters") or {}).items():
        if said.get("rope_type", "default") != "default":
            raise _cannot("rope_type", said["rope_type"], "'default'")
        bases[kind] = said["rope_theta"]
    return {
        "layers": layers,
        "heads": int(config["num_attention_heads"]),
        "hidden": int(config["hidden_size"]),
        "epsilon": float(config.get("norm_eps", 1e-5)),
        "window": int(config["max_position_embeddings"]),
        "activation": _activation(config, "hidden_activation"),
        "position_offset": None,
        "token_types": False,
        "rotary": (float(bases["full_attention"]), float(bases["sliding_attention"])),
        "local_layers": tuple(n for n, kind in enumerate(kinds) if kind == "sliding_attention"),
        "reach": int(config.get("local_attention", 128)) // 2,
        "norm_first": True,
        "gated": True,
    }


def _modernbert_bias(config: Config, part: str) -> bool:
    kind = "norm" if part.endswith("norm") or "LayerNorm" in part else "mlp"
    if ".attention." in part and kind != "norm":
        kind = "attention"
    return cast("bool", config.get(f"{kind}_bias", False))


def _same(*names: str) -> dict[str, tuple[str, ...]]:
    return {name: (name,) for name in names}


_TABLES = ("embeddings.word_embeddings", "embeddings.position_embeddings")
_TYPES, _NORM = "embeddings.token_type_embeddings", "embeddings.LayerNorm"
_QUERY, _KEY, _VALUE, _ATTENDED, _INNER, _OUTPUT = LAYER_LINEARS
_AFTER_ATTENTION, _AFTER_OUTPUT = LAYER_NORMS

_BERT = Family(
    layer="encoder.layer.{}",
    parts=_same(*LAYER_LINEARS, *LAYER_NORMS),
    outside=_same(*_TABLES, _TYPES, _NORM),
    shape=_bert,
    head={"pooler.dense": "dense.0", "classifier": "dense.1"},
)
_CLASSIFIER = {"classifier.dense": "dense.0", "classifier.out_proj": "dense.1"}
_ROBERTA = _BERT._replace(shape=_roberta, head=_CLASSIFIER)

FAMILIES: Mapping[str, Family] = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": Family(
        layer="transformer.layer.{}",
        parts={
            "attention.q_lin": (_QUERY,),
            "attention.k_lin": (_KEY,),
            "attention.v_lin": (_VALUE,),
            "attention.out_lin": (_ATTENDED,),
            "sa_layer_norm": (_AFTER_ATTENTION,),
            "ffn.lin1": (_INNER,),
            "ffn.lin2": (_OUTPUT,),
            "output_layer_norm": (_AFTER_OUTPUT,),
        },
        outside=_same(*_TABLES, _NORM),
        shape=_distilbert,
        head={"pre_classifier": "dense.0", "classifier": "dense.1"},
        head_activation=lambda _config: "relu",
    ),
    "mpnet": Family(
        layer="encoder.layer.{}",
        parts={
            "attention.attn.q": (_QUERY,),
            "attention.attn.k": (_KEY,),
            "attention.attn.v": (_VALUE,),
            "attention.attn.o": (_ATTENDED,),
            "attention.LayerNorm": (_AFTER_ATTENTION,),
            **_same(_INNER, _OUTPUT, _AFTER_OUTPUT),
        },
        outside=_same(*_TABLES, _NORM, "encoder.relative_attention_bias"),
        shape=_mpnet,
        head=_CLASSIFIER,
    ),
    "modernbert": Family(
        layer="layers.{}",
        parts={
            "attn_norm": (_AFTER_ATTENTION,),
            "attn.Wqkv": (_QUERY, _KEY, _VALUE),
            "attn.Wo": (_ATTENDED,),
            "mlp_norm": (_AFTER_OUTPUT,),
            "mlp.Wi": (_INNER, "gate.dense"),
            "mlp.Wo": (_OUTPUT,),
        },
        outside={
            "embeddings.tok_embeddings": ("embeddings.word_embeddings",),
            "embeddings.norm": (_NORM,),
            "final_norm": ("final_norm",),
        },
        shape=_modernbert,
        has_bias=_modernbert_bias,
        norm_of_first=False,
        head={"head.dense": "dense.0", "head.norm": "dense.0.norm", "classifier": "dense.1"},
        head_activation=lambda config: _activation(config, "classifier_activation"),
    ),
}
"""By the ``model_type`` of config.json."""
