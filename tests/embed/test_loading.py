from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from onnxruntime.quantization import QuantType, quantize_dynamic

from semcache_async.embed import TextEmbedder, load_embedder
from semcache_async.embed.encoder.architecture import Architecture, Tensors
from semcache_async.embed.encoder.graph import read_graph_tensors
from semcache_async.embed.encoder.layout import read_architecture, read_json
from semcache_async.embed.encoder.reference import reference_vectors
from semcache_async.embed.encoder.weights import read_tensors
from semcache_async.embed.models.installed import GRAPH, MANIFEST, build_packed, pull_model
from semcache_async.embed.runtimes.checks import parity
from semcache_async.errors import ConfigError, ModelError
from tests.embed import golden
from tests.embed.tiny import add_steps, padded_graph, write_export, write_model, write_tensors

GOLDEN = np.load(Path(__file__).parent / "golden_tiny.npz")


def load(directory: Path | str, **options: Any) -> TextEmbedder:
    """On onnxruntime unless told otherwise: "auto" depends on which runtime is quicker here."""
    return load_embedder(directory, **{"backend": "onnxruntime", "progress": False, **options})


@pytest.mark.parametrize("name", golden.NAMES)
def test_sentence_transformers_agrees(tmp_path: Path, cache: Path, name: str) -> None:
    """Vectors that sentence-transformers 6.2 on torch 2.13 gave for the same random weights, with
    each family's own names; here in company."""
    embedder = load(golden.write(tmp_path / "m", name))
    texts = GOLDEN["texts"].tolist()
    assert parity(embedder.embed([*texts, *texts[::-1]])[:4], GOLDEN[name]) > 0.99999
    assert embedder.window == 130 - 2 * name.startswith(("roberta", "mpnet")) - name.startswith(
        "xlm"
    )
    assert embedder.prompt == ("query: " if name == "bert-steps" else "")


@pytest.mark.parametrize("kind", ["mpnet", "modernbert"])
def test_long_texts_and_the_reference_agree(tmp_path: Path, cache: Path, kind: str) -> None:
    """Beyond the reach of local layers and of the bias by distance."""
    source = write_model(tmp_path / "m", kind=kind, max_position_embeddings=130)
    embedder, (architecture, layout) = load(source), read_architecture(source)
    items = embedder.tokenise(["card" * 25, "?" * 120, "how " * 100, "a"])
    truth = reference_vectors(architecture, read_tensors(layout, architecture), items)
    assert parity(embedder.embed_tokens(items), truth) > 0.99999


def test_sharded_weights_are_the_same(tmp_path: Path, cache: Path) -> None:
    whole, parted = write_model(tmp_path / "a"), write_model(tmp_path / "b")
    tensors = safetensors.numpy.load_file(parted / "model.safetensors")
    (parted / "model.safetensors").unlink()
    weight_map = {}
    for number, name in enumerate(sorted(tensors)):
        shard = f"model-0000{number % 2}-of-00002.safetensors"
        weight_map[name] = shard
    for shard in sorted(set(weight_map.values())):
        some = {name: tensors[name] for name in tensors if weight_map[name] == shard}
        safetensors.numpy.save_file(some, parted / shard)
    index = json.dumps({"weight_map": weight_map})
    (parted / "model.safetensors.index.json").write_text(index)
    texts = GOLDEN["texts"].tolist()
    np.testing.assert_array_equal(load(parted).embed(texts), load(whole).embed(texts))


def test_a_cut_vector_is_the_beginning_of_the_whole_one(tiny: Path) -> None:
    whole, cut = load(tiny), load(f"{tiny}:8")
    assert whole.fingerprint != cut.fingerprint
    assert whole.fingerprint == load(f"{tiny}:32").fingerprint
    texts = GOLDEN["texts"].tolist()
    begun = whole.embed(texts)[:, :8]
    assert parity(cut.embed(texts), begun / np.linalg.norm(begun, axis=1, keepdims=True)) > 0.99999
    assert cut.dim == 8
    with pytest.raises(ConfigError, match="keep 1 to 32, not 33"):
        load(f"{tiny}:33")


def test_a_prompt_is_part_of_the_fingerprint(tiny: Path) -> None:
    plain = load(tiny)
    add_steps(tiny, prompt="query: ")
    asked = load(tiny)
    assert asked.fingerprint != plain.fingerprint
    assert parity(asked.embed(["card"]), plain.embed(["query: card"])) > 0.99999


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


def test_do_lower_case_is_honoured(tiny: Path) -> None:
    tokenizer = json.loads((tiny / "tokenizer.json").read_text())
    (tiny / "tokenizer.json").write_text(json.dumps(tokenizer | {"normalizer": None}))
    cased = load(tiny)
    (tiny / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    lowered = load(tiny)
    assert lowered.fingerprint != cased.fingerprint
    np.testing.assert_array_equal(lowered.embed(["Card?"]), cased.embed(["card?"]))
    assert [(piece.start, piece.end) for piece in lowered.pieces("Card?")] == [(0, 4), (4, 5)]


def test_a_token_without_a_row_is_found_before_a_text_has_it(tiny: Path) -> None:
    tensors = safetensors.numpy.load_file(tiny / "model.safetensors")
    words = "embeddings.word_embeddings.weight"
    write_tensors(tiny / "model.safetensors", tensors | {words: tensors[words][:-1]})
    with pytest.raises(ModelError, match="has a token"):
        load(tiny)


def test_weights_of_another_shape(tmp_path: Path, cache: Path) -> None:
    source = write_model(tmp_path / "m", kind="modernbert", num_attention_heads=32)
    with pytest.raises(ModelError, match="cannot be packed"):  # heads of one value cannot turn
        load(source)


def test_max_seq_length_is_honoured(tiny: Path) -> None:
    (tiny / "sentence_bert_config.json").write_text('{"max_seq_length": 20}')
    assert load(tiny).window == 20


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"kind": "electra"}, r"'electra' cannot be packed \(bert, roberta.*exported model.onnx"),
        ({"hidden_act": "swish"}, "hidden_act = 'swish'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ({"pooling": "max"}, "mean, CLS or last-token pooling"),
        ({"num_hidden_layers": 3}, "no tensor encoder.layer.2"),
        ({"num_attention_heads": 5}, "does not match"),
        ({"hidden_size": None}, "garbles"),
        ({"num_attention_heads": 0}, "garbles heads = 0"),
        ({"max_position_embeddings": -1}, "garbles window = -1"),
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


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "[" * 200_000),
        ("config.json", '{"model_type": "bert", "num_hidden_layers": Infinity}'),
        (
            "config.json",
            '{"model_type": "modernbert", "num_hidden_layers": 2, "global_attn_every_n_layers": 0}',
        ),
        ("modules.json", "[" * 200_000),
        ("modules.json", '[{"type": "Pooling", "path": "a\\u0000b"}]'),
        ("config_sentence_transformers.json", '{"prompts": ["q"]}'),
        ("model.safetensors.index.json", '{"weight_map": [1]}'),
        ("model.safetensors.index.json", '{"weight_map": {"a": {}, "b": "c"}}'),
    ],
)
def test_descriptions_that_make_no_sense(tiny: Path, name: str, content: str) -> None:
    (tiny / name).write_text(content)
    if name == "model.safetensors.index.json":
        (tiny / "model.safetensors").unlink()
    with pytest.raises(ModelError):
        load(tiny)


def test_nothing_is_fetched_for_a_directory(tiny: Path) -> None:
    with pytest.raises(ModelError, match="is a directory"):
        pull_model(str(tiny))


def test_a_shape_that_no_graph_has(tmp_path: Path, cache: Path) -> None:
    odd = write_model(tmp_path / "odd", kind="modernbert", max_position_embeddings=10**13)
    with pytest.raises(ModelError, match="cannot be packed"):
        load(odd)


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
    architecture = Architecture.of_json(read_json(packed / MANIFEST)["architecture"])
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
    odd = write_model(tmp_path / "odd", kind="electra")
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


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([{"type": "sentence_transformers.models.CNN", "path": "2_CNN"}], "a step CNN"),
        ([{"type": "Transformer"}], "no list of modules"),
        ([{"type": "Pooling", "path": "../1_Pooling"}], "leads out of its directory"),
        ([{"type": "Dense", "path": "1_Pooling"}], "a layer that cannot be packed"),
    ],
)
def test_steps_that_cannot_be_packed(tiny: Path, steps: object, said: str) -> None:
    (tiny / "modules.json").write_text(json.dumps(steps))
    with pytest.raises(ModelError, match=said):
        load(tiny)
