"""What an audit says: never "clean" of what nobody looked at."""

from __future__ import annotations

from typing import Any

from ops.audit import verdict


def report(*packages: dict[str, Any]) -> dict[str, Any]:
    return {"dependencies": [{"name": "rerankd", "skip_reason": "not found"}, *packages]}


CLEAN = {"name": "numpy", "version": "2.3.0", "vulns": []}
SKIPPED = {"name": "torch", "skip_reason": "Dependency not found on PyPI and could not be audited: torch (2.13.0+cpu)"}
FAULTY = {
    "name": "litestar",
    "version": "2.0.0",
    "vulns": [{"id": "CVE-1", "fix_versions": ["2.1.0"]}, {"id": "CVE-2", "fix_versions": []}],
}


def test_nothing_looked_up_is_no_clean_audit() -> None:
    """An index without advisories: skipped, with the reason, exit code 0."""
    code, lines = verdict(report(SKIPPED))
    assert code == 0
    assert lines == [f"audit skipped: no advisories for any of 1 packages ({SKIPPED['skip_reason']})"]


def test_a_known_fault_fails_and_is_named() -> None:
    """Each with the version that mends it, where there is one; what was not looked up is named beside."""
    code, lines = verdict(report(CLEAN, FAULTY, SKIPPED))
    assert code == 1
    assert lines == [
        "2 packages audited, 2 known faults",
        "litestar 2.0.0: CVE-1, mended in 2.1.0",
        "litestar 2.0.0: CVE-2",
        "not audited: torch",
    ]


def test_no_fault_is_clean() -> None:
    """Exit code 0, and how many were looked at."""
    assert verdict(report(CLEAN)) == (0, ["1 packages audited, 0 known faults"])
