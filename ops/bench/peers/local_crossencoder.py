"""`sentence_transformers.CrossEncoder.predict` in process, request after request, batch 32; tokenizing included."""

from __future__ import annotations

import json

import in_process
import torch
from sentence_transformers import CrossEncoder


def main() -> None:
    """Time it on the saved requests."""
    args = in_process.arguments(__doc__)
    model = CrossEncoder(str(args.model), device="cpu", max_length=512, model_kwargs={"dtype": getattr(torch, args.dtype)})
    requests = json.loads(args.requests.read_text("utf-8"))
    batches = [[(request["query"], document) for document in request["documents"]] for request in requests]
    tokens = in_process.counted([in_process.encode(args.model, batch) for batch in batches])
    for size in args.batch:
        found = in_process.timed(
            batches, tokens, lambda pairs, size=size: model.predict(pairs, batch_size=size, show_progress_bar=False), args.seconds
        )
        in_process.report(batch=size, streams=1, threads=torch.get_num_threads(), **found)


main()
