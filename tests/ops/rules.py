"""The alerting and recording rules as data, and the parts of an alert's condition that can be asked one by one."""

from __future__ import annotations

import re
from typing import Any

import yaml

from tests.ops.tools import OPS

FILES = (OPS / "prometheus" / "rerankd.rules.yml", OPS / "prometheus" / "rerankd.alerts.yml")
_COMPARED = re.compile(r"\s(==|!=|>=|<=|>|<)\s")


def rules() -> list[dict[str, Any]]:
    """Every rule of every group."""
    return [rule for file in FILES for group in yaml.safe_load(file.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[dict[str, Any]]:
    """Every alert."""
    return [rule for rule in rules() if "alert" in rule]


def left_sides(condition: str) -> list[str]:
    """Return what a condition compares, without the comparison: that has a value also while all is well."""
    return [_COMPARED.split(part, maxsplit=1)[0].strip() for part in re.split(r"\s+and\s+", condition)]
