"""An embedder behind an HTTP API: OpenAI's, which many servers speak, or Azure's form of it."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from semcache_async.embed import kept
from semcache_async.errors import (
    ConfigError,
    EmbedderUnavailableError,
    EmbeddingError,
    ModelError,
    PromptError,
    WrongLoopError,
)
from semcache_async.opening import Opening

if TYPE_CHECKING:
    from pathlib import Path

    from semcache_async.embed.asking import Answer, Service

__all__ = ["RemoteEmbedder"]

_log = logging.getLogger("semcache_async")

_PROBES = ("Where two texts meet, each keeps its own place.", "Is anybody there?")
_SAME = 0.99
"""Cosine from which two vectors of one text are of one model: services compute with various
precision on various machines."""
_TOKEN = re.compile(r"[A-Za-z]{1,3}|[0-9]{1,2}|[!-/:-@\[-`{-~]|[^\x00-\x7f]|\n| {2,3}")
"""What tokenizers seldom take more than one token for, but for letters that are no word and
scripts that they were not made for."""
_FRAMING = 2
_LONGEST_REST_S = 60.0
"""For which a service may ask to be left alone."""
_NAMES = 16
"""What a service may call its one model by turns."""


class RemoteEmbedder:
    """Texts to unit vectors, by a service. **Every text that is embedded is sent there.** Make one
    with ``open``; it belongs to the event loop and the process that opened it.

    Before it is used, after it was out of reach and every ``check_s`` it has to give two texts that
    stay the same the same vectors as ever, together in one request: one that serves another model
    under the same name, or gives a text another's vector, is not used.
    """

    max_distance = None
    """``CacheConfig.max_distance`` for this model: that was not measured."""

    def __init__(
        self,
        service: Service,
        *,
        model: str,
        prefix: str,
        revision: str,
        window: int,
        most_tokens: int,
        most_texts: int,
        streams: int,
        check_s: float,
        timeout_s: float,
        usd_per_million_tokens: float,
    ) -> None:
        self.model = model
        self.window = window
        """The most tokens one text may have; a longer one has the exact tier only."""
        self.token_budget = most_tokens
        self.most_texts = most_texts
        self.streams = streams
        """Requests under way at once."""
        self.dim = 0
        self.probe: NDArray[np.float32] = np.empty(0, np.float32)
        """Its vector of a text that stays the same."""
        self.tokens = 0
        """Tokens embedded so far: what the service counts, or about as many where it does not."""
        self._service = service
        self._prefix = prefix
        self._revision = revision
        self._usd_per_token = usd_per_million_tokens / 1e6
        self._known: NDArray[np.float32] | None = None
        self._names: set[str] = set()
        self._timeout_s = timeout_s
        self._check_s = check_s
        self._checked_at = -math.inf
        self._rests_until = -math.inf
        self._slots = asyncio.Semaphore(streams)
        self._loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._closing = AsyncExitStack()

    @classmethod
    def open(
        cls,
        url: str,
        *,
        model: str,
        key: str = "",
        dimensions: int | None = None,
        prefix: str = "",
        revision: str = "",
        window: int = 512,
        most_tokens: int = 8_192,
        most_texts: int = 32,
        streams: int = 8,
        timeout_s: float = 5.0,
        check_s: float = 60.0,
        encoding: Literal["base64", "float"] | None = None,
        usd_per_million_tokens: float = 0.0,
        directory: Path | None = None,
    ) -> Opening[RemoteEmbedder]:
        """The embedder that ``model`` is at ``url``: the base URL of an OpenAI-compatible service
        (``https://api.openai.com/v1``), or of a deployment of Azure's with its ``api-version``
        (``https://NAME.openai.azure.com/openai/deployments/NAME?api-version=...``).

        ``dimensions``: asked of models that can give shorter vectors. ``prefix``: before each text,
        for models that want one (``"query: "``). ``revision``: whatever tells two models of one
        name apart. ``window``: the most tokens the model reads, by an estimate that counts
        words and signs; longer texts are not sent, since some services cut them without a word, and
        two that begin alike would be the same. ``most_tokens``, ``most_texts``: of one request;
        ``streams``: requests at once; ``timeout_s``: seconds for one, its retries included;
        ``check_s``: seconds after which it is looked whether the model is still the same;
        ``encoding``: None for base64, and numbers where that is refused; ``directory``: where to
        keep what is known of the service, so that it may be down at a later start.

        Raises ``ConfigError``; opening raises ``EmbedderUnavailableError``, ``EmbeddingError`` or
        ``ModelError``.
        """
        if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?(\?[^\s#]*)?", url):
            raise ConfigError(
                "The embedder's URL must be http(s)://host[:port][/path][?query], without a user "
                "or fragment."
            )
        if not model:
            raise ConfigError("Name the model that the embeddings' service is to use.")
        if not key.isascii() or not key.isprintable():
            raise ConfigError("The embedder's key has characters that no HTTP header can carry.")
        counts = (window, most_tokens, most_texts, streams, timeout_s, check_s)
        if not all(0 < number < math.inf for number in counts):
            raise ConfigError(
                "window, most_tokens, most_texts, streams, timeout_s and check_s must be over 0."
            )
        if usd_per_million_tokens < 0 or (dimensions is not None and dimensions < 1):
            raise ConfigError("A price is not negative, and dimensions are at least 1.")
        opened = partial(
            cls._opened,
            url,
            model=model,
            key=key,
            dimensions=dimensions,
            encoding=encoding,
            timeout_s=timeout_s,
            directory=directory,
            prefix=prefix,
            revision=revision,
            window=window,
            most_tokens=most_tokens,
            most_texts=most_texts,
            streams=streams,
            check_s=check_s,
            usd_per_million_tokens=usd_per_million_tokens,
        )
        return Opening(opened)

    @classmethod
    async def _opened(
        cls,
        url: str,
        *,
        model: str,
        key: str,
        dimensions: int | None,
        encoding: str | None,
        timeout_s: float,
        directory: Path | None,
        **options: Any,
    ) -> RemoteEmbedder:
        from semcache_async.embed.asking import open_service

        asked = {"model": model} | ({} if dimensions is None else {"dimensions": dimensions})
        async with AsyncExitStack() as stack:
            service = await stack.enter_async_context(
                open_service(url, key=key, options=asked, timeout_s=timeout_s)
            )
            embedder = cls(service, model=model, timeout_s=timeout_s, **options)
            await embedder._begin((encoding,) if encoding else ("base64", "float"), directory)
            embedder._closing = stack.pop_all()
        unsafe = " without encryption" if url.startswith("http://") else ""
        _log.warning(
            "Prompts leave this process: each one that is looked up or stored is sent to %s%s, to "
            "be embedded by %s.",
            *(service.name, unsafe, model),
        )
        return embedder

    async def aclose(self) -> None:
        """Close the connections; who waits, or asks later, gets ``EmbedderUnavailableError``."""
        await self._closing.aclose()

    @property
    def fingerprint(self) -> str:
        """The model's name and what else is asked of it; neither the service nor its key."""
        asked = self._service.options.get("dimensions")
        parts = ["remote", self.model, asked, self._prefix, self._revision, self.dim]
        return json.dumps(parts)

    @property
    def backend(self) -> str:
        """What statistics call it."""
        return f"{self.model} at {self._service.name}"

    @property
    def usd(self) -> float:
        """What the tokens have cost, by the price that was told."""
        return self.tokens * self._usd_per_token

    @property
    def requests(self) -> int:
        """Requests so far, those for probes and those made once more included."""
        return self._service.requests

    @property
    def retries(self) -> int:
        """Requests made once more."""
        return self._service.retries

    def __repr__(self) -> str:
        return f"<RemoteEmbedder {self.backend} dim={self.dim} window={self.window}>"

    def estimate(self, text: str) -> int:
        """About how many tokens a text has, rather more."""
        text = self._prefix + text
        beyond = 0 if text.isascii() else len(text.encode("utf-8", "replace")) - len(text)
        return _FRAMING + len(_TOKEN.findall(text)) + beyond // 4

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Float32 ``[len(texts), dim]``, each row of unit length, or not a number where the service
        gave nonsense for one text.

        Raises ``EmbedderUnavailableError`` where the service cannot be used, or others' requests
        take up all ``streams`` for ``timeout_s``; ``PromptError`` where it refuses one of the
        texts; ``WrongLoopError`` elsewhere than it was opened.
        """
        if self._loop is not asyncio.get_running_loop() or self._pid != os.getpid():
            raise WrongLoopError(
                "This RemoteEmbedder was opened on another event loop, or before a fork; open one "
                "for each."
            )
        if time.monotonic() - self._checked_at >= self._check_s:
            await self._check()
        parts = list(self._parts(texts))
        if len(parts) == 1:
            return await self._embed(parts[0])
        found: list[NDArray[np.float32]] = [np.empty((0, self.dim), np.float32)] * len(parts)
        left = iter(enumerate(parts))

        async def work() -> None:
            for n, part in left:
                found[n] = await self._embed(part)

        tasks = [asyncio.create_task(work()) for _ in range(min(self.streams, len(parts)))]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return np.concatenate(found) if found else np.empty((0, self.dim), np.float32)

    def _parts(self, texts: Sequence[str]) -> Iterator[list[str]]:
        """Texts in order, as many together as one request may have."""
        part: list[str] = []
        tokens = 0
        for text in texts:
            more = self.estimate(text)
            if part and (len(part) == self.most_texts or tokens + more > self.token_budget):
                yield part
                part, tokens = [], 0
            part.append(text)
            tokens += more
        if part:
            yield part

    async def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._slots.acquire()
        except TimeoutError:
            raise EmbedderUnavailableError(
                f"All {self.streams} requests of {self._service.name} were under way for "
                f"{self._timeout_s:g} s."
            ) from None
        try:
            answer = await self._ask(texts)
        except EmbedderUnavailableError as error:
            again = getattr(error, "again", None)
            if again is None or again.reason != "500":
                raise
            await self._check()  # raises where all texts fare alike
            raise PromptError(
                f"{self._service.name} fails over these texts ({error}), and over others not."
            ) from error
        finally:
            self._slots.release()
        if answer.model not in self._names:
            await self._check()
            self._name(answer.model)
        return answer.vectors

    async def _ask(self, texts: Sequence[str]) -> Answer:
        now = time.monotonic()
        if now < self._rests_until:
            raise EmbedderUnavailableError(
                f"{self._service.name} asked to be left alone for {self._rests_until - now:.0f} s."
            )
        sent = [self._prefix + text for text in texts]
        try:
            answer = await self._service.ask(sent, self.dim or None)
        except EmbedderUnavailableError as error:
            self._checked_at = -math.inf  # it may come back as another
            again = getattr(error, "again", None)
            if again is not None and again.after_s is not None:
                self._rests_until = time.monotonic() + min(again.after_s, _LONGEST_REST_S)
            raise
        self.tokens += sum(map(self.estimate, texts)) if answer.tokens is None else answer.tokens
        return answer

    async def _begin(self, encodings: Sequence[str], directory: Path | None) -> None:
        """Ask for one probe alone and for both together, where it has to be the same; of a service
        that is down, recall what it gave before."""
        try:
            alone = await self._first(encodings)
        except EmbedderUnavailableError as error:
            if directory is None or not self._recall(encodings, directory):
                raise
            _log.warning("%s It is expected to come back as it was.", error)
            return
        self.dim = alone.vectors.shape[1]
        self._name(alone.model)
        pair = await self._both()
        if not _same(pair[1], alone.vectors[0]) or _same(pair[0], pair[1]):
            raise EmbeddingError(
                f"{self._service.name} gives a text another vector in company than alone, or all "
                "texts the same; it cannot be used."
            )
        self._know(pair)
        self._checked_at = time.monotonic()
        if directory is not None:
            kept.write(directory, self._asked, pair)

    async def _first(self, encodings: Sequence[str]) -> Answer:
        """A probe's vector, in the first form that is not refused."""
        for encoding in encodings:
            self._service.options["encoding_format"] = encoding
            try:
                return await self._ask(_PROBES[1:])
            except (PromptError, EmbedderUnavailableError) as error:
                words = getattr(error, "said", "")  # about the probe, and nobody's text
                told = f"{error} It says: {words}" if words else str(error)
                if isinstance(error, EmbedderUnavailableError):
                    raise EmbedderUnavailableError(told) from None
        raise ModelError(f"{self._service.name} does not embed with {self.model!r}. {told}")

    def _know(self, pair: NDArray[np.float32]) -> None:
        self._known, self.probe, self.dim = pair, pair[1], pair.shape[1]

    def _recall(self, encodings: Sequence[str], directory: Path) -> bool:
        for encoding in encodings:
            self._service.options["encoding_format"] = encoding
            pair = kept.read(directory, self._asked, len(_PROBES))
            if pair is not None:
                self._know(pair)
                return True
        return False

    @property
    def _asked(self) -> list[object]:
        """Of whom which vectors are asked."""
        return [self._service.url, self._service.options, self._prefix, self._revision]

    async def _both(self) -> NDArray[np.float32]:
        rows = [(await self._ask(part)).vectors for part in self._parts(_PROBES)]
        return np.concatenate(rows)

    async def _check(self) -> None:
        """Raise ``EmbedderUnavailableError`` where the probes have other vectors than at first."""
        self._checked_at = time.monotonic()  # others go on meanwhile
        found = await self._both()
        assert self._known is not None
        if not all(_same(*pair) for pair in zip(found, self._known, strict=True)):
            self._checked_at = -math.inf
            raise EmbedderUnavailableError(
                f"{self._service.name} serves another model under the name {self.model!r} than "
                "when this began. If that is to stay, start anew with another revision: vectors "
                "of two models cannot be compared."
            )

    def _name(self, name: str) -> None:
        if len(self._names) >= _NAMES:
            self._names.clear()
        self._names.add(name)


def _same(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return bool(one @ other >= _SAME)
