"""OpenVINO in process on length-sorted batches, asynchronous streams: float32 or bfloat16 inference precision."""

from __future__ import annotations

import os
import time
from typing import Any

import in_process
import openvino as ov


def main() -> None:
    """Time every combination of streams and batch size."""
    args = in_process.arguments(__doc__)
    encodings = in_process.by_length(in_process.encode(args.model, in_process.pairs_of(args.requests)))
    core = ov.Core()
    model = core.read_model(str(args.graph))
    names = {port.get_any_name() for port in model.inputs}
    precision = {"float32": "f32", "bfloat16": "bf16"}[args.dtype]
    for streams in args.streams:
        config = {
            "NUM_STREAMS": str(streams),
            "INFERENCE_NUM_THREADS": str(len(os.sched_getaffinity(0))),
            "INFERENCE_PRECISION_HINT": precision,
        }
        compiled = core.compile_model(model, "CPU", config)
        for size in args.batch:
            batches = in_process.batches_of(encodings, size)
            in_process.report(batch=size, streams=streams, **timed(compiled, batches, names, args.seconds, streams))


def timed(compiled: Any, batches: list[list[Any]], names: set[str], seconds: float, streams: int) -> dict[str, float]:
    """Keep every stream busy through OpenVINO's own queue."""
    queue = ov.AsyncInferQueue(compiled, streams)
    for batch in batches[: max(3, len(batches) // 10)]:
        queue.start_async(in_process.padded(batch, names))
    queue.wait_all()
    sizes = in_process.counted(batches)
    tokens = number = 0
    used, started = time.process_time(), time.perf_counter()
    while time.perf_counter() - started < seconds:
        place = number % len(batches)
        queue.start_async(in_process.padded(batches[place], names))
        number, tokens = number + 1, tokens + sizes[place]
    queue.wait_all()
    took, used = time.perf_counter() - started, time.process_time() - used
    return in_process.rates(tokens, took, used)


main()
