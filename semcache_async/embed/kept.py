"""What is known of a service from an earlier start, on this disk."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["read", "write"]

_log = logging.getLogger("semcache_async")


def write(directory: Path, service: object, vectors: NDArray[np.float32]) -> None:
    """Keep the vectors under what ``service`` says, as JSON, of whom they are."""
    path = _path(directory, service)
    draft = path.with_suffix(f".{os.getpid()}")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            np.save(file, vectors)
        draft.replace(path)
    except OSError as error:
        _log.warning(
            "%s cannot be written (%s): a start without the embedder will not do.",
            *(path, error.strerror),
        )


def read(directory: Path, service: object, count: int) -> NDArray[np.float32] | None:
    """So many vectors; None where they are not there, or damaged."""
    try:
        vectors = np.load(_path(directory, service), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    good = vectors.dtype == np.float32 and vectors.ndim == 2 and len(vectors) == count
    return vectors if good else None


def _path(directory: Path, service: object) -> Path:
    return directory / f"{hashlib.sha256(json.dumps(service).encode()).hexdigest()[:32]}.npy"
