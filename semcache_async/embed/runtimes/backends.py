"""Which runtime runs a packed graph here: the quickest one that gives the right vectors."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from semcache_async.embed.runtimes.checks import INVARIANCE, PARITY, invariance, parity
from semcache_async.embed.runtimes.cpu import AVX512, BF16, cpu_features, log_hint
from semcache_async.embed.runtimes.encoders import Encoder, Ids, OnnxPacked, Vectors
from semcache_async.embed.runtimes.fixed import OpenVinoPacked
from semcache_async.embed.wording import brief
from semcache_async.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Backend", "choose_backend", "chosen_name", "remembered"]

_log = logging.getLogger(__name__)

Backend: TypeAlias = Literal["auto", "onnxruntime", "openvino", "openvino-int8"]

_Rival: TypeAlias = "tuple[float, Callable[[], Encoder]]"
"""Another encoder, and how many times as fast one must be."""
_WORTHWHILE = 1.15
"""How many times as fast as onnxruntime another runtime must be to be taken unasked."""


def chosen_name(backend: str) -> Backend:
    """``backend``, or what SEMCACHE_BACKEND says in place of "auto"; ``ConfigError`` if unknown."""
    name = backend if backend != "auto" else os.environ.get("SEMCACHE_BACKEND") or "auto"
    for known in get_args(Backend):
        if name == known:
            return known  # type: ignore[no-any-return]
    raise ConfigError(f"Backend {name!r} is unknown; choose one of {', '.join(get_args(Backend))}.")


def choose_backend(
    graph: Path, items: Sequence[Ids], *, backend: Backend, threads: int, verdicts: Path, key: str
) -> Encoder:
    """An encoder for ``graph`` whose vectors of ``items`` (the probes) were checked on this CPU.

    "auto" tries OpenVINO only where it can gain: with bfloat16 or AVX-512 in hardware. Bfloat16 is
    taken where it is quicker than float32, int8 only where it is asked for. A verdict is kept below
    ``verdicts``, under ``key``, the runtimes' versions and the CPU's features.
    """
    try:
        plain = OnnxPacked(graph, threads=threads)
    except Exception as error:  # the runtime has many kinds
        raise ModelError(
            f"{graph} cannot be loaded ({brief(error)}); delete its directory, and the model is "
            "built again."
        ) from error
    if backend == "onnxruntime":
        return plain
    if importlib.util.find_spec("openvino") is None:
        if backend != "auto":
            raise ModelError(
                "OpenVINO is not installed; run: pip install 'semcache-async[openvino]'."
            )
        log_hint()
        return plain
    features = cpu_features()
    facts = [key, backend, threads, sorted(features), platform.machine(), *_versions()]
    opened = partial(OpenVinoPacked, graph, threads=threads)
    for precision in _precisions(features, backend):
        try:
            encoder = opened(precision=precision)
            rivals: list[_Rival] = [(_WORTHWHILE, lambda: plain)] if backend == "auto" else []
            if precision == "bf16":
                rivals.append((1.0, partial(opened, precision="f32")))
            judge = partial(_trouble, encoder, plain, items, rivals)
            trouble = remembered(verdicts, [precision, OpenVinoPacked.sizes, *facts], judge)
        except Exception as error:  # any failure inside a runtime
            trouble = f"it failed: {brief(error)}"
        if not trouble:
            return encoder
        _log.warning("openvino-%s-packed is not used here: %s", precision, trouble)
    if backend != "auto":
        raise ModelError(
            "OpenVINO gives no usable vectors on this machine (see the log); set SEMCACHE_BACKEND "
            "to onnxruntime."
        )
    return plain


def remembered(verdicts: Path, facts: Sequence[Any], judge: Callable[[], str]) -> str:
    """``judge()``, which is asked once for the same ``facts``; "" is the good verdict."""
    name = hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:32]
    path = verdicts / f"{name}.txt"
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        verdict = judge()
    try:
        verdicts.mkdir(parents=True, exist_ok=True)
        draft = verdicts / f".{name}.{os.getpid()}"
        draft.write_text(verdict, encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        _log.warning("verdict not kept in %s (%s): it is found again each time", verdicts, error)
    return verdict


def _precisions(features: frozenset[str], backend: Backend) -> list[str]:
    """OpenVINO's precisions that are worth a trial, best first."""
    if backend == "openvino-int8":
        return ["int8"]
    found = [] if features.isdisjoint(BF16) else ["bf16"]
    return [*found, "f32"] if backend == "openvino" or AVX512 in features else found


def _versions() -> list[str]:
    return [importlib.metadata.version(name) for name in ("openvino", "onnxruntime")]


def _trouble(
    encoder: OpenVinoPacked, plain: Encoder, items: Sequence[Ids], rivals: Sequence[_Rival]
) -> str:
    """What speaks against ``encoder``, in all its sizes; "" where nothing does."""
    encoder.complete()
    packed = partial(_packed, encoder)
    truth = _packed(plain, items)
    near = min(parity(packed(items), truth), parity(encoder.run(items), truth))
    steady = invariance(packed, items)
    if not (near >= PARITY[encoder.precision] and steady >= INVARIANCE):
        return f"cosine to float32 {near:.6f}, to itself in other company {steady:.6f}"
    for least, opened in rivals:
        rival = opened()
        if (times := gain(encoder, rival, items)) < least:
            return f"{times:.2f} times as fast as {rival.name}"
    return ""


def _packed(encoder: Encoder, items: Sequence[Ids]) -> Vectors:
    """Their vectors, in as many passes as a caller's would take."""
    packs = encoder.plan([len(item) for item in items])
    found = np.concatenate([encoder.run([items[i] for i in pack]) for pack in packs])
    in_order: Vectors = found[np.argsort(np.concatenate(packs))]
    return in_order


def gain(encoder: Encoder, plain: Encoder, items: Sequence[Ids], rounds: int = 5) -> float:
    """How many times as fast as ``plain``, by the quickest of alternating rounds."""
    pack = plain.plan([len(item) for item in items])[-1]
    some = [items[i] for i in pack]
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        for side, contender in enumerate((encoder, plain)):
            started = time.perf_counter()
            contender.run(some)
            best[side] = min(best[side], time.perf_counter() - started)
    return best[1] / best[0]
