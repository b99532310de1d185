"""The scale benchmark on a few hundred entries: exact where it must be, and its report whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import scale
from benchmarks.scale_data import Corpus, Truth, make_corpus, number_of
from benchmarks.scale_fit import Costs, fit_costs
from benchmarks.scale_measure import Row, recalls
from benchmarks.scale_report import write_report

pytestmark = pytest.mark.anyio
ENTRIES, QUERIES, DIM = 300, 24, 16


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def corpus(entries: int = ENTRIES) -> Corpus:
    rng = np.random.default_rng(1)
    base = rng.standard_normal((200, DIM)).astype(np.float32)
    base /= np.linalg.norm(base, axis=1, keepdims=True)
    texts = [f"question {number}" for number in range(150)]
    return make_corpus(base[:150], base[150:], texts, entries, QUERIES, seed=3)


def test_corpus_is_of_unit_vectors_and_the_same_for_a_seed() -> None:
    one, other = corpus(), corpus()
    assert one.vectors.shape == (ENTRIES, DIM)
    assert one.queries.shape == (QUERIES, DIM)
    assert np.allclose(np.linalg.norm(one.vectors, axis=1), 1, atol=1e-5)
    assert np.array_equal(one.vectors, other.vectors)
    records = list(one.records(10))
    assert [number_of(record.prompt) for record in records] == list(range(ENTRIES))
    assert len({record.key.scope for record in records}) == 10


def test_truth_and_recalls() -> None:
    own = corpus()
    truth = Truth(own, 3, scopes=7)
    best = {}
    for query, vector in enumerate(own.queries):
        members = np.arange(query % 7, ENTRIES, 7)
        distances = 1 - own.vectors[members] @ vector
        order = np.argsort(distances)[:3]
        assert np.allclose(truth.nearest[query], distances[order], atol=1e-6)
        best[query] = members[order].tolist()
    assert recalls(truth, best)["recall3"] == 1
    wrong = {query: numbers[:2] for query, numbers in best.items()}
    assert recalls(truth, wrong)["recall3"] == pytest.approx(2 / 3)
    assert recalls(truth, {0: []})["recall3"] == 0


def test_costs_are_recovered() -> None:
    costs = Costs(0.0002, 0.15, 0.06)
    rows: list[Row] = []
    for total in (10_000, 100_000):
        for entries in (30, 300, 3_000):
            walk = 0.1 + costs.walk + costs.walk_batch * 3 * total / (entries * 40)
            ways = {"adhoc": {"ms": 0.1 + costs.compare * entries}, "batches": {"ms": walk}}
            rows.append({"entries": entries, "total": total, "ways": ways})
    assert fit_costs(rows) == pytest.approx(costs)


async def test_measures_and_reports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(scale, "SHARES", (1, 30))
    monkeypatch.setattr(scale, "SCOPES", (10,))
    monkeypatch.setattr(scale, "GRAPHS", ((8, 50),))
    results: Row = {}
    await scale.measure(corpus(), list(scale.PARTS), results, tmp_path)
    parts = json.loads((tmp_path / "scale.json").read_text())[str(ENTRIES)]
    for row in parts["kinds"]["rows"]:
        assert row["entries"] == ENTRIES
        assert row["recall3"] > 0.9
        assert row["overhead"] > 1
    assert parts["kinds"]["rows"][2]["recall3"] == 1
    assert parts["scopes"]["rows"][0]["recall3"] > 0.9
    assert parts["plan"]["rows"][1]["ways"]["adhoc"]["recall3"] == 1
    assert parts["plan"]["rows"][1]["auto_is"] == "adhoc_bf"
    assert parts["graph"]["rows"][0]["ways"]["EF 100"]["recall3"] > 0.9
    apart, whole, *_ = parts["memory"]["rows"]
    assert whole["hash"] < apart["hash"]
    assert [row["removed"] for row in parts["purge"]["rows"]] == [ENTRIES * 3 // 10] * 2
    assert "| HNSW float16 |" in (tmp_path / "scale.md").read_text()
    assert (tmp_path / "scale.png").stat().st_size > 5_000
    write_report({"10000": parts, **results}, tmp_path)
    assert "fitted to this table" in (tmp_path / "scale.md").read_text()
