"""Options of tokenizer_config.json and sentence_bert_config.json that win over what tokenizer.json says.

transformers' classes for BERT and RoBERTa take these options, or their own defaults, and build their normalizer or pre-tokenizer anew.
"""

from __future__ import annotations

from typing import Any

from batching.families.plain import steps

WORD_PIECES = frozenset({"BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "MPNetTokenizer"})
BYTE_PAIRS = frozenset({"GPT2Tokenizer", "RobertaTokenizer"})


def overridden(spec: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """`spec`, a tokenizer.json, as the class that tokenizer_config.json names reads it."""
    kind = str(config.get("tokenizer_class") or "").removesuffix("Fast")
    normalizer, pieces = spec.get("normalizer") or {}, spec.get("pre_tokenizer") or {}
    if kind in WORD_PIECES and normalizer.get("type") == "BertNormalizer":
        return {**spec, "normalizer": bert_normalizer(config)}
    if kind in BYTE_PAIRS and pieces.get("type") == "ByteLevel":
        return {**spec, "pre_tokenizer": {**pieces, "add_prefix_space": config.get("add_prefix_space", False)}}
    return spec


def bert_normalizer(config: dict[str, Any]) -> dict[str, Any]:
    """The normalizer that transformers' BertTokenizer makes of the options in tokenizer_config.json."""
    return {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": config.get("tokenize_chinese_chars", True),
        "strip_accents": config.get("strip_accents"),
        "lowercase": config.get("do_lower_case", True),
    }


def lowercased(spec: dict[str, Any]) -> dict[str, Any]:
    """`spec` with text in lower case before all else, as sentence-transformers' Transformer has it for `do_lower_case`."""
    normal = steps(spec.get("normalizer"), "normalizers")
    if any(step["type"] == "Lowercase" or (step["type"] == "BertNormalizer" and step["lowercase"]) for step in normal):
        return spec
    return {**spec, "normalizer": {"type": "Sequence", "normalizers": [{"type": "Lowercase"}, *normal]}}
