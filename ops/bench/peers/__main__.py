"""Us and the peers on one model and one load in one run: `python -m ops.bench.peers`.

Environments come from PyPI on the first run (several GB of disk). Rounds are interleaved, so that a machine that slows down slows
everybody; each row shows the median of its rounds. A peer that cannot be installed or started is a row with its reason.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from ops.bench import load, options, report
from ops.bench.models import BLUEPRINTS, cache_directory, model_path
from ops.bench.peers.catalogue import CONTENDERS, Contender, Place, local_command
from ops.bench.peers.environments import python_of, versions_in
from ops.bench.peers.ratios import ratio_rows
from ops.bench.serving import StartFailure, serving
from service.load.workload import MIXED, count_tokens, make_requests, pairs, save

_VERSIONS = ("sentence-transformers", "transformers", "fastapi", "mosec", "onnxruntime", "openvino", "infinity-emb", "torch")


@dataclass(slots=True)
class Outcome:
    """What came of one contender: a result per round, or the reason why there is none."""

    contender: Contender
    rounds: list[dict[str, Any]] = field(default_factory=list)
    failure: str = ""

    @property
    def rate(self) -> float:
        """Median tokens a second of its rounds, 0 without any: in a short window one contender may meet longer pairs than another."""
        return median(found["tokens_s"] for found in self.rounds) if self.rounds else 0.0

    def row(self) -> dict[str, Any]:
        """Lay the median round out as a table's row."""
        head = {"contender": self.contender.name, "dtype": self.contender.dtype, "how": self.contender.role}
        if self.failure or not self.rounds:
            return {**head, "note": _last_line(self.failure)}
        if not self.rate:
            return {**head, "note": "no answer within the window: take more --seconds"}
        ordered = sorted(self.rounds, key=lambda found: found["tokens_s"])
        return {**head, **ordered[(len(ordered) - 1) // 2]}


def _last_line(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1][:100] if lines else "not run"


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = options.parser("peers", __doc__)
    parser.add_argument("--models", nargs="+", choices=sorted(BLUEPRINTS), default=["minilm-l6"], help="shapes of the random models")
    parser.add_argument("--minutes", type=float, default=60.0, help="start nobody after this long; who is left out is named")
    parser.add_argument("--only", nargs="+", metavar="NAME[/DTYPE]", help="contenders to run; --list names them")
    parser.add_argument("--list", action="store_true", help="name the contenders and stop")
    parser.add_argument(
        "--seconds",
        type=float,
        help="measured seconds of a server (default 30, large models 60); a setting of a runtime takes a quarter, at most 5",
    )
    parser.add_argument(
        "--warmup", type=float, help="seconds of load before each window (default 4, large models 30: as long as an answer takes there)"
    )
    parser.add_argument("--callers", type=int, default=8, help="concurrent callers")
    parser.add_argument("--rounds", type=int, default=1, help="interleaved rounds; the median counts")
    parser.add_argument(
        "--directory", type=Path, help="where environments, models and logs are kept; default $RERANKD_BENCH_DIR or the cache"
    )
    return parser.parse_args()


def chosen(only: list[str] | None) -> list[Contender]:
    """Return the contenders that were asked for, by name or name/dtype, in any case. Raises SystemExit for an unknown one."""
    if not only:
        return list(CONTENDERS)
    wanted = {text.lower() for text in only}
    known = {key.lower() for c in CONTENDERS for key in (c.name, c.key)}
    if wanted - known:
        raise SystemExit(f"unknown: {', '.join(sorted(wanted - known))}; see --list")
    return [c for c in CONTENDERS if {c.name.lower(), c.key.lower()} & wanted]


class Comparison:
    """One run over all contenders on one model."""

    def __init__(self, args: argparse.Namespace, name: str) -> None:
        self._args = args
        small = name == "minilm-l6"
        self.seconds = args.seconds or (30.0 if small else 60.0)
        self.warmup = args.warmup or (4.0 if small else 30.0)
        self._directory = (args.directory or cache_directory()).resolve()
        model = model_path(name, self._directory / "models")
        self._requests = make_requests(400, seed=args.seed)
        self.tokens = count_tokens(self._requests, model / "tokenizer.json")
        self._per_pair = sum(self.tokens.totals) / pairs(self._requests)
        saved = self._directory / "requests.json"
        save(saved, self._requests[:24])
        self.place = Place(self._python, model, self._directory / "onnx" / name / "model.onnx", saved)

    def _python(self, name: str) -> Path:
        return python_of(name, self._directory / "envs")

    def versions(self) -> dict[str, str]:
        """Return the peers' versions, whose environment exists by now."""
        found: dict[str, str] = {}
        for name in ("infinity", "common"):
            python = self._directory / "envs" / name / "bin" / "python"
            if python.exists():
                found.update(versions_in(python, _VERSIONS))
        return found

    def measure(self, contender: Contender, number: int) -> dict[str, Any]:
        """Run one contender once. Raises StartFailure, CalledProcessError."""
        print(f"{time.strftime('%H:%M:%S')} round {number}: {contender.key}", file=sys.stderr, flush=True)
        return self._serve(contender) if contender.serve else self._local(contender)

    def _serve(self, contender: Contender) -> dict[str, Any]:
        assert contender.serve is not None
        command = contender.serve(self.place, contender.dtype)
        log = self._directory / "logs" / f"{contender.key.replace('/', '-').replace(' ', '-')}.log"
        args = self._args
        with serving(command, log) as running:
            used = running.cpu_s()
            plan = load.Plan(running.url, command.dialect, args.callers, warmup_s=self.warmup, seconds=self.seconds, timeout_s=120)
            summary = load.run_apart(plan, self._requests, self.tokens.totals, self._directory)
            used = running.cpu_s() - used
        kept = {name: summary[name] for name in ("pairs_s", "tokens_s", "p50_ms", "p99_ms", "errors")}
        return {**kept, "cpu_ms_per_pair": used / max(summary["total_pairs"], 1) * 1e3, "note": ""}

    def _local(self, contender: Contender) -> dict[str, Any]:
        if "onnx" in contender.script or "openvino" in contender.script:
            self._export()
        command = local_command(contender, self.place, min(max(self.seconds / 4, 2), 5))
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=1800)
        settings = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        best = max(settings, key=lambda found: found["tokens_s"])
        streams = f", {best['streams']} streams" if best["streams"] > 1 else ""
        return {
            "pairs_s": best["tokens_s"] / self._per_pair,
            "tokens_s": best["tokens_s"],
            "cpu_ms_per_pair": best["cpu_us_per_token"] * self._per_pair / 1e3,
            "note": f"best: batch {best['batch']}{streams}",
        }

    def _export(self) -> None:
        if not self.place.graph.exists():
            script = Path(__file__).with_name("export_onnx.py")
            command = [str(self._python("common")), str(script), str(self.place.model), str(self.place.graph.parent)]
            subprocess.run(command, check=True, capture_output=True, text=True)


def run(comparison: Comparison, contenders: list[Contender], rounds: int, until: float) -> list[Outcome]:
    """Measure everybody, round by round; a failure ends that contender only, and nobody begins after `until` on the monotonic clock."""
    outcomes = [Outcome(contender) for contender in contenders]
    for number in range(1, rounds + 1):
        for outcome in outcomes:
            if not outcome.rounds and time.monotonic() > until:
                outcome.failure = "left out: the minutes were up"
            if outcome.failure or time.monotonic() > until:
                continue
            try:
                outcome.rounds.append(comparison.measure(outcome.contender, number))
            except StartFailure as error:
                outcome.failure = str(error)
            except subprocess.SubprocessError as error:
                outcome.failure = f"{type(error).__name__}: {str(getattr(error, 'stderr', '') or error)[-400:]}"
            if outcome.failure:
                print(f"  failed: {outcome.failure}", file=sys.stderr)
    return outcomes


def main() -> int:
    """Run the comparison and print rates and ratios."""
    args = parse()
    if args.list:
        print("\n".join(contender.key for contender in CONTENDERS))
        return 0
    until = time.monotonic() + 60 * args.minutes
    return max(compare(args, name, until) for name in args.models)


def compare(args: argparse.Namespace, name: str, until: float) -> int:
    """Measure everybody on one model and print the tables; 1 when somebody failed."""
    facts = report.context()
    comparison = Comparison(args, name)
    outcomes = run(comparison, chosen(args.only), args.rounds, until)
    facts = {**facts, "versions": {**comparison.versions(), **facts["versions"]}}
    rates = {(outcome.contender.name, outcome.contender.dtype): outcome.rate for outcome in outcomes if outcome.rate}
    title = f"{name}, {args.callers} callers (runtimes in process, sorted, best setting), {args.rounds} rounds of {comparison.seconds:g} s"
    notes = [MIXED.describe(), comparison.tokens.describe()]
    report.show(title, [outcome.row() for outcome in outcomes], facts, notes, as_json=args.json)
    ratios = ratio_rows(rates)
    if ratios:
        report.show(f"{name}: ours / theirs, tokens a second, one run", ratios, facts, as_json=args.json)
    return int(any(outcome.failure for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
