"""Load generator: `python -m ops.bench.load --url http://127.0.0.1:8000`, closed loop by default, open loop with --rate.

Rates count what was finished inside the measured window, which begins after the warm-up and in which callers never pause, so that work
under way at either edge cancels out. With --requests exactly that many are sent and the time until the last answer counts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ops.bench import options, report
from service.load.runs import Plan, measured, payloads, row
from service.load.shapes import SHAPES
from service.load.workload import Request, count_tokens, make_requests

_REPOSITORY = Path(__file__).parents[2]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.parser("load", __doc__)
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="http://host:port or unix:/path")
    parser.add_argument("--dialect", choices=sorted(SHAPES), default="native", help="the server's own request and answer")
    parser.add_argument("--callers", type=int, default=8, help="closed loop: callers that each wait for their answer")
    parser.add_argument("--rate", type=float, help="open loop: requests a second, Poisson; latency from the intended arrival")
    parser.add_argument("--warmup", type=float, default=2.0, help="seconds before the window")
    parser.add_argument("--seconds", type=float, default=10.0, help="seconds measured; the bound on sending with --requests")
    parser.add_argument("--requests", type=int, help="send exactly this many and wait for all of them")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds until a request counts as failed")
    parser.add_argument("--connections", type=int, default=1024, help="open loop: connections at most")
    parser.add_argument("--header", action="append", default=[], metavar="NAME:VALUE", help="sent with every request")
    parser.add_argument("--no-check", action="store_true", help="do not count the results in every answer")
    parser.add_argument("--handed", type=Path, help=argparse.SUPPRESS)  # a plan and its requests from another measurement
    options.add_shape(parser)
    return parser.parse_args(arguments)


def plan_of(args: argparse.Namespace) -> Plan:
    """Read the options of `parse` back."""
    return Plan(
        url=args.url,
        dialect=args.dialect,
        callers=args.callers,
        rate=args.rate,
        warmup_s=args.warmup,
        seconds=args.seconds,
        requests=args.requests,
        timeout_s=args.timeout,
        connections=args.connections,
        seed=args.seed,
        check=not args.no_check,
        headers=tuple(args.header),
    )


def main() -> int:
    """Run the command; the exit status says whether every request was answered."""
    args = parse()
    if args.handed:
        return _handed(args.handed)
    facts = report.context(("rerankd", "uvloop"))
    plan, shape = plan_of(args), options.shape_of(args)
    requests = make_requests(args.distinct, shape, args.seed)
    counts = count_tokens(requests, args.tokenizer) if args.tokenizer else None
    prepared = payloads(plan, requests, counts.totals if counts else None)
    summary, own = measured(plan, prepared)
    if args.json:
        print(json.dumps({**facts, "plan": asdict(plan), "shape": asdict(shape), **own, **asdict(summary)}))
        return int(summary.errors > 0)
    loop = f"open loop, {args.rate:g} requests/s, Poisson" if args.rate else f"closed loop, {args.callers} callers"
    notes = [shape.describe(), f"the generator itself used {own['generator_cores']:.0%} of a core"]
    if counts:
        notes.insert(1, counts.describe())
    if summary.errors:
        notes.append(f"statuses {summary.statuses}, reasons {summary.reasons}")
    report.show(f"{args.url} ({args.dialect}), {loop}", [row(summary)], facts, notes)
    return int(summary.errors > 0)


def run_apart(plan: Plan, requests: list[Request], tokens: list[int], directory: Path) -> dict[str, Any]:
    """Run a plan in a process of its own, so that the caller's work does not disturb it; return the summary's fields and `errors`.

    Raises CalledProcessError. `directory` takes the requests, which can be too many for a pipe.
    """
    handed = directory / "load.json"
    handed.write_text(
        json.dumps({"plan": asdict(plan), "requests": [asdict(request) for request in requests], "tokens": tokens}), encoding="utf-8"
    )
    command = [sys.executable, "-m", "ops.bench.load", "--handed", str(handed)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=_REPOSITORY)
    summary: dict[str, Any] = json.loads(done.stdout)
    return summary


def _handed(path: Path) -> int:
    given = json.loads(path.read_text(encoding="utf-8"))
    plan = Plan(**given["plan"])
    requests = [Request(entry["query"], tuple(entry["documents"])) for entry in given["requests"]]
    summary, own = measured(plan, payloads(plan, requests, given["tokens"]))
    print(json.dumps({**asdict(summary), "errors": summary.errors, **own}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
