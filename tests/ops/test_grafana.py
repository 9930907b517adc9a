"""The dashboard is what its panels say, and its queries ask for metrics that there are."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

from batching.client import QueueView
from ops.grafana.dashboard import FILE, text
from ops.grafana.panels import ROWS, Panel, filled, panels
from service.metrics import Metrics
from service.metrics_engine import EngineCollector
from service.metrics_processes import ProcessCollector
from service.processes import Processes
from tests.ops.rules import alerts, rules
from tests.ops.test_standing import GOOD
from tests.ops.tools import OPS, tool

RECORDED = {rule["record"] for rule in rules() if "record" in rule}


def exported() -> set[str]:
    """Every name that /metrics tells, from the collectors themselves."""
    metrics = Metrics(["m"], ["tei"], 0, None)
    view = QueueView(
        limit_tokens=1, reserved_tokens=0, waiting_tokens=0, waiting_entries=0, leased_entries=0, oldest_wait_s=0.0, drain_tokens_per_s=0.0,
        workers=[GOOD],
    )  # fmt: skip
    metrics.watch(EngineCollector(lambda: {"m": view}))
    with tempfile.TemporaryDirectory() as directory:
        metrics.watch(ProcessCollector(Processes.make(Path(directory) / "processes", 1)))
        page = metrics.page("")[0].decode()
    return {re.split(r"[{ ]", line)[0] for line in page.splitlines() if line and not line.startswith("#")}


def asked(expr: str) -> set[str]:
    """Names of metrics and recorded series in an expression."""
    return set(re.findall(r"\b(?:\w+:)?rerankd_\w+(?::\w+)*|\b\w+:rerankd_\w+:\w+", re.sub(r'"[^"]*"', '""', expr)))


def test_the_file_is_up_to_date() -> None:
    """python -m ops.grafana.dashboard writes it."""
    assert FILE.read_text() == text()


def test_panels_do_not_overlap() -> None:
    """Every cell of the grid belongs to one panel, and ids are unique."""
    found = json.loads(text())["panels"]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in found)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) == 23
    assert len({panel["id"] for panel in found}) == len(found)


@pytest.mark.parametrize("panel", list(panels()), ids=lambda panel: panel.title)
def test_queries_ask_for_what_there_is(panel: Panel) -> None:
    """A renamed metric would leave a panel empty without a word."""
    known = exported() | RECORDED
    names = set().union(*(asked(query.expr) for query in panel.queries))
    assert names <= known
    assert names or "up{" in panel.queries[0].expr


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("record") or rule["alert"])
def test_rules_ask_for_what_there_is(rule: dict[str, str]) -> None:
    """The same for alerts and recorded series."""
    assert asked(rule["expr"]) <= exported() | RECORDED


def test_every_recorded_series_is_used() -> None:
    """Nothing is recorded in vain."""
    used = set().union(*(asked(rule["expr"]) for rule in alerts()), *(asked(query.expr) for panel in panels() for query in panel.queries))
    scaling = (OPS / "kubernetes" / "components" / "autoscaling" / "scaledobject.yaml").read_text()
    assert RECORDED - used - asked(scaling) == set()


def test_queries_are_promql(tmp_path: object) -> None:
    """promtool parses each of them."""
    groups = [{"name": "panels", "rules": [{"record": "x", "expr": filled(query.expr)} for panel in panels() for query in panel.queries]}]
    done = subprocess.run(
        [tool("promtool"), "check", "rules", "--lint=none", "/dev/stdin"], input=yaml.safe_dump({"groups": groups}), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_provisioning_finds_the_dashboard() -> None:
    """The provider reads the directory that the compose file and the quadlets mount."""
    provider = yaml.safe_load((OPS / "grafana" / "provisioning" / "dashboards" / "rerankd.yml").read_text())["providers"][0]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    assert [title for title, _ in ROWS][:2] == ["Traffic", "Latency by stage"]
