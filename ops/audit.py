"""`python -m ops.audit`: known faults of what is installed (pip-audit) and a bill of materials for the release notes (CycloneDX).

Both tools get an environment of their own, build/audit-venv. pip-audit asks the package index for advisories: where it answers for none of
the packages, nothing was audited, and that is said instead of "clean".
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TOOLS = ROOT / "build" / "audit-venv"
OURSELVES = {"rerankd"}


def verdict(report: dict[str, Any]) -> tuple[int, list[str]]:
    """Return the exit code and the lines for pip-audit's JSON: 1 for a known fault; 0 for none, or, with a reason, nothing audited."""
    packages = [one for one in report["dependencies"] if one["name"] not in OURSELVES]
    skipped = [one for one in packages if "skip_reason" in one]
    if len(skipped) == len(packages):
        why = skipped[0]["skip_reason"] if skipped else "nothing is installed"
        return 0, [f"audit skipped: no advisories for any of {len(packages)} packages ({why})"]
    faults = [_told(one, fault) for one in packages for fault in one.get("vulns", [])]
    lines = [f"{len(packages) - len(skipped)} packages audited, {len(faults)} known faults", *faults]
    if skipped:
        lines.append(f"not audited: {', '.join(one['name'] for one in skipped)}")
    return int(bool(faults)), lines


def _told(package: dict[str, Any], fault: dict[str, Any]) -> str:
    mended = f", mended in {', '.join(fault['fix_versions'])}" if fault["fix_versions"] else ""
    return f"{package['name']} {package['version']}: {fault['id']}{mended}"


def tools() -> Path:
    """Make the tools' environment, if it is not there; return its directory of commands."""
    if not (TOOLS / "bin" / "cyclonedx-py").exists():
        subprocess.run([sys.executable, "-m", "venv", TOOLS], check=True)
        subprocess.run([TOOLS / "bin" / "pip", "install", "-q", "pip-audit>=2.9", "cyclonedx-bom>=7"], check=True)
    return TOOLS / "bin"


def audit(commands: Path, packages: str) -> tuple[int, list[str]]:
    """Run pip-audit over a directory of packages."""
    command = [commands / "pip-audit", "--format", "json", "--progress-spinner", "off", "--path", packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout.strip():
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return 0, [f"audit skipped: pip-audit reached no advisories ({last})"]
    return verdict(json.loads(done.stdout))


def bill(commands: Path, python: str, target: Path) -> str:
    """Write the bill of materials of an environment; return a line about it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [
        commands / "cyclonedx-py",
        "environment",
        "--pyproject",
        ROOT / "pyproject.toml",
        "--output-reproducible",
        "-o",
        target,
        python,
    ]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    made = json.loads(target.read_text())
    return f"{target}: {made['bomFormat']} {made['specVersion']}, {len(made['components'])} components"


def main() -> int:
    """Audit an environment and write its bill of materials."""
    parser = argparse.ArgumentParser(prog="python -m ops.audit", description=__doc__)
    parser.add_argument("--python", default=str(ROOT / ".venv" / "bin" / "python"), help="the environment's interpreter")
    parser.add_argument("--bill", type=Path, default=ROOT / "build" / "sbom.json", help="where the bill of materials goes")
    parser.add_argument("--bill-only", action="store_true", help="ask nobody for advisories")
    given = parser.parse_args()
    commands = tools()
    print(bill(commands, given.python, given.bill))
    if given.bill_only:
        return 0
    ask = [given.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    where = subprocess.run(ask, capture_output=True, text=True, check=True)
    code, lines = audit(commands, where.stdout.strip())
    print(*lines, sep="\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
