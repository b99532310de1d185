"""The public embedder: texts to tokens to packs to vectors."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from semcache_async.embed.runtimes.cpu import hint
from semcache_async.embed.runtimes.forks import ForkLock
from semcache_async.embed.tokenizer import reserved
from semcache_async.embed.wording import brief
from semcache_async.errors import EmbeddingError, PromptError, PromptTooLongError
from semcache_async.types import Piece

if TYPE_CHECKING:
    from collections.abc import Sequence

    from semcache_async.embed.runtimes.encoders import Encoder, Ids, Vectors

__all__ = ["Piece", "TextEmbedder"]


class TextEmbedder:
    """Texts to unit vectors, the same vector in any company. Safe from several threads.

    Made by ``load_embedder``; every method blocks, and those that run the model release the GIL
    for nearly all their time. In a forked child the runtime is started anew on first use.
    """

    def __init__(
        self,
        *,
        tokenizer: Any,
        encoder: Encoder,
        dim: int,
        window: int,
        fingerprint: str,
        prompt: str = "",
        max_distance: float | None = None,
    ) -> None:
        self.dim = dim
        self.fingerprint = fingerprint
        """Hex; equal where vectors may be compared: weights, tokenizer, pooling, precision."""
        self.window = window
        """The most tokens one text may have, special ones and those of the prompt included."""
        self.prompt = prompt
        """Put before every text, as the model was trained with; \"\" for none."""
        self.max_distance = max_distance
        """``CacheConfig.max_distance`` for this model, where that was measured."""
        self._tokenizer = tokenizer
        self._reserved = reserved(tokenizer)
        self._framing = self._reserved_in(tokenizer.encode(prompt).ids)
        self._prompted = len(tokenizer.encode(prompt.rstrip(), add_special_tokens=False).ids)
        self._encoder = encoder
        self._pid = os.getpid()
        self._renewing = ForkLock()
        self._helpers: ThreadPoolExecutor | None = None

    @property
    def backend(self) -> str:
        """Runtime, precision and layout, such as ``onnxruntime-f32-packed``."""
        return self._encoder.name

    @cached_property
    def hint(self) -> str | None:
        """What would embed faster on this CPU, and how to get it; None where nothing would."""
        return hint()

    @property
    def token_budget(self) -> int:
        """Tokens in one call of ``embed_tokens`` beyond which throughput no longer grows."""
        return self._encoder.budget

    @property
    def streams(self) -> int:
        """How many threads may usefully be inside ``embed_tokens`` at once."""
        return self._encoder.streams

    def __repr__(self) -> str:
        return (
            f"<TextEmbedder {self.backend} dim={self.dim} window={self.window} "
            f"token_budget={self.token_budget} streams={self.streams}>"
        )

    def complete(self) -> None:
        """Make ready what is otherwise made ready meanwhile: for measurements and tests."""
        self._encoder.complete()

    def tokenise(self, texts: Sequence[str]) -> list[Ids]:
        """The tokens of each text, special ones included, never cut.

        Raises ``PromptError`` for what is no valid Unicode text.
        """
        try:
            if self.prompt:
                texts = [self.prompt + text for text in texts]
            found = self._tokenizer.encode_batch_fast(list(texts))
        except (TypeError, UnicodeError) as error:
            raise PromptError(
                f"A text cannot be tokenised ({brief(error)}); give valid str."
            ) from error
        return [np.array(encoding.ids, np.int32) for encoding in found]

    def pieces(self, text: str) -> tuple[Piece, ...]:
        """The text's tokens behind the prompt, special ones left out, each with where it stands in
        the text.

        What lies between them, or within one and not in its word, the model never saw. Raises
        ``PromptError`` for what is no valid Unicode text.
        """
        try:
            whole = self.prompt + text if self.prompt else text
            found = self._tokenizer.encode(whole, add_special_tokens=False)
        except (TypeError, UnicodeError) as error:
            raise PromptError(f"The text cannot be tokenised ({brief(error)}).") from error
        spans = zip(found.ids, found.offsets, strict=True)
        if not self.prompt:
            return tuple(Piece(number, start, end) for number, (start, end) in spans)
        before = len(self.prompt)
        return tuple(
            Piece(number, max(start - before, 0), max(end - before, 0))
            for number, (start, end) in islice(spans, self._prompted, None)
        )

    def readable(self, tokens: Ids) -> bool:
        """Does each token stand for text? Where the vocabulary lacks a character, texts that differ
        in it alone get one and the same vector; a special token would be read as no text."""
        return self._reserved_in(tokens.tolist()) == self._framing

    def _reserved_in(self, tokens: list[int]) -> int:
        return sum(map(self._reserved.__contains__, tokens))

    def embed_tokens(self, items: Sequence[Ids]) -> Vectors:
        """Float32 ``[len(items), dim]``, on the calling thread, in as few passes as packing allows.

        Raises ``PromptTooLongError`` for an item beyond ``window``, ``PromptError`` for an empty
        one and ``EmbeddingError`` where the runtime fails.
        """
        self._check(items)
        if self._pid != os.getpid():
            self._renew()
        vectors = np.empty((len(items), self.dim), np.float32)
        for pack in self._encoder.plan([len(item) for item in items]):
            self._run(items, pack, vectors)
        return vectors

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Float32 ``[len(texts), dim]``; many texts are spread over ``streams`` threads.

        Raises as ``tokenise`` and ``embed_tokens`` do.
        """
        items = self.tokenise(texts)
        if self.streams == 1 or sum(map(len, items)) <= self.token_budget:
            return self.embed_tokens(items)
        self._check(items)
        if self._pid != os.getpid():
            self._renew()
        vectors = np.empty((len(items), self.dim), np.float32)
        packs = self._encoder.plan([len(item) for item in items])
        for _ in self._pool().map(lambda pack: self._run(items, pack, vectors), packs):
            pass
        return vectors

    def _pool(self) -> ThreadPoolExecutor:
        with self._renewing:
            if self._helpers is None:
                self._helpers = ThreadPoolExecutor(
                    self.streams, thread_name_prefix="semcache-embed"
                )
            return self._helpers

    def _renew(self) -> None:
        with self._renewing:
            if self._pid == os.getpid():
                return
            self._helpers = None
            try:
                self._encoder.reopen()
            except Exception as error:
                raise EmbeddingError(
                    f"{self.backend} cannot be started in a forked process ({brief(error)}); load "
                    "the embedder after the fork (gunicorn: post_fork, Celery: "
                    "worker_process_init)."
                ) from error
            self._pid = os.getpid()

    def _check(self, items: Sequence[Ids]) -> None:
        for item in items:
            if len(item) > self.window:
                raise PromptTooLongError(
                    f"A text has {len(item)} tokens and the embedding model reads {self.window}; "
                    "shorten it, or load a model with a larger window."
                )
            if not len(item):
                raise PromptError("A text has no tokens; give one that is not empty.")

    def _run(self, items: Sequence[Ids], pack: list[int], vectors: Vectors) -> None:
        try:
            found = self._encoder.run([items[index] for index in pack])
        except Exception as error:
            raise EmbeddingError(
                f"{self.backend} failed on {len(pack)} texts ({brief(error)}); if it goes on, "
                "choose another backend with SEMCACHE_BACKEND."
            ) from error
        if found.shape[1] > self.dim:
            found = found[:, : self.dim]
            lengths = np.linalg.norm(found, axis=1, keepdims=True)
            found = found / np.maximum(lengths, np.float32(1e-12))
        if found.shape != (len(pack), self.dim) or not np.isfinite(found).all():
            raise EmbeddingError(
                f"{self.backend} returned unusable vectors of shape {found.shape}; choose another "
                "backend with SEMCACHE_BACKEND, or pull the model again."
            )
        vectors[pack] = found
