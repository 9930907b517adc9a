"""The service on a CPU, end to end: `python -m ops.bench.service`. Three things take turns in one run, on the same requests:

through HTTP: `rerankd serve` and concurrent callers; forward in process: as many processes with as many threads as the service has
workers, the same packed forward on requests tokenized beforehand; CrossEncoder.predict: sentence-transformers in process, batch 32.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from batching.families.detect import detect
from ops.bench import load, options, report
from ops.bench.models import BLUEPRINTS, cache_directory, model_path
from ops.bench.serving import REPOSITORY, rerankd_command, serving
from service import placement
from service.load.workload import count_tokens, make_requests, save
from service.settings import Settings

GOALS = {"forward in process": 0.9, "CrossEncoder.predict": 1.4}
Row = dict[str, Any]


class Bench:
    """One run: the model, the requests, and how each contender is measured."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._directory = (args.directory or cache_directory()).resolve()
        self._model = model_path(args.model, self._directory / "models")
        self._requests = make_requests(args.distinct, options.shape_of(args), args.seed)
        self.tokens = count_tokens(self._requests, self._model / "tokenizer.json")

    def contenders(self) -> dict[str, Callable[[], Row]]:
        """Return the measurements by name, ours first."""
        return {"through HTTP": self._http, "forward in process": self._forward, "CrossEncoder.predict": self._cross_encoder}

    def _http(self) -> Row:
        args = self._args
        command = rerankd_command(self._model, dtype=args.dtype, replicas=args.replicas, threads=args.threads)
        with serving(command, self._directory / "logs" / "service.log") as running:
            used = running.cpu_s()
            plan = load.Plan(running.url, "native", args.callers, warmup_s=args.warmup, seconds=args.seconds)
            found = load.run_apart(plan, self._requests, self.tokens.totals, self._directory)
            found["cpu_ms_per_pair"] = (running.cpu_s() - used) / max(found["total_pairs"], 1) * 1e3
        return {name: found[name] for name in ("pairs_s", "tokens_s", "cpu_ms_per_pair", "p50_ms", "p99_ms", "errors")}

    def _forward(self) -> Row:
        args = self._args
        settings = Settings(device=("cpu",), dtype=args.dtype, replicas=args.replicas, threads=args.threads)
        specs = placement.specs(settings, detect(self._model, self._model.name), placement.look(dict(os.environ)), 1)
        handed = {"requests": [asdict(request) for request in self._requests[:100]], "seconds": args.seconds, "processes": len(specs)}
        processes = []
        for offset, spec in enumerate(specs):
            path = self._directory / f"packed.{offset}.json"
            path.write_text(json.dumps({**handed, "offset": offset, "options": msgspec.to_builtins(spec.options)}), encoding="utf-8")
            environment = {**os.environ, **spec.environment, "PYTHONPATH": str(REPOSITORY)}
            command = [sys.executable, "-m", "ops.bench.packed", str(path)]
            processes.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment))
        found = _together(processes)
        threads = specs[0].options["threads"]
        return {
            "pairs_s": sum(one["pairs_s"] for one in found),
            "tokens_s": sum(one["tokens_s"] for one in found),
            "cpu_ms_per_pair": sum(one["cpu_ms_per_pair"] for one in found) / len(found),
            "note": f"{len(specs)} processes of {threads} threads, {found[0]['backend']}, {found[0]['budget']} tokens a batch",
        }

    def _cross_encoder(self) -> Row:
        saved = self._directory / "requests.json"
        save(saved, self._requests[:100])
        script = Path(__file__).with_name("peers") / "local_crossencoder.py"
        command = [sys.executable, str(script), "--model", str(self._model), "--requests", str(saved), "--dtype", self._args.dtype]
        command += ["--batch", "32", "--seconds", f"{self._args.seconds:g}"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        found: Row = json.loads(done.stdout)
        per_pair = sum(self.tokens.totals) / sum(len(lengths) for lengths in self.tokens.per_request)
        return {"pairs_s": found["pairs_s"], "tokens_s": found["pairs_s"] * per_pair, "cpu_ms_per_pair": found["cpu_ms_per_pair"]}


def _together(processes: list[subprocess.Popen[str]]) -> list[Row]:
    """Start all at once when all are ready, and read what each reports. Raises RuntimeError when one ended without a report."""
    for process in processes:
        if process.stdout is None or process.stdout.readline().strip() != "ready":
            raise RuntimeError("the forward in process did not load; its error stands above")
    for process in processes:
        if process.stdin is not None:
            process.stdin.write("go\n")
            process.stdin.flush()
    return [json.loads(process.communicate()[0]) for process in processes]


def rows(found: dict[str, list[Row]]) -> list[Row]:
    """Lay the median rounds out, with our rate over each."""
    middle = {name: sorted(rounds, key=lambda row: row["pairs_s"])[(len(rounds) - 1) // 2] for name, rounds in found.items()}
    ours = median(row["pairs_s"] for row in found["through HTTP"])
    return [
        {"what": name, **{key: value for key, value in row.items() if key != "note"}, "HTTP / this": ours / row["pairs_s"],
         "goal": GOALS.get(name), "note": row.get("note", "")}
        for name, row in middle.items()
    ]  # fmt: skip


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = options.parser("service", __doc__)
    parser.add_argument("--model", choices=sorted(BLUEPRINTS), default="minilm-l6", help="shape of the random model")
    parser.add_argument("--dtype", default="float32", help="of all three")
    parser.add_argument("--callers", type=int, default=8, help="concurrent callers")
    parser.add_argument("--replicas", type=int, help="workers; default: the service's own choice")
    parser.add_argument("--threads", type=int, help="threads of a worker; default: the service's own choice")
    parser.add_argument("--rounds", type=int, default=1, help="interleaved rounds; medians count")
    parser.add_argument("--seconds", type=float, default=15.0, help="measured seconds of each in each round")
    parser.add_argument("--warmup", type=float, default=3.0, help="seconds of load before the window")
    parser.add_argument("--directory", type=Path, help="where the model and logs are kept; default $RERANKD_BENCH_DIR or the cache")
    options.add_shape(parser)
    return parser.parse_args()


def main() -> int:
    """Run the comparison and print it."""
    args = parse()
    facts = report.context(("rerankd", "torch", "transformers", "sentence-transformers", "tokenizers", "litestar", "granian"))
    bench = Bench(args)
    found: dict[str, list[Row]] = {}
    for number in range(1, args.rounds + 1):
        for name, measure in bench.contenders().items():
            print(f"round {number}: {name}", file=sys.stderr)
            found.setdefault(name, []).append(measure())
    title = f"{args.model} {args.dtype}, {args.callers} callers, {args.rounds} rounds of {args.seconds:g} s"
    notes = [options.shape_of(args).describe(), bench.tokens.describe()]
    report.show(title, rows(found), facts, notes, as_json=args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
