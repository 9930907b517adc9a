"""What a device can do at most: products of large random matrices, products of the models' shapes, a copy."""

from __future__ import annotations

from typing import Any

import torch

from ops.bench.gpu import timing

Row = dict[str, Any]
LARGE, ROWS, COPIED = 8192, (2048, 16384, 65536), 1 << 31
SMALL, FEW_ROWS, LITTLE = 128, (64,), 1 << 20
LINEARS = ((1024, 3072), (1024, 4096), (4096, 1024))
"""Query, key and value together, up and down of bge-reranker-v2-m3."""


def rows(device: str, *, dry: bool) -> list[Row]:
    """Measure; a number type that the device lacks is a row with the reason."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    size = SMALL if dry else LARGE
    kinds = ["bfloat16", "float16", "float32"] + (["float8"] if device.startswith("cuda") else [])
    wanted = [("square", kind, (size, size, size)) for kind in kinds]
    for count in FEW_ROWS if dry else ROWS:
        wanted += [(f"{count} x {inner} x {columns}", "bfloat16", (count, inner, columns)) for inner, columns in LINEARS]
    found: list[Row] = []
    for what, kind, shape in wanted:
        row: Row = {"device": name, "what": f"product {what}", "dtype": kind}
        try:
            row["TFLOP/s"] = timing.matrix_rate(device, kind, *shape) / 1e12
        except RuntimeError as error:
            row["note"] = str(error).splitlines()[0][:120]
        found.append(row)
    return [*found, {"device": name, "what": "copy", "GB/s": timing.copy_rate(device, LITTLE if dry else COPIED) / 1e9}]


def best_rate(rows: list[Row]) -> float:
    """Return the bfloat16 rate of the square product that everything is compared with, in FLOP/s."""
    squares = [row["TFLOP/s"] for row in rows if row.get("what") == "product square" and row["dtype"] == "bfloat16" and "TFLOP/s" in row]
    return max(squares, default=1e-12) * 1e12
