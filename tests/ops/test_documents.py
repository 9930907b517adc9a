"""What the files of ops/ say to operators is true of the service: settings exist, links lead somewhere, and no machine or registry is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from batching.families.rules import FAMILIES
from batching.restart import Action, ChildView, Policy, next_action
from service.failures import STATUSES
from service.settings_parse import declared
from tests.ops.tools import OPS, ROOT

TEXTS = sorted(
    path
    for path in [ROOT / "Containerfile", ROOT / ".containerignore", *OPS.rglob("*")]
    if path.is_file() and "bench" not in path.parts and path.suffix not in {".png", ".pyc"}
)
SETTINGS = {setting.variable for setting in declared().values()}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings_are_settings(path: Path) -> None:
    """Every RERANKER_ name is declared, so that a renamed setting does not live on in a unit file."""
    named = set(re.findall(r"RERANKER_[A-Z0-9_]*[A-Z0-9]", path.read_text()))
    assert named <= SETTINGS


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_registry_and_no_machine_is_named(path: Path) -> None:
    """Images, packages and paths are the operator's."""
    assert not re.findall(r"\b(docker|quay|ghcr|pypi)\.\w|/root/|/home/", path.read_text())


@pytest.mark.parametrize("name", ["RUNBOOK.md", "SECURITY.md"])
def test_links_lead_somewhere(name: str) -> None:
    """Relative links are files."""
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (OPS / name).read_text())
    assert [link for link in links if not (OPS / link).exists()] == []


@pytest.mark.parametrize(("was_ready", "action"), [(True, Action.SPAWN), (False, Action.NOTHING)])
def test_the_runbook_knows_which_worker_is_tried_again(*, was_ready: bool, action: Action) -> None:
    """One that was ready, after at most so long; one that never was, not."""
    policy = Policy()
    failed = ChildView(
        running=False, exit_code=None, state="failed", age_s=0, heartbeat_age_s=0, forward_running_s=0, crashes=policy.max_crashes,
        ended_age_s=policy.max_backoff_s, was_ready=was_ready,
    )  # fmt: skip
    assert next_action(failed, policy) is action
    text = " ".join((OPS / "RUNBOOK.md").read_text().split())
    assert text.count(f"growing intervals of up to {policy.max_backoff_s:g} s") == text.count("never got ready") == 2
    assert policy.max_crashes == 5
    assert "five crashes in a row" in text
    assert not re.search("not tried again by itself|give the worker up", text)


def test_the_check_before_a_switch_is_of_what_will_run() -> None:
    """The runbook's command reads the unit's settings, as its user, with its cache: without them it would load the default model."""
    [command] = re.findall(r"systemd-run ((?:.*\\\n)*.*) /opt/rerankd-NEW/bin/rerankd check\n", (OPS / "RUNBOOK.md").read_text())
    unit = (OPS / "systemd" / "rerankd.service").read_text().replace("%C", "/var/cache")
    said = re.findall(r"-[pE] (\S+)", command)
    assert {name.partition("=")[0] for name in said} == {
        "EnvironmentFile", "DynamicUser", "User", "CacheDirectory", "HF_HOME", "RERANKER_MODEL_CACHE_DIR",
    }  # fmt: skip
    assert [one for one in said if one not in unit] == []


def test_every_status_is_in_the_table() -> None:
    """What the service answers is in the README's table, but for 499: its caller has gone."""
    rows = re.findall(r"^\| (\d{3}) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert sorted(map(int, rows)) == sorted({*STATUSES} - {200, 499})


def test_how_long_a_query_may_be() -> None:
    """The README names the two shares of max_length that there are, and whose the larger one is."""
    line = next(line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("- A query longer than"))
    shares = {share: {name for name, family in FAMILIES.items() if family.query_share == share} for share in (0.75, 1)}
    assert shares[1] == {"bi-encoder", "colbert"} == FAMILIES.keys() - shares[0.75]
    assert "three quarters" in line
    assert all(name in line.lower() for name in shares[1])


def test_what_benchmarks_lists_is_there() -> None:
    """Every line of the table at the top names a command and leads to a section."""
    text = (ROOT / "BENCHMARKS.md").read_text()
    sections = [re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^## (.+)$", text, re.MULTILINE)]
    listed = re.findall(r"^\| \[[^]]+\]\(#([^)]+)\)[^|]*\| `[^`]+`", text, re.MULTILINE)
    assert len(listed) > 4
    assert set(listed) <= set(sections)
