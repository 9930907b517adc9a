"""Packed rows against length-sorted padded batches, and a shared prefix against none, body by body, in one run on the CPU.

    python -m ops.bench.bodies [--dtype float32] [--threads 1] [--tokens 12000]

Random weights in small real shapes (hidden size 384 to 512, 4 layers): ratios carry over to larger ones, rates do not. Both sides
get the same token ids; the padded side is transformers' own modules with SDPA on batches of 32, sorted by length.
`ops.bench.gpu.families` does the same with other shapes on a card.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoModel, PreTrainedModel

from batching.families.base import Family
from batching.families.card import ModelCard
from batching.scoring.attention import NAME, RUNS, choose_kernel
from batching.scoring.bodies import packs, read_positions
from batching.scoring.cuda import fuse
from batching.scoring.forwards import choose_forward
from batching.scoring.heads import LinearHead
from batching.scoring.lanes import lane_for
from batching.scoring.options import ScoringOptions
from batching.scoring.parts import Parts
from batching.scoring.readers import PairReader
from batching.scoring.scorer import Limits, PackedScorer, mixed_lengths
from batching.types import Int32s, Pack
from ops.bench.gpu.timing import wait

Body = tuple[str, dict[str, Any], bool]
"""Config class, its fields, causal."""
BATCH, BUDGET = 32, 2048
VOCABULARY, LONGEST = 8000, 512
ENCODER: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 384, "num_hidden_layers": 4, "num_attention_heads": 12, "intermediate_size": 1536,
    "max_position_embeddings": 1026, "pad_token_id": 1,
}  # fmt: skip
DECODER = ENCODER | {
    "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4, "bos_token_id": 2, "eos_token_id": 3,
}  # fmt: skip
MODERN = ENCODER | {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
DISTILBERT = {
    "vocab_size": VOCABULARY, "dim": 384, "n_layers": 4, "n_heads": 12, "hidden_dim": 1536, "max_position_embeddings": 1026,
    "pad_token_id": 1,
}  # fmt: skip
DEBERTA = ENCODER | {
    "relative_attention": True, "position_buckets": 256, "pos_att_type": ["p2c", "c2p"], "share_att_key": True,
    "norm_rel_ebd": "layer_norm", "position_biased_input": False, "type_vocab_size": 0,
}  # fmt: skip
BODIES: dict[str, Body] = {
    "bert": ("BertConfig", ENCODER, False),
    "xlm-roberta": ("XLMRobertaConfig", ENCODER, False),
    "electra": ("ElectraConfig", ENCODER | {"embedding_size": 384}, False),
    "modernbert": ("ModernBertConfig", MODERN, False),
    "gte": ("GteConfig", ENCODER, False),
    "albert": ("AlbertConfig", ENCODER | {"embedding_size": 128}, False),
    "distilbert": ("DistilBertConfig", DISTILBERT, False),
    "deberta-v2": ("DebertaV2Config", DEBERTA, False),
    "nemotron": ("LlamaConfig", DECODER | {"is_causal": False}, False),
    "qwen2": ("Qwen2Config", DECODER, True),
    "qwen3": ("Qwen3Config", DECODER | {"head_dim": 64}, True),
    "llama": ("LlamaConfig", DECODER, True),
    "mistral": ("MistralConfig", DECODER | {"sliding_window": None}, True),
    "gemma": ("GemmaConfig", DECODER | {"head_dim": 64, "num_key_value_heads": 1}, True),
}
"""A body stands for its families: xlm-roberta also for jina-v2, modernbert for module chains, llama for layerwise MiniCPM, mistral
for the large ctxl, qwen2 for mxbai-v2, qwen3 for zerank, ctxl and jina-v3 too."""


def lengths_of(tokens: int) -> Int32s:
    """The lengths that a start is measured on, in another draw."""
    return mixed_lengths(tokens, LONGEST, seed=7)


def rows_of(lengths: Iterable[float], random: np.random.Generator) -> list[np.ndarray]:
    """Made-up token ids, a row for each length."""
    return [random.integers(5, VOCABULARY, int(length), dtype=np.int32) for length in lengths]


def body_of(body: Body, dtype: torch.dtype, attention: str, device: str = "cpu") -> PreTrainedModel:
    """The same random weights every time."""
    kind, fields, _ = body
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModel.from_config(getattr(transformers, kind)(**fields), attn_implementation=attention, dtype=dtype).eval()
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


def packed_body(body: Body, dtype: torch.dtype) -> PreTrainedModel:
    """A body as a worker would load it on the CPU; one that can't be packed stays as it is."""
    model = body_of(body, torch.float32, "eager")
    return body_of(body, dtype, NAME) if packs(type(model), model.config.model_type) else model


def scorer_of(name: str, model: PreTrainedModel, dtype: torch.dtype, *, causal: bool) -> PackedScorer:
    """A scorer around a body, on its device already, with the forward that a worker would choose and a head of one row."""
    family = Family(name=name, layout=(), causal=causal, read="last" if causal else "first")
    card = ModelCard(
        name=name, path="", family=family, architecture="", activation="identity", max_length=LONGEST, default_max_length=LONGEST,
        vocab_size=VOCABULARY, config={}, revision="", weights_bytes=0,
    )  # fmt: skip
    reader = PairReader(family.read, LinearHead(torch.ones(model.config.hidden_size)), causal=causal)
    for module in reader.modules():
        module.to(model.device)
    options, positions, kernel = ScoringOptions(device=str(model.device)), read_positions(model), choose_kernel(model.device, dtype, "auto")
    forward = fuse(model, kernel, dtype, positions.offset, options) or choose_forward(Parts(model, reader), card, kernel, dtype, options)
    return PackedScorer(
        family=family, forward=forward, reader=reader, kernel=RUNS if forward.padded else kernel, lane=lane_for(model.device),
        device=options.device, dtype=str(dtype), limits=Limits(positions=positions, vocabulary=VOCABULARY, longest=LONGEST),
    )  # fmt: skip


def pack_of(rows: Sequence[np.ndarray], *, shared: bool) -> Pack:
    """`rows` as one entry."""
    return Pack(
        ids=np.concatenate(rows),
        lengths=np.array([len(row) for row in rows], np.int32),
        splits=np.zeros(len(rows), np.int32),
        entry_sequences=np.array([len(rows)], np.int32),
        entry_scores=np.array([len(rows) - int(shared)], np.int32),
        entry_shared=np.array([shared]),
    )


def packed_run(scorer: PackedScorer, rows: Sequence[np.ndarray], budget: int = BUDGET) -> Callable[[], None]:
    """Batches of at most `budget` tokens in the order of arrival."""
    batches: list[list[np.ndarray]] = [[]]
    for row in rows:
        if batches[-1] and sum(map(len, batches[-1])) + len(row) > budget:
            batches.append([])
        batches[-1].append(row)
    packs_made = [pack_of(batch, shared=False) for batch in batches]
    return lambda: [scorer.launch(pack)() for pack in packs_made] and None


@torch.inference_mode()
def padded_once(model: PreTrainedModel, rows: Sequence[np.ndarray], size: int = BATCH) -> None:
    """All rows, longest first, in batches of `size`; waits for the last."""
    ordered = sorted(rows, key=len, reverse=True)
    for first in range(0, len(ordered), size):
        batch = ordered[first : first + size]
        ids, mask = np.ones((len(batch), len(batch[0])), np.int64), np.zeros((len(batch), len(batch[0])), np.int64)
        for number, row in enumerate(batch):
            ids[number, : len(row)], mask[number, : len(row)] = row, 1
        model(input_ids=torch.from_numpy(ids).to(model.device), attention_mask=torch.from_numpy(mask).to(model.device))
    wait(str(model.device))


def race(runs: Sequence[Callable[[], None]], rounds: int) -> list[float]:
    """Best seconds of each, run in turn after a warm-up."""
    best = [float("inf")] * len(runs)
    for turn in range(rounds + 1):
        for place, run in enumerate(runs):
            begin = time.perf_counter()
            run()
            if turn:
                best[place] = min(best[place], time.perf_counter() - begin)
    return best


def shared_prefix(scorer: PackedScorer, random: np.random.Generator, rounds: int, budget: int = BUDGET) -> tuple[float, float]:
    """Seconds of 100 documents of about 100 tokens behind 90 shared ones, as a Qwen3-Reranker's: computed once, and with every document."""
    (prefix,) = rows_of([90], random)
    documents = rows_of(random.normal(100, 20, 100).clip(30, 200), random)
    together = pack_of([prefix, *documents], shared=True)
    alone = packed_run(scorer, [np.concatenate([prefix, document]) for document in documents], budget)
    once, each = race([lambda: scorer.launch(together)() is None or None, alone], rounds)
    return once, each


def main(arguments: Sequence[str] | None = None) -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=12_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--bodies", default=",".join(BODIES))
    asked = parser.parse_args(arguments)
    torch.set_num_threads(asked.threads)
    dtype = getattr(torch, asked.dtype)
    random = np.random.default_rng(1)
    rows = rows_of(lengths_of(asked.tokens), random)
    tokens = sum(map(len, rows))
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {asked.dtype}, {asked.threads} threads, {tokens} tokens\n")
    print("| body | forward | padded, sorted, tokens/s | packed, tokens/s | ratio |\n|---|---|---|---|---|")
    for name in asked.bodies.split(","):
        reference = body_of(BODIES[name], dtype, "eager" if name == "deberta-v2" else "sdpa")
        scorer = scorer_of(name, packed_body(BODIES[name], dtype), dtype, causal=BODIES[name][2])
        padded, packed = race([lambda model=reference: padded_once(model, rows), packed_run(scorer, rows)], asked.rounds)
        print(f"| {name} | {scorer.backend} | {tokens / padded:,.0f} | {tokens / packed:,.0f} | {padded / packed:.2f} |", flush=True)
    scorer = scorer_of("qwen3", packed_body(BODIES["qwen3"], dtype), dtype, causal=True)
    once, each = shared_prefix(scorer, random, asked.rounds)
    print(f"\nqwen3, 100 documents behind 90 shared tokens: {once:.2f} s shared, {each:.2f} s not, ratio {each / once:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
