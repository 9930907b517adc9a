"""A real Prometheus scrapes a real service under load, and every query of dashboard and alerts is asked of it. Slow: `pytest -m slow tests/ops`."""

from __future__ import annotations

import json
import math
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.grafana.panels import filled, panels
from tests.ops.conftest import free_port, load, running, wait_until
from tests.ops.rules import alerts, left_sides, rules
from tests.ops.tools import OPS, tool

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
LOADED_S = 25.0


class Prometheus:
    """Its HTTP API."""

    def __init__(self, where: str) -> None:
        self.where = where

    def get(self, path: str, **parameters: str) -> Any:
        with urllib.request.urlopen(f"{self.where}/api/v1/{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def up(self) -> bool:
        try:
            return bool(self.query("up == 1"))
        except OSError:
            return False

    def query(self, expr: str) -> list[float]:
        """The values now, without those that are not numbers."""
        values = [float(series["value"][1]) for series in self.get("query", query=expr)["result"]]
        return [value for value in values if not math.isnan(value)]


@pytest.fixture(scope="module")
def prometheus(service: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus with our configuration, only faster, after a while of load that is still on."""
    directory, port = tmp_path_factory.mktemp("prometheus"), free_port()
    config = yaml.safe_load((OPS / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(OPS / "prometheus" / name) for name in config["rule_files"]]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [service.removeprefix("http://")]
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [tool("prometheus"), f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/data"]
    found = Prometheus(f"http://127.0.0.1:{port}")
    with running([*command, f"--web.listen-address=127.0.0.1:{port}"], directory / "log"), load(service):
        wait_until(found.up, 60, "Prometheus' first scrape")
        wait_until(lambda: found.query(f"time() - min_over_time(timestamp(up)[1h:1s]) > {LOADED_S}"), 120, "the load")
        yield found


@pytest.mark.parametrize("panel", list(panels()), ids=lambda panel: panel.title)
def test_every_panel_shows_something(prometheus: Prometheus, panel: Any) -> None:
    """Each query of the panel gives at least one number."""
    for query in panel.queries:
        assert prometheus.query(filled(query.expr, interval="20s")), query.expr


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_looks_at_something(prometheus: Prometheus, alert: dict[str, str]) -> None:
    """What the condition compares is there, so that the alert can fire; and none fires on a healthy service."""
    for expr in left_sides(alert["expr"]):
        assert prometheus.query(expr), expr
    assert not prometheus.query(f'ALERTS{{alertname="{alert["alert"]}", alertstate="firing"}}')


def test_every_rule_is_evaluated_without_complaint(prometheus: Prometheus) -> None:
    """Prometheus has no error with any of them."""
    found = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert len(found) == len(rules())
    assert [rule["lastError"] for rule in found if rule["health"] != "ok"] == []


def test_counts_agree_with_what_callers_saw(prometheus: Prometheus, service: str) -> None:
    """Prometheus sees answered requests of two kinds, summed over the HTTP processes."""
    assert prometheus.query('sum(rerankd_requests_total{status="200"})')[0] > 20
    assert prometheus.query('sum(rerankd_requests_total{status="400"})')[0] > 0


def test_a_picture_is_drawn_of_the_same_queries(prometheus: Prometheus, tmp_path: Path) -> None:
    """The README's picture comes from the dashboard's queries."""
    pytest.importorskip("matplotlib")
    from ops.grafana.picture import draw

    draw(prometheus.where, tmp_path / "dashboard.png", minutes=0.5)
    assert (tmp_path / "dashboard.png").stat().st_size > 10_000
