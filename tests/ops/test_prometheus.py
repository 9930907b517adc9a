"""The rules are valid and do what they say, and every alert has a test and a section in the runbook."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from tests.ops.rules import alerts, left_sides
from tests.ops.tools import OPS, tool

DIRECTORY = OPS / "prometheus"
NAMES = sorted({alert["alert"] for alert in alerts()})


def promtool(*arguments: str) -> str:
    done = subprocess.run([tool("promtool"), *arguments], cwd=DIRECTORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_configuration_is_valid() -> None:
    """Prometheus takes it, with its rule files."""
    promtool("check", "config", "prometheus.yml")
    promtool("check", "rules", "rerankd.rules.yml", "rerankd.alerts.yml")


def test_rules_do_what_they_say() -> None:
    """Made-up series in, expected alerts out."""
    assert "SUCCESS" in promtool("test", "rules", "rerankd.tests.yml")


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_tested_firing_and_quiet(name: str) -> None:
    """An alert that was never seen to fire is no alert."""
    tests = yaml.safe_load((DIRECTORY / "rerankd.tests.yml").read_text())["tests"]
    cases = [case for test in tests for case in test.get("alert_rule_test", []) if case["alertname"] == name]
    assert any(case.get("exp_alerts") for case in cases)
    assert any(not case.get("exp_alerts") for case in cases)


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_has_its_section_in_the_runbook(name: str) -> None:
    """With what it means, how to see it, and what to do; the alert links to it."""
    sections = dict(re.findall(r"^### (\S+)\n(.*?)(?=^#|\Z)", (OPS / "RUNBOOK.md").read_text(), re.MULTILINE | re.DOTALL))
    assert all(word in sections[name] for word in ("**Means**", "**See**", "**Do**"))
    links = {alert["annotations"]["runbook"] for alert in alerts() if alert["alert"] == name}
    assert links == {f"RUNBOOK.md#{name.lower()}"}


def test_conditions_are_taken_apart() -> None:
    """What the live tests ask of Prometheus is the condition without its threshold."""
    assert left_sides('up{job="rerankd"} == 0') == ['up{job="rerankd"}']
    assert left_sides("a:b > 14.4 * 0.01 and c:d > 1") == ["a:b", "c:d"]
    assert left_sides("sum by (job, model) (x) <= 0") == ["sum by (job, model) (x)"]
