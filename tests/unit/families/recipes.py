"""The prompted families' ids by their published recipes, written down again from the sources with transformers' tokenizers.

Each takes a tokenizer, a query, a document, an instruction and max_length, and gives the ids of one pair.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Recipe = Callable[[Any, str, str, str | None, int], list[int]]


def plain(tokenizer: Any, text: str, **options: Any) -> list[int]:
    """Ids without special tokens of the tokenizer's own."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, **options)["input_ids"]
    return ids


def qwen3(tokenizer: Any, query: str, document: str, instruction: str | None, max_length: int) -> list[int]:
    """The model card of Qwen/Qwen3-Reranker-0.6B: the body is cut, prefix and suffix come around it."""
    prefix = plain(
        tokenizer,
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. "
        'Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n',
    )
    suffix = plain(tokenizer, "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
    if instruction is None:
        instruction = "Given a web search query, retrieve relevant passages that answer the query"
    body = f"<Instruct>: {instruction}\n<Query>: {query}\n<Document>: {document}"
    return prefix + plain(tokenizer, body, truncation=True, max_length=max_length - len(prefix) - len(suffix)) + suffix


def only_second(first: list[int], second: list[int], max_length: int) -> list[int]:
    """What prepare_for_model(first, second, truncation="only_second") gave before transformers 5."""
    return first + second[: max(0, max_length - len(first))]


def mxbai(tokenizer: Any, query: str, document: str, instruction: str | None, max_length: int) -> list[int]:
    """mxbai_rerank_v2.py, prepare_inputs and concat_input_ids."""
    prefix = "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    task = (
        "You are a search relevance expert who evaluates how well documents match search queries. For each query-document pair, carefully "
        "analyze the semantic relationship between them, then provide your binary relevance judgment (0 for not relevant, 1 for relevant).\n"
        "Relevance:"
    )
    asked = f"query: {query}"
    if instruction:
        asked = "\n".join([f"instruction: {instruction}", asked])
    separator = plain(tokenizer, "\n")
    middle = only_second(plain(tokenizer, asked), separator + plain(tokenizer, f"document: {document}"), max_length)
    return plain(tokenizer, prefix) + middle + separator + plain(tokenizer, task) + plain(tokenizer, "<|im_end|>\n<|im_start|>assistant\n")


def bge_gemma(tokenizer: Any, query: str, document: str, instruction: str | None, max_length: int) -> list[int]:
    """FlagEmbedding, inference/reranker/decoder_only/base.py."""
    prompt = plain(
        tokenizer,
        "Given a query A and a passage B, determine whether the passage contains an answer to the query by providing a prediction of "
        "either 'Yes' or 'No'.",
    )
    separator = plain(tokenizer, "\n")
    passage = plain(tokenizer, f"B: {document}", truncation=True, max_length=max_length)
    ids = only_second(
        [tokenizer.bos_token_id, *plain(tokenizer, f"A: {query}")], separator + passage, max_length + len(separator) + len(prompt)
    )
    return ids + separator + prompt


def zerank(tokenizer: Any, query: str, document: str, instruction: str | None, max_length: int) -> list[int]:
    """The published modeling code of zerank-2: the chat template over two turns, characters cut, one string."""
    asked = f"<query>{query.strip()}</query>\n<instruction>{instruction}</instruction>" if instruction else query.strip()
    text = f"<|im_start|>system\n{asked}<|im_end|>\n<|im_start|>user\n{document.strip()[:10_000]}<|im_end|>\n<|im_start|>assistant\n"
    return plain(tokenizer, text)


def ctxl(tokenizer: Any, query: str, document: str, instruction: str | None, max_length: int) -> list[int]:
    """The model card of ContextualAI/ctxl-rerank-v2: one string."""
    told = f" {instruction}" if instruction else ""
    text = (
        f"Check whether a given document contains information helpful to answer the query.\n<Document> {document}\n<Query> {query}{told} ??"
    )
    ids: list[int] = tokenizer(text)["input_ids"]
    return ids


def nemotron(tokenizer: Any, query: str, document: str, instruction: str | None, max_length: int) -> list[int]:
    """The model card of nvidia/llama-nemotron-rerank-1b-v2: one string, cut on the right."""
    ids: list[int] = tokenizer(f"question:{query} \n \n passage:{document}", truncation=True, max_length=max_length)["input_ids"]
    return ids


RECIPES: dict[str, Recipe] = {
    "qwen3": qwen3,
    "qwen3_classifier": qwen3,
    "mxbai_v2": mxbai,
    "bge_gemma": bge_gemma,
    "zerank": zerank,
    "ctxl": ctxl,
    "nemotron": nemotron,
}


def jina_v3(tokenizer: Any, query: str, documents: list[str], instruction: str | None) -> list[int]:
    """format_docs_prompts_func of jinaai/jina-reranker-v3, thinking off."""
    parts = [
        (
            "<|im_start|>system\nYou are a search relevance expert who can determine a ranking of the passages based on how relevant they are to "
            "the query. If the query is a question, how relevant a passage is depends on how well it answers the question. If not, try to analyze "
            "the intent of the query and assess how well each passage satisfies the intent. If an instruction is provided, you should follow the "
            "instruction when determining the ranking.<|im_end|>\n<|im_start|>user\n"
        ),
        (
            f"I will provide you with {len(documents)} passages, each indicated by a numerical identifier. Rank the passages based on their "
            f"relevance to query: {query}\n"
        ),
    ]
    if instruction:
        parts.append(f"<instruct>\n{instruction}\n</instruct>\n")
    parts.append("\n".join(f'<passage id="{number}">\n{document}<|embed_token|>\n</passage>' for number, document in enumerate(documents)))
    parts.append(f"\n<query>\n{query}<|rerank_token|>\n</query>")
    parts.append("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
    return plain(tokenizer, "".join(parts))
