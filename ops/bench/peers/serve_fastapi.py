"""The server most people write first: FastAPI around `CrossEncoder.predict`, batch 32.

Environment: MODEL, DTYPE, PORT, ORDER. ORDER=pool is a plain `def` endpoint, run in the framework's threads; ORDER=serial lets one request
at a time into the model, which is kinder to few cores.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import CrossEncoder

_model = CrossEncoder(
    os.environ["MODEL"], device="cpu", max_length=512, model_kwargs={"dtype": getattr(torch, os.environ.get("DTYPE", "float32"))}
)
_gate = threading.Lock() if os.environ.get("ORDER") == "serial" else contextlib.nullcontext()
app = FastAPI()


class Body(BaseModel):
    """A rerank request."""

    query: str
    documents: list[str]
    top_n: int | None = None
    return_documents: bool = False


@app.post("/rerank")
def rerank(body: Body) -> dict[str, Any]:
    """Rank the documents."""
    with _gate:
        scores = _model.predict([(body.query, document) for document in body.documents], batch_size=32, show_progress_bar=False)
    ranked = sorted(enumerate(scores.tolist()), key=lambda item: -item[1])[: body.top_n]
    return {"results": [{"index": index, "relevance_score": score} for index, score in ranked]}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
