"""From a directory to a model card: which family the checkpoint belongs to, how long its sequences may be, what its scores mean.

Only small files and tensor headers are read, so a checkpoint that can't be served is refused within a second of the start.
"""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from batching.errors import UnsupportedModel
from batching.families.base import Activation, Family
from batching.families.bert import LAYOUT
from batching.families.card import ModelCard, Side
from batching.families.checkpoint import reading, revision
from batching.families.facts import Facts, count_labels, read_facts
from batching.families.rules import choose
from batching.families.rules_pooled import default_prompt
from batching.families.slots import escaped

ACTIVATIONS: dict[str, Activation] = {"Sigmoid": "sigmoid", "Identity": "identity", "Softmax": "softmax"}
"""Classes that a checkpoint's files may name, by the last part of their path; anything else is code that is not run."""
BEHIND_PADDING = frozenset({
    "camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta",
    "xlm-roberta-xl", "xmod",
})  # fmt: skip
"""`model_type`s whose position table begins behind the padding token's row, whatever the family reads from them."""
TYPED = frozenset({
    "BertTokenizer", "DebertaTokenizer", "DebertaV2Tokenizer", "ElectraTokenizer", "bert", "deberta", "deberta-v2", "electra", "ernie",
})  # fmt: skip
"""Tokenizer classes, and the `model_type`s whose class is one of them, that give a pair token types without a word about it."""
UNBOUNDED = 1_000_000
"""A tokenizer's model_max_length from here on means "not set"."""


def detect(path: Path, name: str, recipe: str | None = None) -> ModelCard:
    """Recognise the checkpoint in `path`, asked for as `name`; `recipe` names a family and overrides the rules.

    Raises UnsupportedModel with one line that says why it can't be served and what would work. Order: models.md section 7.
    """
    with reading(path):
        return _detect(path, name, recipe)


def _detect(path: Path, name: str, recipe: str | None) -> ModelCard:
    facts = read_facts(path, name)
    family = with_types(with_prompt(choose(facts, recipe), facts), facts)
    check_head(facts, family)
    activation, scale, shift = choose_activation(facts, family)
    longest = find_max_length(facts, family)
    vocab_size = facts.text_config.get("vocab_size")
    if not isinstance(vocab_size, int):
        raise UnsupportedModel(f"{facts.folder}/config.json has no vocab_size; the checkpoint is damaged, download it again")
    return ModelCard(
        name=name,
        path=str(path),
        transformer=facts.transformer,
        family=family,
        architecture=facts.architecture or "module-chain",
        activation=activation,
        scale=scale,
        shift=shift,
        max_length=longest,
        default_max_length=min(family.default_max_length, longest),
        vocab_size=vocab_size,
        side=choose_side(facts, family),
        lowercase=bool(facts.length.get("do_lower_case")),
        config=facts.config,
        modules=facts.modules,
        revision=revision(facts.folder, facts.weights, facts.config),
        weights_bytes=facts.weights.total_bytes,
    )


def with_prompt(family: Family, facts: Facts) -> Family:
    """`family` with the prompt that sentence_transformers.CrossEncoder sets before every query: its default one.

    Where the layout is a template (its Transformer then reads messages) the prompt is the system's message, which is the instruction.
    CrossEncoder reads config_sentence_transformers.json only beside a modules.json.
    """
    prompt = default_prompt(facts) if facts.modules and family.unit == "pair" else ""
    if not prompt:
        return family
    return replace(family, query_text=f"{escaped(prompt)}{{query}}") if family.native_pair else replace(family, default_instruction=prompt)


def with_types(family: Family, facts: Facts) -> Family:
    """`family` with or without token types, as the checkpoint's tokenizer gives them to a pair and its model has rows for them.

    Where tokenizer_config.json has no model_input_names, the class decides; most classes lost their types in transformers 5, but a family
    that has them was trained with them. Raises UnsupportedModel where the model has no row for what the tokenizer gives.
    """
    if family.layout != LAYOUT:
        return family
    said, kind = facts.tokenizer.get("model_input_names"), str(facts.tokenizer.get("tokenizer_class") or "").removesuffix("Fast")
    given = "token_type_ids" in said if said is not None else family.token_types or (kind or facts.model_type) in TYPED
    rows = int(facts.config.get("type_vocab_size", 2 if family.token_types else 0))
    if given and rows == 1:
        raise UnsupportedModel(
            f"{facts.folder}/config.json has type_vocab_size 1, but its tokenizer gives documents the token type 1 (model_input_names in "
            "tokenizer_config.json); it does not belong to this model"
        )
    return replace(family, token_types=given and rows > 1)


def check_head(facts: Facts, family: Family) -> None:
    """Refuse a checkpoint whose ranking head is missing or gives more than one number."""
    missing = [ending for ending in family.head_weights if not facts.weights.has(ending)]
    if missing:
        raise UnsupportedModel(
            f"{facts.root} lacks {', '.join(missing)} of its ranking head, which would be random; use a checkpoint that was trained to rank"
        )
    if family.unit == "pair" and family.head == "model":
        labels = count_labels(facts)
        if labels != 1 and not family.labels:
            raise UnsupportedModel(
                f"{facts.root} classifies into {labels} labels (num_labels in config.json) where a reranker has 1; use a reranker"
            )


def choose_activation(facts: Facts, family: Family) -> tuple[Activation, float, float]:
    """Activation, scale and shift: what the checkpoint's files say comes before the family's default."""
    named = (
        facts.sentence.get("activation_fn"),
        (facts.config.get("sentence_transformers") or {}).get("activation_fn"),
        facts.config.get("sbert_ce_default_activation_function"),
    )
    said = next((str(value) for value in named if value), None)
    if said is None or family.unit != "pair":
        return family.activation, family.scale, family.shift
    kind = said.rsplit(".", 1)[-1]
    if not said.startswith("torch.") or kind not in ACTIVATIONS:
        raise UnsupportedModel(f"{facts.root} names the activation {said}, which is not run; supported: torch's {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[kind], 1.0, 0.0


def choose_side(facts: Facts, family: Family) -> Side:
    """Where documents are cut: where the tokenizer cuts, for the families whose reference leaves that to it and cuts nothing but text.

    A prompt before a document is kept here; on the left sentence-transformers would cut it first.
    """
    left = facts.tokenizer.get("truncation_side") == "left" and (family.native_pair or family.unit in ("embedding", "late"))
    return "left" if left else "right"


def find_max_length(facts: Facts, family: Family) -> int:
    """The longest sequence in tokens: the smallest of what positions, tokenizer and family allow.

    A sentence-transformers model's own length takes the place of the tokenizer's: for documents of late interaction document_length, else
    max_seq_length.
    """
    padded = family.position_offset == "pad" or facts.model_type in BEHIND_PADDING
    taken = int(facts.config.get("pad_token_id", 1) or 0) + 1 if padded else 0
    text, tokenizer = facts.text_config, facts.tokenizer.get("model_max_length")
    if facts.modules:
        tokenizer = (family.longest if family.unit == "late" else None) or facts.length.get("max_seq_length") or tokenizer
    bounds = [
        int(text["max_position_embeddings"]) - taken if text.get("max_position_embeddings") else None,
        tokenizer,
        family.longest,
    ]
    known = [int(bound) for bound in bounds if isinstance(bound, int | float) and 0 < bound < UNBOUNDED]
    if not known:
        raise UnsupportedModel(f"{facts.folder}/config.json says nothing about the longest sequence (max_position_embeddings)")
    return min(known)
