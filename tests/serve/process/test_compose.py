"""docs/compose: an example, but one that works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from itertools import chain, combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

import semcache_async
from semcache_async import CacheConfig
from semcache_async.serve.metrics.counters import COUNTERS
from semcache_async.serve.metrics.exposition import expose
from semcache_async.serve.metrics.metrics import Metrics
from semcache_async.serve.settings import Settings, read_settings
from semcache_async.worker.consumer import Counts
from semcache_async.worker.metrics import Watch, exposed
from semcache_async.worker.stream import Lag

PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")
HERE = Path(semcache_async.__file__).parent.parent / "docs" / "compose"
yaml = pytest.importorskip("yaml")


def read(path: str) -> Any:
    return yaml.safe_load((HERE / path).read_text())


def told() -> dict[str, dict[str, set[str]]]:
    """Names that services and workers tell Prometheus, each with its labels and their values."""
    metrics = Metrics(Settings(cache=CacheConfig(target_precision=0.9)))
    metrics.rows.mine[[one.name for one in COUNTERS].index("audited")] = 1.0
    stream: Any = SimpleNamespace(stream=SimpleNamespace(name="s"), counts=Counts())
    watch = Watch([stream])
    watch.lags["s"] = Lag("s", "g", 1, 1, 1, 1.0, 1, 1)
    with exposed(watch, "127.0.0.1", 0) as port:
        worker = urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    found: dict[str, dict[str, set[str]]] = {}
    texts = (expose(metrics).decode(), worker)
    for family in chain.from_iterable(map(text_string_to_metric_families, texts)):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for name, value in sample.labels.items():
                labels.setdefault(name, set()).add(value)
    return found


def check(expression: str, known: dict[str, dict[str, set[str]]], recorded: set[str]) -> None:
    """Every name, label and value in it is one that is told."""
    assert expression.count("(") == expression.count(")")
    assert set(re.findall(r"semcache:[\w:]+", expression)) <= recorded
    labels = {"job", "instance"}
    for name, matchers in re.findall(r"\b(semcache_\w+)(?:\{(.*?)\})?", expression):
        assert name in known, name
        labels |= set(known[name])
        for label, how, text in re.findall(r'(\w+)(=~|!~|!=|=)"(.*?)"', matchers):
            values = text.split("|") if "~" in how else [text]
            assert set(values) <= known[name][label], (name, label, text)
    for grouped in re.findall(r"\b(?:by|on) \((.*?)\)", expression):
        assert set(grouped.split(", ")) <= labels | {"stream"}, grouped


def test_the_dashboard_asks_for_what_there_is() -> None:
    board, known = json.loads((HERE / "grafana/dashboards/semcache.json").read_text()), told()
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    for panel in panels:
        for target in panel["targets"]:
            check(target["expr"], known, set())
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    source = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"][0]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}
    places = [tuple(panel["gridPos"][side] for side in "xywh") for panel in board["panels"]]
    for (x, y, w, h), (x2, y2, w2, h2) in combinations(places, 2):
        assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_alerts_are_of_what_there_is_and_are_explained() -> None:
    rules = [rule for group in read("rules.yml")["groups"] for rule in group["rules"]]
    recorded, known = {rule["record"] for rule in rules if "record" in rule}, told()
    alerts = [rule for rule in rules if "alert" in rule]
    for rule in rules:
        check(rule["expr"], known, recorded)
    for rule in alerts:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"]
    names = [rule["alert"] for rule in alerts]
    assert (
        re.findall(r"^\| `(\w+)` \|", (HERE.parent / "alerts.md").read_text(), re.MULTILINE)
        == names
    )
    jobs = {job["job_name"] for job in read("prometheus.yml")["scrape_configs"]}
    used = {job for rule in rules for job in re.findall(r'job="(.*?)"', rule["expr"])}
    assert used == jobs


@pytest.mark.skipif(PROMTOOL is None, reason="promtool, of Prometheus, is not here")
@pytest.mark.parametrize("what", [("check", "config"), ("test", "rules")], ids="-".join)
def test_prometheus_reads_the_rules_and_they_fire(what: tuple[str, str]) -> None:
    path = {"check": HERE / "prometheus.yml", "test": Path(__file__).parent / "rules_test.yml"}
    done = subprocess.run(
        [str(PROMTOOL), *what, str(path[what[0]])], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_files_and_services_that_are_named_are_there() -> None:
    services = read("compose.yaml")["services"]
    mounted = [
        volume.split(":")[0]
        for service in services.values()
        for volume in service.get("volumes", ())
        if volume.startswith(".")
    ]
    assert mounted
    assert all((HERE / path).exists() for path in mounted)
    jobs = read("prometheus.yml")["scrape_configs"]
    targets = [target for job in jobs for one in job["static_configs"] for target in one["targets"]]
    assert targets == ["semcache:8080", "purger:9100"]
    assert all(target.split(":")[0] in services for target in targets)
    assert services["purger"]["command"][-1] == "9100"
    assert read("grafana/provisioning/dashboards/semcache.yaml")["providers"][0]["options"] == {
        "path": "/var/lib/grafana/dashboards"
    }


def test_the_services_environment_makes_sense() -> None:
    environment = read("compose.yaml")["services"]["semcache"]["environment"]
    env = {name: re.sub(r"\$\{\w+:?-(.*)\}", r"\1", text) for name, text in environment.items()}
    settings = read_settings({}, env=env)
    assert (settings.workers, settings.redis_url) == (2, "redis://redis:6379/0")
    assert settings.upstream_url == "https://api.openai.com/v1"
