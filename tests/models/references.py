"""Independent references: the plain Hugging Face forward on padded input, and sentence-transformers. No code of the program."""

from __future__ import annotations

import logging
import string
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertModel

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


def converted(directory: Path, query: str, documents: Sequence[str], *, make: Callable[[Path], Path]) -> Raw:
    """`classifier` on the same weights as `make` writes them, in transformers' own class: for checkpoints under foreign names."""
    native = directory.parent / "native"
    return classifier(native if native.exists() else make(native), query, documents)


def cross_encoder(directory: Path, query: str, documents: Sequence[str]) -> Raw:
    """Raw scores of sentence_transformers.CrossEncoder."""
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(directory), device="cpu")
    found = model.predict([(query, document) for document in documents], activation_fn=torch.nn.Identity(), show_progress_bar=False)
    return np.asarray(found, np.float32)


def late_interaction(directory: Path, query: str, documents: Sequence[str]) -> Raw:
    """MaxSim of sentence_transformers.MultiVectorEncoder."""
    # it logs which punctuation a small vocabulary lacks
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    from sentence_transformers import MultiVectorEncoder

    model = MultiVectorEncoder(str(directory), device="cpu")
    asked, found = model.encode_query([query], show_progress_bar=False), model.encode_document(list(documents), show_progress_bar=False)
    return model.similarity(asked, found)[0].float().numpy()


def max_sim(directory: Path, query: str, documents: Sequence[str]) -> Raw:
    """MaxSim without query expansion, as vLLM has it: `[CLS] [unused0] q [SEP]` and `[CLS] [unused1] d [SEP]`, punctuation not compared."""
    tokenizer, tensors = AutoTokenizer.from_pretrained(directory), load_file(directory / "model.safetensors")
    model = BertModel(BertConfig.from_pretrained(directory), add_pooling_layer=False).eval()
    model.load_state_dict({name.removeprefix("bert."): part for name, part in tensors.items() if name.startswith("bert.")}, strict=False)
    punctuation = set(tokenizer.convert_tokens_to_ids(list(string.punctuation))) - {tokenizer.unk_token_id}

    def vectors(text: str, marker: str, skip: set[int]) -> torch.Tensor:
        first, *rest = tokenizer(text).input_ids
        ids = [first, tokenizer.convert_tokens_to_ids(marker), *rest]
        states = model(input_ids=torch.tensor([ids])).last_hidden_state[0] @ tensors["linear.weight"].T
        return torch.nn.functional.normalize(states, dim=-1)[[place for place, token in enumerate(ids) if token not in skip]]

    with torch.inference_mode():
        asked = vectors(query, "[unused0]", set())
        return np.array([float((asked @ vectors(text, "[unused1]", punctuation).T).max(1).values.sum()) for text in documents], np.float32)
