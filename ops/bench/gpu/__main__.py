"""Parity, rates and latencies on one GPU in one run that ends by itself: `python3 -m ops.bench.gpu [--dry-run]`.

Random models of real shapes are made on the way. What was measured is written to $OUT/gpu.json (or --save) after every step, so that a run
that is cut short leaves what it has. --dry-run runs every step on the CPU with tiny shapes. Needs torch, transformers, msgspec, rich, and
for the part through HTTP what the service needs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from ops.bench import report
from ops.bench.gpu import through_http, work
from ops.bench.gpu.tables import readable
from ops.bench.models import cache_directory, model_path, tiny

LIMIT_S = 500.0
SIZES = (512, 2048, 8192, 16384, 32768, 65536, 131072)
FEW = (2048, 16384, 65536)
DRY_SIZES = (64, 256)
MODELS = {"bge-reranker-v2-m3": work.MIXED, "bert-base": work.LONG}
GOALS = (
    "goals on an H200: v2-m3 60 % of the matrix rate in the forward, 50 % through HTTP, 20 x 128 tokens in 8 ms; bert-base 2.4 M tokens/s"
)
OLDER = """\
On a machine with torch 2.11 of its own: install what is missing there without dependencies (`pip install --no-deps` of transformers 5.17
or newer, huggingface_hub, tokenizers, safetensors, msgspec, rich), so that its torch stays, and run this from the repository's root.
Every choice of ScoringOptions is a variant: number types with float8, kernels, compiled=on and off, graphs=off. What that torch lacks
is a row with the reason. Results of compilers are kept under $XDG_CACHE_HOME/rerankd."""
Row = dict[str, Any]


class Run:
    """Tables as they come in, and the time that is left for more."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.began = args, time.monotonic()
        self.tables: dict[str, list[Row]] = {}
        self._facts = report.context(("torch", "transformers", "tokenizers", "triton", "msgspec", "litestar", "granian"))

    def left_s(self) -> float:
        """Seconds until the run must have ended."""
        return float(self.args.limit) - (time.monotonic() - self.began)

    def step(self, table: str, needs_s: float, make: Callable[[], Iterable[Row]], what: str = "") -> None:
        """Add a step's rows to a table if there is time for it; what fails is a row, and ends no other step."""
        rows = self.tables.setdefault(table, [])
        print(f"{time.monotonic() - self.began:6.1f} s  {table} {what}", file=sys.stderr, flush=True)
        if self.left_s() < needs_s:
            rows.append({"note": f"{what} left out: {needs_s:.0f} s needed, {self.left_s():.0f} s left"})
            return
        try:
            for row in make():
                rows.append(row)
                if self.left_s() < 0:
                    break
        except Exception as error:  # noqa: BLE001  a step's boundary: on a machine that is lent for minutes, the others must run
            rows.append({"note": f"{type(error).__name__}: {error}"[:300]})
        self.save()

    def save(self) -> None:
        """Write everything measured so far."""
        if self.args.save:
            self.args.save.write_text(json.dumps({**self._facts, "tables": self.tables}, indent=1, default=float), encoding="utf-8")

    def show(self) -> None:
        """Print every table."""
        report.show_all(readable(self.tables), self._facts, [GOALS])


def measure(run: Run) -> None:
    """Run every step, the most telling first."""
    from batching.scoring.options import ScoringOptions
    from ops.bench.gpu import machine
    from ops.bench.gpu.forward import Bounds, Model
    from ops.bench.gpu.variants import variants

    args = run.args
    run.step("machine", 0, lambda: machine.rows(args.device, dry=args.dry_run))
    rate = machine.best_rate(run.tables["machine"])
    sizes, few = (DRY_SIZES, DRY_SIZES[:1]) if args.dry_run else (SIZES, FEW)
    bounds = Bounds(sizes, args.seconds, 3 if args.dry_run else 200)
    models: dict[str, Model] = {}
    for name in args.models:
        lengths = work.Lengths("tiny", 12, 0.3, 4, 30) if args.dry_run else MODELS[name]

        def load(name: str = name, lengths: work.Lengths = lengths) -> list[Row]:
            path = tiny(name, args.directory / "models") if args.dry_run else model_path(name, args.directory / "models")
            models[name] = Model(path, args.device, lengths, rate, bounds)
            return [
                {"model": name, "lengths": lengths.name, "MB": models[name].card.weights_bytes / 1e6, "s": time.monotonic() - run.began}
            ]

        run.step("models", 30, load)
    every = [variant for variant in variants(ScoringOptions) if not args.variants or variant.name in args.variants]
    for variant in every:
        for name, model in models.items():
            run.step("forward", 25, partial(model.rows, variant, sizes if variant is every[0] else few), f"{name} {variant.name}")
        if variant is every[0]:
            for name, model in models.items() if args.device.startswith("cuda") else ():
                run.step(f"kernels of {name}", 15, partial(model.profile, max(few)))
            http(run)


def http(run: Run) -> None:
    """Measure through HTTP where that can be."""
    args = run.args
    lacking = through_http.missing()
    if lacking or not args.http:
        run.tables["through HTTP"] = [{"note": f"not measured: {', '.join(lacking)} not installed" if lacking else "not asked for"}]
        return
    small = {"callers": (2,), "seconds": 0.5}
    full = {"callers": (64, 128), "seconds": 5.0}
    for name in args.models:
        model = (tiny if args.dry_run else model_path)(name, args.directory / "models")
        tokens = 24 if args.dry_run else int(MODELS[name].median)
        run.step("through HTTP", 60, partial(
            through_http.rows, model, args.directory, device=args.device, tokens=tokens, sigma=MODELS[name].sigma, processes=args.processes,
            **(small if args.dry_run else full)))  # fmt: skip


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python3 -m ops.bench.gpu", description=__doc__, epilog=OLDER, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dry-run", action="store_true", help="every step on the CPU, with tiny shapes")
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=list(MODELS), help="shapes to measure")
    parser.add_argument("--variants", nargs="+", help="choices to measure, by the names of their rows (default, dtype=float8); default all")
    parser.add_argument("--device", help="default cuda:0; cpu in a dry run")
    parser.add_argument("--seconds", type=float, help="measured seconds of each point; default 1, 0.02 in a dry run")
    parser.add_argument("--limit", type=float, default=LIMIT_S, help="seconds after which the run ends with what it has")
    parser.add_argument("--processes", type=int, default=8, help="HTTP processes")
    parser.add_argument("--no-http", dest="http", action="store_false", help="leave the service out")
    parser.add_argument("--save", type=Path, help="raw figures as JSON; default $OUT/gpu.json where OUT is set")
    parser.add_argument("--directory", type=Path, default=cache_directory(), help="where models and logs are kept")
    args = parser.parse_args(arguments)
    args.device = args.device or ("cpu" if args.dry_run else "cuda:0")
    args.seconds = args.seconds or (0.02 if args.dry_run else 1.0)
    if args.save is None and os.environ.get("OUT"):
        args.save = Path(os.environ["OUT"]) / "gpu.json"
    return args


def main(arguments: list[str] | None = None) -> int:
    """Measure and print. Exit status 3: cut short by the limit."""
    args = parse(arguments)
    import torch

    if args.device.startswith("cuda") and not torch.cuda.is_available():
        print("no CUDA device: torch.cuda.is_available() is False; --dry-run checks the script on the CPU", file=sys.stderr)
        return 2
    run = Run(args)

    def cut() -> None:  # a step may hang in a driver or a compiler: nothing but another thread can end it
        run.save()
        run.show()
        print(f"cut short after {args.limit + 20:g} s", flush=True)
        os._exit(3)

    guard = threading.Timer(args.limit + 20, cut)
    guard.daemon = True
    guard.start()
    measure(run)
    guard.cancel()
    run.save()
    run.show()
    return 0


if __name__ == "__main__":
    sys.exit(main())
