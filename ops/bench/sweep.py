"""Concurrency, overload and cost growth of the service in one run: `python -m ops.bench.sweep --plot sweep.png`.

concurrency: closed loop, 1 to 256 callers. overload: open loop at 0.5, 0.8, 1, 2 and 10 times the best rate of the concurrency sweep; the
queue is bounded to --queue-seconds of work, so that it shows what is refused, not only what is late. growth: one caller, growing
documents per request, growing tokens per document, and 1 to 1,000 callers, each with the fitted exponent of its cost (1 is linear).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ops.bench import load, options, report
from ops.bench.memory import group_memory_mib
from ops.bench.models import BLUEPRINTS, cache_directory, model_path
from ops.bench.serving import Running, rerankd_command, serving
from service.load.stats import fitted_exponent
from service.load.workload import Request, Shape, count_tokens, make_requests

CALLERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
OVERLOAD = (0.5, 0.8, 1.0, 2.0, 10.0)
DOCUMENTS = (1, 4, 16, 64, 250, 1000, 2000)
TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
MANY_CALLERS = (1, 4, 16, 64, 250, 1000)
GROWING = ("documents", "tokens", "callers")
QUERY_WORDS = 6
WORDS_PER_TOKEN = 0.7
FORTY_WORDS = Shape(median_words=40, sigma=0, query_words=(QUERY_WORDS, QUERY_WORDS))
Row = dict[str, Any]


class Sweep:
    """One run over one model; every stage starts a fresh service."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self.directory = (args.directory or cache_directory()).resolve()
        self._model = model_path(args.model, self.directory / "models")
        self._limit = BLUEPRINTS[args.model].max_length

    def _serving(self, **settings: object) -> Any:
        command = rerankd_command(self._model, **{"dtype": self._args.dtype, "workers": self._args.processes, **settings})
        return serving(command, self.directory / "logs" / "sweep.log")

    def _run(self, running: Running, texts: list[Request], **plan: Any) -> Row:
        tokens = count_tokens(texts, self._model / "tokenizer.json").totals
        full = {"warmup_s": self._args.warmup, "seconds": self._args.seconds, "timeout_s": 300.0, "seed": self._args.seed, **plan}
        return load.run_apart(load.Plan(running.url, **full), texts, tokens, self.directory)

    def concurrency(self) -> list[Row]:
        """Closed loop on the mixed load, ever more callers; a window holds two answers of every caller, since service is fair to all."""
        texts = make_requests(self._args.distinct, options.shape_of(self._args), self._args.seed)
        rows: list[Row] = []
        with self._serving() as running:
            for callers in self._chosen(CALLERS):
                turn_s = callers / max((row["requests_s"] for row in rows), default=callers)
                seconds, warmup_s = max(self._args.seconds, 2 * turn_s), max(self._args.warmup, turn_s)
                rows.append({"callers": callers, **_kept(self._run(running, texts, callers=callers, seconds=seconds, warmup_s=warmup_s))})
        return rows

    def overload(self, best: Mapping[str, Any]) -> list[Row]:
        """Open loop around and far over the best measured rate."""
        texts = make_requests(self._args.distinct, options.shape_of(self._args), self._args.seed)
        queue = max(int(best["tokens_s"] * self._args.queue_seconds), 4096)
        rows = []
        with self._serving(queue_tokens=queue) as running:
            for times in OVERLOAD:
                found = self._run(running, texts, rate=best["requests_s"] * times)
                refused = found["statuses"].get("429", 0)
                rows.append({"times": times, "rate": best["requests_s"] * times, **_kept(found), "refused": refused})
        return rows

    def growth(self) -> dict[str, list[Row]]:
        """Cost against documents per request, tokens per document, and callers, those of them that are asked for."""
        growing = {"documents": self._documents, "tokens": self._tokens, "callers": self._callers}
        return {name: growing[name]() for name in self._args.grow}

    def _documents(self) -> list[Row]:
        with self._serving() as running:
            return [self._cost(running, "documents", count, _sized(FORTY_WORDS, count), 1) for count in self._chosen(DOCUMENTS)]

    def _tokens(self) -> list[Row]:
        rows = []
        with self._serving(max_length=self._limit) as running:
            for tokens in (size for size in TOKENS if size <= self._limit):
                words = max(round((tokens - QUERY_WORDS - 4) * WORDS_PER_TOKEN), 1)
                shape = Shape(median_words=words, sigma=0, high_words=10_000, query_words=(QUERY_WORDS, QUERY_WORDS))
                rows.append(self._cost(running, "tokens", tokens, _sized(shape, self._args.long_documents), 1))
        return rows

    def _callers(self) -> list[Row]:
        with self._serving() as running:
            return [self._cost(running, "callers", callers, _sized(FORTY_WORDS, 10), callers) for callers in self._chosen(MANY_CALLERS)]

    def _cost(self, running: Running, name: str, size: int, shape: Shape, callers: int) -> Row:
        texts = make_requests(max(self._args.repeats * 2, 4), shape, self._args.seed)
        count = max(self._args.repeats, callers)
        found = self._run(running, texts, callers=callers, requests=count, seconds=600.0, warmup_s=0.0)
        kept = {key: found[key] for key in ("p50_ms", "pairs_s", "tokens_s", "errors")}
        per_answer = found["tokens_s"] / found["requests_s"] if found["requests_s"] else None
        return {name: size, "tokens_per_request": per_answer, **kept, "memory_mib": group_memory_mib(running.group)}

    def _chosen(self, sizes: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(size for size in sizes if size <= self._args.most)


def _sized(shape: Shape, documents: int) -> Shape:
    return Shape(shape.median_words, shape.sigma, shape.low_words, shape.high_words, shape.query_words, (documents, documents))


def _kept(found: Row) -> Row:
    return {name: found[name] for name in ("requests_s", "pairs_s", "tokens_s", "p50_ms", "p95_ms", "p99_ms", "errors")}


def exponents(growth: Mapping[str, list[Row]]) -> list[str]:
    """Say how each cost grows, fitted over the upper half of the sizes, where fixed costs no longer hide the growth."""
    said = []
    for name, rows in growth.items():
        upper = [row for row in rows[len(rows) // 2 :] if row["p50_ms"] == row["p50_ms"]]
        if len(upper) >= 2:
            sizes = [float(row[name]) for row in upper]
            latency = fitted_exponent(sizes, [row["p50_ms"] for row in upper])
            memory = fitted_exponent(sizes, [row["memory_mib"] for row in upper])
            span = f"{upper[0][name]:,}-{upper[-1][name]:,}"
            said.append(f"against {name} ({span}): p50 latency grows as size^{latency:.2f}, memory as size^{memory:.2f}")
    return said


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = options.parser("sweep", __doc__)
    parser.add_argument("--model", choices=sorted(BLUEPRINTS), default="minilm-l6", help="shape of the random model")
    parser.add_argument("--dtype", default="float32", help="number format of the service")
    parser.add_argument("--processes", type=int, default=1, help="HTTP processes")
    parser.add_argument(
        "--stages", nargs="+", choices=("concurrency", "overload", "growth"), default=["concurrency", "overload"], help="what"
    )
    parser.add_argument("--grow", nargs="+", choices=GROWING, default=list(GROWING), help="what grows")
    parser.add_argument("--long-documents", type=int, default=10, help="documents of a request whose tokens grow")
    parser.add_argument("--most", type=int, default=2000, help="leave out more callers or documents than this")
    parser.add_argument("--seconds", type=float, default=10.0, help="measured seconds of each point")
    parser.add_argument("--warmup", type=float, default=2.0, help="seconds of load before each window")
    parser.add_argument("--repeats", type=int, default=5, help="requests of each point of the growth stage, at least")
    parser.add_argument("--queue-seconds", type=float, default=5.0, help="overload: work that may wait, in seconds at the best rate")
    parser.add_argument("--plot", type=Path, help="write a PNG (needs matplotlib)")
    parser.add_argument("--save", type=Path, help="write all figures as JSON")
    parser.add_argument("--directory", type=Path, help="where the model and logs are kept; default $RERANKD_BENCH_DIR or the cache")
    options.add_shape(parser)
    return parser.parse_args()


def main() -> int:
    """Run the stages, print each, and draw them."""
    args = parse()
    facts = report.context()
    sweep = Sweep(args)
    notes = [options.shape_of(args).describe()]
    found: dict[str, Any] = {}
    if {"concurrency", "overload"} & set(args.stages):
        found["concurrency"] = sweep.concurrency()
        report.show(f"{args.model} {args.dtype}, closed loop", found["concurrency"], facts, notes, as_json=args.json)
    if "overload" in args.stages:
        best = max(found["concurrency"], key=lambda row: row["requests_s"])
        found["overload"] = sweep.overload(best)
        title = f"{args.model} {args.dtype}, open loop at multiples of {best['requests_s']:.3g} requests/s"
        report.show(title, found["overload"], facts, notes, as_json=args.json)
    if "growth" in args.stages:
        found["growth"] = sweep.growth()
        said = exponents(found["growth"])
        for name, rows in found["growth"].items():
            report.show(f"{args.model} {args.dtype}, cost against {name}", rows, facts, said, as_json=args.json)
    if args.save:
        args.save.write_text(json.dumps({**facts, **found}), encoding="utf-8")
    if args.plot:
        from ops.bench.plots import draw

        draw(found, args.plot, f"{args.model} {args.dtype}, {facts['machine']}, {facts['date']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
