"""Texts to unit vectors. In reading order: ``loading`` finds or builds a model (``models``, from
what ``encoder`` reads), ``runtimes`` picks what runs it on this CPU, and ``embedder`` is what
callers hold; ``verifier`` compares two texts by a model of the same kind. ``remote`` leaves the
work to a service, by what ``asking`` says to it.
"""

from __future__ import annotations

from semcache_async.embed.embedder import TextEmbedder
from semcache_async.embed.loading import (
    default_embedder,
    load_embedder,
    load_verifier,
    open_embedder,
)
from semcache_async.embed.models.installed import pull_model
from semcache_async.embed.remote import RemoteEmbedder
from semcache_async.embed.runtimes.cpu import hint
from semcache_async.embed.verifier import PairVerifier

__all__ = [
    "PairVerifier",
    "RemoteEmbedder",
    "TextEmbedder",
    "default_embedder",
    "hint",
    "load_embedder",
    "load_verifier",
    "open_embedder",
    "pull_model",
]
