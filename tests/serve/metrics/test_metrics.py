"""What is counted, over one process and several, and how it is told."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from semcache_async import CacheConfig, Scope, SemanticCache
from semcache_async.serve.bypass import Bypass
from semcache_async.serve.metrics.counters import COUNTERS, GAUGES, STATUSES, Layout
from semcache_async.serve.metrics.exposition import expose
from semcache_async.serve.metrics.histogram import BOUNDS, Histogram
from semcache_async.serve.metrics.metrics import Metrics
from semcache_async.serve.metrics.shared_rows import SharedRows, shared_file
from semcache_async.serve.settings import Settings, UpstreamTable
from semcache_async.stats import Stats
from semcache_async.testing import AngleEmbedder, MemoryStore
from semcache_async.types import Source, Timings

WIDTH = Layout().width

Samples = dict[tuple[str, tuple[str, ...]], float]


def scraped(metrics: Metrics) -> Samples:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(expose(metrics).decode())
        for sample in family.samples
    }


def test_everything_is_there_from_the_start() -> None:
    samples = scraped(Metrics())
    nonzero = {name for (name, _), value in samples.items() if value}
    assert nonzero == {"semcache_workers", "semcache_build"}
    for result in (*Source, "shed", "failed"):
        assert samples["semcache_requests_total", (result,)] == 0
    for source in Source:
        assert samples["semcache_request_seconds_count", (source,)] == 0
    for stage in ("exact", "embed", "search", "generate"):
        assert samples["semcache_stage_seconds_bucket", ("0.0001", stage)] == 0
    for status in STATUSES:
        assert samples["semcache_http_errors_total", (str(status),)] == 0


def test_every_counter_of_the_cache_is_told() -> None:
    told = {counted.name for counted in (*COUNTERS, *GAUGES)}
    facts = {part.name for part in fields(Stats) if part.metadata["kind"] == "fact"}
    assert {"requests", "embedder", "embed_fill"} <= facts
    assert told - {"embed_pack_fill", "under_way"} == {part.name for part in fields(Stats)} - facts
    assert all(counted.meaning for counted in (*COUNTERS, *GAUGES))


def test_every_reason_to_bypass_the_cache_is_counted() -> None:
    metrics = Metrics()
    for reason in Bypass:
        metrics.bypassed(reason)
    metrics.bypassed(Bypass.TOOLS)
    samples = scraped(metrics)
    told = {reason: samples["semcache_bypass_reasons_total", (reason,)] for reason in Bypass}
    assert told == {reason: 1 + (reason is Bypass.TOOLS) for reason in Bypass}
    assert metrics.summary()["bypass_reasons"] == told


def test_answers_are_counted_by_source_and_stage() -> None:
    metrics = Metrics()
    metrics.answered(Source.EXACT, Timings(exact_s=0.0004, total_s=0.0006))
    metrics.answered(Source.SEMANTIC, Timings(exact_s=0.002, embed_s=0.004, total_s=0.01))
    metrics.answered(Source.GENERATED, Timings(generate_s=9_999.0, total_s=9_999.0))
    samples = scraped(metrics)
    took = "semcache_request_seconds_bucket"
    assert [samples[took, (bound, "exact")] for bound in ("0.0005", "0.001", "+Inf")] == [0, 1, 1]
    assert [samples[took, (bound, "generated")] for bound in ("500.0", "+Inf")] == [0, 1]
    assert samples["semcache_stage_seconds_sum", ("exact",)] == pytest.approx(0.0024)
    assert samples["semcache_stage_seconds_count", ("embed",)] == 1
    assert samples["semcache_stage_seconds_count", ("search",)] == 0


def test_savings() -> None:
    prices = Settings(usd_per_million_tokens_in=2.0, usd_per_million_tokens_out=8.0)
    metrics = Metrics(prices)
    for _ in range(2):
        metrics.answered(
            Source.EXACT,
            Timings(total_s=0.001),
            saved_prompt_tokens=250_000,
            saved_completion_tokens=500_000,
        )
    assert metrics.summary()["saved"] == {
        "tokens": 1_500_000,
        "prompt_tokens": 500_000,
        "completion_tokens": 1_000_000,
        "usd": 9.0,
        "seconds": 0.0,
    }
    samples = scraped(metrics)
    assert samples["semcache_saved_tokens_total", ("completion",)] == 1_000_000
    assert samples["semcache_saved_usd_total", ()] == 9.0


def test_errors_by_status() -> None:
    metrics = Metrics()
    for status in (413, 413, 418):
        metrics.http_error(status)
    samples = scraped(metrics)
    assert samples["semcache_http_errors_total", ("413",)] == 2
    assert samples["semcache_http_errors_total", ("500",)] == 1
    assert metrics.summary()["http_errors"] == {"413": 2, "500": 1}


def test_each_upstream_has_its_numbers() -> None:
    tables = tuple(
        UpstreamTable(name=name, url="https://a.example/v1", models=("*",)) for name in "ab"
    )
    settings = Settings(upstreams=tables)
    layout = Layout(settings.upstream_names)
    with shared_file(2, layout.width) as fd:
        parts = [
            Metrics(settings, SharedRows(layout.width, row=row, rows=2, fd=fd)) for row in range(2)
        ]
        for part in parts:
            part.count("upstream_calls", "a", "ok")
            part.count("upstream_calls", "b", "timeout")
            part.count("protocol_requests", "chat", "exact")
            part.observe("upstream_first_byte_seconds", "a", 0.25)
            part.publish()
            with pytest.raises(KeyError):
                part.count("upstream_calls", "default", "ok")
        samples, summary = scraped(parts[0]), parts[1].summary()
    assert samples["semcache_upstream_calls_total", ("ok", "a")] == 2
    assert samples["semcache_upstream_calls_total", ("ok", "b")] == 0
    assert samples["semcache_upstream_first_byte_seconds_count", ("a",)] == 2
    assert samples["semcache_upstream_first_byte_seconds_sum", ("b",)] == 0
    assert samples["semcache_protocol_requests_total", ("chat", "exact")] == 2
    assert summary["upstream_calls"] == {"a": {"ok": 2}, "b": {"timeout": 2}}
    assert summary["protocol_requests"] == {"chat": {"exact": 2}}
    assert summary["first_byte_ms"]["a"]["p50"] == pytest.approx(250, rel=0.13)
    assert summary["first_byte_ms"]["b"]["count"] == 0


@pytest.mark.anyio
async def test_what_the_cache_counts_is_told() -> None:
    config = CacheConfig(name="m", max_distance=0.01)
    metrics = Metrics()
    async with SemanticCache.open(
        config=config, store=MemoryStore(), embedder=AngleEmbedder()
    ) as cache:
        metrics.watch(cache)

        async def generate(prompt: str) -> str:
            return prompt

        for prompt in ("0", "0", "8", "90"):
            await cache.get_or_generate(prompt, generate, scope=Scope())
        summary, samples = metrics.summary(), scraped(metrics)
        stats = cache.stats()
    assert {name: summary[name] for name in summary if name in stats}.items() <= stats.items()
    assert {counted.name for counted in COUNTERS} - {"embed_pack_fill"} <= set(summary)
    assert (summary["hits"], summary["misses"], summary["hit_rate"]) == (2, 2, 0.5)
    assert samples["semcache_requests_total", ("semantic",)] == 1
    assert samples["semcache_llm_calls_total", ()] == 2
    assert samples["semcache_embed_pack_fill_total", ()] == pytest.approx(
        stats.embed_fill * stats.embed_batches
    )


# -- the last hour


def test_the_last_hour_is_of_all_processes_and_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    minute = 7

    def saved(part: Metrics) -> None:
        part.answered(Source.GENERATED, Timings(generate_s=2.0, total_s=3.0))
        part.publish()
        for source in (Source.EXACT, Source.SEMANTIC):
            part.answered(source, Timings(total_s=0.5), saved_prompt_tokens=1_000)
        part.rows.mine[names.index("exact")] += 1
        part.rows.mine[names.index("shared")] += 1
        part.rows.mine[names.index("llm_calls")] += 3
        part.publish()

    names = [counted.name for counted in COUNTERS]
    monkeypatch.setattr("semcache_async.serve.metrics.metrics._minute", lambda: minute)
    prices = Settings(usd_per_million_tokens_in=5.0)
    with shared_file(2, WIDTH) as fd:
        parts = [Metrics(prices, SharedRows(WIDTH, row=row, rows=2, fd=fd)) for row in range(2)]
        saved(parts[0])
        minute = 9
        saved(parts[0])
        saved(parts[1])
        told = parts[1].savings()
        assert {name: numbers[-3:] for name, numbers in told.items()} == {
            "avoided": [2.0, 0.0, 4.0],
            "llm_calls": [3.0, 0.0, 6.0],
            "seconds": [5.0, 0.0, 10.0],
            "tokens": [2_000.0, 0.0, 4_000.0],
            "usd": pytest.approx([0.01, 0.0, 0.02]),
        }
        assert all(len(numbers) == 60 and not any(numbers[:-3]) for numbers in told.values())
        assert parts[0].summary()["saved"]["seconds"] == 15.0
        assert scraped(parts[0])["semcache_saved_seconds_total", ("exact",)] == 7.5

        parts[0] = Metrics(prices, SharedRows(WIDTH, row=0, rows=2, fd=fd))  # in a dead one's place
        assert parts[0].savings() == told
        minute = 9 + 59
        assert [parts[0].savings()["avoided"][0], sum(parts[0].savings()["avoided"])] == [4.0, 4.0]
        minute += 8
        saved(parts[0])
        assert parts[1].savings()["avoided"] == [*[0.0] * 59, 2.0]


def test_a_hit_that_took_longer_saves_no_seconds() -> None:
    metrics = Metrics()
    metrics.answered(Source.EXACT, Timings(total_s=1.0))  # before anything was generated
    metrics.publish()
    metrics.answered(Source.GENERATED, Timings(total_s=0.5))
    metrics.answered(Source.EXACT, Timings(total_s=1.0))
    assert metrics.summary()["saved"]["seconds"] == 0.0


def test_what_is_promised_is_told() -> None:
    assert "semcache_target_precision" not in {name for name, _ in scraped(Metrics())}
    metrics = Metrics(Settings(cache=CacheConfig(target_precision=0.9)))
    assert scraped(metrics)["semcache_target_precision", ()] == 0.9
    assert metrics.summary()["target_precision"] == 0.9


# -- several processes


def test_the_share_of_wrong_hits_is_of_all_processes() -> None:
    names = [counted.name for counted in COUNTERS]
    with shared_file(2, WIDTH) as fd:
        parts = [Metrics(rows=SharedRows(WIDTH, row=row, rows=2, fd=fd)) for row in range(2)]
        assert parts[0].summary()["wrong_hits"] is None
        assert not any(name == "semcache_wrong_hits" for name, _ in scraped(parts[0]))
        for part, audited, wrong in zip(parts, (60, 40), (2, 3), strict=True):
            part.rows.mine[names.index("audited")] = audited
            part.rows.mine[names.index("audited_wrong")] = wrong
        for part in parts:
            found = part.summary()["wrong_hits"]
            assert (found["share"], found["audited"]) == (0.05, 100)
            assert found["low"] == pytest.approx(0.0215, abs=1e-4)
            assert found["high"] == pytest.approx(0.1118, abs=1e-4)
            samples = scraped(part)
            told = {
                bound: samples["semcache_wrong_hits", (bound,)]
                for bound in found
                if bound[0] != "a"
            }
            assert told == {bound: found[bound] for bound in ("share", "low", "high")}


def test_any_process_tells_the_sum_of_all() -> None:
    with shared_file(3, WIDTH) as fd:
        parts = [Metrics(rows=SharedRows(WIDTH, row=row, rows=3, fd=fd)) for row in range(3)]
        for n, part in enumerate(parts):
            for _ in range(n + 1):
                part.answered(Source.EXACT, Timings(total_s=0.001), saved_prompt_tokens=1)
            part.under_way = 10
            part.publish()
        for part in parts:
            summary = part.summary()
            assert summary["latency_ms"]["exact"]["count"] == 6
            assert (summary["saved"]["tokens"], summary["under_way"]) == (6, 30)
            assert summary["workers"] == 3


@pytest.mark.anyio
async def test_a_successor_goes_on_from_what_was_counted() -> None:
    async def generate(prompt: str) -> str:
        return prompt

    with shared_file(2, WIDTH) as fd:
        for _ in range(2):
            metrics = Metrics(rows=SharedRows(WIDTH, row=1, rows=2, fd=fd))
            assert metrics.summary()["under_way"] == 0
            async with SemanticCache.open(
                config=CacheConfig(name="m"), store=MemoryStore(), embedder=AngleEmbedder()
            ) as cache:
                metrics.watch(cache)
                await cache.get_or_generate("0", generate)
                metrics.answered(Source.GENERATED, Timings(total_s=1.0))
                metrics.under_way = 5
                metrics.publish()  # and dies
        other = Metrics(rows=SharedRows(WIDTH, row=0, rows=2, fd=fd))
        summary = other.summary()
        assert (summary["generated"], summary["requests"], summary["embed_batches"]) == (2, 2, 2)
        assert summary["latency_ms"]["generated"]["count"] == 2


def test_a_file_of_another_size_is_refused() -> None:
    with shared_file(2, WIDTH) as fd, pytest.raises(ValueError, match="another size"):
        SharedRows(WIDTH, row=0, rows=3, fd=fd)


# -- histograms


@given(st.lists(st.floats(1e-5, 800.0), min_size=1, max_size=50), st.sampled_from([0.5, 0.95]))
def test_quantiles_are_within_a_bucket_of_the_truth(seconds: list[float], q: float) -> None:
    metrics = Metrics()
    for one in seconds:
        metrics.answered(Source.EXACT, Timings(total_s=one))
    found = metrics.durations("request_seconds")["exact"].quantile(q)
    truth = sorted(seconds)[max(0, int(-(-q * len(seconds) // 1)) - 1)]
    widest = max(high / low for low, high in pairwise(BOUNDS)) + 1e-9
    assert truth / widest - 1e-5 <= found <= truth * widest


def test_a_histogram_of_nothing_and_of_what_is_off_the_scale() -> None:
    assert Histogram([0.0] * (len(BOUNDS) + 2)).quantile(0.5) == 0.0
    metrics = Metrics()
    metrics.answered(Source.EXACT, Timings(total_s=1e9))
    assert metrics.durations("request_seconds")["exact"].quantile(0.99) == BOUNDS[-1]
