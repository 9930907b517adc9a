"""What the in-process peers share: the command line, tokenizing by the model's tokenizer.json, sorted batches, the clock.

Nothing of this repository is imported, and `tokenizers` and numpy only where they are used: this file runs in the environments of others.
"""

from __future__ import annotations

import argparse
import json
import random
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Pair = tuple[str, str]


def arguments(description: str) -> argparse.Namespace:
    """Read the options that every in-process peer takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", type=Path, required=True, help="the checkpoint's directory")
    parser.add_argument("--graph", type=Path, help="the model as ONNX")
    parser.add_argument("--requests", type=Path, required=True, help="JSON list of {query, documents}")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 4, 16, 32])
    parser.add_argument("--streams", type=int, nargs="+", default=[1], help="concurrent streams of one thread each; 1: all cores to one")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured seconds of every combination")
    return parser.parse_args()


def pairs_of(path: Path) -> list[Pair]:
    """Return all pairs of the saved requests."""
    return [(request["query"], document) for request in json.loads(path.read_text("utf-8")) for document in request["documents"]]


def encode(model: Path, pairs: Sequence[Pair]) -> list[Any]:
    """Tokenize pairs to 512 tokens at most."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(512)
    return list(tokenizer.encode_batch(list(pairs)))


def by_length(encodings: Sequence[Any]) -> list[Any]:
    """Sort encodings as a careful user of these runtimes would."""
    return sorted(encodings, key=lambda encoding: len(encoding.ids))


def padded(batch: list[Any], names: set[str]) -> dict[str, Any]:
    """Pad one batch to its longest pair, as int64 arrays by input name."""
    import numpy as np

    longest = max(len(encoding.ids) for encoding in batch)
    arrays = {name: np.zeros((len(batch), longest), dtype=np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    for row, encoding in enumerate(batch):
        arrays["input_ids"][row, : len(encoding.ids)] = encoding.ids
        arrays["attention_mask"][row, : len(encoding.ids)] = 1
        arrays["token_type_ids"][row, : len(encoding.ids)] = encoding.type_ids
    return {name: array for name, array in arrays.items() if name in names}


def batches_of(encodings: Sequence[Any], size: int) -> list[list[Any]]:
    """Cut sorted pairs into batches, then shuffle those, so that any part of a pass is like the whole."""
    cut = [list(encodings[start : start + size]) for start in range(0, len(encodings), size)]
    random.Random(0).shuffle(cut)
    return cut


def counted(batches: Sequence[list[Any]]) -> list[int]:
    """Return the tokens of every batch of encodings, padding left out."""
    return [sum(len(encoding.ids) for encoding in batch) for batch in batches]


def timed(batches: Sequence[Any], tokens: Sequence[int], run: Callable[[Any], Any], seconds: float, streams: int = 1) -> dict[str, float]:
    """Run batches of `tokens` round and round, `streams` threads at once; return the rate, and processor time per token.

    The rate is in tokens: a window holds part of a pass only, and batches of short pairs hold more pairs.
    """
    for batch in batches[: max(3, len(batches) // 10)]:
        run(batch)
    done = [0] * len(batches)
    numbers = iter(range(10**9))
    lock = threading.Lock()
    used, started = time.process_time(), time.perf_counter()

    def loop() -> None:
        while time.perf_counter() - started < seconds:
            with lock:
                number = next(numbers) % len(batches)
            run(batches[number])
            with lock:
                done[number] += 1

    threads = [threading.Thread(target=loop) for _ in range(streams)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, used = time.perf_counter() - started, time.process_time() - used
    return rates(sum(count * size for count, size in zip(done, tokens, strict=True)), took, used)


def rates(tokens: int, took_s: float, used_s: float) -> dict[str, float]:
    """Return the fields that every contender reports of a window."""
    return {"tokens_s": tokens / took_s, "cpu_us_per_token": used_s / tokens * 1e6}


def report(**fields: Any) -> None:
    """Hand one line of results to the caller."""
    print(json.dumps(fields), flush=True)
