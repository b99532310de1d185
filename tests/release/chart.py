"""Run by the Python of .venv-release: lints the chart and renders it with each of the values
on standard input, validates what comes out against Kubernetes' schemas, and prints it by kind."""

from __future__ import annotations

import json
import sys

import kubernetes_validate
import yaml
from helm_python.chart import Chart, lint

path = sys.argv[1]
told = []
for values in json.load(sys.stdin):
    report = lint(path, values, strict=True)
    if report["errors"]:
        sys.exit("\n".join(report["errors"]))
    with Chart.load(path) as chart:
        files = chart.render(values, name="semcache", namespace="shop")
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    parts = [part for text in texts for part in yaml.safe_load_all(text) if part]
    for part in parts:
        if not part["apiVersion"].startswith("monitoring.coreos.com"):
            for kubernetes in ("1.25", "1.37"):
                kubernetes_validate.validate(part, kubernetes, strict=True)
    told.append({part["kind"]: part for part in parts})
json.dump(told, sys.stdout)
