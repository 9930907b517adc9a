"""Our HTTP path with a scorer that costs nothing, against HTTP echo plus tokenization on the same cores: `python -m ops.bench.http`.

Three servers take turns in one run: the echo that tokenizes in threads, the echo that tokenizes on its event loop, and the service
(HTTP, admission, tokenizing, queue, worker, ranking, answer). The ratio is to the better echo. Token caches are off, so that everybody
tokenizes every document. Processor time per request is printed too: unlike rates, it does not suffer from a busy machine.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median
from typing import Any

from ops.bench import load, options, report
from ops.bench.models import cache_directory, model_path
from ops.bench.serving import REPOSITORY, Command, costless_command, free_port, serving
from service.load.workload import SHORT, count_tokens, make_requests

GOAL = 0.85


def echo_command(model: Path, processes: int, mode: str) -> Command:
    """Start the echo server."""
    port = free_port()
    arguments = [sys.executable, "-m", "ops.bench.http_echo", str(port), str(processes), str(model), mode]
    return Command(arguments, port, "native", {"PYTHONPATH": str(REPOSITORY)})


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = options.parser("http", __doc__)
    parser.add_argument("--processes", type=int, default=1, help="HTTP processes of every server")
    parser.add_argument("--callers", type=int, default=32, help="concurrent callers")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds; medians count")
    parser.add_argument("--seconds", type=float, default=4.0, help="measured seconds of each server in each round")
    parser.add_argument("--warmup", type=float, default=1.0, help="seconds before each window")
    parser.add_argument("--directory", type=Path, help="where the model and logs are kept; default $RERANKD_BENCH_DIR or the cache")
    options.add_shape(parser, SHORT)
    return parser.parse_args()


def measure(args: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """Run every server in every round; return the summaries by server."""
    directory = (args.directory or cache_directory()).resolve()
    model = model_path("minilm-l6", directory / "models")
    requests = make_requests(args.distinct, options.shape_of(args), args.seed)
    tokens = count_tokens(requests, model / "tokenizer.json").totals
    found: dict[str, list[dict[str, Any]]] = {}
    for number in range(1, args.rounds + 1):
        commands = {
            "echo, tokenizes in threads": echo_command(model, args.processes, "thread"),
            "echo, tokenizes inline": echo_command(model, args.processes, "inline"),
            "rerankd, costless scorer": costless_command(model, workers=args.processes, token_cache_bytes=0),
        }
        for name, command in commands.items():
            print(f"round {number}: {name}", file=sys.stderr)
            with serving(command, directory / "logs" / "http.log") as running:
                used = running.cpu_s()
                plan = load.Plan(running.url, command.dialect, args.callers, warmup_s=args.warmup, seconds=args.seconds)
                summary = load.run_apart(plan, requests, tokens, directory)
                summary["cpu_ms"] = (running.cpu_s() - used) / max(summary["total"], 1) * 1e3
            found.setdefault(name, []).append(summary)
    return found


def rows(found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Lay the medians out; a ratio is to the better of the echoes."""
    rates = {name: median(summary["requests_s"] for summary in rounds) for name, rounds in found.items()}
    best = max(rate for name, rate in rates.items() if name.startswith("echo"))
    return [
        {
            "server": name,
            "requests_s": rates[name],
            "tokens_s": median(summary["tokens_s"] for summary in rounds),
            "p50_ms": median(summary["p50_ms"] for summary in rounds),
            "p99_ms": median(summary["p99_ms"] for summary in rounds),
            "cpu_ms_per_request": median(summary["cpu_ms"] for summary in rounds),
            "of the better echo": rates[name] / best,
            "errors": sum(summary["errors"] for summary in rounds),
        }
        for name, rounds in found.items()
    ]


def main() -> int:
    """Run the comparison and print it."""
    args = parse()
    facts = report.context()
    table = rows(measure(args))
    title = f"HTTP path, {args.processes} HTTP processes, {args.callers} callers, {args.rounds} rounds of {args.seconds:g} s"
    notes = [options.shape_of(args).describe(), f"goal: at least {GOAL:.0%} of the better echo"]
    report.show(title, table, facts, notes, as_json=args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
