"""Packed rows against length-sorted padded batches, and a shared prefix against none, body by body, in one run on the CPU.

    python -m ops.bench.bodies [--dtype float32] [--threads 1] [--tokens 12000]

Random weights in small real shapes (hidden size 384 to 512, 4 layers): ratios carry over to larger ones, rates do not. Both sides
get the same token ids; the padded side is transformers' own modules with SDPA on batches of 32, sorted by length.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import transformers
from transformers import AutoModel, PreTrainedModel

from batching.families.base import Family
from batching.families.card import ModelCard
from batching.scoring.attention import NAME, RUNS
from batching.scoring.bodies import packs, read_positions
from batching.scoring.forwards import choose_forward
from batching.scoring.heads import LinearHead
from batching.scoring.lanes import HostLane
from batching.scoring.options import ScoringOptions
from batching.scoring.parts import Parts
from batching.scoring.readers import PairReader
from batching.scoring.scorer import Limits, PackedScorer
from batching.types import Pack

BATCH = 32
VOCABULARY = 8000
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
BODIES: dict[str, tuple[str, dict[str, Any], bool]] = {
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
"""Name, config class, its fields, causal. A body stands for its families: xlm-roberta also for jina-v2, modernbert for module chains,
llama for layerwise MiniCPM, mistral for the large ctxl, qwen2 for mxbai-v2, qwen3 for zerank, ctxl and jina-v3 too."""


def lengths_of(tokens: int, seed: int = 7) -> np.ndarray:
    """Log-normal lengths, median 90, sigma 0.6, between 8 and 512, about `tokens` in all."""
    drawn = np.random.default_rng(seed).lognormal(np.log(90), 0.6, tokens)
    kept = np.clip(drawn, 8, 512).astype(np.int32)
    return kept[: int(np.searchsorted(np.cumsum(kept), tokens)) + 1]


def body_of(name: str, dtype: torch.dtype, attention: str) -> PreTrainedModel:
    """The same random weights every time."""
    kind, fields, _ = BODIES[name]
    torch.manual_seed(0)
    model = AutoModel.from_config(getattr(transformers, kind)(**fields), attn_implementation=attention, dtype=dtype).eval()
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


def scorer_of(name: str, dtype: torch.dtype) -> PackedScorer:
    """A scorer around the body as a worker would choose it, with a head of one row."""
    causal = BODIES[name][2]
    model = body_of(name, torch.float32, "eager")
    if packs(type(model), model.config.model_type):
        model = body_of(name, dtype, NAME)
    family = Family(name=name, layout=(), causal=causal, read="last" if causal else "first")
    positions = read_positions(model)
    card = ModelCard(
        name=name, path="", family=family, architecture="", activation="identity", max_length=512, default_max_length=512,
        vocab_size=VOCABULARY, config={}, revision="", weights_bytes=0,
    )  # fmt: skip
    reader = PairReader(family.read, LinearHead(torch.ones(model.config.hidden_size)), causal=causal)
    forward = choose_forward(Parts(model, reader), card, RUNS, dtype, ScoringOptions())
    limits = Limits(positions=positions, vocabulary=VOCABULARY, longest=512)
    return PackedScorer(
        family=family, forward=forward, reader=reader, kernel=RUNS, lane=HostLane(), device="cpu", dtype=str(dtype), limits=limits
    )


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


def packed_run(scorer: PackedScorer, rows: Sequence[np.ndarray], budget: int = 2048) -> Callable[[], None]:
    """Batches of at most `budget` tokens in the order of arrival."""
    batches: list[list[np.ndarray]] = [[]]
    for row in rows:
        if batches[-1] and sum(map(len, batches[-1])) + len(row) > budget:
            batches.append([])
        batches[-1].append(row)
    packs_made = [pack_of(batch, shared=False) for batch in batches]
    return lambda: [scorer.launch(pack)() for pack in packs_made] and None


@torch.inference_mode()
def padded_once(model: PreTrainedModel, rows: Sequence[np.ndarray]) -> None:
    """All rows, longest first, in batches of BATCH."""
    ordered = sorted(rows, key=len, reverse=True)
    for first in range(0, len(ordered), BATCH):
        batch = ordered[first : first + BATCH]
        ids, mask = torch.ones(len(batch), len(batch[0]), dtype=torch.long), torch.zeros(len(batch), len(batch[0]), dtype=torch.long)
        for number, row in enumerate(batch):
            ids[number, : len(row)] = torch.from_numpy(row)
            mask[number, : len(row)] = 1
        model(input_ids=ids, attention_mask=mask)


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
    rows = [random.integers(5, VOCABULARY, length, dtype=np.int32) for length in lengths_of(asked.tokens)]
    tokens = sum(map(len, rows))
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {asked.dtype}, {asked.threads} threads, {tokens} tokens\n")
    print("| body | forward | padded, sorted, tokens/s | packed, tokens/s | ratio |\n|---|---|---|---|---|")
    for name in asked.bodies.split(","):
        reference = body_of(name, dtype, "eager" if name == "deberta-v2" else "sdpa")
        scorer = scorer_of(name, dtype)
        padded, packed = race([lambda model=reference: padded_once(model, rows), packed_run(scorer, rows)], asked.rounds)
        print(f"| {name} | {scorer.backend} | {tokens / padded:,.0f} | {tokens / packed:,.0f} | {padded / packed:.2f} |", flush=True)
    shared_prefix(dtype, asked.rounds, random)
    return 0


def shared_prefix(dtype: torch.dtype, rounds: int, random: np.random.Generator) -> None:
    """100 documents of about 100 tokens behind a Qwen3-Reranker's prefix of 90: computed once, and with every document."""
    scorer = scorer_of("qwen3", dtype)
    prefix = random.integers(5, VOCABULARY, 90, dtype=np.int32)
    documents = [random.integers(5, VOCABULARY, int(length), dtype=np.int32) for length in random.normal(100, 20, 100).clip(30, 200)]
    together = pack_of([prefix, *documents], shared=True)
    alone = packed_run(scorer, [np.concatenate([prefix, document]) for document in documents])
    once, each = race([lambda: scorer.launch(together)() is None or None, alone], rounds)
    print(f"\nqwen3, 100 documents behind 90 shared tokens: {once:.2f} s shared, {each:.2f} s not, ratio {each / once:.2f}")


if __name__ == "__main__":
    sys.exit(main())
