"""Writes the rules as a resource of the Prometheus operator: `python -m ops.prometheus.rule_resource` (a test holds the file to them)."""

from __future__ import annotations

from pathlib import Path

import yaml

HERE = Path(__file__).parent
FILE = HERE.parent / "kubernetes" / "components" / "monitoring" / "prometheusrule.yaml"
RULES = ("rerankd.rules.yml", "rerankd.alerts.yml")


def text() -> str:
    """Return the resource as YAML."""
    groups = [group for name in RULES for group in yaml.safe_load((HERE / name).read_text())["groups"]]
    about = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": {"name": "rerankd"}}
    written = yaml.safe_dump({**about, "spec": {"groups": groups}}, sort_keys=False, width=140)
    return f"# Written by python -m ops.prometheus.rule_resource out of ops/prometheus/*.yml.\n{written}"


if __name__ == "__main__":
    FILE.write_text(text())
