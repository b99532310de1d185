from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnxruntime.quantization import QuantType, quantize_dynamic

from semcache_async.embed import TextEmbedder, load_embedder
from semcache_async.embed.encoder.graph import read_graph_tensors
from semcache_async.embed.encoder.weights import Architecture, Tensors, read_architecture, read_json
from semcache_async.embed.models.installed import GRAPH, MANIFEST, build_packed
from semcache_async.embed.runtimes.checks import parity
from semcache_async.errors import ConfigError, ModelError
from tests.embed.tiny import padded_graph, write_export, write_model

GOLDEN = np.load(Path(__file__).parent / "golden_tiny.npz")


def load(directory: Path | str, **options: Any) -> TextEmbedder:
    """On onnxruntime unless told otherwise: "auto" depends on which runtime is quicker here."""
    return load_embedder(directory, **{"backend": "onnxruntime", "progress": False, **options})


@pytest.mark.parametrize("kind", ["bert-mean", "bert-cls", "roberta-mean"])
def test_transformers_agrees(tmp_path: Path, cache: Path, kind: str) -> None:
    """Vectors that transformers 5 on torch 2.13 gave for the same random weights."""
    family, pooling = kind.split("-")
    embedder = load(write_model(tmp_path / "m", kind=family, pooling=pooling))
    assert parity(embedder.embed(GOLDEN["texts"].tolist()), GOLDEN[kind]) > 0.99999
    assert embedder.window == 130 - 2 * (family == "roberta")


@pytest.mark.parametrize("prefix", ["bert.", "roberta.", "encoder_model."])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_weights_of_any_prefix_and_width(
    tmp_path: Path, cache: Path, prefix: str, dtype: str
) -> None:
    embedder = load(write_model(tmp_path / "m", prefix=prefix, dtype=dtype))
    near = parity(embedder.embed(GOLDEN["texts"].tolist()), GOLDEN["bert-mean"])
    assert near > (0.99999 if dtype == "float32" else 0.999)


def test_built_once(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(tiny)
    monkeypatch.setattr("semcache_async.embed.models.installed.write_packed", None)
    assert load(str(tiny)).fingerprint == first.fingerprint
    assert load(build_packed(tiny)).fingerprint == first.fingerprint


def test_fingerprint_follows_content(tmp_path: Path, cache: Path) -> None:
    models = [
        write_model(tmp_path / "a"),
        write_model(tmp_path / "b", pooling="cls"),
        write_model(tmp_path / "c", seed=2),
    ]
    assert len({load(model).fingerprint for model in models}) == 3


def test_max_seq_length_is_honoured(tiny: Path) -> None:
    (tiny / "sentence_bert_config.json").write_text('{"max_seq_length": 20}')
    assert load(tiny).window == 20


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"kind": "mpnet"}, r"'mpnet' cannot be packed \(bert, roberta.*exported model.onnx"),
        ({"hidden_act": "relu"}, "hidden_act = 'relu'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"pooling": "max"}, "mean or CLS"),
        ({"num_hidden_layers": 3}, "no tensor encoder.layer.2"),
        ({"num_attention_heads": 5}, "does not match"),
        ({"hidden_size": None}, "garbles"),
    ],
)
def test_unsupported_models(tmp_path: Path, cache: Path, config: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        load(write_model(tmp_path / "m", **config))
    assert not list((cache / "models").glob("[!.]*"))


def test_damaged_files(tmp_path: Path, tiny: Path) -> None:
    (tiny / "model.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(ModelError, match="not a safetensors file"):
        load(tiny)
    (tiny / "config.json").write_text("{")
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        load(tiny)
    with pytest.raises(ModelError, match="is no directory"):
        load(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="missing"):
        load(tmp_path / "empty")


def test_damaged_install(tiny: Path) -> None:
    packed = build_packed(tiny, progress=False)
    (packed / GRAPH).write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="delete its directory"):
        load(tiny)
    (packed / MANIFEST).write_text("{")
    with pytest.raises(ModelError, match="cannot be read as JSON"):
        load(packed)
    assert load(tiny).dim == 32  # built again


def test_damaged_tokenizer(tiny: Path) -> None:
    (tiny / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="not a tokenizer file"):
        load(tiny)


def test_arguments(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="threads"):
        load(tiny, threads=0)
    with pytest.raises(ConfigError, match="choose one of"):
        load(tiny, backend="tensorrt")
    monkeypatch.setenv("SEMCACHE_BACKEND", "abacus")
    with pytest.raises(ConfigError, match="'abacus' is unknown"):
        load(tiny, backend="auto")
    assert load(tiny, backend="onnxruntime", threads=1).streams == 1


def parts(directory: Path) -> tuple[Architecture, Tensors]:
    packed = build_packed(directory, progress=False)
    architecture = Architecture(**read_json(packed / MANIFEST)["architecture"])
    return architecture, read_graph_tensors(packed / GRAPH)


@pytest.mark.parametrize("types", [True, False])
@pytest.mark.parametrize("folder", [".", "onnx"])
def test_exported_model(tiny: Path, tmp_path: Path, types: bool, folder: str) -> None:
    graph = padded_graph(*parts(tiny), types=types)
    export = write_export(tmp_path / "export", graph, tiny / "tokenizer.json")
    if folder == "onnx":
        (export / "onnx").mkdir()
        (export / "model.onnx").rename(export / "onnx/model.onnx")
    padded, packed = load(export), load(tiny)
    assert padded.backend == "onnxruntime-padded"
    texts = ["card", "how do i reset my password?", "a" * 90, "?"] * 20
    assert parity(padded.embed(texts), packed.embed(texts)) > 0.99999
    assert padded.fingerprint != packed.fingerprint
    with pytest.raises(ConfigError, match="onnxruntime only"):
        load(export, backend="openvino")


def test_exported_model_with_its_own_pooling(tmp_path: Path, cache: Path) -> None:
    source = write_model(tmp_path / "cls", pooling="cls")
    export = write_export(tmp_path / "e", padded_graph(*parts(source)), source / "tokenizer.json")
    (export / "1_Pooling").mkdir()
    (export / "1_Pooling/config.json").write_text('{"pooling_mode": "cls"}')
    near = parity(load(export).embed(GOLDEN["texts"].tolist()), GOLDEN["bert-cls"])
    assert near > 0.99999


def test_an_export_stands_in_for_weights_that_cannot_be_packed(tmp_path: Path, tiny: Path) -> None:
    odd = write_model(tmp_path / "odd", kind="mpnet")
    write_export(odd, padded_graph(*parts(tiny)), tiny / "tokenizer.json")
    assert load(odd).backend == "onnxruntime-padded"


def test_dynamic_int8_export_is_refused(tiny: Path, tmp_path: Path) -> None:
    export = write_export(tmp_path / "e", padded_graph(*parts(tiny)), tiny / "tokenizer.json")
    plain = export / "plain.onnx"
    (export / "model.onnx").rename(plain)
    quantize_dynamic(plain, export / "model.onnx", weight_type=QuantType.QInt8)
    for _ in range(2):  # judged, then remembered
        with pytest.raises(ModelError, match="other company"):
            load(export)


def test_an_export_that_is_no_encoder(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e/model.onnx").write_bytes(b"nonsense")
    (tmp_path / "e/tokenizer.json").write_bytes((tiny / "tokenizer.json").read_bytes())
    with pytest.raises(ModelError, match="cannot be used"):
        load(tmp_path / "e")


def test_an_export_without_its_config(tiny: Path, tmp_path: Path) -> None:
    export = write_export(tmp_path / "e", padded_graph(*parts(tiny)), tiny / "tokenizer.json")
    (export / "config.json").unlink()
    with pytest.raises(ModelError, match=r"with 512 tokens .* put the config.json"):
        load(export)


def test_dense_after_pooling_is_refused(tiny: Path) -> None:
    (tiny / "modules.json").write_text('[{"type": "sentence_transformers.models.Dense"}]')
    with pytest.raises(ModelError, match="Dense"):
        read_architecture(tiny)
