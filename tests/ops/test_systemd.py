"""The systemd units: valid, tight, and true to what the service does."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from service.settings import Settings
from service.settings_load import load_settings, unknown_variables
from tests.ops.tools import OPS, tool

UNITS = OPS / "systemd"
EXPOSURE_LIMIT = 2.5


def parsed(name: str) -> configparser.RawConfigParser:
    """A unit as keys and (joined) values."""
    unit = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    unit.optionxform = str  # type: ignore[assignment]  # the documented way to keep the case
    unit.read(UNITS / name)
    return unit


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units with a program that exists on this machine."""
    for unit in UNITS.glob("rerankd*.s*"):
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/rerankd/bin/rerankd", sys.executable))
    return tmp_path


@pytest.mark.parametrize("names", [["rerankd.service"], ["rerankd@main.service"], ["rerankd.socket", "rerankd.service"]])
def test_units_are_valid(units: Path, names: list[str]) -> None:
    """systemd-analyze has nothing to say."""
    for name in names:
        if "@main" in name:
            (units / name).write_text((units / "rerankd@.service").read_text())
    done = subprocess.run([tool("systemd-analyze"), "verify", "--man=no", *names], cwd=units, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if "rerankd" in line]
    assert said == []


@pytest.mark.parametrize("name", ["rerankd.service", "rerankd@.service"])
def test_units_are_tight(units: Path, name: str) -> None:
    """The exposure stays under the limit."""
    arguments = ["security", "--offline=yes", "--no-pager", "--json=short", f"--threshold={EXPOSURE_LIMIT * 10:.0f}", name]
    done = subprocess.run([tool("systemd-analyze"), *arguments], cwd=units, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    worst = sorted((float(line["exposure"] or 0) for line in json.loads(done.stdout)), reverse=True)
    assert worst[0] <= 0.5


def test_the_gpu_stays_reachable() -> None:
    """What CUDA and oneDNN need is not taken away."""
    service = parsed("rerankd.service")["Service"]
    assert "char-nvidia" in (UNITS / "rerankd.service").read_text()
    assert not {"PrivateDevices", "MemoryDenyWriteExecute", "PrivateUsers"} & set(service)


def test_the_template_differs_in_names_only() -> None:
    """One unit per host and one per instance say the same."""
    single = (UNITS / "rerankd.service").read_text().splitlines()[1:]
    template = (UNITS / "rerankd@.service").read_text().splitlines()[2:]
    assert len(single) == len(template)
    different = [(one, other) for one, other in zip(single, template, strict=True) if one != other]
    assert all("%i" in other or "NAME" in other for _, other in different)
    assert len(different) == 4


def test_an_upgrade_replaces_what_was_installed(tmp_path: Path) -> None:
    """Installed as the unit says and upgraded as the runbook does, the unit's path leads to the new version, and back."""
    first = (UNITS / "rerankd.service").read_text().splitlines()[0].replace("VERSION", "OLD")
    link = re.compile(r"\bln -\S+ /opt/\S+ /opt/\S+")
    upgrade = link.findall((OPS / "RUNBOOK.md").read_text())
    assert len(upgrade) == 1
    for path in (re.findall(r"-m venv (/opt/[\w-]+)", first)[0], "/opt/rerankd-NEW"):
        (tmp_path / path[1:]).mkdir(parents=True)
    where = tmp_path / "opt" / "rerankd"
    for command in (*link.findall(first), upgrade[0], upgrade[0].replace("NEW", "OLD")):
        subprocess.run(["sh", "-c", command.replace("/opt/", f"{tmp_path}/opt/")], check=True)
        assert str(where.resolve()).endswith(command.split()[2])


def test_what_other_users_may_read_is_what_is_promised() -> None:
    """The modes that SECURITY.md names are the unit's, and the runtime directory's."""
    service = parsed("rerankd.service")["Service"]
    text = (OPS / "SECURITY.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| another user of the host"))
    assert re.findall(r"`(\w+)=(\w+)`", row) == [(key, service[key]) for key in ("CacheDirectoryMode", "UMask")]
    assert re.findall(r"([^;|]+), mode (\w+)", row) == [(" the queue: a private directory", service["RuntimeDirectoryMode"])]


def seconds(text: str) -> float:
    """A time span of systemd's in seconds."""
    units = {"min": 60.0, "s": 1.0}
    unit = next(unit for unit in units if text.endswith(unit))
    return float(text.removesuffix(unit)) * units[unit]


def test_the_times_fit_the_settings() -> None:
    """The unit waits longer than a drain takes, and the watchdog longer than a stuck worker is let be."""
    service, settings = parsed("rerankd.service")["Service"], Settings()
    assert seconds(service["TimeoutStopSec"]) > settings.drain_grace + settings.drain_timeout + 20
    assert seconds(service["WatchdogSec"]) > 2 * settings.forward_limit


def test_the_environment_file_holds_settings_only() -> None:
    """Every line, and every line that is commented out, is a setting with a value that is allowed."""
    lines = [line.lstrip("#") for line in (UNITS / "rerankd.env").read_text().splitlines() if "=" in line and " " not in line]
    values = dict(line.split("=", 1) for line in lines)
    assert len(values) > 8
    assert unknown_variables(values) == []
    assert load_settings(values).workers == 2
