"""Writes the dashboard's JSON out of its panels: `python -m ops.grafana.dashboard` (a test holds the file to it)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ops.grafana.panels import ROWS, Panel

FILE = Path(__file__).parent / "dashboards" / "rerankd.json"
HEIGHT = 8
SOURCE = {"type": "prometheus", "uid": "${source}"}


def dashboard() -> dict[str, Any]:
    """Return the dashboard as Grafana (10 and newer) reads it."""
    return {
        "uid": "rerankd",
        "title": "rerankd",
        "description": "A cross-encoder rerank service: traffic, latency by stage, queue and admission, workers and devices, errors.",
        "tags": ["rerankd", "rerank"],
        "schemaVersion": 38,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": _variables()},
        "panels": list(_panels()),
    }


def _variables() -> list[dict[str, Any]]:
    source = {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}, "hide": 0}
    chosen = [
        ("job", "label_values(rerankd_queue_limit_tokens, job)", False),
        ("instance", 'label_values(rerankd_queue_limit_tokens{job="$job"}, instance)', True),
        ("model", 'label_values(rerankd_queue_limit_tokens{job="$job"}, model)', True),
    ]
    return [source, *(_variable(*one) for one in chosen)]


def _variable(name: str, query: str, many: bool) -> dict[str, Any]:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": many,
        "includeAll": many,
        "allValue": ".*" if many else None,
        "current": {"text": "All", "value": "$__all"} if many else {},
    }


def _panels() -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    y = 0
    for title, panels in ROWS:
        made.append({"id": len(made) + 1, "type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": _at(0, y, 24, 1)})
        y, x = y + 1, 0
        for panel in panels:
            if x + panel.width > 24:
                x, y = 0, y + HEIGHT
            made.append({"id": len(made) + 1, "gridPos": _at(x, y, panel.width, HEIGHT), **_panel(panel)})
            x += panel.width
        y += HEIGHT
    return made


def _at(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Panel) -> dict[str, Any]:
    options = {"timeseries": _lines, "heatmap": _heatmap, "table": _table, "stat": _lines}[panel.kind](panel)
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": SOURCE,
        "targets": _targets(panel),
        **options,
    }


def _targets(panel: Panel) -> list[dict[str, Any]]:
    more = {"heatmap": {"format": "heatmap"}, "table": {"format": "table", "instant": True}}.get(panel.kind, {})
    return [
        {"refId": chr(ord("A") + place), "datasource": SOURCE, "expr": query.expr, "legendFormat": query.legend, **more}
        for place, query in enumerate(panel.queries)
    ]


def _lines(panel: Panel) -> dict[str, Any]:
    custom = {
        "fillOpacity": 25 if panel.stacked else 8,
        "lineWidth": 1,
        "showPoints": "never",
        "stacking": {"mode": "normal" if panel.stacked else "none"},
    }
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "custom": custom}
    if panel.top is not None:
        defaults["max"] = panel.top
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True}
    return {
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}},
    }


def _heatmap(panel: Panel) -> dict[str, Any]:
    options = {
        "calculate": False,
        "yAxis": {"unit": panel.unit},
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
        "cellGap": 1,
    }
    return {"fieldConfig": {"defaults": {}, "overrides": []}, "options": options}


def _table(panel: Panel) -> dict[str, Any]:
    hidden = {"Time": True, "Value": True, "__name__": True, "job": True}
    return {
        "fieldConfig": {"defaults": {}, "overrides": []},
        "options": {"showHeader": True},
        "transformations": [{"id": "organize", "options": {"excludeByName": hidden}}],
    }


def text() -> str:
    """Return the file's text."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
