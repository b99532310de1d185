"""The cache as its users see it."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Sequence,
)
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    aclosing,
    asynccontextmanager,
)
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from threading import get_ident
from typing import Any, TypeVar, cast

import anyio
import anyio.to_thread

from semcache_async.bounds.choice import Choice
from semcache_async.config import CacheConfig, check_limit
from semcache_async.errors import ConfigError, OverloadedError, PromptError, WrongLoopError
from semcache_async.evidence.judging import Judging
from semcache_async.evidence.learner import Learner
from semcache_async.flow.models import (
    Load,
    Models,
    measured_of,
    open_models,
    say_unmeasured,
    weighed,
)
from semcache_async.flow.verifying import Verifying
from semcache_async.opening import Opening
from semcache_async.protocols import (
    Embedder,
    Generate,
    GenerateStream,
    Judge,
    Produce,
    Span,
    Store,
    Tracing,
    Verifier,
)
from semcache_async.request.answering import Answering, in_pieces, whole
from semcache_async.request.attempt import Attempt
from semcache_async.request.query import Query, check_answer, check_scope, check_tags, read_query
from semcache_async.request.reply import Reply
from semcache_async.request.tiers import Tiers
from semcache_async.stats import Counters, Stats
from semcache_async.text.guards import analyse
from semcache_async.text.prompt import check_text, normalise
from semcache_async.types import (
    Affected,
    Answer,
    Entry,
    ModelState,
    Neighbour,
    Scope,
    Source,
    Vector,
)

__all__ = ["SemanticCache"]


C = TypeVar("C")
F = TypeVar("F", bound=Callable[[str], Any])
T = TypeVar("T")
V = TypeVar("V")

_BULK_AT_ONCE = 256
"""Items of one ``lookup_many`` under way: enough for full packs, few enough to wait behind."""

_forks = 0
"""How often this process is a fork of one that had imported this."""


def _count_fork() -> None:
    global _forks
    _forks += 1


os.register_at_fork(after_in_child=_count_fork)


@asynccontextmanager
async def _opened(
    redis_url: str | None,
    config: CacheConfig,
    embedder: Embedder | None,
    store: Store | None,
    judge: Judge | None,
    verifier: Verifier | str | None,
    load: Load | None,
) -> AsyncIterator[SemanticCache]:
    async with AsyncExitStack() as stack:
        if load is None:
            load = _load
        if embedder is None:
            made, grown = await anyio.to_thread.run_sync(weighed, partial(load, config.model))
        else:
            made, grown = embedder, 0
        if not config.has_distance:
            say_unmeasured(made, config)
        config = config.for_model(measured_of(made))
        if isinstance(verifier, str):
            from semcache_async.embed import load_verifier

            verifier = await anyio.to_thread.run_sync(load_verifier, verifier)
        if config.guards:
            await anyio.to_thread.run_sync(_warm_guards)
        models = await stack.enter_async_context(open_models(made, grown, config))
        kept_in: Store
        if store is not None:
            kept_in = store
        else:
            from semcache_async.store import open_redis

            redis_url, own = await stack.enter_async_context(open_redis(redis_url, made, config))
            models.own.reader.size = own.size
            kept_in = own
            if config.models:
                from semcache_async.store.models import ModelStores

                stores = kept_in = ModelStores(own, models.name_of)
                await stack.enter_async_context(models.loading(load, stores.add))
        cache = SemanticCache(
            models=models,
            store=kept_in,
            config=config,
            redis_url=redis_url,
            judge=judge,
            verifier=verifier,
        )
        try:
            await cache._answering.start()
            yield cache
        finally:
            with anyio.CancelScope(shield=True):
                await cache._end()


async def _open(
    opened: Callable[[], AbstractAsyncContextManager[SemanticCache]],
) -> SemanticCache:
    closing = AsyncExitStack()
    cache = await closing.enter_async_context(opened())
    cache._closing = closing
    return cache


class SemanticCache:
    """Answers prompts from what was answered before. Make one with ``open``.

    All methods may be called from any number of tasks of the event loop that opened the cache;
    elsewhere, and after a fork, they raise ``WrongLoopError``.
    """

    def __init__(
        self,
        *,
        models: Models,
        store: Store,
        config: CacheConfig,
        redis_url: str | None,
        judge: Judge | None,
        verifier: Verifier | None,
    ) -> None:
        self.config = config
        self.redis_url = redis_url
        """Where a second process finds the same Redis; None with a store of another kind."""
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self._forks = _forks
        self._closing: AsyncExitStack | None = None
        self._tracing: Tracing | None = None
        self._counters = Counters()
        self._models = models
        verifying: Verifying | None = None
        if verifier is not None:
            verifying = Verifying(
                verifier, min_score=config.min_score, timeout_s=config.lookup_budget_s
            )
        self._tiers = Tiers(models, store, config, self._counters, verifying)
        self._learner = Learner(
            *(store, config, self._counters, models),
            Judging(judge, self._tiers.agree, self._counters, rate=config.judge_rate),
            judged=judge is not None,
            busy=lambda: self._tiers.busy,
            verifying=verifying,
            quotas=self._tiers.quotas,
            validated=self._tiers.ageing.validate,
        )
        self._answering: Answering[Any] = Answering(
            self._tiers, self._learner, config, self._counters
        )

    @classmethod
    def open(
        cls,
        redis_url: str | None = None,
        *,
        config: CacheConfig | None = None,
        model: str | Path | None = None,
        embedder: Embedder | None = None,
        store: Store | None = None,
        judge: Judge | None = None,
        verifier: Verifier | str | None = None,
        load: Load | None = None,
    ) -> Opening[SemanticCache]:
        """A cache for as long as the ``async with`` lasts; or ``await`` it, where nothing can be
        nested, and ``aclose`` it in the end.

        ``redis_url``: None for an embedded Redis that ends with the cache, ``"embedded:DIRECTORY"``
        for one that persists there and is shared by every process that names it, or the URL of
        your own Redis with Search. ``model``: what embeds, in place of ``CacheConfig.model``;
        ``embedder``: one of your own instead. ``load`` gives the embedders of models by their names
        (None: the default one), in a thread, in place of ``embed.load_embedder``. ``store``: one
        you opened yourself, instead of Redis. ``judge``: says whether stored answers near a miss,
        and a share of the hits, are right, after callers have been answered
        (``CacheConfig.judge_rate`` bounds its calls). ``verifier``: compares the two prompts before
        an answer is served by meaning, where distance and guards allow it, and refuses below
        ``CacheConfig.min_score``; or the name or directory of a cross-encoder. What it cannot say
        in time counts as no.

        Raises ``ConfigError``; opening raises ``ModelError``, ``EmbeddingError``,
        ``EmbeddedRedisError`` or a ``StoreError``, each with what to do about it.
        """
        if store is not None and redis_url is not None:
            raise ConfigError("Give a redis_url or a store, not both.")
        config = config or CacheConfig()
        if model is not None:
            config = replace(config, model=str(model))
            if embedder is not None:
                raise ConfigError("Give a model or an embedder, not both.")
        if store is not None and config.models:
            raise ConfigError("Several models need Redis; leave store away, or config.models.")
        opened = partial(_opened, redis_url, config, embedder, store, judge, verifier, load)
        return Opening(partial(_open, opened))

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop that opened it, for calls from other threads. Raises ``WrongLoopError``
        after a fork."""
        if self._forks != _forks:
            raise WrongLoopError(
                "This cache was opened before this process was forked, and its connections and "
                "threads are its parent's: open one in each process, after the fork (gunicorn: "
                "post_fork; Celery: worker_process_init)."
            )
        return self._loop

    async def aclose(self) -> None:
        """Close what ``await SemanticCache.open(...)`` opened; a second time does nothing."""
        closing, self._closing = self._closing, None
        if closing is not None:
            await closing.aclose()

    @property
    def embedder(self) -> Embedder:
        """What turns prompts into vectors."""
        return self._tiers.embedder

    @property
    def embedders(self) -> dict[str, Embedder]:
        """Those of all models that are loaded, by their names in ``config.model_names``."""
        return {reader.shown: vectors.embedder for reader, vectors in self._models.ready()}

    # -- the flow

    async def get_or_generate(
        self,
        prompt: str,
        generate: Generate,
        *,
        scope: Scope = Scope(),
        tags: Collection[str] = (),
        ttl_s: float | None = None,
        max_distance: float | None = None,
        widen: Collection[str] = (),
    ) -> Answer:
        """The cached answer to ``prompt`` or to one near enough, else ``await generate(prompt)``,
        which is then kept; callers who ask the same meanwhile share that one call.

        ``ttl_s`` replaces both tiers' times to live; ``max_distance`` may tighten the config's,
        never loosen it. ``widen`` names fields of the scope, of ``CacheConfig.widenable``, in which
        the stored answer of a prompt near enough, or of this one, may be another scope's
        (``Answer.widened``); of the nearest, those of its own come first. A failing store or
        embedder counts as a miss. Raises what ``generate``
        raises (``TimeoutError`` past ``generate_timeout_s``), ``OverloadedError`` where more is
        asked than can be answered in time, ``PromptError`` or ``ConfigError`` for arguments that
        make no sense, ``CacheClosedError`` if the cache closes meanwhile.
        """
        self._check_loop()
        recalled = self._tiers.recall(prompt, scope)
        if recalled is not None:
            self._counters.exact += 1
            if self._tracing is not None:
                _end(self._tracing.begin("request", scope), recalled)
            return recalled
        query = read_query(
            *(prompt, scope, self.config, self._learner.policy),
            tags=tags,
            ttl_s=ttl_s,
            max_distance=max_distance,
            widen=widen,
        )
        attempt = Attempt(query, emits=str)
        if self._tracing is not None:
            attempt.span = self._tracing.begin("request", query.scope)
        try:
            answer = await self._answering.answer(attempt, whole(generate))
        except BaseException as error:
            self._counters.count_error(error)
            if attempt.span is not None:
                attempt.span.end(None, error)
            raise
        self._counters.count(answer.source)
        if attempt.span is not None:
            attempt.span.end(answer)
        return answer

    async def stream(
        self,
        prompt: str,
        generate_stream: GenerateStream,
        *,
        scope: Scope = Scope(),
        tags: Collection[str] = (),
        ttl_s: float | None = None,
        max_distance: float | None = None,
        widen: Collection[str] = (),
    ) -> AsyncGenerator[str, None]:
        """``get_or_generate`` in pieces: a hit is one piece; on a miss every caller of the flight
        gets the pieces of ``generate_stream(prompt)`` as they come, a late one from the start.

        Only an answer that came to its end is kept. Close the iterator (``contextlib.aclosing``)
        where you leave it early. Raises as ``get_or_generate`` does, in mid-stream too.
        """
        reply = self.reply(
            prompt,
            in_pieces(generate_stream),
            emits=str,
            scope=scope,
            tags=tags,
            ttl_s=ttl_s,
            max_distance=max_distance,
            widen=widen,
        )
        async with reply:
            emitted = False
            async for piece in reply:
                emitted = True
                yield piece
            if not emitted:
                yield (await reply.answer()).text

    def cached(
        self, *, scope: Scope = Scope(), tags: Collection[str] = (), ttl_s: float | None = None
    ) -> Callable[[F], F]:
        """A decorator for an async function of a prompt that returns a text, or yields pieces of
        one: its calls go through ``get_or_generate``, or ``stream``.

        Raises ``ConfigError`` for a function that is neither, or takes more: what an answer depends
        on beside the prompt belongs in the scope.
        """

        def decorate(function: F) -> F:
            streams = inspect.isasyncgenfunction(function)
            if not streams and not inspect.iscoroutinefunction(function):
                raise ConfigError(f"{function!r} must be an async function; cached() awaits it.")
            if len(inspect.signature(function).parameters) != 1:
                raise ConfigError(
                    f"{function!r} must take a prompt and nothing else; put what else its answer "
                    "depends on into the scope."
                )
            options: Any = {"scope": scope, "tags": tags, "ttl_s": ttl_s}

            @wraps(function)
            async def answered(prompt: str) -> str:
                return (await self.get_or_generate(prompt, function, **options)).text

            @wraps(function)
            async def streamed(prompt: str) -> AsyncIterator[str]:
                async with aclosing(self.stream(prompt, function, **options)) as pieces:
                    async for piece in pieces:
                        yield piece

            chosen: Any = streamed if streams else answered
            return cast("F", chosen)

        return decorate

    def reply(
        self,
        prompt: str,
        produce: Produce[C],
        *,
        emits: type[C] | None = None,
        scope: Scope = Scope(),
        tags: Collection[str] = (),
        ttl_s: float | None = None,
        max_distance: float | None = None,
        max_age_s: float | None = None,
        read: bool = True,
        write: bool = True,
        crew: str = "",
        widen: Collection[str] = (),
        vetted: bool = False,
    ) -> Reply[C]:
        """What services are built on: ``async with cache.reply(...) as reply`` says where the
        answer comes from before it is there, and hands out what ``produce`` emits as it comes.
        ``emits`` is the type of that, one that msgspec can write and read; without it, other
        processes cannot share the call.

        ``max_age_s``: older entries are misses. Without ``read``, the LLM is called and its answer
        replaces what is stored (callers who want the same at once share that call); without
        ``write``, nothing is stored; without both, the request bypasses the cache. Stored answers
        serve everybody, but an LLM call is shared by those alone who name the same ``crew``, and
        one with a name by those of this process. ``vetted``: a rule of the service's own says
        what is personal, not ``CacheConfig.refuse_personal``. Raises as ``get_or_generate`` does.
        """
        self._check_loop()
        tracing = self._tracing
        begins = None if tracing is None else partial(tracing.begin, "request", scope)
        if read and max_age_s is None:
            hit = self._tiers.recall(prompt, scope)
            if hit is not None:
                return Reply(self._counters, self._answering, None, produce, hit, begins)
        policy = self._learner.policy if read or write else self._learner.start
        query = read_query(
            *(prompt, scope, self.config, policy),
            tags=tags,
            ttl_s=ttl_s,
            max_distance=max_distance,
            max_age_s=max_age_s,
            reads=read,
            writes=write,
            crew=crew,
            widen=widen,
            vetted=vetted,
        )
        attempt = Attempt(query, emits=None if crew else emits)
        return Reply(self._counters, self._answering, attempt, produce, None, begins)

    async def lookup(
        self,
        prompt: str,
        *,
        scope: Scope = Scope(),
        max_distance: float | None = None,
        widen: Collection[str] = (),
    ) -> Answer | None:
        """The cached answer to ``prompt`` or to one near enough, or None. Never calls the LLM;
        ``max_distance`` and ``widen`` are ``get_or_generate``'s."""
        self._check_loop()
        recalled = self._tiers.recall(prompt, scope)
        if recalled is not None:
            return self._recalled(recalled, scope)
        query = read_query(
            *(prompt, scope, self.config, self._learner.policy),
            max_distance=max_distance,
            widen=widen,
        )
        look = self._look if self._tracing is None else self._look_recorded
        return await look(query)

    async def lookup_many(
        self,
        prompts: Sequence[str],
        *,
        scope: Scope = Scope(),
        max_distance: float | None = None,
        widen: Collection[str] = (),
    ) -> list[Answer | None]:
        """``lookup`` for each prompt, in order, in full batches that let others go first."""
        self._check_loop()
        if isinstance(prompts, str):
            raise PromptError("lookup_many takes a sequence of prompts; for one, use lookup.")
        policy = self._learner.policy
        one = self._look if self._tracing is None else self._look_recorded
        queries = [
            read_query(
                *(prompt, scope, self.config, policy), max_distance=max_distance, widen=widen
            )
            for prompt in prompts
        ]

        async def look(query: Query) -> Answer | None:
            hit = self._tiers.recall(query.prompt, scope)
            return self._recalled(hit, scope) if hit else await one(query, bulk=True)

        return await _each(look, queries)

    async def lookup_exact(self, prompt: str, *, scope: Scope = Scope()) -> Answer | None:
        """What the exact tier alone has. Raises a ``StoreError`` where the store fails."""
        self._check_loop()
        query = read_query(prompt, scope, self.config, self._learner.policy)
        self._counters.lookups += 1
        entry = await self._tiers.exact(query)
        self._counters.lookup_hits += entry is not None
        if entry is None:
            return None
        now = self._tiers.now()
        stale = entry.is_stale(now, exact=True)
        self._counters.stale += stale
        return Attempt(query).hit(Source.EXACT, entry, 0.0, now, stale=stale)

    async def nearest(
        self,
        prompt: str,
        *,
        scope: Scope = Scope(),
        limit: int = 3,
        widen: Collection[str] = (),
    ) -> Sequence[Neighbour]:
        """The ``limit`` (1..100) nearest entries of the scope at whatever distance, nearest first,
        each with what speaks against serving it (``refused_by``); none for a prompt that only the
        exact tier serves. ``widen``: of other scopes, too. Raises ``EmbeddingError`` or a
        ``StoreError`` where those parts fail."""
        self._check_loop()
        query = read_query(prompt, scope, self.config, self._learner.policy, widen=widen)
        return await self._tiers.nearest(query, check_limit(limit))

    def _recalled(self, hit: Answer, scope: Scope) -> Answer:
        self._counters.lookups += 1
        self._counters.lookup_hits += 1
        if self._tracing is not None:
            _end(self._tracing.begin("lookup", scope), hit)
        return hit

    async def _look_recorded(self, query: Query, *, bulk: bool = False) -> Answer | None:
        span = None if self._tracing is None else self._tracing.begin("lookup", query.scope)
        try:
            answer = await self._look(query, bulk=bulk, span=span)
        except BaseException as error:
            _end(span, None, error)
            raise
        _end(span, answer)
        return answer

    async def _look(
        self, query: Query, *, bulk: bool = False, span: Span | None = None
    ) -> Answer | None:
        self._counters.lookups += 1
        if not query.reads:
            return None
        if query.key.scope.namespace:
            query = await self._tiers.pinned(query)
        attempt = Attempt(query, bulk=bulk, span=span)
        try:
            answer = await self._tiers.find(attempt)
        except OverloadedError:
            self._counters.lookup_timeouts += 1
            return None
        if answer is not None:
            self._counters.lookup_hits += 1
            self._counters.stale += answer.stale
            if self._learner.listens:
                self._answering.audit(attempt)
        else:
            self._answering.learn(attempt, None)
        return answer

    def trace(self, tracing: Tracing | None) -> None:
        """Have what is done for requests recorded from now on; None: no more."""
        self._tracing = self._learner.tracing = tracing

    def _check_loop(self) -> None:
        if (
            self._thread == get_ident()
            and self._forks == _forks
            and self._loop.is_running()  # two loops cannot run in one thread
        ):
            return  # without asking for the running loop, which may take a system call
        if self.loop is not asyncio.get_running_loop():
            raise WrongLoopError(
                "This cache belongs to another event loop. Open one cache for each loop, or hand "
                "the call over: asyncio.run_coroutine_threadsafe(cache.lookup(...), its_loop)."
            )
        self._thread = get_ident()

    async def embed(
        self, texts: Sequence[str], *, scope: Scope = Scope(), model: str | None = None
    ) -> list[Vector | None]:
        """Each text's vector, by the model that reads the scope or the one of ``embedders`` that is
        named, in packs shared with everybody's prompts; None for a text that the model cannot read
        whole, or while it is not loaded. Vectors are remembered for the scope's tenant alone.
        Raises ``PromptError`` or ``EmbeddingError``."""
        self._check_loop()
        if isinstance(texts, str):
            raise PromptError("embed takes a sequence of texts; wrap the one text in a list.")
        checked = [check_text("text", text) for text in texts]
        reader, tenant = self._models.of(check_scope(scope)).reader, scope.tenant
        if model is not None:
            reader = next(one for one, _ in self._models.ready() if one.shown == model)
        bulk = len(checked) > 1
        return await _each(
            partial(self._tiers.vector, reader=reader, tenant=tenant, bulk=bulk), checked
        )

    # -- writing and looking from outside

    async def store(
        self,
        prompt: str,
        text: str,
        *,
        scope: Scope = Scope(),
        tags: Collection[str] = (),
        ttl_s: float | None = None,
    ) -> str:
        """Keep ``text`` as the answer to ``prompt``, replacing the one it had; returns the entry
        id once the store has acknowledged. Raises ``PromptError`` for what cannot be kept,
        ``EmbeddingError`` or a ``StoreError`` where those parts fail."""
        self._check_loop()
        query = read_query(prompt, scope, self.config, self._learner.policy, tags=tags, ttl_s=ttl_s)
        if not query.writes:
            raise PromptError(
                f"The prompt is longer than max_prompt_bytes={self.config.max_prompt_bytes}."
            )
        return await self._tiers.put(query, check_answer(text, self.config))

    async def invalidate(
        self,
        *,
        scope: Scope | None = None,
        tenant: str | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
    ) -> int:
        """Delete the entries that meet every condition named (of ``tags`` and ``entry_ids``, any
        one will do) and return how many there were.

        It holds for what is under way, in every process: answers that began to be made before this
        call and concern the same scope, tenant, tags or entries are delivered, but not stored.
        ``scope`` means its entries and those with more attributes; ``tenant`` means everything of
        that tenant. Raises ``StoreError`` where the store fails.
        """
        self._check_loop()
        _check_conditions(scope, tenant, tags, entry_ids)
        self._answering.let_nobody_board(scope, tenant, tags)
        try:
            removed = await self._tiers.remove(
                scope=scope, tenant=tenant, tags=tags, entry_ids=entry_ids
            )
            self._counters.invalidated += removed
            return removed
        finally:
            self._answering.let_nobody_board(scope, tenant, tags)
            self._learner.forget()

    async def bump_version(self, namespace: str) -> int:
        """Begin a new version of ``namespace`` (``Scope.namespace``) and return it: all older
        answers of every scope that names it are out of reach, for this process's requests on
        return and for those of any other ``CacheConfig.version_lease_s`` later, mostly within
        milliseconds; what was begun before is delivered to those who wait for it and is kept under
        the old version. Nothing is swept: old entries end with their times to live. Raises
        ``PromptError`` for no namespace, ``StoreError`` where the store fails."""
        self._check_loop()
        version = await self._tiers.bump(check_text("namespace", namespace))
        self._counters.bumped += 1
        return version

    async def would_invalidate(
        self,
        *,
        scope: Scope | None = None,
        tenant: str | None = None,
        tags: Collection[str] = (),
        entry_ids: Collection[str] = (),
        examples: int = 10,
    ) -> Affected:
        """How many entries ``invalidate`` would delete now, with up to ``examples`` (1..1,000) of
        them; nothing is deleted, and nothing under way is kept out. Raises as ``invalidate``."""
        self._check_loop()
        _check_conditions(scope, tenant, tags, entry_ids)
        return await self._tiers.would_remove(
            scope=scope,
            tenant=tenant,
            tags=tags,
            entry_ids=entry_ids,
            examples=check_limit(examples, 1_000, "examples"),
        )

    async def feedback(
        self, prompt: str, entry_id: str, *, right: bool, seen_at: float | None = None
    ) -> bool:
        """Somebody's verdict on the answer ``entry_id`` to ``prompt``; it holds on return, in every
        process, and no judge overrules it. A right one is served to this very prompt from now on,
        whatever its words, as far as ``max_distance``; a wrong one serves nobody at that distance
        any longer, and one on the entry's own wording deletes it. Both count as evidence for
        ``target_precision``, more than a judge's.

        ``seen_at``: when the answer was seen, in Unix seconds; a newer one is not meant. False
        where there is no such entry any longer (without Redis: in this process). Raises
        ``PromptError``, ``ConfigError``, ``EmbeddingError`` or a ``StoreError``.
        """
        self._check_loop()
        text, entry_id = check_text("prompt", prompt), check_text("entry_id", entry_id)
        if not isinstance(right, bool):
            raise ConfigError(f"right={right!r}: must be True or False.")
        found = await self._learner.entry(entry_id)
        if found is None or (seen_at is not None and found[0].created_at > seen_at):
            return False
        entry, owner = found
        if normalise(text) == normalise(entry.prompt):
            self._counters.count_feedback(right)
            if not right:
                await self.invalidate(entry_ids=(entry_id,))
            else:
                await self._tiers.ageing.validate(entry)
            return True
        distance = await self._tiers.distance(text, entry.prompt, owner.model)
        if distance is not None and not await self._learner.said(text, entry, distance, right):
            return False
        self._counters.count_feedback(right)
        if right:
            self._tiers.look_anew(text)
            await self._tiers.ageing.validate(entry)
        return True

    async def reach(self, scope: Scope = Scope()) -> Choice | None:
        """The distance that ``target_precision`` has led to in a scope, from what evidence, and
        ``explain()``; None where the config sets it. Raises a ``StoreError`` where the store
        fails."""
        self._check_loop()
        return await self._learner.choice(check_scope(scope))

    def reaches(self) -> list[tuple[Scope, Choice]]:
        """``reach`` of each scope that this process has served, as far as it knows."""
        return self._learner.choices()

    def ceiling(self, scope: Scope = Scope()) -> float:
        """The ``max_distance`` that the model of a scope has."""
        return self._models.of(check_scope(scope)).max_distance

    def ceilings(self) -> list[float]:
        """Of all models, as each rule has it."""
        return [room.max_distance for room in self._models.rooms]

    def serves_up_to(self, scope: Scope = Scope()) -> float:
        """The distance up to which a scope serves other wordings now; negative: none."""
        return self._learner.policy(check_scope(scope)).max_distance

    async def browse(self, *, tags: Collection[str] = (), limit: int = 100) -> Sequence[Entry]:
        """Some ``limit`` (1..1,000) live entries of any scope, newest of them first; where tags are
        named, those that carry one. Raises ``StoreError`` where the store fails."""
        self._check_loop()
        return await self._tiers.browse(check_tags(tags), check_limit(limit, 1_000))

    def models(self) -> list[ModelState]:
        """What each model is doing, the cache's own first."""
        return [reader.state() for reader in self._models.readers]

    async def measured_models(self) -> list[ModelState]:
        """The same, with what the index of each holds. Raises a ``StoreError``."""
        self._check_loop()
        return [await reader.measured() for reader in self._models.readers]

    async def loaded(self) -> None:
        """Wait until each of the config's ``models`` is ready, or has failed to be."""
        self._check_loop()
        await self._models.tried.wait()

    async def check(self) -> None:
        """Raise a ``StoreError`` unless the store answers and its index is as it has to be."""
        self._check_loop()
        await self._tiers.check()

    def stats(self) -> Stats:
        """A snapshot of every counter and gauge."""
        return self._tiers.stats(
            flights=len(self._answering),
            waiting=self._answering.waiting,
            judging=self._learner.judging,
            limiter=self._answering.limiter,
            scopes=self._learner.scopes(),
        )

    async def _end(self) -> None:
        await self._answering.aclose()
        await self._learner.aclose(patience_s=self.config.close_timeout_s)
        await self._tiers.aclose()


def _end(span: Span | None, made: object, error: BaseException | None = None) -> None:
    if span is not None:
        span.end(made, error)


def _check_conditions(
    scope: Scope | None,
    tenant: str | None,
    tags: Collection[str],
    entry_ids: Collection[str],
) -> None:
    check_tags(tags)
    if isinstance(entry_ids, str):
        raise ConfigError("entry_ids must be a collection of ids; wrap the one id in a tuple.")
    if tenant is not None and not isinstance(tenant, str):
        raise ConfigError(f"tenant must be a str, not {type(tenant).__name__}.")
    if scope is None and tenant is None and not tags and not entry_ids:
        raise ConfigError("Nothing named to invalidate; give a scope, tenant, tags or entry_ids.")


def _load(model: str | None) -> Embedder:
    from semcache_async.embed import load_embedder

    return load_embedder(model)


def _warm_guards() -> None:
    """Load their word lists here rather than on the event loop."""
    analyse("Is anybody there?")


async def _each(one: Callable[[T], Awaitable[V]], items: Sequence[T]) -> list[V]:
    """``one`` of each item, in order, ``_BULK_AT_ONCE`` under way; where one raises, the others are
    cancelled."""
    made: list[Any] = [None] * len(items)
    left = iter(enumerate(items))

    async def work() -> None:
        for n, item in left:
            made[n] = await one(item)

    tasks = [asyncio.create_task(work()) for _ in range(min(_BULK_AT_ONCE, len(items)))]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
    return made
