"""Packed rows against length-sorted padded batches on CUDA, body by body in real shapes: `python3 -m ops.bench.gpu.families [--dry-run]`.

The counterpart of `ops.bench.bodies`, whose lengths, scorers and races it takes: bfloat16, random weights, both sides the same token
ids. The padded side is transformers' own modules with SDPA, sorted by length, in the better of two batch sizes. --dry-run: two small
layers, on the CPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from batching.scoring.attention import NAME
from ops.bench import report
from ops.bench.bodies import VOCABULARY, Body, body_of, lengths_of, packed_run, padded_once, race, rows_of, scorer_of, shared_prefix
from ops.bench.gpu import timing

COMMON: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3}


def _shape(hidden: int, layers: int, heads: int, inner: int, **more: Any) -> dict[str, Any]:
    return COMMON | {
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": inner,
        "max_position_embeddings": 1026, **more,
    }  # fmt: skip


SHAPES: dict[str, Body] = {
    "bert-base": ("BertConfig", _shape(768, 12, 12, 3072), False),
    "bge-reranker-v2-m3": ("XLMRobertaConfig", _shape(1024, 24, 16, 4096), False),
    "gte-reranker-modernbert-base": ("ModernBertConfig", _shape(768, 22, 12, 1152, cls_token_id=2, sep_token_id=3), False),
    "llama-nemotron-rerank-1b-v2": ("LlamaConfig", _shape(2048, 16, 32, 8192, num_key_value_heads=8, is_causal=False), False),
    "Qwen3-Reranker-0.6B": ("Qwen3Config", _shape(1024, 28, 16, 3072, num_key_value_heads=8, head_dim=128), True),
    "mxbai-rerank-base-v2": ("Qwen2Config", _shape(896, 24, 14, 4864, num_key_value_heads=2), True),
}
"""Fields as the hub's configs state them but for the vocabulary."""
SMALL = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
BATCHES = (32, 128)
BUDGET, REQUEST_BUDGET = 16384, 1 << 16
Row = dict[str, Any]


def shape_of(name: str, *, dry: bool) -> Body:
    """A body in its real shape; dry, in a small one."""
    kind, fields, causal = SHAPES[name]
    small = SMALL | {key: value for key, value in (("num_key_value_heads", 2), ("head_dim", 16)) if key in fields}
    return kind, fields | small if dry else fields, causal


def flops(model: PreTrainedModel, lengths: np.ndarray) -> float:
    """Operations of the matrix products: two for every weight of a layer and token, and attention's."""
    config = model.config
    weights = sum(parameter.numel() for name, parameter in model.named_parameters() if parameter.ndim == 2 and "embed" not in name)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    squares = float((lengths.astype(np.float64) ** 2).sum())
    return 2.0 * weights * float(lengths.sum()) + 4.0 * config.num_hidden_layers * config.num_attention_heads * head * squares


def measure(name: str, device: str, rows: Sequence[np.ndarray], rate: float, *, dry: bool) -> Row:
    """One body both ways; a row with the reason where it can't be."""
    body, dtype = shape_of(name, dry=dry), torch.float32 if dry else torch.bfloat16
    try:
        model = body_of(body, dtype, "sdpa", device)
        work = flops(model, np.array([len(row) for row in rows]))
        padded = min(race([partial(padded_once, model, rows, size) for size in BATCHES], 2))
        del model  # the card holds one body at a time
        scorer = scorer_of(name, body_of(body, dtype, NAME, device), dtype, causal=body[2])
        (packed,) = race([packed_run(scorer, rows, BUDGET)], 3)
    except (AttributeError, RuntimeError, ValueError) as error:
        return {"model": name, "note": str(error).partition("\n")[0][:120]}
    finally:
        gc.collect()
    tokens = sum(map(len, rows))
    rates = {"padded tokens/s": tokens / padded, "packed tokens/s": tokens / packed, "ratio": padded / packed}
    achieved = {"TFLOP/s": work / packed / 1e12, "of matrix rate": work / packed / rate}
    row = {"model": name, "forward": scorer.backend, **rates, **achieved}
    if body[2]:
        once, each = shared_prefix(scorer, np.random.default_rng(1), 5, REQUEST_BUDGET)
        row["prefix shared"] = each / once
    return row


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every body and print one table; raw figures go to $OUT/families.json where OUT is set."""
    parser = argparse.ArgumentParser(prog="python3 -m ops.bench.gpu.families", description=__doc__)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--tokens", type=int, help="tokens of the load; default 262,144")
    parser.add_argument("--models", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    asked = parser.parse_args(arguments)
    dry: bool = asked.dry_run
    device, tokens = ("cpu", asked.tokens or 2000) if dry else ("cuda:0", asked.tokens or 1 << 18)
    facts = report.context(("torch", "transformers", "triton"))
    rate = timing.matrix_rate(device, "bfloat16", *(3 * [256 if dry else 8192]))
    rows = rows_of(lengths_of(tokens), np.random.default_rng(1))
    found: list[Row] = []
    for name in asked.models:
        found.append(measure(name, device, rows, rate, dry=dry))
        print(found[-1], file=sys.stderr, flush=True)
        if os.environ.get("OUT"):
            (Path(os.environ["OUT"]) / "families.json").write_text(json.dumps({**facts, "rate": rate, "rows": found}, indent=1))
    report.show("packed against padded", found, facts, [f"{tokens:,} tokens, lengths log-normal; matrix rate {rate / 1e12:.0f} TFLOP/s"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
