"""Rules for checkpoints whose modules.json pools: bi-encoders, late interaction, and cross-encoders made of modules."""

from __future__ import annotations

import re
import string
from typing import Any

from msgspec.structs import replace

from batching.errors import UnsupportedModel
from batching.families import bi_encoder, colbert, modernbert
from batching.families.base import Family, Piece, Read
from batching.families.checkpoint import read_json
from batching.families.facts import Facts
from batching.families.rules_prompted import DECODERS
from batching.families.slots import escaped

POOLINGS: dict[str, Read] = {"cls": "first", "mean": "mean", "lasttoken": "last"}
"""sentence-transformers' pooling modes that are served, and the rows that they read."""
BEHIND_POOLING = frozenset({"Dense", "LayerNorm", "Normalize", "Dropout"})
LATE = frozenset({"Transformer", "Dense", "Dropout", "MultiVectorMask", "Normalize"})
COLBERT_QUERY_LENGTH = 32
STANFORD = "HF_ColBERT"
METADATA = {"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "mask_punctuation": True}
"""What Stanford's library has where its artifact.metadata does not say."""
PYLATE_KEYS = (
    "do_query_expansion", "attend_to_expansion_tokens", "attend_to_mask_tokens", "query_prefix", "document_prefix", "skiplist_words",
    "query_length", "document_length",
)  # fmt: skip
"""Keys of config_sentence_transformers.json that PyLate leaves: one of them means that queries are filled up unless it says otherwise."""


def module_chain(facts: Facts) -> Family | None:
    """modules.json of a Transformer, a Pooling and a chain that ends in one number: a cross-encoder such as ettin-reranker."""
    if "Pooling" not in facts.kinds or facts.kinds[-1] != "Dense":
        return None
    last = read_json(facts.root / facts.modules[-1][1] / "config.json")
    crosses = facts.sentence.get("model_type") == "CrossEncoder" or last.get("module_output_name") == "scores"
    if not crosses:
        return None
    if last.get("out_features") != 1:
        raise UnsupportedModel(f"{facts.root} ends in {last.get('out_features')} numbers where a reranker ends in 1; use a reranker")
    check_order(facts)
    check_messages(facts)
    check_code(facts)
    return replace(modernbert.CHAIN, read=read_pooling(facts, default_prompt(facts)))


def check_order(facts: Facts) -> None:
    """Refuse a module between Transformer and Pooling: it works on every token (module_input_name), and here all work on the pooled row."""
    early = [kind for kind in facts.kinds[: facts.kinds.index("Pooling")] if kind not in ("Transformer", "Dropout")]
    if early:
        raise UnsupportedModel(f"{facts.root}/modules.json has {', '.join(early)} before its Pooling, which is not served; use a reranker")


def check_messages(facts: Facts) -> None:
    """Refuse a model whose text sentence-transformers puts through the tokenizer's chat template, as it does wherever it can."""
    if "message" in (facts.length.get("modality_config") or {}):
        raise UnsupportedModel(
            f"{facts.folder}/sentence_bert_config.json puts text through a chat template (message in modality_config), which is not "
            "served in an embedding model; use a reranker"
        )


def check_code(facts: Facts) -> None:
    """Refuse a language model with a body of its own code, which is there to see both sides (gte-Qwen2): transformers' sees the past only.

    Where config.json says is_causal, transformers' class follows it too.
    """
    code = facts.config.get("auto_map") or {}
    if facts.model_type in DECODERS and "AutoModel" in code and "is_causal" not in facts.config:
        raise UnsupportedModel(
            f"{facts.folder}/config.json names {code['AutoModel']} for its model (auto_map) and does not say is_causal, without which "
            f"{facts.model_type} would see the past only; it needs remote code, which is never run"
        )


def late_interaction(facts: Facts) -> Family | None:
    """A ColBERT: its class, its modules (no pooling), or the files that PyLate and Stanford's library leave."""
    metadata = read_metadata(facts)
    kinds = facts.kinds
    known = facts.architecture in colbert.FAMILY.architectures or facts.sentence.get("model_type") == "MultiVectorEncoder"
    if not known and not metadata and not ("Dense" in kinds and "Pooling" not in kinds) and "colbert_dim" not in facts.config:
        return None
    check_late(facts)
    check_messages(facts)
    check_code(facts)
    words, length = facts.sentence, facts.length
    query, document = metadata.get("query_token_id", words.get("query_prefix")), metadata.get("doc_token_id", words.get("document_prefix"))
    prompts = read_prompts(facts)
    expansion = read_expansion(facts, metadata)
    longest = int(length.get("document_length") or words.get("document_length") or metadata.get("doc_maxlen") or 0)
    return replace(
        colbert.FAMILY,
        query_layout=behind(query or "", prompts[0], "{query}", facts),
        layout=behind(document or "", prompts[1], "{document}", facts),
        expand_to=int(expansion["length"]) if expansion else 0,
        expand_with=expansion.get("token"),
        expansion_seen=bool(expansion.get("attend")),
        skip=tuple(read_skipped(facts, punctuation=bool(metadata.get("mask_punctuation", query is not None)))),
        longest=longest or None,
        default_max_length=longest or colbert.FAMILY.default_max_length,
    )


def read_metadata(facts: Facts) -> dict[str, Any]:
    """What Stanford's library left beside its checkpoint; {} for others, and where sentence-transformers has files of its own instead."""
    if facts.modules and facts.sentence.get("model_type"):
        return {}
    found = {key: value for key, value in read_json(facts.root / "artifact.metadata").items() if value is not None}
    return METADATA | found if facts.architecture == STANFORD else found


def check_late(facts: Facts) -> None:
    """Refuse what sentence-transformers' MultiVectorEncoder can be told to do with token vectors, and is not done here."""
    mask, native = facts.module("MultiVectorMask"), facts.sentence.get("model_type") == "MultiVectorEncoder"
    wrong = {
        f"modules.json holds {', '.join(kind for kind in facts.kinds if kind not in LATE)}": not LATE.issuperset(facts.kinds),
        "modules.json holds no Normalize": native and bool(facts.kinds) and "Normalize" not in facts.kinds,
        "similarity_fn_name is meanmaxsim": facts.sentence.get("similarity_fn_name") == "meanmaxsim",
        "skiplist_tasks is not document": mask.get("skiplist_tasks") not in (None, "document", ["document"]),
        "keep_only_token_ids is set": bool(mask.get("keep_only_token_ids")),
    }
    bad = next((what for what, is_so in wrong.items() if is_so), None)
    if bad is not None:
        raise UnsupportedModel(f"{facts.root}: {bad}, which is not served; all tokens' unit vectors are compared, by maxsim")


def read_expansion(facts: Facts, metadata: dict[str, Any]) -> dict[str, Any]:
    """What queries are filled up to and how, {} where they are not: as sentence-transformers' MultiVectorEncoder reads the files."""
    if "query_expansion" in facts.length:
        return facts.length["query_expansion"] or {}
    words = facts.sentence
    if metadata:
        return {"length": metadata.get("query_maxlen") or COLBERT_QUERY_LENGTH, "attend": metadata.get("attend_to_mask_tokens")}
    if words.get("do_query_expansion") is False or not any(key in words for key in PYLATE_KEYS):
        return {}
    attend = words.get("attend_to_expansion_tokens", words.get("attend_to_mask_tokens"))
    return {"length": facts.length.get("query_length") or words.get("query_length") or COLBERT_QUERY_LENGTH, "attend": attend}


def sentence_encoder(facts: Facts) -> Family | None:
    """modules.json of a Transformer, a Pooling and perhaps more: a bi-encoder."""
    if "Pooling" not in facts.kinds:
        return None
    extra = [kind for kind in facts.kinds if kind not in BEHIND_POOLING | {"Transformer", "Pooling"}]
    if extra:
        raise UnsupportedModel(f"{facts.root}/modules.json holds {', '.join(extra)}, which is not served in a bi-encoder; use a reranker")
    check_order(facts)
    check_messages(facts)
    check_code(facts)
    query, document = read_prompts(facts)
    similarity = facts.sentence.get("similarity_fn_name") or "cosine"
    if similarity not in ("cosine", "dot"):
        raise UnsupportedModel(f"{facts.root} compares by {similarity} (config_sentence_transformers.json); cosine and dot are supported")
    # of unit vectors the two are the same, and a cosine has a known range
    dot = similarity == "dot" and (facts.kinds[-1] != "Normalize" or bool(facts.sentence.get("truncate_dim")))
    return replace(
        bi_encoder.FAMILY,
        layout=behind("", document, "{document}", facts),
        query_layout=behind("", query, "{query}", facts),
        read=read_pooling(facts, query, document),
        head="dot" if dot else "cosine",
        activation="identity" if dot else "cosine",
    )


def read_pooling(facts: Facts, *prompts: str) -> Read:
    """The rows that the Pooling module reads of text behind `prompts`; raises UnsupportedModel for modes that are not served."""
    config = facts.module("Pooling")
    mode = config.get("pooling_mode")
    if mode is None:
        mode = [name.removeprefix("pooling_mode_") for name, on in config.items() if name.startswith("pooling_mode_") and on]
        mode = [name.removesuffix("_tokens").removesuffix("_token") for name in mode] or ["mean"]
    modes = [mode] if isinstance(mode, str) else list(mode)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise UnsupportedModel(f"{facts.root} pools by {', '.join(modes)} (1_Pooling/config.json); supported: {', '.join(POOLINGS)}")
    if config.get("include_prompt") is False and any(prompts):
        raise UnsupportedModel(f"{facts.root} leaves its prompt out of the pooling (include_prompt false), which is not supported")
    return POOLINGS[modes[0]]


def read_prompts(facts: Facts) -> tuple[str, str]:
    """The prompts before a query and a document, as sentence-transformers' encode_query and encode_document choose them.

    Both are there, empty, where the files name none, so the default prompt never stands in. Files of before encode_document name the
    document's "passage" (the e5 models) or "corpus", which the empty one hides from it; it is read here, as these models were trained so.
    """
    prompts = {name: str(text or "") for name, text in (facts.sentence.get("prompts") or {}).items()}
    document = next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), "")
    return prompts.get("query", ""), document


def default_prompt(facts: Facts) -> str:
    """The prompt that default_prompt_name names, "" where there is none."""
    return str((facts.sentence.get("prompts") or {}).get(facts.sentence.get("default_prompt_name")) or "")


def behind(marker: str, prompt: str, slot: str, facts: Facts) -> tuple[Piece, ...]:
    """`slot` behind a marker and a prompt. The marker is one token where the vocabulary has it as one, as it stands or without the space
    behind it; special tokens in the prompt are themselves."""
    whole = marker + prompt.removeprefix(marker)
    name = next((name for name in (marker, marker.rstrip()) if name and name in facts.tokens), "")
    special = [re.escape(token) for token in facts.special] if whole != name else []
    parts = re.split(f"({'|'.join(special)})", whole[len(name) :]) if special else [whole[len(name) :]]
    pieces = [Piece(token=part) if number % 2 else Piece(escaped(part)) for number, part in enumerate(parts[:-1]) if part]
    return (*([Piece(token=name)] if name else []), *pieces, Piece(f"{escaped(parts[-1])}{slot}"))


def read_skipped(facts: Facts, *, punctuation: bool) -> list[str]:
    """Tokens of documents that take no part in the score: those that the files name, else punctuation where that is the default."""
    said = facts.module("MultiVectorMask").get("skiplist_words", facts.sentence.get("skiplist_words"))
    words = said if isinstance(said, list) else list(string.punctuation) if punctuation else []
    return [word for word in words if word in facts.tokens]
