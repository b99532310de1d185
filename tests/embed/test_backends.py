from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from semcache_async.embed import hint, load_embedder
from semcache_async.embed.models.installed import GRAPH, build_packed
from semcache_async.embed.runtimes import backends, cpu
from semcache_async.embed.runtimes.backends import chosen_name, remembered
from semcache_async.embed.runtimes.checks import parity
from semcache_async.embed.runtimes.encoders import LONG, OnnxPacked
from semcache_async.embed.runtimes.fixed import OpenVinoPacked
from semcache_async.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

TEXTS = ["card", "how do i reset my password?", "money " * 20, "c++"] * 8
AMX = frozenset({"avx512f", "amx_bf16"})


def fake_openvino(error: float = 0.0, jitter: float = 0.0) -> type:
    """OpenVINO as onnxruntime with an error of its own, or one that depends on the company."""

    class Fake(OnnxPacked):
        sizes = ()

        def __init__(self, model: Path, *, threads: int, precision: str) -> None:
            super().__init__(model, threads=threads)
            self.name, self.precision = f"openvino-{precision}-packed", precision

        def complete(self) -> None:
            """Any size will do."""

        def run(self, items: Any) -> Any:
            vectors: Any = super().run(items)
            random = np.random.default_rng(len(items) if jitter else 0)
            noise = random.standard_normal(vectors.shape[1]) * (error or jitter)
            vectors = vectors + noise.astype("f4")
            return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    return Fake


@pytest.fixture
def amx(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    pytest.importorskip("openvino")
    monkeypatch.setattr(backends, "cpu_features", lambda: AMX)
    monkeypatch.setattr(backends, "gain", lambda *_: 4.0)
    return monkeypatch


def test_bf16_where_the_cpu_has_it(tiny: Path, amx: pytest.MonkeyPatch) -> None:
    amx.setattr(backends, "OpenVinoPacked", fake_openvino(error=1e-4))
    embedder = load_embedder(tiny, progress=False)
    assert embedder.backend == "openvino-bf16-packed"
    plain = load_embedder(tiny, backend="onnxruntime", progress=False)
    assert plain.backend == "onnxruntime-f32-packed"
    assert plain.fingerprint != embedder.fingerprint
    amx.setenv("SEMCACHE_BACKEND", "onnxruntime")
    assert load_embedder(tiny, progress=False).fingerprint == plain.fingerprint


def test_bf16_is_not_used_where_it_is_slower(
    tiny: Path, amx: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Some CPUs have its instructions, and are quicker without."""
    amx.setattr(backends, "OpenVinoPacked", fake_openvino())
    amx.setattr(backends, "gain", lambda _, rival, __: 0.82 if "openvino" in rival.name else 4.0)
    for backend in ("openvino", "auto"):
        embedder = load_embedder(tiny, backend=backend, progress=False)
        assert embedder.backend == "openvino-f32-packed"
    assert "0.82 times as fast as openvino-f32-packed" in caplog.text


def test_int8_is_used_where_it_is_asked_for_and_near_enough(
    tiny: Path, amx: pytest.MonkeyPatch
) -> None:
    amx.setattr(backends, "OpenVinoPacked", fake_openvino(error=0.02))
    assert load_embedder(tiny, progress=False).backend == "onnxruntime-f32-packed"
    amx.setenv("SEMCACHE_BACKEND", "openvino-int8")
    assert load_embedder(tiny, progress=False).backend == "openvino-int8-packed"
    amx.setattr(backends, "OpenVinoPacked", fake_openvino(error=0.06))
    with pytest.raises(ModelError, match="no usable vectors"):
        load_embedder(tiny, threads=1, progress=False)


@pytest.mark.parametrize(
    ("fault", "said"),
    [({"error": 0.05}, "cosine to float32 0.9"), ({"jitter": 0.003}, "in other company 0.99")],
)
def test_wrong_vectors_are_not_used(
    tiny: Path,
    amx: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Any,
    said: str,
) -> None:
    amx.setattr(backends, "OpenVinoPacked", fake_openvino(**fault))
    assert load_embedder(tiny, progress=False).backend == "onnxruntime-f32-packed"
    assert "openvino-bf16-packed is not used here" in caplog.text
    assert said in caplog.text
    with pytest.raises(ModelError, match="no usable vectors"):
        load_embedder(tiny, backend="openvino", progress=False)


def test_no_faster_is_not_used(tiny: Path, amx: pytest.MonkeyPatch) -> None:
    amx.setattr(backends, "OpenVinoPacked", fake_openvino())
    amx.setattr(backends, "gain", lambda *_: 1.1)
    assert load_embedder(tiny, progress=False).backend == "onnxruntime-f32-packed"


def test_failing_runtime_is_not_used(
    tiny: Path, amx: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:

    class Broken(fake_openvino()):  # type: ignore[misc]
        def complete(self) -> None:
            raise RuntimeError("no such instruction")

    amx.setattr(backends, "OpenVinoPacked", Broken)
    assert load_embedder(tiny, progress=False).backend == "onnxruntime-f32-packed"
    assert "it failed" in caplog.text


def test_absent_runtime(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert load_embedder(tiny, progress=False).backend == "onnxruntime-f32-packed"
    with pytest.raises(ModelError, match="OpenVINO is not installed; run"):
        load_embedder(tiny, backend="openvino", progress=False)


@pytest.mark.parametrize(
    ("flags", "said", "level"),
    [
        ({"avx512f", "avx512_bf16", "avx512_vnni"}, "up to twice as fast", "WARNING"),
        ({"avx512f", "avx512_vnni"}, "SEMCACHE_BACKEND=openvino-int8", "INFO"),
        ({"avx512f"}, "a little faster", "INFO"),
        ({"avx2"}, None, None),
    ],
)
def test_what_would_be_faster_is_said_once(
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    flags: set[str],
    said: str | None,
    level: str | None,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(cpu, "cpu_features", lambda: frozenset(flags))
    monkeypatch.setattr(cpu, "HINTED", set())
    for _ in range(2):
        load_embedder(tiny, progress=False)
    logged = [(r.levelname, r.getMessage()) for r in caplog.records if "pip install" in r.message]
    assert [name for name, _ in logged] == ([level] if level else [])
    if said:
        assert said in (hint() or "")
        assert logged[0][1] == hint()
    monkeypatch.setenv("SEMCACHE_BACKEND", "onnxruntime")
    assert hint() is None


def test_nothing_to_hint_at_where_it_is_installed() -> None:
    pytest.importorskip("openvino")
    assert hint() is None


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("complete", [False, True], ids=["while compiling", "compiled"])
def test_real_openvino_agrees(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, threads: int, complete: bool
) -> None:
    """Packs of every size, in the larger ones that serve meanwhile, and over the budget."""
    pytest.importorskip("openvino")
    monkeypatch.setattr(backends, "cpu_features", frozenset)
    fixed = load_embedder(tiny, backend="openvino", threads=threads, progress=False)
    free = load_embedder(tiny, backend="onnxruntime", progress=False)
    assert fixed.backend == "openvino-f32-packed"
    assert fixed.fingerprint == free.fingerprint
    if complete:
        fixed.complete()
    for texts in (["c"], TEXTS[:2], TEXTS[:4], TEXTS, ["a" * 128, "b"], ["?"] * 70):
        assert parity(fixed.embed(texts), free.embed(texts)) > 0.99999


def test_passes_over_the_budget_agree(tiny: Path) -> None:
    pytest.importorskip("openvino")
    graph = build_packed(tiny, progress=False) / GRAPH
    embedder = load_embedder(tiny, backend="onnxruntime", progress=False)
    for encoder in (
        OnnxPacked(graph, threads=2),
        OpenVinoPacked(graph, threads=2, precision="f32"),
    ):
        for texts in (TEXTS[:8], TEXTS * 3, TEXTS[:9], TEXTS * 4):
            some = embedder.tokenise(texts)
            assert (sum(map(len, some)) > LONG) == (len(texts) > 9)
            assert parity(encoder.run(some), embedder.embed_tokens(some)) > 0.99999


def test_verdicts_are_remembered(tmp_path: Path) -> None:
    verdicts = iter(["", "bad"])
    for facts, expected in ((["a"], ""), (["b"], "bad"), (["a"], ""), (["b"], "bad")):
        assert remembered(tmp_path / "v", facts, lambda: next(verdicts)) == expected


def test_chosen_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMCACHE_BACKEND", "openvino")
    assert chosen_name("auto") == "openvino"
    assert chosen_name("onnxruntime") == "onnxruntime"
    monkeypatch.setenv("SEMCACHE_BACKEND", "")
    assert chosen_name("auto") == "auto"
