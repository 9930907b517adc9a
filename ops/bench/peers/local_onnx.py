"""onnxruntime in process on length-sorted batches: float32, or int8 (dynamic activations, per-channel weights)."""

from __future__ import annotations

import os
from pathlib import Path

import in_process
import onnxruntime as ort


def quantized(graph: Path) -> Path:
    """Return the int8 copy of a graph, made first if it is not there."""
    target = graph.with_name("model.int8.onnx")
    if not target.exists():
        from onnxruntime.quantization import QuantType, quantize_dynamic

        quantize_dynamic(str(graph), str(target), per_channel=True, weight_type=QuantType.QInt8)
    return target


def main() -> None:
    """Time every combination of streams and batch size."""
    args = in_process.arguments(__doc__)
    graph = quantized(args.graph) if args.dtype == "int8" else args.graph
    encodings = in_process.by_length(in_process.encode(args.model, in_process.pairs_of(args.requests)))
    cores = len(os.sched_getaffinity(0))
    for streams in args.streams:
        options = ort.SessionOptions()
        options.intra_op_num_threads = cores if streams == 1 else 1
        session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        names = {node.name for node in session.get_inputs()}
        for size in args.batch:
            batches = in_process.batches_of(encodings, size)
            tokens = in_process.counted(batches)
            found = in_process.timed(
                batches, tokens, lambda batch, s=session, n=names: s.run(None, in_process.padded(batch, n)), args.seconds, streams
            )
            in_process.report(batch=size, streams=streams, threads=options.intra_op_num_threads, **found)


main()
