"""One directory from which every contender loads the same weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import safetensors.numpy

from semcache_async.embed import pull_model
from semcache_async.embed.encoder.graph import read_graph_tensors
from semcache_async.embed.models.installed import GRAPH, MANIFEST


def write_model(directory: Path) -> None:
    """The default model into ``directory``: as pulled, and in sentence-transformers form."""
    pulled = pull_model(progress=False)
    for name in (GRAPH, MANIFEST, "tokenizer.json"):
        (directory / name).symlink_to(pulled / name)
    tensors = dict(read_graph_tensors(pulled / GRAPH))
    architecture = json.loads((pulled / MANIFEST).read_text(encoding="utf-8"))["architecture"]
    words = tensors["embeddings.word_embeddings.weight"]
    safetensors.numpy.save_file(
        {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()},
        directory / "model.safetensors",
        metadata={"format": "pt"},
    )
    positions = len(tensors["embeddings.position_embeddings.weight"])
    written = {
        "config.json": {
            "architectures": ["BertModel"],
            "model_type": "bert",
            "hidden_act": "gelu",
            "hidden_size": architecture["hidden"],
            "intermediate_size": len(tensors["encoder.layer.0.intermediate.dense.bias"]),
            "layer_norm_eps": architecture["epsilon"],
            "max_position_embeddings": positions,
            "num_attention_heads": architecture["heads"],
            "num_hidden_layers": architecture["layers"],
            "pad_token_id": 0,
            "type_vocab_size": len(tensors["embeddings.token_type_embeddings.weight"]),
            "vocab_size": len(words),
        },
        "tokenizer_config.json": {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": True,
            "model_max_length": positions,
        },
        "sentence_bert_config.json": {
            "max_seq_length": architecture["window"],
            "do_lower_case": False,
        },
        "1_Pooling/config.json": {
            "word_embedding_dimension": architecture["hidden"],
            "pooling_mode_mean_tokens": True,
        },
        "modules.json": [
            {"idx": index, "name": str(index), "path": path, "type": f"{_ST}.{kind}"}
            for index, (path, kind) in enumerate(_MODULES)
        ],
    }
    for module in ("1_Pooling", "2_Normalize"):
        (directory / module).mkdir()
    for name, content in written.items():
        (directory / name).write_text(json.dumps(content, indent=1), encoding="utf-8")


_ST = "sentence_transformers.models"
_MODULES = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
