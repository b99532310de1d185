"""Results, what they merge to, and what the report makes of them."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from semcache_async.load.asking.tally import Tally
from semcache_async.load.extra import LoadError
from semcache_async.load.measured.figures import Span, compare, grouped, noise_floor
from semcache_async.load.measured.histogram import Histogram
from semcache_async.load.measured.machine import describe_machine, without_secrets
from semcache_async.load.measured.result import Result, merge_rounds
from semcache_async.load.reports.summary import render, warnings
from tests.load.helpers import result


def made(
    name: str = "ours",
    rate: float = 100.0,
    *,
    slower: float = 1.0,
    late_s: float = 0.0,
    failed: int = 0,
    seed: int = 0,
) -> Result:
    """A made-up run of 10 s."""
    random = np.random.default_rng(seed)
    tally = Tally(warm_up_s=1.0, duration_s=10.0, clock=float)
    count = round(rate * 10)
    for source, share, median in (("exact", 0.6, 0.002), ("generated", 0.4, 0.3)):
        for seconds in random.lognormal(np.log(median * slower), 0.4, round(count * share)):
            tally.latency[source].record(seconds)
            tally.service.record(seconds)
            tally.sources[source] += 1
    for _ in range(count):
        tally.lateness.record(late_s)
        tally.lag.record(0.001)
    for _ in range(failed):
        tally.latency["error"].record(1.0)
        tally.errors["HTTP 503"] += 1
    tally.due, tally.done, tally.peak = count + failed, count, 7
    tally.intents = {"a", "b"}
    return result(tally, name=name, rate=rate)


def test_json_and_back() -> None:
    one = made()
    again = msgspec.json.decode(msgspec.json.encode(one), type=Result)
    assert again == one
    assert again.answers().percentile(50.0) == one.answers().percentile(50.0)


def test_rounds_merge_to_one() -> None:
    rounds = [made(seed=seed) for seed in range(3)]
    merged = merge_rounds(rounds)
    assert merged.duration_s == 30.0
    assert merged.achieved == pytest.approx(100.0)
    assert len(merged.answers()) == 3_000
    one = Histogram()
    for each in rounds:
        one.add(each.answers())
    assert merged.answers().encode() == one.encode()
    assert (merged.llm_calls, merged.intents, merged.requests) == (9, 6, 3_000)
    with pytest.raises(LoadError, match="one name and load"):
        merge_rounds([made(), made(rate=50.0)])


def test_medians_spread_and_noise() -> None:
    assert Span.of([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    runs = [made(seed=1), made(seed=1, slower=1.2), made(seed=1, slower=1.1)]
    (group,) = grouped(runs)
    p50 = group.lookup_percentile(50.0)
    assert p50 is not None
    assert p50.spread == pytest.approx(0.2 / 1.1, rel=0.02)
    assert group.percentile(99.99) is None
    assert noise_floor([group])["lookup p50"] == p50.spread
    assert noise_floor(grouped([made()])) == {}


@pytest.mark.parametrize(("slower", "repeats", "beyond"), [(1.5, 2, True), (1.1, 2, False)])
def test_no_win_within_the_noise(slower: float, repeats: int, beyond: bool) -> None:
    ours = [made(slower=1.0 + 0.2 * number) for number in range(repeats)]
    theirs = [made("theirs", slower=slower * (1.0 + 0.2 * number)) for number in range(repeats)]
    found = {one.metric: one for one in compare(grouped(ours + theirs))}
    assert found["lookup p50"].ratio == pytest.approx(slower, rel=0.02)
    assert found["lookup p50"].beyond_noise is beyond
    alone = {one.metric: one for one in compare(grouped([ours[0], theirs[0]]))}
    assert alone["lookup p50"].beyond_noise is None


def test_what_readers_are_warned_of() -> None:
    assert list(warnings(grouped([made()]))) == []
    late, failed = warnings(grouped([made(late_s=0.02, failed=300)]))
    assert "left late" in late
    assert "p99 20.0 ms" in late
    assert "300 of 1,300 requests" in failed
    (short,) = warnings(grouped([replace(made(), answered=500)]))
    assert "Beyond saturation" in short


class Page(HTMLParser):
    """What a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data", "srcset") and value:
                self.fetched.append(value)
            if name == "id" and value:
                self.ids.append(value)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = [
        made(name, rate, seed=seed, failed=3, slower=1.0 + seed / 10)
        for seed in range(2)
        for name in ("ours", "<theirs & co>")
        for rate in (50.0, 100.0)
    ]
    return render(runs, tmp_path_factory.mktemp("report") / "new").parent


def test_the_page_asks_nobody_for_anything(report: Path) -> None:
    html = (report / "report.html").read_text()
    page = Page()
    page.feed(html)
    assert all(value.startswith("#") for value in page.fetched)
    assert not re.search(r"https?://|url\((?!#)|@import|<script|<link", html)
    assert page.tags.isdisjoint({"img", "iframe", "object"})
    assert {"svg", "table", "figure"} <= page.tags
    assert {value[1:] for value in page.fetched} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_the_page_follows_the_readers_colours(report: Path) -> None:
    html = (report / "report.html").read_text()
    assert "prefers-color-scheme: dark" in html
    assert 'name="viewport"' in html
    body = html.partition("</style>")[2]
    assert set(re.findall(r"#[0-9a-f]{6}\b", body)) <= {"#000000", "#ffffff"}
    assert "var(--c0)" in body


def test_the_report_says_it_all(report: Path) -> None:
    html, text = ((report / f"report.{kind}").read_text() for kind in ("html", "md"))
    for part in (
        "Noise floor",
        "Compared with ours",
        "event loop lag",
        "p99.9",
        "Made up.",
        "A CPU",
    ):
        assert part in text
        assert part in html
    assert "&lt;theirs &amp; co&gt;" in html
    assert "<theirs" not in html
    assert "semcache load --rate 1" in text
    assert (report / "report.png").read_bytes().startswith(b"\x89PNG")
    raw = (report / "results.json").read_bytes()
    assert len(msgspec.json.decode(raw, type=list[Result])) == 8


def test_a_single_run_and_an_empty_one(tmp_path: Path) -> None:
    empty = result(Tally(warm_up_s=0.0, duration_s=1.0, clock=float), rate=None, callers=1)
    for runs in ([made()], [empty]):
        assert "<svg" in render(runs, tmp_path).read_text()
    with pytest.raises(LoadError, match="no results"):
        render([], tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(LoadError, match="cannot be written"):
        render([made()], tmp_path / "file" / "below")


def test_commands_are_shown_without_secrets() -> None:
    command = ["load", "--redis-url", "redis://me:p@ss@host/0", "--api-key", "k1", "--api-key=k2"]
    shown = without_secrets(command)
    assert shown == "load --redis-url 'redis://***@host/0' --api-key '***' '--api-key=***'"
    machine = describe_machine(["x"])
    assert machine.cpus >= 1
    assert machine.packages["hdrhistogram"]
