"""POST /v1/embeddings: OpenAI's form, from the model that the cache itself uses, here or by another
service; other models are the upstream's."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Literal

import anyio.to_thread
import msgspec
import numpy as np
from aiohttp import web
from msgspec import Meta

from semcache_async.embed import RemoteEmbedder, TextEmbedder
from semcache_async.embed.models.catalog import MINILM, known
from semcache_async.protocols import Embedder
from semcache_async.serve.errors import Invalid, Unavailable, translated
from semcache_async.serve.http.access import caller_of
from semcache_async.serve.http.body import read_json
from semcache_async.serve.http.forms import Form, Text, read_form, read_text
from semcache_async.serve.http.responses import json_response
from semcache_async.serve.service import Service
from semcache_async.types import Scope, Vector

__all__ = ["MODELS", "EmbeddingsRequest", "create"]

MODELS = (MINILM.name, MINILM.repository)
"""What the default model may be called; its own name first."""

_AT_ONCE = 32
"""Texts of one request in the embedder's queue, so that prompts need not wait for a long list."""


class EmbeddingsRequest(Form, forbid_unknown_fields=False):
    """Texts to embed by a model of the cache's, which leaves other fields unread. Token arrays are
    refused: their numbers belong to another tokenizer. Requests for other models go upstream."""

    input: Text | Annotated[list[Text], Meta(min_length=1, max_length=2_048)]
    model: Annotated[
        str,
        Meta(
            description="One of the cache's, by the name that its options have it under; the "
            f"default one is {' or '.join(MODELS)}, a remote one embeddings_model."
        ),
    ]
    encoding_format: (
        Annotated[Literal["float", "base64"], Meta(description="base64: of little-endian float32.")]
        | None
    ) = None
    dimensions: Annotated[int, Meta(description="Only the model's own.")] | None = None
    user: str | None = None


async def create(service: Service, request: web.Request) -> web.Response:
    """The vectors of the texts."""
    asked = await read_json(request, service)
    names = _names(service)
    shown, name = next(iter(names.values()))
    if isinstance(model := asked.get("model"), str):
        if model not in names:
            passed = service.completions.passing.of(request.headers, request.query)
            return json_response(await service.upstreams.of(model).embeddings(asked, passed))
        shown, name = names[model]
    embedder = service.cache.embedders.get(name)
    if embedder is None:
        raise Unavailable(f"The model {shown} is not loaded yet; ask again later.")
    form = _read(asked, embedder, shown)
    texts = [form.input] if isinstance(form.input, str) else form.input
    fields = (
        ["input"] if isinstance(form.input, str) else [f"input[{n}]" for n in range(len(texts))]
    )
    for field, text in zip(fields, texts, strict=True):
        read_text(field, text)
    scope = Scope(tenant=caller_of(request).tenant)
    tokens, items = 0, []
    for start in range(0, len(texts), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        count, vectors = await _embed(service, name, scope, fields[part], texts[part])
        tokens += count
        items += [
            _item(start + n, vector, form.encoding_format) for n, vector in enumerate(vectors)
        ]
    body = {
        "object": "list",
        "data": items,
        "model": shown,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return json_response(body)


def _names(service: Service) -> dict[object, tuple[str, str]]:
    """What each model may be called: how it is called in an answer, and in ``cache.embedders``."""
    cache = service.cache
    own, *others = cache.config.model_names
    names = {called: (other, other) for other in others for called in _called(other)}
    if isinstance(cache.embedder, RemoteEmbedder):
        return {cache.embedder.model: (cache.embedder.model, own)} | names
    if cache.config.model is None:
        return dict.fromkeys(MODELS, (MODELS[0], own)) | names
    return dict.fromkeys(_called(own), (own, own)) | names


def _called(model: str) -> tuple[object, ...]:
    """By the name that the options have; one of the catalogue with its owner and without."""
    found = known(model)
    return (model,) if found is None else (model, found.repository, found.name)


def _read(body: dict[str, object], embedder: Embedder, shown: str) -> EmbeddingsRequest:
    given = body.get("input")
    if isinstance(given, list) and given and not isinstance(given[0], str):
        raise Invalid(
            f"{shown} reads no token arrays, which belong to another model's tokenizer; send "
            "texts (langchain: check_embedding_ctx_length=False).",
            param="input",
            code="invalid_type",
        )
    form = read_form(body, EmbeddingsRequest)
    if form.dimensions not in (None, embedder.dim):
        raise Invalid(
            f"The vectors of {shown} have {embedder.dim} dimensions; leave the field out.",
            param="dimensions",
            code="out_of_range",
        )
    return form


async def _embed(
    service: Service, model: str, scope: Scope, fields: Sequence[str], texts: Sequence[str]
) -> tuple[int, list[Vector]]:
    """How many tokens the texts have (0 where there is no tokenizer), and their vectors."""
    cache, embedder = service.cache, service.cache.embedders[model]
    with translated("input"):
        if not isinstance(embedder, TextEmbedder):
            found = list(await cache.embed(texts, scope=scope, model=model))
            longer = [n for n, vector in enumerate(found) if vector is None]
            if longer and isinstance(embedder, RemoteEmbedder):  # than the cache has a use for
                rows = await embedder.embed([texts[n] for n in longer])
                for n, row in zip(longer, rows, strict=True):
                    found[n] = row
            return 0, [vector for vector in found if vector is not None]
        tokens = await anyio.to_thread.run_sync(embedder.tokenise, texts)
        for field, ids in zip(fields, tokens, strict=True):
            if len(ids) > embedder.window:
                raise Invalid(
                    f"The text has {len(ids)} tokens and the model reads {embedder.window}.",
                    param=field,
                    code="context_length_exceeded",
                )
        vectors = await cache.embed(texts, scope=scope, model=model)
        # The cache has no use for texts with characters beyond the vocabulary; others may have.
        missing = [n for n, vector in enumerate(vectors) if vector is None]
        if missing:
            left = [tokens[n] for n in missing]
            for n, row in zip(
                missing, await anyio.to_thread.run_sync(embedder.embed_tokens, left), strict=True
            ):
                vectors[n] = row
    return sum(map(len, tokens)), [vector for vector in vectors if vector is not None]


def _item(index: int, vector: Vector, encoding: str | None) -> msgspec.Raw:
    """One vector as JSON: written at once, a long list would hold up the event loop."""
    embedding: object = vector.tolist()
    if encoding == "base64":
        embedding = base64.b64encode(vector.astype(np.dtype("<f4")).tobytes()).decode()
    item = {"object": "embedding", "index": index, "embedding": embedding}
    return msgspec.Raw(msgspec.json.encode(item))
