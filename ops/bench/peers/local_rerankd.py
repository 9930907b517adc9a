"""Our scorer in process, without HTTP and queue: one process of one thread per core, batches of sorted pairs up to a token budget."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import time
from multiprocessing.connection import Connection
from pathlib import Path

import in_process
import numpy as np

from batching.families.detect import detect
from batching.families.encode import Encoder
from batching.types import Pack


def packs(model: Path, requests: Path, budget: int) -> list[Pack]:
    """Tokenize all pairs, sort them by length, cut at the budget; shuffled, so that any part of a pass is like the whole."""
    encoder = Encoder(detect(model, model.name))
    pairs = []
    for request in json.loads(requests.read_text("utf-8")):
        found = encoder.encode(request["query"], request["documents"]).sequences
        ids = np.split(found.ids, np.cumsum(found.lengths)[:-1])
        pairs += list(zip(ids, found.splits.tolist(), strict=True))
    pairs.sort(key=lambda pair: len(pair[0]))
    cuts = np.flatnonzero(np.diff(np.cumsum([len(ids) for ids, _ in pairs]) // budget)) + 1
    made = [_pack(pairs[start:stop]) for start, stop in zip([0, *cuts], [*cuts, len(pairs)], strict=True)]
    random.Random(0).shuffle(made)
    return made


def _pack(pairs: list[tuple[np.ndarray, int]]) -> Pack:
    count = len(pairs)
    return Pack(
        ids=np.concatenate([ids for ids, _ in pairs]),
        lengths=np.array([len(ids) for ids, _ in pairs], np.int32),
        splits=np.array([split for _, split in pairs], np.int32),
        entry_sequences=np.array([count], np.int32),
        entry_scores=np.array([count], np.int32),
        entry_shared=np.array([False]),
    )


def work(model: Path, dtype: str, share: int, batches: dict[int, list[Pack]], seconds: float, link: Connection) -> None:
    """Load, then run each budget's batches for its time whenever the parent says so; answers (tokens, seconds, CPU seconds)."""
    from batching.scoring.load import load_scorer
    from batching.scoring.options import ScoringOptions

    scorer = load_scorer(detect(model, model.name), ScoringOptions(dtype=dtype, threads=1))
    for made in batches.values():
        for pack in made[: max(3, len(made) // 10)]:
            scorer.launch(pack)()
    link.send(scorer.backend)
    while True:
        budget = link.recv()
        if not budget:
            return
        made, tokens, number = batches[budget], 0, share
        used, started = time.process_time(), time.perf_counter()
        while time.perf_counter() - started < seconds:
            pack = made[number % len(made)]
            scorer.launch(pack)()
            tokens, number = tokens + len(pack.ids), number + 1
        link.send((tokens, time.perf_counter() - started, time.process_time() - used))


def main() -> None:
    """Time every budget on all cores at once."""
    args = in_process.arguments(__doc__)
    os.environ["OMP_NUM_THREADS"] = "1"
    batches = {budget: packs(args.model, args.requests, budget) for budget in args.batch}
    context = multiprocessing.get_context("spawn")
    cores = len(os.sched_getaffinity(0))
    links = []
    for core in range(cores):
        ours, theirs = context.Pipe()
        share = core * max(map(len, batches.values())) // cores
        context.Process(target=work, args=(args.model, args.dtype, share, batches, args.seconds, theirs), daemon=True).start()
        links.append(ours)
    for link in links:
        link.recv()
    for budget in args.batch:
        for link in links:
            link.send(budget)
        found = [link.recv() for link in links]
        tokens, used = sum(done for done, _, _ in found), sum(used for *_, used in found)
        rate = sum(done / took for done, took, _ in found)
        in_process.report(batch=budget, streams=cores, threads=1, **in_process.rates(tokens, tokens / rate, used))
    for link in links:
        link.send(0)


if __name__ == "__main__":
    main()
