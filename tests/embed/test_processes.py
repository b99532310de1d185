"""What only shows in processes of their own: first inferences that meet, and forks.

Time limits are safety nets: what they catch stands still for ever.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.embed.tiny import write_model

STARTS = int(os.environ.get("SEMCACHE_TEST_STARTS", "12"))
LIMIT_S = 100.0

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed"
)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
BACKENDS = ["onnxruntime", pytest.param("openvino", marks=needs_openvino)]

MEETING = """
import sys; sys.setswitchinterval(1e-6)
from semcache_async.embed import load_embedder
from semcache_async.embed.runtimes import backends
backends.cpu_features = lambda: frozenset(sys.argv[2].split())
embedder = load_embedder(sys.argv[1], backend="openvino", threads=2, progress=False)
texts = [f"what is the price of thing number {i} in the long catalogue" for i in range(64)]
assert embedder.embed(texts).shape == (64, embedder.dim)
"""

FORK = """
import os, sys, threading
import numpy as np
from semcache_async.embed import load_embedder
from semcache_async.errors import EmbeddingError
embedder = load_embedder(sys.argv[1], backend=sys.argv[2], threads=2, progress=False)
texts = ["how do i reset my password?", "card", "money " * 20] * 20
embedder.complete()
truth = embedder.embed(texts)
if sys.argv[3] == "busy":
    def work():
        while True:
            embedder.embed(texts)
    threading.Thread(target=work, daemon=True).start()
for leave in (sys.exit, os._exit):
    child = os.fork()
    if child == 0:
        try:
            alike = np.allclose(embedder.embed(texts), truth, atol=0.01)
            leave(0 if alike and embedder.embed(["card"]).any() else 3)
        except EmbeddingError as error:
            leave(0 if sys.argv[2] == "openvino" and "after the fork" in str(error) else 4)
    assert os.waitpid(child, 0)[1] == 0
    child = os.fork()
    if child == 0:
        leave(0)  # without having used it
    assert os.waitpid(child, 0)[1] == 0
assert np.allclose(embedder.embed(texts), truth, atol=0.01)
os._exit(0)
"""

BROKEN_CHILD = """
import os, sys
from semcache_async.embed import load_embedder
from semcache_async.errors import EmbeddingError
embedder = load_embedder(sys.argv[1], backend="onnxruntime", progress=False)
os.rename(sys.argv[1], sys.argv[1] + "-gone")
child = os.fork()
if child == 0:
    for _ in range(2):
        try:
            embedder.embed(["card"])
        except EmbeddingError as error:
            assert "after the fork (gunicorn: post_fork, Celery: worker_process_init)" in str(error)
        else:
            os._exit(4)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def run(code: str, *arguments: object) -> None:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 0, done.stderr


@needs_openvino
@pytest.mark.timeout(60 + STARTS * LIMIT_S)
@pytest.mark.parametrize("features", ["avx512f avx512_bf16", ""], ids=["bf16", "f32"])
def test_first_inferences_that_meet(tiny: Path, features: str) -> None:
    """The binding's one-time initialisers would stop the whole process."""
    for _ in range(STARTS // 2):
        run(MEETING, tiny, features)


@needs_fork
@pytest.mark.timeout(3 * LIMIT_S)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("parent", ["quiet", "busy"])
def test_a_forked_child_embeds_and_ends(tiny: Path, backend: str, parent: str) -> None:
    """Or says at once what to do, where the parent was inside OpenVINO as it forked."""
    run(FORK, tiny, backend, parent)


@needs_fork
def test_a_child_that_cannot_says_what_to_do(tmp_path: Path, cache: Path) -> None:
    from semcache_async.embed.models.installed import build_packed

    run(BROKEN_CHILD, build_packed(write_model(tmp_path / "m"), progress=False))
