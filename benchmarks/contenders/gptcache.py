"""GPTCache with SQLite and FAISS, as its documentation begins, and with our model.

Everything but the LLM runs on the event loop, as in its own asynchronous adapters. Not its Redis:
``CacheBase("redis")`` needs RedisJSON, and ``VectorBase("redis")`` a module of redis-py that was
renamed. Writing its index to disk after every 20 answers is put off.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from benchmarks.contenders import Contender, Generate, Setup, Vectors

ENVIRONMENT = "gptcache"
PACKAGES = (
    *("gptcache", "faiss-cpu", "sqlalchemy", "sentence-transformers", "transformers", "torch"),
    *("numpy", "uvloop"),
)

_BATCH = 64
_NEVER = 10**9


class _GPTCache:
    def __init__(self, cache: Any, sbert: Any, about: str) -> None:
        self.about = about
        self._cache, self._sbert = cache, sbert

    async def fill(self, pairs: Sequence[tuple[str, str]], vectors: Vectors | None = None) -> None:
        prompts, answers = [prompt for prompt, _ in pairs], [answer for _, answer in pairs]
        if vectors is None:
            vectors = self._sbert.model.encode(prompts, batch_size=_BATCH)
        self._cache.data_manager.import_data(
            questions=prompts,
            answers=[_answer(answer) for answer in answers],
            embedding_datas=list(vectors),
            session_ids=[None] * len(prompts),
        )

    async def lookup(self, prompt: str) -> str | None:
        from gptcache.adapter.api import get  # type: ignore[import-not-found]

        found: str | None = get(prompt, cache_obj=self._cache)
        return found

    async def embed(self, prompt: str) -> None:
        self._sbert.to_embeddings(prompt)

    async def get_or_generate(self, prompt: str, generate: Generate) -> str:
        from gptcache.adapter.adapter import aadapt  # type: ignore[import-not-found]

        async def handle(*, prompt: str) -> str:
            return await generate(prompt)

        answer: str = await aadapt(handle, _same, _keep, prompt=prompt, cache_obj=self._cache)
        return answer


def _answer(text: str) -> Any:
    from gptcache.manager.scalar_data.base import (  # type: ignore[import-not-found]
        Answer,
        DataType,
    )

    return Answer(text, DataType.STR)


def _same(text: str) -> str:
    return text


def _keep(text: str, store: Callable[[Any], None], **_: Any) -> str:
    store(_answer(text))
    return text


@asynccontextmanager
async def open_contender(setup: Setup) -> AsyncIterator[Contender]:
    import torch  # type: ignore[import-not-found]
    from gptcache import Cache, Config  # type: ignore[import-not-found]
    from gptcache.embedding import SBERT  # type: ignore[import-not-found]
    from gptcache.manager import (  # type: ignore[import-not-found]
        CacheBase,
        VectorBase,
        get_data_manager,
    )
    from gptcache.processor.pre import get_prompt  # type: ignore[import-not-found]
    from gptcache.similarity_evaluation import (  # type: ignore[import-not-found]
        SearchDistanceEvaluation,
    )

    sbert = SBERT(str(setup.model))
    cache = Cache()
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(scratch)
        cache.init(
            pre_embedding_func=get_prompt,
            embedding_func=sbert.to_embeddings,
            data_manager=get_data_manager(
                CacheBase("sqlite", sql_url=f"sqlite:///{kept / 'answers.db'}"),
                VectorBase("faiss", dimension=sbert.dimension, index_path=str(kept / "index")),
                max_size=_NEVER,
            ),
            # its distances are squared Euclidean ones, twice the cosine's, of at most 4
            similarity_evaluation=SearchDistanceEvaluation(max_distance=4.0),
            config=Config(similarity_threshold=1.0 - setup.max_distance / 2.0, auto_flush=_NEVER),
        )
        yield _GPTCache(
            cache, sbert, f"torch f32, {torch.get_num_threads()} threads, sqlite, faiss flat"
        )
        cache.data_manager.close()
