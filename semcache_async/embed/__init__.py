"""Texts to unit vectors. In reading order: ``loading`` finds or builds a model (``models``,
``sources``, ``weights``, ``graph``), ``backends`` picks a runtime (``encoders``, ``fixed``) that
passes ``checks`` against ``reference`` on this ``cpu``, and ``embedder`` is what callers hold.
Beside the runtimes stand ``packs``, ``watch`` and ``forks``.
"""

from __future__ import annotations

from semcache_async.embed.cpu import hint
from semcache_async.embed.embedder import TextEmbedder
from semcache_async.embed.loading import default_embedder, load_embedder
from semcache_async.embed.models import pull_model

__all__ = ["TextEmbedder", "default_embedder", "hint", "load_embedder", "pull_model"]
