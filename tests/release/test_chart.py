"""The chart in deploy/helm: linted and rendered by Helm's own code, and about this service."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from semcache_async import __version__
from semcache_async.serve.settings import Settings, read_settings
from tests.release.tools import ROOT, tool

CHART = ROOT / "deploy" / "helm" / "semcache"
RULES = 'groups:\n  - name: "{{ $labels.instance }}"\n    rules: []\n'
PLAIN = {"config": 'upstream_url = "https://llm.example/v1"\n[cache]\nmax_distance = 0.03\n'}
FULL = PLAIN | {
    "redis": {"secret": {"name": "semcache-redis", "key": "url"}},
    "apiKeys": {"name": "semcache-keys", "key": "keys.toml"},
    "env": {"SEMCACHE_WORKERS": "2", "SEMCACHE_LOG_PROMPTS": "true"},
    "envFrom": [{"secretRef": {"name": "openai"}}],
    "models": {"claim": "models"},
    "autoscaling": {"enabled": True},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"rules": RULES},
    "podAnnotations": {"team": "search"},
    "pod": {"nodeSelector": {"pool": "cpu"}},
}


@pytest.fixture(scope="module")
def rendered() -> list[dict[str, Any]]:
    """What Kubernetes is told, by kind: with the least, with everything, and without models."""
    typed = json.dumps([PLAIN, FULL, PLAIN | {"models": {"enabled": False}}])
    parts: list[dict[str, Any]] = json.loads(
        tool("python", "tests/release/chart.py", CHART, typed=typed)
    )
    return parts


def settings_of(parts: dict[str, Any], file: Path) -> Settings:
    """What the service makes of the pod's variables and its file."""
    (container,) = parts["Deployment"]["spec"]["template"]["spec"]["containers"]
    env = {row["name"]: row["value"] for row in container["env"] if "value" in row}
    where = Path(env.pop("SEMCACHE_CONFIG"))
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "config"]
    assert where.parent == Path(mount["mountPath"])
    file.write_text(parts["ConfigMap"]["data"][where.name])
    return read_settings({}, file=file, env=env)


def test_with_the_least_it_is_safe_and_finds_the_service(
    rendered: list[dict[str, Any]], tmp_path: Path
) -> None:
    parts = rendered[0]
    assert parts.keys() == {"ConfigMap", "Deployment", "PodDisruptionBudget", "Service"}
    pod = parts["Deployment"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert not pod["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["image"].endswith(f":{__version__}")
    probes = ("startupProbe", "livenessProbe", "readinessProbe")
    asked = [container[probe]["httpGet"]["path"] for probe in probes]
    assert asked == ["/healthz"] * 3, "of Redis, which all pods share, none depends"
    settings = settings_of(parts, tmp_path / "semcache.toml")
    assert settings.port == container["ports"][0]["containerPort"]
    assert (settings.redis_url, settings.cache.max_distance) == ("redis://redis:6379/0", 0.03)
    (*_, waited) = container["lifecycle"]["preStop"]["exec"]["command"]
    last = float(waited) + settings.drain_timeout_s + settings.cache.close_timeout_s
    assert pod["terminationGracePeriodSeconds"] > last + 5, "and OpenTelemetry's last words"
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]} == {"config", "tmp", "models"}


def test_with_everything_kubernetes_takes_it_still(
    rendered: list[dict[str, Any]], tmp_path: Path
) -> None:
    parts = rendered[1]
    assert parts.keys() == {
        *("ConfigMap", "Deployment", "PodDisruptionBudget", "Service"),
        *("HorizontalPodAutoscaler", "PrometheusRule", "ServiceMonitor"),
    }
    assert "replicas" not in parts["Deployment"]["spec"]
    assert parts["PrometheusRule"]["spec"] == yaml.safe_load(RULES)
    pod = parts["Deployment"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "cpu"}
    (container,) = pod["containers"]
    (redis,) = [row for row in container["env"] if row["name"] == "SEMCACHE_REDIS_URL"]
    assert redis["valueFrom"]["secretKeyRef"] == {"name": "semcache-redis", "key": "url"}
    settings = settings_of(parts, tmp_path / "semcache.toml")
    (keys,) = [mount for mount in container["volumeMounts"] if mount["name"] == "keys"]
    assert str(settings.api_keys_file) == f"{keys['mountPath']}/keys.toml"
    assert (settings.workers, settings.log_prompts) == (2, True)
    port = parts["ServiceMonitor"]["spec"]["endpoints"][0]["port"]
    assert port == parts["Service"]["spec"]["ports"][0]["name"]


def test_models_are_on_a_volume_in_the_image_or_fetched(rendered: list[dict[str, Any]]) -> None:
    sources = []
    for parts in rendered:
        pod = parts["Deployment"]["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        mounted = [mount["name"] for mount in container["volumeMounts"]]
        assert sorted(mounted) == sorted(volume["name"] for volume in pod["volumes"])
        sources += [[*v] for v in pod["volumes"] if v["name"] == "models"] or [[]]
    assert sources == [["name", "emptyDir"], ["name", "persistentVolumeClaim"], []]


def test_a_password_is_no_value() -> None:
    typed = json.dumps([PLAIN | {"redis": {"url": "rediss://user:hush@redis:6379/0"}}])
    with pytest.raises(AssertionError, match="url"):
        tool("python", "tests/release/chart.py", CHART, typed=typed)


def test_its_versions_are_the_packages() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["version"] == chart["appVersion"] == __version__
    assert re.search(
        rf"^## {re.escape(__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
