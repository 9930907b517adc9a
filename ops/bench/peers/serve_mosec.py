"""mosec around `CrossEncoder.predict`: eight requests to a batch of one worker, 10 ms of waiting. Environment: MODEL, DTYPE."""

from __future__ import annotations

import os
from typing import Any

from mosec import Server, Worker


class Rerank(Worker):
    """One model replica."""

    def __init__(self) -> None:
        import torch
        from sentence_transformers import CrossEncoder

        dtype = getattr(torch, os.environ.get("DTYPE", "float32"))
        self._model = CrossEncoder(os.environ["MODEL"], device="cpu", max_length=512, model_kwargs={"dtype": dtype})

    def forward(self, data: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Score the pairs of all requests together and rank each request's own."""
        pairs = [(body["query"], document) for body in data for document in body["documents"]]
        scores = iter(self._model.predict(pairs, batch_size=32, show_progress_bar=False).tolist())
        answers = []
        for body in data:
            own = [(index, next(scores)) for index in range(len(body["documents"]))]
            own.sort(key=lambda item: -item[1])
            answers.append({"results": [{"index": index, "relevance_score": score} for index, score in own]})
        return answers


if __name__ == "__main__":
    server = Server()
    server.append_worker(Rerank, num=1, max_batch_size=8, max_wait_time=10)
    server.run()
