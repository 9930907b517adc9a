"""Independent references: the plain Hugging Face forward on padded input, and sentence-transformers. No code of the program."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForSequenceClassification, AutoTokenizer

Raw = NDArray[np.float32]


def classifier(directory: Path, query: str, documents: Sequence[str], *, dtype: torch.dtype = torch.float32, max_length: int = 512) -> Raw:
    """Logits of AutoModelForSequenceClassification on padded tokenizer pairs, float32 [n]."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForSequenceClassification.from_pretrained(directory, dtype=dtype, attn_implementation="eager").eval()
    fields = tokenizer(
        [query] * len(documents), list(documents), padding=True, truncation="only_second", max_length=max_length, return_tensors="pt"
    )
    with torch.inference_mode():
        return model(**fields).logits[:, 0].float().numpy()


def sentence_encoder(directory: Path, query: str, documents: Sequence[str], *, dtype: torch.dtype = torch.float32) -> Raw:
    """Similarities of SentenceTransformer's query and document embeddings, float32 [n]."""
    with warnings.catch_warnings():
        # its own reading of old module files warns about itself
        warnings.simplefilter("ignore", DeprecationWarning)
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(directory), device="cpu", model_kwargs={"dtype": dtype})
    asked = model.encode_query([query], convert_to_tensor=True, show_progress_bar=False).float()
    found = model.encode_document(list(documents), convert_to_tensor=True, show_progress_bar=False).float()
    return model.similarity(asked, found)[0].numpy()
