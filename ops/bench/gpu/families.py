"""Packed rows against length-sorted padded batches on CUDA, body by body in real shapes: `python3 -m ops.bench.gpu.families [--dry-run]`.

The counterpart of `ops.bench.bodies`, whose lengths and races it takes: bfloat16, random weights, both sides the same token ids. The padded
side is transformers' own modules with SDPA, sorted by length, in the better of two batch sizes. --dry-run: two small layers, on the CPU.
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
import transformers
from transformers import AutoModel, PreTrainedModel

from batching.families.base import Family
from batching.families.card import ModelCard
from batching.scoring.attention import NAME, RUNS, choose_kernel
from batching.scoring.bodies import read_positions
from batching.scoring.cuda import fuse
from batching.scoring.forwards import choose_forward
from batching.scoring.heads import LinearHead
from batching.scoring.lanes import lane_for
from batching.scoring.options import ScoringOptions
from batching.scoring.parts import Parts
from batching.scoring.readers import PairReader
from batching.scoring.scorer import Limits, PackedScorer
from ops.bench import report
from ops.bench.bodies import VOCABULARY, lengths_of, pack_of, packed_run, race
from ops.bench.gpu import timing

COMMON: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3}


def _shape(hidden: int, layers: int, heads: int, inner: int, **more: Any) -> dict[str, Any]:
    return COMMON | {
        "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": inner,
        "max_position_embeddings": 1026, **more,
    }  # fmt: skip


SHAPES: dict[str, tuple[str, dict[str, Any], bool]] = {
    "bert-base": ("BertConfig", _shape(768, 12, 12, 3072), False),
    "bge-reranker-v2-m3": ("XLMRobertaConfig", _shape(1024, 24, 16, 4096), False),
    "gte-reranker-modernbert-base": ("ModernBertConfig", _shape(768, 22, 12, 1152, cls_token_id=2, sep_token_id=3), False),
    "llama-nemotron-rerank-1b-v2": ("LlamaConfig", _shape(2048, 16, 32, 8192, num_key_value_heads=8, is_causal=False), False),
    "Qwen3-Reranker-0.6B": ("Qwen3Config", _shape(1024, 28, 16, 3072, num_key_value_heads=8, head_dim=128), True),
    "mxbai-rerank-base-v2": ("Qwen2Config", _shape(896, 24, 14, 4864, num_key_value_heads=2), True),
}
"""Config class, fields as the hub's configs state them but for the vocabulary, causal."""
SMALL = {"num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 128}
BATCHES = (32, 128)
BUDGET = 16384
Row = dict[str, Any]


def body_of(name: str, device: str, attention: str, *, dry: bool) -> PreTrainedModel:
    """The same random weights every time."""
    kind, fields, _ = SHAPES[name]
    small = SMALL | {key: value for key, value in (("num_key_value_heads", 2), ("head_dim", 16)) if key in fields}
    torch.manual_seed(0)
    dtype = torch.float32 if dry else torch.bfloat16
    with torch.device(device):
        config = getattr(transformers, kind)(**(fields | small if dry else fields))
        model = AutoModel.from_config(config, attn_implementation=attention, dtype=dtype).eval()
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


def scorer_of(name: str, device: str, *, dry: bool) -> PackedScorer:
    """A scorer around the body as a worker would choose it, with a head of one row."""
    causal, model = SHAPES[name][2], body_of(name, device, NAME, dry=dry)
    family = Family(name=name, layout=(), causal=causal, read="last" if causal else "first")
    card = ModelCard(
        name=name, path="", family=family, architecture="", activation="identity", max_length=512, default_max_length=512,
        vocab_size=VOCABULARY, config={}, revision="", weights_bytes=0,
    )  # fmt: skip
    reader = PairReader(family.read, LinearHead(torch.ones(model.config.hidden_size)), causal=causal)
    reader.modules()[0].to(device)
    options, positions = ScoringOptions(device=device), read_positions(model)
    kernel = RUNS if dry else choose_kernel(model.device, model.dtype, "auto")
    forward = fuse(model, kernel, model.dtype, positions.offset, options)
    forward = forward or choose_forward(Parts(model, reader), card, kernel, model.dtype, options)
    return PackedScorer(
        family=family, forward=forward, reader=reader, kernel=kernel, lane=lane_for(model.device), device=device, dtype=str(model.dtype),
        limits=Limits(positions=positions, vocabulary=VOCABULARY, longest=512),
    )  # fmt: skip


@torch.inference_mode()
def padded_once(model: PreTrainedModel, rows: Sequence[np.ndarray], size: int) -> None:
    """All rows, longest first, in batches of `size`; waits for the last."""
    ordered = sorted(rows, key=len, reverse=True)
    for first in range(0, len(ordered), size):
        batch = ordered[first : first + size]
        ids, mask = np.ones((len(batch), len(batch[0])), np.int64), np.zeros((len(batch), len(batch[0])), np.int64)
        for number, row in enumerate(batch):
            ids[number, : len(row)], mask[number, : len(row)] = row, 1
        model(input_ids=torch.from_numpy(ids).to(model.device), attention_mask=torch.from_numpy(mask).to(model.device))
    timing.wait(str(model.device))


def flops(model: PreTrainedModel, lengths: np.ndarray) -> float:
    """Operations of the matrix products: two for every weight of a layer and token, and attention's."""
    config = model.config
    weights = sum(parameter.numel() for name, parameter in model.named_parameters() if parameter.ndim == 2 and "embed" not in name)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    squares = float((lengths.astype(np.float64) ** 2).sum())
    return 2.0 * weights * float(lengths.sum()) + 4.0 * config.num_hidden_layers * config.num_attention_heads * head * squares


def measure(name: str, device: str, rows: Sequence[np.ndarray], rate: float, *, dry: bool) -> Row:
    """One body both ways; a row with the reason where it can't be."""
    try:
        model = body_of(name, device, "sdpa", dry=dry)
        work = flops(model, np.array([len(row) for row in rows]))
        padded = min(race([partial(padded_once, model, rows, size) for size in BATCHES], 2))
        del model  # the card holds one body at a time
        scorer = scorer_of(name, device, dry=dry)
        (packed,) = race([packed_run(scorer, rows, BUDGET)], 3)
    except (AttributeError, RuntimeError, ValueError) as error:
        return {"model": name, "note": str(error).partition("\n")[0][:120]}
    finally:
        gc.collect()
    tokens = sum(map(len, rows))
    rates = {"padded tokens/s": tokens / padded, "packed tokens/s": tokens / packed, "ratio": padded / packed}
    achieved = {"TFLOP/s": work / packed / 1e12, "of matrix rate": work / packed / rate}
    return {"model": name, "forward": scorer.backend, **rates, **achieved, **prefix(name, scorer)}


def prefix(name: str, scorer: PackedScorer) -> Row:
    """How much quicker 100 documents of about 100 tokens are behind 90 shared tokens that are computed once."""
    if not SHAPES[name][2]:
        return {}
    random = np.random.default_rng(1)
    lead = random.integers(5, VOCABULARY, 90, dtype=np.int32)
    documents = [random.integers(5, VOCABULARY, int(length), dtype=np.int32) for length in random.normal(100, 20, 100).clip(30, 200)]
    together = pack_of([lead, *documents], shared=True)
    alone = packed_run(scorer, [np.concatenate([lead, document]) for document in documents], 1 << 16)
    once, each = race([lambda: scorer.launch(together)() is None or None, alone], 5)
    return {"prefix shared": each / once}


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
    random = np.random.default_rng(1)
    rows = [random.integers(5, VOCABULARY, length, dtype=np.int32) for length in lengths_of(tokens)]
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
