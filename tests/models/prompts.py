"""The decoders' published recipes, written down once more for the references: query and documents to token ids by Hugging Face's tokenizer.

No code of the program; every function is (tokenizer, query, documents) to one list of ids per document.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from transformers import PreTrainedTokenizerBase

Rows = list[list[int]]
Prompt = Callable[[PreTrainedTokenizerBase, str, Sequence[str]], Rows]


def _plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)


def qwen3(tokenizer: PreTrainedTokenizerBase, query: str, documents: Sequence[str]) -> Rows:
    """The model card's: prefix, body and suffix on their own."""
    prefix = (
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. Note that the "
        'answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    )
    suffix = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    task = "Given a web search query, retrieve relevant passages that answer the query"
    head, tail = _plain(tokenizer, prefix), _plain(tokenizer, suffix)
    bodies = [f"<Instruct>: {task}\n<Query>: {query}\n<Document>: {document}" for document in documents]
    return [head + _plain(tokenizer, body) + tail for body in bodies]


def mxbai(tokenizer: PreTrainedTokenizerBase, query: str, documents: Sequence[str]) -> Rows:
    """mxbai_rerank_v2.py: every piece on its own."""
    prefix = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    task = (
        "You are a search relevance expert who evaluates how well documents match search queries. For each query-document pair, carefully "
        "analyze the semantic relationship between them, then provide your binary relevance judgment (0 for not relevant, 1 for relevant)."
        "\nRelevance:"
    )
    pieces = [prefix, f"query: {query}", "\n"], ["\n", task, "<|im_end|>\n<|im_start|>assistant\n"]
    head, tail = ([token for piece in side for token in _plain(tokenizer, piece)] for side in pieces)
    return [head + _plain(tokenizer, f"document: {document}") + tail for document in documents]


def bge(tokenizer: PreTrainedTokenizerBase, query: str, documents: Sequence[str]) -> Rows:
    """FlagEmbedding's decoder_only: bos, query, separator, passage, separator, prompt, each on its own."""
    prompt = (
        "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a prediction of either "
        "'Yes' or 'No'."
    )
    separator = _plain(tokenizer, "\n")
    head = [tokenizer.bos_token_id, *_plain(tokenizer, f"A: {query}"), *separator]
    tail = [*separator, *_plain(tokenizer, prompt)]
    return [head + _plain(tokenizer, f"B: {document}") + tail for document in documents]


def zerank(tokenizer: PreTrainedTokenizerBase, query: str, documents: Sequence[str]) -> Rows:
    """The published code: a chat of a system and a user turn, both stripped."""
    texts = [
        f"<|im_start|>system\n{query.strip()}<|im_end|>\n<|im_start|>user\n{document.strip()}<|im_end|>\n<|im_start|>assistant\n"
        for document in documents
    ]
    return [_plain(tokenizer, text) for text in texts]


def ctxl(tokenizer: PreTrainedTokenizerBase, query: str, documents: Sequence[str]) -> Rows:
    """The model card's: one string, the document first, the tokenizer's own special tokens."""
    first = "Check whether a given document contains information helpful to answer the query."
    texts = [f"{first}\n<Document> {document}\n<Query> {query} ??" for document in documents]
    return [list(tokenizer(text).input_ids) for text in texts]


def nemotron(tokenizer: PreTrainedTokenizerBase, query: str, documents: Sequence[str]) -> Rows:
    """The model card's: one string, the tokenizer's own special tokens."""
    return [list(tokenizer(f"question:{query} \n \n passage:{document}").input_ids) for document in documents]


def jina_v3(tokenizer: PreTrainedTokenizerBase, query: str, documents: Sequence[str]) -> Rows:
    """The published prompt with all documents; one row."""
    system = (
        "You are a search relevance expert who can determine a ranking of the passages based on how relevant they are to the query. If the "
        "query is a question, how relevant a passage is depends on how well it answers the question. If not, try to analyze the intent of "
        "the query and assess how well each passage satisfies the intent. If an instruction is provided, you should follow the instruction "
        "when determining the ranking."
    )
    passages = "".join(f'<passage id="{number}">\n{document}<|embed_token|>\n</passage>\n' for number, document in enumerate(documents))
    text = (
        f"<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\nI will provide you with {len(documents)} passages, each indicated by a "
        f"numerical identifier. Rank the passages based on their relevance to query: {query}\n{passages}<query>\n{query}<|rerank_token|>\n"
        "</query><|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    return [_plain(tokenizer, text)]
