"""Tiny random models on disk, and an exporter's padded graph of any model, for tests."""

from __future__ import annotations

import json
import string
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx
import safetensors.numpy
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from semcache_async.embed.encoder.architecture import (
    LAYER_LINEARS,
    LAYER_NORMS,
    Architecture,
    Tensors,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Array: TypeAlias = NDArray[np.float32]

HIDDEN, HEADS, LAYERS, INNER, POSITIONS = 32, 4, 2, 64, 130
MODERN_LAYERS = 5
"""So that some see the whole text and some the next tokens only."""
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def write_tokenizer(path: Path, *, typed: bool = True) -> int:
    """Letters and digits as WordPiece; asks for truncation and padding, as real files do."""
    signs = [*string.ascii_lowercase, *string.digits, *"?!.,'+#"]
    names = [*SPECIAL, *signs, *(f"##{sign}" for sign in signs), "how", "card", "password", "money"]
    vocab = {name: index for index, name in enumerate(names)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1" if typed else "[CLS] $A [SEP] [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=16)
    tokenizer.save(str(path))
    return len(vocab)


def random_tensors(vocab: int, kind: str = "bert", seed: int = 1) -> dict[str, Array]:
    """Of a tiny model of that family, under the names that ``transformers`` gives them."""
    random = np.random.default_rng(seed)
    return {
        name: (random.standard_normal(shape) * 0.3 + _is_scale(name)).astype("f4")
        for name, shape in _shapes(kind, vocab)
    }


def _is_scale(name: str) -> bool:
    return name.endswith(("Norm.weight", "norm.weight"))


def _shapes(kind: str, vocab: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    if kind == "modernbert":
        yield "embeddings.tok_embeddings.weight", (vocab, HIDDEN)
        yield "embeddings.norm.weight", (HIDDEN,)
        for layer in range(MODERN_LAYERS):
            if layer:
                yield f"layers.{layer}.attn_norm.weight", (HIDDEN,)
            yield f"layers.{layer}.attn.Wqkv.weight", (3 * HIDDEN, HIDDEN)
            yield f"layers.{layer}.attn.Wo.weight", (HIDDEN, HIDDEN)
            yield f"layers.{layer}.mlp_norm.weight", (HIDDEN,)
            yield f"layers.{layer}.mlp.Wi.weight", (2 * INNER, HIDDEN)
            yield f"layers.{layer}.mlp.Wo.weight", (HIDDEN, INNER)
        yield "final_norm.weight", (HIDDEN,)
        return
    yield "embeddings.word_embeddings.weight", (vocab, HIDDEN)
    yield "embeddings.position_embeddings.weight", (POSITIONS, HIDDEN)
    if kind not in ("distilbert", "mpnet"):
        yield "embeddings.token_type_embeddings.weight", (2, HIDDEN)
    yield from _with_bias("embeddings.LayerNorm", HIDDEN)
    if kind == "mpnet":
        yield "encoder.relative_attention_bias.weight", (32, HEADS)
    inner, outer, *rest = _LAYERS.get(kind, LAYER_LINEARS[4:] + LAYER_LINEARS[:4] + LAYER_NORMS)
    for layer in range(LAYERS):
        name = f"{'transformer' if kind == 'distilbert' else 'encoder'}.layer.{layer}."
        yield from _with_bias(name + inner, INNER, HIDDEN)
        yield from _with_bias(name + outer, HIDDEN, INNER)
        for part in rest:
            square = not part.lower().endswith("norm")
            yield from _with_bias(name + part, HIDDEN, *([HIDDEN] if square else []))


_LAYERS = {
    "distilbert": (
        *("ffn.lin1", "ffn.lin2"),
        *(f"attention.{part}_lin" for part in ("q", "k", "v", "out")),
        *("sa_layer_norm", "output_layer_norm"),
    ),
    "mpnet": (
        *("intermediate.dense", "output.dense"),
        *(f"attention.attn.{part}" for part in "qkvo"),
        *("attention.LayerNorm", "output.LayerNorm"),
    ),
}


def _with_bias(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def write_model(
    directory: Path,
    *,
    kind: str = "bert",
    pooling: str = "mean",
    prefix: str = "",
    dtype: str = "float32",
    seed: int = 1,
    **config: Any,
) -> Path:
    """A sentence-transformers directory; ``dtype`` may be float32, float16 or bfloat16."""
    (directory / "1_Pooling").mkdir(parents=True)
    vocab = write_tokenizer(directory / "tokenizer.json")
    said = {
        "model_type": kind,
        "max_position_embeddings": POSITIONS,
        "pad_token_id": 1 if kind in ("roberta", "mpnet") else 0,
        "vocab_size": vocab,
        **(_DISTILBERT if kind == "distilbert" else _MODERNBERT if kind == "modernbert" else _BERT),
    }
    (directory / "config.json").write_text(json.dumps(said | config))
    modes = {
        "pooling_mode_mean_tokens": pooling == "mean",
        "pooling_mode_cls_token": pooling == "cls",
        "pooling_mode_lasttoken": pooling == "last",
        "pooling_mode_max_tokens": pooling == "max",
    }
    (directory / "1_Pooling/config.json").write_text(
        json.dumps({"word_embedding_dimension": HIDDEN, **modes})
    )
    tensors = random_tensors(vocab, kind, seed)
    write_tensors(directory / "model.safetensors", tensors, prefix, dtype)
    return directory


_SHAPE = {"num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "hidden_size": HIDDEN}
_BERT = {
    **_SHAPE,
    "hidden_act": "gelu",
    "intermediate_size": INNER,
    "layer_norm_eps": 1e-12,
    "type_vocab_size": 2,
}
_DISTILBERT = {"n_layers": LAYERS, "n_heads": HEADS, "dim": HIDDEN, "hidden_dim": INNER}
_MODERNBERT = {
    **_SHAPE,
    "num_hidden_layers": MODERN_LAYERS,
    "intermediate_size": INNER,
    "local_attention": 8,
    "hidden_activation": "gelu",
    "norm_eps": 1e-5,
}


def add_steps(directory: Path, *names: str, prompt: str = "", seed: int = 5) -> None:
    """A modules.json, with a layer of each activation behind the pooling, and a prompt."""
    random = np.random.default_rng(seed)
    steps = [("", "Transformer"), ("1_Pooling", "Pooling")]
    for number, activation in enumerate(names):
        path, wide = directory / f"{number + 2}_Dense", HIDDEN - 8 * number
        path.mkdir()
        said = {
            "in_features": wide,
            "out_features": wide - 8,
            "bias": number == 0,
            "activation_function": f"torch.nn.modules.{activation}",
        }
        (path / "config.json").write_text(json.dumps(said))
        tensors = {"linear.weight": random.standard_normal((wide - 8, wide)).astype("f4")}
        if number == 0:
            tensors["linear.bias"] = random.standard_normal(wide - 8).astype("f4")
        safetensors.numpy.save_file(tensors, path / "model.safetensors")
        steps.append((path.name, "Dense"))
    listed = [
        {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for n, (path, kind) in enumerate([*steps, ("9_Normalize", "Normalize")])
    ]
    (directory / "modules.json").write_text(json.dumps(listed))
    if prompt:
        said = {"prompts": {"asking": prompt}, "default_prompt_name": "asking"}
        (directory / "config_sentence_transformers.json").write_text(json.dumps(said))


def add_head(directory: Path, *, seed: int = 5, **config: Any) -> Path:
    """Makes a cross-encoder of a model: a head, and a prefix before the body's names."""
    said = json.loads((directory / "config.json").read_text())
    kind, path = said["model_type"], directory / "model.safetensors"
    prefix, parts = _HEADS[kind]
    if kind not in ("bert", "modernbert"):
        write_tokenizer(directory / "tokenizer.json", typed=False)
    body = safetensors.numpy.load_file(path)
    random = np.random.default_rng(seed)
    tensors = {f"{prefix}{name}": tensor for name, tensor in body.items()}
    for number, name in enumerate(parts):
        wide = (1 if number == len(parts) - 1 else HIDDEN, HIDDEN)
        shape = wide[:1] if _is_scale(f"{name}.weight") else wide
        tensors[f"{name}.weight"] = (random.standard_normal(shape) * 0.3).astype("f4")
        if kind != "modernbert" or number == len(parts) - 1:
            tensors[f"{name}.bias"] = (random.standard_normal(wide[:1]) * 0.3).astype("f4")
    write_tensors(path, tensors)
    said |= {"architectures": [f"{_CLASSES[kind]}ForSequenceClassification"], "id2label": {"0": ""}}
    (directory / "config.json").write_text(json.dumps(said | config))
    return directory


_CLASSES = {
    "bert": "Bert",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "distilbert": "DistilBert",
    "mpnet": "MPNet",
    "modernbert": "ModernBert",
}
_HEADS = {
    "bert": ("bert.", ("bert.pooler.dense", "classifier")),
    "roberta": ("roberta.", ("classifier.dense", "classifier.out_proj")),
    "xlm-roberta": ("roberta.", ("classifier.dense", "classifier.out_proj")),
    "distilbert": ("distilbert.", ("pre_classifier", "classifier")),
    "mpnet": ("mpnet.", ("classifier.dense", "classifier.out_proj")),
    "modernbert": ("model.", ("head.dense", "head.norm", "classifier")),
}


def write_tensors(path: Path, tensors: Tensors, prefix: str = "", dtype: str = "float32") -> None:
    if dtype != "bfloat16":
        safetensors.numpy.save_file(
            {prefix + name: np.asarray(t, dtype) for name, t in tensors.items()}, path
        )
        return
    header, body, at = {}, [], 0
    for name, tensor in tensors.items():
        data = (tensor.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        header[prefix + name] = {
            "dtype": "BF16",
            "shape": list(tensor.shape),
            "data_offsets": [at, at + len(data)],
        }
        body.append(data)
        at += len(data)
    head = json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"".join(body))


def padded_graph(architecture: Architecture, tensors: Tensors, *, types: bool = True) -> Any:
    """The graph an exporter would write: ``[batch, tokens]`` in, ``last_hidden_state`` out."""
    nodes: list[Any] = []
    stored: list[Any] = []
    heads, hidden = architecture.heads, architecture.hidden

    def const(value: Any, name: str | None = None) -> str:
        name = name or f"c{len(stored)}"
        stored.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def op(kind: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [f"{kind}{len(nodes)}"], **attributes))
        return str(nodes[-1].output[0])

    def linear(name: str, x: str) -> str:
        weight = const(tensors[f"{name}.weight"].T, f"{name}.weight")
        return op("Add", op("MatMul", x, weight), const(tensors[f"{name}.bias"]))

    def norm(name: str, x: str) -> str:
        weight, bias = const(tensors[f"{name}.weight"]), const(tensors[f"{name}.bias"])
        return op("LayerNormalization", x, weight, bias, axis=-1, epsilon=architecture.epsilon)

    places = tensors["embeddings.position_embeddings.weight"][architecture.position_offset :]
    last = op("Gather", op("Shape", "input_ids"), const(np.array([1])))
    rows = op("Slice", const(places), const(np.array([0])), last, const(np.array([0])))
    kinds = const(tensors["embeddings.token_type_embeddings.weight"])
    kind = op("Gather", kinds, "token_type_ids" if types else const(np.array([[0]])))
    words = op("Gather", const(tensors["embeddings.word_embeddings.weight"]), "input_ids")
    x = norm("embeddings.LayerNorm", op("Add", op("Add", words, rows), kind))
    seen = op("Cast", op("Unsqueeze", "attention_mask", const(np.array([1, 2]))), to=1)
    mask = op("Mul", op("Sub", const(np.float32(1)), seen), const(np.float32(-1e4)))
    for layer in range(architecture.layers):
        name = f"encoder.layer.{layer}."
        split = const(np.array([0, 0, heads, hidden // heads]))
        query, key, value = (
            op("Transpose", op("Reshape", linear(f"{name}attention.self.{part}", x), split), perm=p)
            for part, p in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3]))
        )
        scale = const(np.float32((hidden // heads) ** -0.5))
        scores = op("Add", op("Mul", op("MatMul", query, key), scale), mask)
        mixed = op("MatMul", op("Softmax", scores, axis=-1), value)
        mixed = op("Transpose", mixed, perm=[0, 2, 1, 3])
        joined = op("Reshape", mixed, const(np.array([0, 0, hidden])))
        dense = linear(f"{name}attention.output.dense", joined)
        x = norm(f"{name}attention.output.LayerNorm", op("Add", dense, x))
        inner = op("Gelu", linear(f"{name}intermediate.dense", x))
        x = norm(f"{name}output.LayerNorm", op("Add", linear(f"{name}output.dense", inner), x))
    nodes[-1].output[0] = "last_hidden_state"
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if types else [])]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "padded",
            [helper.make_tensor_value_info(i, TensorProto.INT64, ["B", "S"]) for i in inputs],
            [helper.make_tensor_value_info("last_hidden_state", 1, ["B", "S", hidden])],
            stored,
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )


def write_export(directory: Path, model: Any, tokenizer: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    onnx.save(model, directory / "model.onnx")
    (directory / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    if not (directory / "config.json").exists():
        (directory / "config.json").write_text(f'{{"max_position_embeddings": {POSITIONS}}}')
    return directory
