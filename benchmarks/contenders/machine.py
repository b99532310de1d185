"""The machine, as far as it explains a figure."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimd", "bf16")


def describe() -> dict[str, Any]:
    """CPU model, usable CPUs, and those of its vector extensions that embedders use."""
    fields = {"model name": platform.processor() or platform.machine()}
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            fields[key.strip()] = value.strip()
    had = (fields.get("flags") or fields.get("Features") or "").split()
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": fields["model name"],
        "cpus": cpus,
        "flags": [flag for flag in _FLAGS if flag in had],
        "system": f"{platform.system()} {platform.release()}",
    }
