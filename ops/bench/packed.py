"""The service's own forward in process, without HTTP and queue: run by `ops.bench.service`, one process per worker.

Reads the worker's options and the requests as JSON from the file named on the command line; says "ready", waits for a line, runs, and
prints its rates. Requests are tokenized beforehand, so that this is the forward at its best.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from batching.families.card import ModelCard
from batching.families.encode import Encoder
from batching.types import Pack, Sequences
from service.load.workload import Request


def packs(encoded: list[Sequences], budget: int) -> list[Pack]:
    """Lay requests, one entry each, into batches of at most `budget` tokens, in order, as they would be leased."""
    found: list[Pack] = []
    batch: list[Sequences] = []
    for entry in encoded:
        if batch and sum(other.tokens for other in batch) + entry.tokens > budget:
            found.append(_pack(batch))
            batch = []
        batch.append(entry)
    return [*found, _pack(batch)] if batch else found


def _pack(entries: list[Sequences]) -> Pack:
    return Pack(
        np.concatenate([entry.ids for entry in entries]),
        np.concatenate([entry.lengths for entry in entries]),
        np.concatenate([entry.splits for entry in entries]),
        np.array([len(entry.lengths) for entry in entries], np.int32),
        np.array([entry.scores for entry in entries], np.int32),
        np.array([entry.shared for entry in entries], np.bool_),
    )


def entries(encoder: Encoder, requests: list[Request], budget: int) -> Iterator[Sequences]:
    """Tokenize requests and cut them as the queue's client does."""
    from batching.client import ENTRIES_PER_BUDGET, MIN_ENTRY_TOKENS
    from batching.cut import cut

    for request in requests:
        sequences = encoder.encode(request.query, request.documents).sequences
        yield from (part.sequences for part in cut(sequences, max(MIN_ENTRY_TOKENS, budget // ENTRIES_PER_BUDGET)))


def main() -> None:
    """Load, wait for the word, run."""
    from batching.scoring.factory import make

    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    requests = [Request(entry["query"], tuple(entry["documents"])) for entry in given["requests"]]
    scorer = make(given["options"])
    encoder = Encoder(msgspec.convert(given["options"]["card"], ModelCard))
    batches = packs(list(entries(encoder, requests, scorer.budget_tokens)), scorer.budget_tokens)
    for batch in batches[:4]:
        scorer.launch(batch)()
    print("ready", flush=True)
    sys.stdin.readline()
    pairs = tokens = 0
    used, began = time.process_time(), time.perf_counter()
    # Every process walks the same batches from another place, so that none of them waits for the other's longest.
    for batch in itertools.islice(itertools.cycle(batches), given["offset"] * len(batches) // given["processes"], None):
        scorer.launch(batch)()
        pairs, tokens = pairs + batch.scores, tokens + batch.tokens
        if time.perf_counter() - began >= given["seconds"]:
            break
    took = time.perf_counter() - began
    cpu_ms = (time.process_time() - used) / pairs * 1e3
    report = {"pairs_s": pairs / took, "tokens_s": tokens / took, "cpu_ms_per_pair": cpu_ms, "budget": scorer.budget_tokens}
    print(json.dumps({**report, "backend": scorer.backend}), flush=True)


if __name__ == "__main__":
    main()
