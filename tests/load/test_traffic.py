"""What is asked when: burstiness, popularity, files, and one seed for one traffic."""

from __future__ import annotations

import gzip
import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from semcache_async.load.extra import LoadError
from semcache_async.load.runs import LoadOptions, plan
from semcache_async.load.traffic.arrivals import from_trace, read_trace, synthetic
from semcache_async.load.traffic.texts import draw, load_texts

RATE = 5.53
"""Of the trace that the process imitates: so its time is not scaled."""


def variability(times: NDArray[np.float64], window_s: float) -> float:
    """Variance over mean of the counts in windows; 1 for a Poisson process."""
    counts = np.bincount((times // window_s).astype(int))[:-1]
    return float(counts.var() / counts.mean())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_process_is_as_bursty_as_the_trace(seed: int) -> None:
    """Azure conversations 2023: CV 1.09; 1.39, 3.9 and 16.1."""
    times = synthetic(rate=RATE, seconds=20_000.0, seed=seed).at_s
    gaps = np.diff(times)
    assert gaps.std() / gaps.mean() == pytest.approx(1.09, rel=0.05)
    assert variability(times, 1.0) == pytest.approx(1.39, rel=0.07)
    assert variability(times, 10.0) == pytest.approx(3.9, rel=0.15)
    assert variability(times, 60.0) == pytest.approx(16.1, rel=0.25)


def test_its_peaks_are_of_the_traces_size() -> None:
    """The trace's 58 minutes are one draw: peak second 2.9x the mean."""
    times = synthetic(rate=RATE, seconds=70_100.0, seed=0).at_s
    counts = np.bincount(times.astype(int))[:70_000].reshape(20, 3_500)
    peaks = counts.max(axis=1) / counts.mean(axis=1)
    assert np.median(peaks) == pytest.approx(2.9, rel=0.2)
    assert np.min(peaks) < 2.95


def test_a_poisson_process_would_not_pass() -> None:
    times = np.cumsum(np.random.default_rng(0).exponential(1 / RATE, 100_000))
    assert variability(times, 60.0) == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize("rate", [0.5, 20.0, 800.0])
def test_as_many_arrivals_as_the_rate_brings(rate: float) -> None:
    times = synthetic(rate=rate, seconds=10.0, seed=3).at_s
    assert len(times) == round(rate * 10)
    assert (np.diff(times) >= 0).all()
    assert 0.0 <= times[0] <= times[-1] < 10.0
    assert (times == synthetic(rate=rate, seconds=10.0, seed=3).at_s).all()
    assert (times != synthetic(rate=rate, seconds=10.0, seed=4).at_s).any()


def write_trace(path: Path, rows: list[str], head: str = "timestamp,tokens") -> Path:
    path.write_bytes(gzip.compress("\n".join([head, *rows]).encode()))
    return path


def test_a_trace_keeps_its_gaps_and_starts_over(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "t.csv.gz", ["5.0,1", "6.0,1", "8.0,1", "12.0,1"])
    assert read_trace(path).tolist() == [0.0, 1.0, 3.0, 7.0]
    times, about = from_trace(path, rate=2.0, seconds=6.0, seed=1)
    gaps = np.diff(times)
    assert len(times) == 12
    assert gaps[3:] == pytest.approx(gaps[:-3])
    assert sorted(gaps[:3] / np.min(gaps)) == pytest.approx([1.0, 2.0, 4.0])
    assert times[-1] < 6.0
    assert "t.csv.gz (4 arrivals" in about


@pytest.mark.parametrize(
    ("head", "rows", "says"),
    [
        ("when", ["1"], "no column named timestamp"),
        ("timestamp", ["soon"], "cannot be read"),
        ("timestamp", ["1"], "no two arrivals"),
        ("timestamp", ["1", "1"], "no two arrivals"),
    ],
)
def test_what_is_no_trace(tmp_path: Path, head: str, rows: list[str], says: str) -> None:
    with pytest.raises(LoadError, match=says):
        read_trace(write_trace(tmp_path / "t.csv.gz", rows, head))


def test_no_file() -> None:
    with pytest.raises(LoadError, match="cannot be read as a trace"):
        read_trace(Path("no-such-file.csv"))
    with pytest.raises(LoadError, match="cannot be read as questions"):
        load_texts("no-such-file.jsonl")


def test_pairs_become_intents_by_their_labels(tmp_path: Path) -> None:
    pairs = [("a", "b", 1), ("b", "c", 1), ("d", "e", 0), ("e", "f", 1)]
    rows = [json.dumps({"text_a": a, "text_b": b, "label": label}) for a, b, label in pairs]
    path = tmp_path / "pairs.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    texts = load_texts(str(path))
    intents: dict[str, set[str]] = {}
    for text, intent in texts.questions:
        intents.setdefault(intent, set()).add(text)
    assert sorted(map(sorted, intents.values())) == [["a", "b", "c"], ["d"], ["e", "f"]]
    assert texts.about == "pairs.jsonl.gz, 6 questions of 3 intents"


def test_plain_texts_and_single_rows(tmp_path: Path) -> None:
    plain = tmp_path / "mine.txt"
    plain.write_text("One?\n\nTwo?\n")
    assert [q.intent for q in load_texts(str(plain)).questions] == ["One?", "Two?"]
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "One?", "intent": "i"}\n{"text": "Two?"}\n')
    assert [q.intent for q in load_texts(str(rows)).questions] == ["i", "Two?"]
    for wrong in ("", '{"question": "One?"}', "[1]", "not json"):
        rows.write_text(wrong)
        with pytest.raises(LoadError, match=r"rows\.jsonl"):
            load_texts(str(rows))


def test_one_seed_one_traffic() -> None:
    texts = load_texts("banking77")

    def made(seed: int) -> object:
        return plan(LoadOptions(duration_s=5.0, warm_up_s=1.0, seed=seed), texts, 50.0)

    assert made(1) == made(1)
    assert made(1) != made(2)


def test_drawing_goes_on_with_the_same_popularity() -> None:
    texts = load_texts("banking77")
    asked = list(itertools.islice(draw(texts, 1.1, 5), 40_000))
    first, last = (Counter(q.intent for q in part) for part in (asked[:20_000], asked[20_000:]))
    assert [intent for intent, _ in first.most_common(5)] == [
        intent for intent, _ in last.most_common(5)
    ]
    assert asked[:1_024] != asked[1_024:2_048]
    slope = np.polyfit(
        np.log(np.arange(1, 41)), np.log([count for _, count in first.most_common(40)]), 1
    )[0]
    assert slope == pytest.approx(-1.1, abs=0.12)


def test_the_combination_of_sources_is_stated() -> None:
    _, about = plan(LoadOptions(duration_s=1.0), load_texts("banking77"), 20.0)
    for part in ("BANKING77", "77 intents", "Cox process", "s = 1.1", "No public source has both"):
        assert part in about
