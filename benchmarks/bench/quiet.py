"""How much of the machine is in use, and by how much more than is measured."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

__all__ = ["CpuTimes", "busy_share", "cpu_times", "others_share"]

_STAT = Path("/proc/stat")


class CpuTimes(NamedTuple):
    """Seconds of all CPUs together since some moment; what a hypervisor took counts as busy."""

    busy: float
    total: float


def cpu_times() -> CpuTimes:
    """Zeros where the system does not say."""
    if not _STAT.exists():
        return CpuTimes(0.0, 0.0)
    line = _STAT.read_text(encoding="ascii").splitlines()[0]
    ticks = [int(word) / os.sysconf("SC_CLK_TCK") for word in line.split()[1:9]]
    return CpuTimes(sum(ticks) - ticks[3] - ticks[4], sum(ticks))


def busy_share(seconds: float = 1.0) -> float:
    """Share of the CPUs that are in use while this waits."""
    before = cpu_times()
    time.sleep(seconds)
    return others_share(before, cpu_times(), 0.0)


def others_share(before: CpuTimes, after: CpuTimes, own_s: float) -> float:
    """Share of the CPUs that was in use beyond ``own_s`` seconds of them."""
    total = after.total - before.total
    return round(max(0.0, after.busy - before.busy - own_s) / total, 3) if total > 0 else 0.0
