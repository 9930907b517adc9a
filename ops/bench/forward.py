"""The packed CPU forward in process, without a server: `python -m ops.bench.forward`.

Random weights of real shapes and lengths as in the mixed load; variants take turns in every round, in one process and then in two of one
thread each, so that a noisy machine disturbs all alike. "/onednn", "/onednn+simd" or "/simd" behind a variant: computed by that, not by the
fastest. `% of rate` compares the products that were really computed with the rate of the fastest product alone (of the type around int8's),
measured in the same rounds; it and `pairs/CPU s` count processor time, which other programs disturb less.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ops.bench import options, report
from ops.bench.models import BLUEPRINTS, Blueprint

Batch = tuple[NDArray[np.int32], NDArray[np.int32]]
RATE_ROWS = 2048


@dataclass(frozen=True, slots=True)
class Plan:
    """What every process runs: this model, these variants, batches of about this many tokens."""

    model: str
    variants: tuple[str, ...]
    budget: int
    requests: int
    seed: int


def lengths_of(plan: Plan) -> list[NDArray[np.int32]]:
    """Tokens of every pair, a row per request: 4 to 32 documents, log-normal, about 113 tokens with the query."""
    rng = np.random.default_rng(plan.seed)
    drawn = []
    for _ in range(plan.requests):
        query = rng.integers(7, 19)
        documents = np.exp(rng.normal(np.log(84), 0.55, rng.integers(4, 29)))
        drawn.append((np.clip(documents, 8, 390) + query).astype(np.int32))
    return drawn


def batches_of(plan: Plan) -> list[Batch]:
    """All pairs sorted by length and cut at the budget, with random ids."""
    rng = np.random.default_rng(plan.seed)
    lengths = np.sort(np.concatenate(lengths_of(plan)))
    cuts = np.flatnonzero(np.diff(np.cumsum(lengths) // plan.budget)) + 1
    vocabulary = BLUEPRINTS[plan.model].config["vocab_size"]
    return [(rng.integers(5, vocabulary, int(part.sum()), dtype=np.int32), part) for part in np.split(lengths, cuts)]


def product_flops(config: dict[str, Any], tokens: int, sequences: int) -> float:
    """Operations in products when the last layer computes one row per sequence."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    whole = 2 * (4 * hidden * hidden + 2 * hidden * inner)
    return float(whole * (tokens * (config["num_hidden_layers"] - 1) + sequences))


def make_model(blueprint: Blueprint) -> Any:
    """A random base model in float32."""
    import torch
    import transformers

    torch.manual_seed(0)
    kind = getattr(transformers, blueprint.architecture.replace("ForSequenceClassification", "Model"))
    return kind(kind.config_class(**blueprint.config), add_pooling_layer=False).eval()


def make_variants(plan: Plan) -> dict[str, Callable[[Batch], object]]:
    """What each variant does with one batch."""

    from batching.scoring.onednn import PackedEncoder

    model = make_model(BLUEPRINTS[plan.model])
    made: dict[str, Callable[[Batch], object]] = {}
    for name in plan.variants:
        if name == "transformers":
            made[name] = partial(run_padded, model)
        else:
            dtype, _, backend = name.partition("/")
            encoder = PackedEncoder(model, number_type(name), read="first", int8=dtype == "int8", backend=backend or "auto")
            made[name] = lambda batch, encoder=encoder: encoder(*batch)
    return made


def number_type(name: str) -> Any:
    """The torch type that a variant computes in, but for int8's products: around them bfloat16 where the processor has it."""
    import torch

    from batching.scoring.onednn import available

    kind = name.partition("/")[0]
    exact = kind in ("transformers", "float32") or (kind == "int8" and available(torch.bfloat16) is not None)
    return torch.float32 if exact else torch.bfloat16


def run_padded(model: Any, batch: Batch) -> object:
    """Hugging Face's own forward over one padded batch, 32 pairs at a time."""
    import torch

    ids, lengths = batch
    rows = np.split(ids, np.cumsum(lengths)[:-1])
    with torch.inference_mode():
        for begin in range(0, len(rows), 32):
            part = rows[begin : begin + 32]
            shape = (len(part), max(map(len, part)))
            padded, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
            for place, row in enumerate(part):
                padded[place, : len(row)], mask[place, : len(row)] = torch.from_numpy(row), 1
            model(input_ids=padded, attention_mask=mask)
    return None


def measure_rate(plan: Plan, name: str) -> Callable[[], float]:
    """A function that measures GFLOP/s of one up-projection in the variant's number type (int8: bfloat16), by the fastest product."""
    from ops.bench.rates import products

    config = BLUEPRINTS[plan.model].config
    inside, out = config["hidden_size"], config["intermediate_size"]
    ways = products(str(number_type(name)).removeprefix("torch."), RATE_ROWS, inside, out)
    racers = [run for way, run in ways.items() if way in ("prepacked", "ours")]

    def once(run: Callable[[], object]) -> float:
        begin = time.process_time()
        run()
        return 2e-9 * RATE_ROWS * inside * out / (time.process_time() - begin)

    return lambda: max(once(run) for run in racers for _ in range(8))


def serve(plan: Plan, share: int, shares: int, link: Connection) -> None:
    """A process of one thread: run what the parent names over its share of the batches; answers (seconds, CPU seconds) or (GFLOP/s, 0)."""
    import torch

    torch.set_num_threads(1)
    batches = batches_of(plan)[share::shares]
    variants = make_variants(plan)
    rates = {name: measure_rate(plan, name) for name in variants}
    for run in variants.values():
        run(batches[0])
    link.send((0.0, 0.0))
    for kind, name in iter(link.recv, None):
        if kind == "rate":
            link.send((rates[name](), 0.0))
            continue
        begin, used = time.perf_counter(), time.process_time()
        for batch in batches:
            variants[name](batch)
        link.send((time.perf_counter() - begin, time.process_time() - used))


def ask(links: list[Connection], kind: str, name: str) -> list[tuple[float, float]]:
    """Have all processes do the same at once."""
    for link in links:
        link.send((kind, name))
    return [link.recv() for link in links]


def rounds(plan: Plan, processes: int, repeats: int) -> Iterator[tuple[str, float, float, float]]:
    """Every variant in turn, `repeats` times: its name, seconds of the slowest process, CPU seconds and GFLOP/s of all processes."""
    context = multiprocessing.get_context("spawn")
    links, children = [], []
    for share in range(processes):
        ours, theirs = context.Pipe()
        child = context.Process(target=serve, args=(plan, share, processes, theirs), daemon=True)
        child.start()
        theirs.close()  # so that a child's death ends the wait for its answer
        links.append(ours)
        children.append(child)
    for link in links:
        link.recv()
    for _ in range(repeats):
        for name in plan.variants:
            ran, rates = ask(links, "run", name), ask(links, "rate", name)
            yield name, max(took for took, _ in ran), sum(used for _, used in ran), sum(rate for rate, _ in rates)
    for link in links:
        link.send(None)
    for child in children:
        child.join()


def rows_of(plan: Plan, processes: int, repeats: int) -> list[dict[str, object]]:
    """One table row per variant."""
    seconds: dict[str, list[float]] = {name: [] for name in plan.variants}
    rates: dict[str, list[float]] = {name: [] for name in plan.variants}
    used: dict[str, list[float]] = {name: [] for name in plan.variants}
    for name, took, busy, rate in rounds(plan, processes, repeats):
        seconds[name].append(took)
        used[name].append(busy)
        rates[name].append(rate)
    batches = batches_of(plan)
    pairs, tokens = sum(len(lengths) for _, lengths in batches), sum(len(ids) for ids, _ in batches)
    flops = product_flops(BLUEPRINTS[plan.model].config, tokens, pairs)
    found = []
    for name in plan.variants:
        median, rate, busy = statistics.median(seconds[name]), max(rates[name]), statistics.median(used[name])
        found.append(
            {
                "model": plan.model,
                "processes": processes,
                "variant": name,
                "pairs/s": pairs / median,
                "best": pairs / min(seconds[name]),
                "pairs/CPU s": pairs / busy,
                "tokens/s": tokens / median,
                "GFLOP/s rate": rate,
                "% of rate": None if name == "transformers" else 100e-9 * flops * processes / busy / rate,
            }
        )
    return found


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = options.parser("forward", __doc__)
    parser.add_argument("--models", nargs="+", default=["minilm-l6"], choices=sorted(BLUEPRINTS))
    parser.add_argument("--variants", nargs="+", default=["transformers", "float32", "bfloat16", "int8"])
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2], help="processes of one thread each")
    parser.add_argument("--repeats", type=int, default=3, help="rounds; medians are printed")
    parser.add_argument("--budget", type=int, default=2048, help="tokens of a batch")
    parser.add_argument("--requests", type=int, default=24, help="requests of 4 to 28 documents")
    return parser.parse_args()


def main() -> int:
    """Run every model with every number of processes."""
    args = parse()
    facts = report.context(("rerankd", "torch", "transformers"))
    found: list[dict[str, object]] = []
    for model in args.models:
        plan = Plan(model, tuple(args.variants), args.budget, args.requests, args.seed)
        for processes in args.processes:
            found += rows_of(plan, processes, args.repeats)
    lengths = np.concatenate(lengths_of(plan))
    notes = [f"{args.requests} requests, {len(lengths)} pairs, {lengths.sum()} tokens, mean {lengths.mean():.0f}; batches of {args.budget}"]
    report.show("Packed CPU forward, in process", found, facts, notes, as_json=args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
