"""What one core multiplies, and so what no forward here can pass: `python -m ops.bench.rates [--model minilm-l6]`.

The four products of a layer, one thread, the best of many runs by processor time: torch's own product, oneDNN's prepacked one, ours where
there is one, and both with GELU inside. `at most`: all of the model's products at the best of these rates on all cores, as if attention,
norms and everything else cost nothing, the last layer only where it is read.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from batching.cores import usable_cores
from ops.bench import options, report
from ops.bench.forward import product_flops
from ops.bench.models import BLUEPRINTS

RUNS = 30
GELU = ("gelu", [], "none")
PLAIN = ("none", [], "")
WITH_GELU = ", GELU"
WAYS = ("torch", *(f"{way}{more}" for way in ("prepacked", "ours") for more in ("", WITH_GELU)))
Product = Callable[[], object]


def products(dtype: str, rows: int, inside: int, out: int) -> dict[str, Product]:
    """Ways to multiply [rows, inside] by [inside, out]."""
    import torch

    from batching.scoring.onednn import library, simd
    from batching.scoring.onednn.quantise import QuantisedLinear
    from batching.scoring.onednn.support import has_vnni
    from batching.scoring.onednn.weights import Linear

    weight, bias, multiplying = torch.randn(out, inside), torch.randn(out), library.MULTIPLYING in library.usable()
    if dtype == "int8":
        levels, own = torch.randint(0, 255, (rows, inside), dtype=torch.uint8), Linear(weight, bias)
        found: dict[str, Product] = {}
        if has_vnni():
            found["prepacked"] = partial(QuantisedLinear(own), levels)
        if multiplying:
            found["ours"] = partial(simd.SimdPasses(products=True).quantised(own), levels)
        return found
    kind = getattr(torch, dtype)
    x, weight, bias = torch.randn(rows, inside).to(kind), weight.to(kind), bias.to(kind)
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)
    pointwise = torch.ops.mkldnn._linear_pointwise
    ways: dict[str, Product] = {
        "torch": lambda: torch.nn.functional.linear(x, weight, bias),
        "prepacked": lambda: pointwise(x, packed, bias, *PLAIN),
        f"prepacked{WITH_GELU}": lambda: pointwise(x, packed, bias, *GELU),
    }
    if dtype == "float32" and multiplying:
        passes, own = simd.SimdPasses(products=True), Linear(weight, bias)
        plain, activated = passes.linear(own, kind), passes.linear(own, kind, (GELU[0], GELU[2]))
        ways |= {"ours": lambda: plain(x), f"ours{WITH_GELU}": lambda: activated(x)}
    return ways


def least_s(run: Product) -> float:
    """Seconds of processor time of the quickest run."""
    found = []
    for _ in range(RUNS):
        began = time.process_time()
        run()
        found.append(time.process_time() - began)
    return min(found)


def rates(dtype: str, config: dict[str, Any], rows: int) -> dict[str, float]:
    """GFLOP/s by way over the four products of a layer together; GELU's over the one that has it."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    shapes = [(hidden, 3 * hidden), (hidden, hidden), (hidden, inner), (inner, hidden)]
    seconds, work = dict[str, float](), dict[str, float]()
    for inside, out in shapes:
        for way, run in products(dtype, rows, inside, out).items():
            if not way.endswith(WITH_GELU) or (inside, out) == (hidden, inner):
                seconds[way] = seconds.get(way, 0.0) + least_s(run)
                work[way] = work.get(way, 0.0) + 2e-9 * rows * inside * out
    return {way: work[way] / seconds[way] for way in seconds}


def main() -> int:
    """Print the table."""
    parser = options.parser("rates", __doc__)
    parser.add_argument("--model", choices=sorted(BLUEPRINTS), default="minilm-l6")
    parser.add_argument("--rows", type=int, default=1024, help="tokens of a product")
    parser.add_argument("--tokens", type=int, default=113, help="tokens of a pair, for the last layer's part")
    args: argparse.Namespace = parser.parse_args()
    import torch

    from batching.scoring.onednn import available

    torch.set_num_threads(1)
    config = BLUEPRINTS[args.model].config
    flops = product_flops(config, args.tokens, 1) / args.tokens
    rows = []
    kinds = {"float32": available(), "bfloat16": available(torch.bfloat16), "int8": available(int8=True)}
    for dtype in (kind for kind, reason in kinds.items() if reason is None):
        found = rates(dtype, config, args.rows)
        most = max(found.get("prepacked", 0.0), found.get("ours", 0.0)) * 1e9 * usable_cores() / flops
        rows.append({"dtype": dtype, **{way: found.get(way) for way in WAYS},
                     "tokens/s at most": most, "pairs/s at most": most / args.tokens})  # fmt: skip
    notes = [reason for reason in kinds.values() if reason is not None]
    notes += [f"{args.model}: {flops / 1e6:.1f} MFLOP a token in products, {args.rows} tokens a product, {args.tokens} tokens a pair"]
    report.show("what one core multiplies, GFLOP/s", rows, report.context(("torch",)), notes, as_json=args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
