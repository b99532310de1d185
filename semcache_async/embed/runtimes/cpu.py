"""What this CPU can do for embedding, and what would be faster on it."""

from __future__ import annotations

import importlib.util
import logging
import os
from pathlib import Path

__all__ = ["AVX512", "BF16", "HINTED", "cpu_features", "hint", "log_hint"]

_log = logging.getLogger(__name__)

BF16 = ("amx_bf16", "avx512_bf16")
"""Flags of CPUs with bfloat16 in hardware."""
AVX512 = "avx512f"
VNNI = ("avx512_vnni", "avx_vnni")
"""Flags of CPUs with products of 8-bit integers."""

_COMMAND = "pip install 'semcache-async[openvino]'"
HINTED: set[str] = set()
"""What this process has been told."""


def cpu_features() -> frozenset[str]:
    """The flags that Linux lists for the first CPU; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def hint() -> str | None:
    """What would embed faster on this CPU and is not installed, with the command; None where
    nothing would, or SEMCACHE_BACKEND has chosen."""
    chosen = os.environ.get("SEMCACHE_BACKEND") or "auto"
    if chosen != "auto" or importlib.util.find_spec("openvino") is not None:
        return None
    features = cpu_features()
    if not features.isdisjoint(BF16):
        return (
            "This CPU has bfloat16, with which OpenVINO embeds up to twice as fast as onnxruntime "
            f"(it is measured before it is used). To have it, run: {_COMMAND}"
        )
    if not features.isdisjoint(VNNI):
        return (
            "This CPU has VNNI, with which OpenVINO embeds up to twice as fast as onnxruntime in "
            "8-bit integers; semcache docs embedders#int8 says at what price. To have it, run: "
            f"{_COMMAND}, and set SEMCACHE_BACKEND=openvino-int8"
        )
    if AVX512 in features:
        return (
            "This CPU has AVX-512, with which OpenVINO may embed a little faster than "
            f"onnxruntime. To try it, run: {_COMMAND}"
        )
    return None


def log_hint() -> None:
    """Log the hint, once in a process."""
    said = hint()
    if said is not None and said not in HINTED:
        HINTED.add(said)
        _log.log(logging.WARNING if "bfloat16" in said else logging.INFO, said)
