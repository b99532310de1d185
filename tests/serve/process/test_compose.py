"""docs/compose: an example, but one that works."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import semcache_async
from semcache_async.serve.metrics.exposition import expose
from semcache_async.serve.metrics.metrics import Metrics
from semcache_async.serve.settings import read_settings

HERE = Path(semcache_async.__file__).parent.parent / "docs" / "compose"
yaml = pytest.importorskip("yaml")


def read(path: str) -> Any:
    return yaml.safe_load((HERE / path).read_text())


def test_the_dashboard_asks_for_metrics_that_there_are() -> None:
    text = (HERE / "grafana/dashboards/semcache.json").read_text()
    board = json.loads(text)
    told = set(re.findall(r"^(semcache_\w+)[{ ]", expose(Metrics()).decode(), re.MULTILINE))
    asked = {
        name
        for panel in board["panels"]
        for target in panel["targets"]
        for name in re.findall(r"semcache_\w+", target["expr"])
    }
    assert asked <= told
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    source = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"][0]
    assert {panel["datasource"]["uid"] for panel in board["panels"]} == {source["uid"]}


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
    targets = read("prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"]
    assert targets == ["semcache:8080"]
    assert read("grafana/provisioning/dashboards/semcache.yaml")["providers"][0]["options"] == {
        "path": "/var/lib/grafana/dashboards"
    }


def test_the_services_environment_makes_sense() -> None:
    environment = read("compose.yaml")["services"]["semcache"]["environment"]
    env = {name: re.sub(r"\$\{\w+:?-(.*)\}", r"\1", text) for name, text in environment.items()}
    settings = read_settings({}, env=env)
    assert (settings.workers, settings.redis_url) == (2, "redis://redis:6379/0")
    assert settings.upstream_url == "https://api.openai.com/v1"
