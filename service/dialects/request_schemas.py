"""JSON Schemas of what each dialect takes, for the OpenAPI document. What is left out here is ignored by the server.

They describe; the dialects themselves decide (`fields.py`), and are looser in places where clients are: null stands for absent in every
optional field, and booleans may be the strings "true" and "false".
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_QUERY: Schema = {"type": "string", "minLength": 1, "pattern": "\\S"}
_TEXT_OBJECT: Schema = {"type": "object", "required": ["text"], "properties": {"text": _TEXT}}
_TRUNCATE: Schema = {"enum": [True, False, "END", "START", "NONE", None]}


def _some(item: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "items": item}


def _whole(low: int) -> Schema:
    return {"type": ["integer", "null"], "minimum": low, "maximum": 2**31 - 1}


def _object(required: str, **properties: Schema) -> Schema:
    return {"type": "object", "required": required.split(), "properties": properties}


def _options(names: str) -> dict[str, Schema]:
    return {name: OPTIONS[name] for name in names.split()}


_FLAG: Schema = {"type": ["boolean", "null"]}
_MOST: Schema = {"type": ["integer", "null"], "minimum": 0}
_NAME: Schema = {"type": ["string", "null"]}
_IMAGES = "Models that read images (/info: images) also take objects with `image`: base64, a data URL, or a URL of an allowed host."
_DOCUMENTS = _some(
    {"description": _IMAGES, "oneOf": [_TEXT, {"type": "object", "minProperties": 1, "properties": {"text": _TEXT, "content": _TEXT}}]}
)

OPTIONS: dict[str, Schema] = {
    "model": {**_NAME, "description": "The default model answers to any name, unless the server is strict."},
    "top_n": {**_MOST, "description": "How many results; 0, null and more than there are are all."},
    "top_k": {**_MOST, "description": "The same as top_n."},
    "return_documents": {**_FLAG, "description": "Give the documents back."},
    "return_texts": {**_FLAG, "description": "Give the texts back (the default)."},
    "return_text": {**_FLAG, "description": "Give the texts back."},
    "return_input": {**_FLAG, "description": "Give the input back."},
    "return_windows": {**_FLAG, "description": "Say which window of a chunked document counted."},
    "raw_scores": {**_FLAG, "description": "Raw scores (logits) instead of activated ones."},
    "use_activation": {**_FLAG, "description": "vLLM: false asks for raw scores."},
    "normalize": {**_FLAG, "description": "Activated scores instead of raw ones."},
    "instruction": {**_NAME, "description": "What to look for; ignored by models that take none."},
    "rank_fields": {"type": ["array", "null"], "items": _TEXT, "description": "Which fields of objects are ranked, in this order."},
    "priority": {**_whole(0), "description": "0 is the most urgent."},
    "max_length": {**_whole(1), "description": "Tokens of a pair; at most the server's own limit."},
    "max_tokens_per_doc": {**_whole(0), "description": "Tokens of a document; 0 and null are no limit."},
    "truncate": {**_TRUNCATE, "description": "Whether too long text is cut (the default) or refused, and at which end."},
    "truncation": {**_FLAG, "description": "Whether too long text is cut (the default) or refused."},
    "truncation_direction": {"enum": ["left", "right", "Left", "Right", None], "description": "Which end is cut."},
    "truncate_prompt_tokens": {**_whole(-1), "description": "vLLM's max_length; -1 is the model's own limit."},
    "long_documents": {"enum": ["truncate", "chunk", None], "description": "chunk: rank long documents by their best window."},
    "chunk_overlap": {**_whole(0), "description": "Tokens that neighbouring windows share; at most half a window."},
    "max_chunks": {**_whole(1), "description": "Windows per document."},
    "max_chunks_per_doc": {**_whole(1), "description": "Cohere's max_chunks; more than one asks for windows."},
    "overlap_tokens": {**_whole(0), "description": "SiliconFlow's chunk_overlap; asks for windows."},
}
"""The options that more than one dialect takes."""

_COMMON = _options(
    "model top_n return_documents return_windows raw_scores use_activation instruction rank_fields priority max_length max_tokens_per_doc"
    " truncate truncate_prompt_tokens long_documents chunk_overlap max_chunks max_chunks_per_doc overlap_tokens"
)
_PLAIN = {name: schema for name, schema in _COMMON.items() if name not in ("model", "return_documents")}
_PAIR = _object("query passage", query=_QUERY, passage=_QUERY)
_PARAMETERS: Schema = {"type": ["object", "null"], "properties": {**_options("top_n return_documents"), "instruct": OPTIONS["instruction"]}}
_PAIR_OF_TEXTS: Schema = {"type": "array", "prefixItems": [_QUERY, _TEXT], "items": _TEXT, "minItems": 2, "maxItems": 2}
_TEI = _object("query texts", query=_QUERY, texts=_some(_TEXT), **_options("truncate truncation_direction raw_scores return_text model"))
_QUERIES: Schema = {**_some(_QUERY), "description": "One, or as many as there are documents."}

REQUESTS: dict[str, Schema] = {
    "common": _object("query documents", query=_QUERY, documents=_DOCUMENTS, **_COMMON),
    "plain": {**_object("query documents", query=_QUERY, documents=_DOCUMENTS, **_PLAIN), "not": {"required": ["model"]}},
    "voyage": {
        **_object("query documents", query=_QUERY, documents=_some(_TEXT), **_options("model top_k truncation return_documents")),
        "anyOf": [{"required": ["top_k"]}, {"required": ["truncation"]}],
    },
    "tei": _TEI,
    "tei_predict": _object(
        "inputs", inputs={"oneOf": [_some(_PAIR_OF_TEXTS), _PAIR_OF_TEXTS]}, **_options("truncate truncation_direction raw_scores")
    ),
    "tei_vertex": _object("instances", instances=_some(_TEI)),
    "tei_tokenize": _object("inputs", inputs={"oneOf": [_TEXT, _some(_TEXT)]}, add_special_tokens=_FLAG),
    "texts": _object("query texts", query=_QUERY, texts=_some(_TEXT), **_options("model top_k top_n return_texts truncate")),
    "pair": {**_PAIR, "properties": {**_PAIR["properties"], **_options("normalize model")}},
    "pairs": _object("pairs", pairs=_some(_PAIR), **_options("normalize model")),
    "passages": _object("query passages", query=_QUERY, passages=_some(_TEXT), **_options("normalize model top_n")),
    "librechat": _object("query candidates", query=_QUERY, candidates=_some(_TEXT_OBJECT), **_options("top_n")),
    "nim": _object(
        "query passages",
        query={"type": "object", "required": ["text"], "properties": {"text": _QUERY}},
        passages=_some(_TEXT_OBJECT),
        truncate={"enum": ["NONE", "END"]},
        **_options("model top_n top_k"),
    ),
    "dashscope": _object(
        "input", input=_object("query documents", query=_QUERY, documents=_some(_TEXT)), parameters=_PARAMETERS, **_options("model")
    ),
    "mixedbread": _object("query input", query=_QUERY, input=_DOCUMENTS, **_options("model top_k return_input rank_fields")),
    "vllm_score": _object(
        "text_1 text_2",
        text_1={"oneOf": [_QUERY, _QUERIES]},
        text_2={"oneOf": [_TEXT, _some(_TEXT)]},
        **_options("model use_activation truncate_prompt_tokens"),
    ),
    "deepinfra": _object("queries documents", queries=_QUERIES, documents=_some(_TEXT), **_options("instruction")),
    "pinecone": _object(
        "query documents",
        query=_QUERY,
        documents=_DOCUMENTS,
        parameters={"type": ["object", "null"], "properties": _options("truncate")},
        **_options("model top_n return_documents rank_fields"),
    ),
    "items": _object(
        "query documents",
        query=_QUERY,
        documents=_some(_object("id text", id={"type": ["string", "integer"]}, text=_TEXT)),
        **_options("top_n return_documents raw_scores"),
    ),
}
"""By dialect."""
