"""The options that several dialects share under the names of the common dialect, read into a RerankRequest."""

from __future__ import annotations

from typing import Any, cast

from service.dialects.body import Body
from service.dialects.fields import choice, flag, name, whole, wrong
from service.schemas import Long, Picture, RerankRequest, Side

_ALIASES = {"max_length": "truncate_prompt_tokens", "chunk_overlap": "overlap_tokens"}
"""Options whose limit is known only once a model is picked, and what else they may be called: an error then names what was sent."""
_CUTS: dict[str, tuple[bool, Side | None]] = {
    "true": (True, None),
    "false": (False, None),
    "end": (True, "right"),
    "start": (True, "left"),
    "none": (False, None),
}


def request(
    body: Body,
    query: str,
    documents: list[str],
    top_n: int | None = None,
    named: str = "documents[{}]",
    images: dict[int, Picture] | None = None,
) -> RerankRequest:
    """Join a query, texts (which the caller calls `named`) and images with the common options of `body`; raises InvalidRequest."""
    truncate, side = truncation(body.truncate, "truncate")
    instruction = "instruct" if body.instruction is None else "instruction"
    chunks, overlap = _either(body, "max_chunks", "max_chunks_per_doc", 1), _either(body, "chunk_overlap", "overlap_tokens", 0)
    return RerankRequest(
        query=query,
        documents=documents,
        model=name(body.model, "model"),
        top_n=top_n,
        instruction=name(getattr(body, instruction), instruction),
        max_length=_max_length(body),
        # vLLM: 0 is not set.
        max_tokens_per_doc=whole(body.max_tokens_per_doc, "max_tokens_per_doc", 0) or None,
        truncate=truncate,
        side=_side(body) or side,
        priority=whole(body.priority, "priority", 0) or 0,
        long=_long(body, chunks, overlap),
        chunk_overlap=overlap,
        max_chunks=chunks,
        images=images or None,
        named=named,
        sent={own: other for own, other in _ALIASES.items() if getattr(body, own) is None and getattr(body, other) is not None},
    )


def truncation(value: Any, field: str) -> tuple[bool | None, Side | None]:
    """Whether what is too long may be cut, and at which end (None: not said): a boolean, or END, START, NONE as NVIDIA and Cohere say."""
    if value is None:
        return None, None
    found = _CUTS.get(str(value).lower()) if isinstance(value, str | bool) else None
    if found is None:
        raise wrong(field, 'true, false, "END", "START" or "NONE"', value)
    return found


def wants_raw(body: Body) -> bool:
    """Whether raw scores are asked for: `raw_scores` (TEI, Infinity), or vLLM's use_activation=false under its three names."""
    activated = flag(body.use_activation, "use_activation", True) and flag(body.activation, "activation", True)
    return flag(body.raw_scores, "raw_scores") or not (flag(body.softmax, "softmax", True) and activated)


def _side(body: Body) -> Side | None:
    field = "truncation_direction" if body.truncation_side is None else "truncation_side"
    return cast("Side | None", choice(getattr(body, field), field, ("left", "right")))


def _max_length(body: Body) -> int | None:
    if body.max_length is not None or body.truncate_prompt_tokens is None:
        return whole(body.max_length, "max_length", 1)
    # vLLM: -1 is the model's own limit, which is what None stands for.
    tokens = whole(body.truncate_prompt_tokens, "truncate_prompt_tokens", -1)
    return tokens if tokens is not None and tokens > 0 else None


def _either(body: Body, own: str, other: str, low: int) -> int | None:
    ours, theirs = whole(getattr(body, own), own, low), whole(getattr(body, other), other, low)
    return theirs if ours is None else ours


def _long(body: Body, chunks: int | None, overlap: int | None) -> Long | None:
    said = cast("Long | None", choice(body.long_documents, "long_documents", ("truncate", "chunk")))
    # Cohere's and SiliconFlow's clients say by these two alone that they want chunks; one chunk is what truncating gives.
    asked = body.max_chunks_per_doc is not None or body.overlap_tokens is not None
    return said or ("chunk" if asked and chunks != 1 and (chunks or overlap) else None)
