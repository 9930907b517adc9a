"""Prompts that a checkpoint's files name are set before its texts as sentence-transformers sets them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import CrossEncoder

from batching.families.detect import detect
from batching.families.encode import Encoder
from batching.scoring.load import load_scorer
from batching.scoring.options import ScoringOptions
from tests import checkpoints
from tests.checkpoints import DOCUMENTS, QUERY
from tests.checkpoints.weights import edit_json
from tests.models import references
from tests.models.cases import FLOAT32, scale
from tests.models.packs import scores

ODD = "find {query} in {document}, {\\query} as {instruction}: "
"""Names of slots in a prompt are its words."""
TEMPLATE = (
    "{%- set ns = namespace(query='', document='', told='Given a web search query, retrieve relevant passages that answer the query') -%}"
    "{%- for message in messages -%}{%- if message.role == 'system' -%}{%- set ns.told = message.content -%}"
    "{%- elif message.role == 'query' -%}{%- set ns.query = message.content -%}"
    "{%- elif message.role == 'document' -%}{%- set ns.document = message.content -%}{%- endif -%}{%- endfor -%}"
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".<|im_end|>\n'
    "{{ '<|im_start|>user\n<Instruct>: ' + ns.told + '\n<Query>: ' + ns.query + '\n<Document>: ' + ns.document + "
    "'<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n' }}"
)
"""Qwen3-Reranker's, which takes the system's message for the instruction."""


def score(directory: Path) -> references.Raw:
    """The program's raw scores of the documents."""
    card = detect(directory, "m")
    scorer = load_scorer(card, ScoringOptions(forward="transformers"))
    return scores(scorer, Encoder(card).encode(QUERY, DOCUMENTS).sequences)


def saved_bert(directory: Path) -> Path:
    """A pair encoder as CrossEncoder saves it: a modules.json of one module."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        CrossEncoder(str(checkpoints.bert(directory.parent / "source")), device="cpu").save_pretrained(str(directory))
    return directory


def templated_qwen3(directory: Path) -> Path:
    """A LogitScore model whose chat template is the published one."""
    checkpoints.qwen3_logit_score(directory)
    (directory / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    return directory


def unmarked_colbert(directory: Path) -> Path:
    """Late interaction without PyLate's markers."""
    checkpoints.modern_colbert(directory)
    edit_json(directory / "config_sentence_transformers.json", query_prefix=..., document_prefix=...)
    return directory


@pytest.mark.parametrize("make", [saved_bert, checkpoints.ettin, templated_qwen3])
@pytest.mark.parametrize("prompt", ["Is this about potassium? ", ODD, ""])
def test_the_default_prompt_of_a_cross_encoder(tmp_path: Path, make: Callable[[Path], Path], prompt: str) -> None:
    """It stands before the query, or is the instruction where the layout is a template."""
    directory = make(tmp_path / "m")
    bare = score(directory)
    edit_json(directory / "config_sentence_transformers.json", prompts={"web": prompt}, default_prompt_name="web")
    want = references.cross_encoder(directory, QUERY, DOCUMENTS)
    np.testing.assert_allclose(score(directory), want, atol=FLOAT32 * scale(want), rtol=0)
    assert (np.abs(want - bare).max() > 0.01) == bool(prompt)


def test_a_pair_encoder_without_modules_has_no_prompts(tmp_path: Path) -> None:
    """CrossEncoder reads them only beside a modules.json."""
    directory = checkpoints.bert(tmp_path / "m")
    edit_json(directory / "config_sentence_transformers.json", prompts={"web": "a prompt: "}, default_prompt_name="web")
    want = references.cross_encoder(directory, QUERY, DOCUMENTS)
    np.testing.assert_allclose(score(directory), want, atol=FLOAT32 * scale(want), rtol=0)


@pytest.mark.parametrize(
    ("make", "reference"), [(checkpoints.bi_encoder, references.sentence_encoder), (unmarked_colbert, references.late_interaction)]
)
@pytest.mark.parametrize(
    ("prompts", "default"),
    [
        ({"query": "query: ", "document": ""}, "query"),
        ({"query": "", "document": "text: "}, "document"),
        ({"query": None, "document": None, "x": "prefix: "}, "x"),
        ({"query": "query: "}, "query"),
        ({"x": "prefix: "}, "x"),
        ({"query": "query: ", "passage": "passage: ", "document": ""}, None),
        ({"query": "find {document} of {query}: ", "document": "{count} {instruction}: "}, None),
    ],
)
def test_prompts_of_text_that_is_read_alone(
    tmp_path: Path,
    make: Callable[[Path], Path],
    reference: Callable[..., references.Raw],
    prompts: dict[str, str | None],
    default: str | None,
) -> None:
    """An empty or absent prompt of the query's or the document's own keeps the default one away."""
    directory = make(tmp_path / "m")
    edit_json(directory / "config_sentence_transformers.json", prompts=prompts, default_prompt_name=default)
    want = reference(directory, QUERY, DOCUMENTS)
    np.testing.assert_allclose(score(directory), want, atol=FLOAT32 * scale(want), rtol=0)


def test_a_passage_prompt_is_the_documents(tmp_path: Path) -> None:
    """Files of before encode_document call it "passage": here it is read as if it were called "document"."""
    directory = checkpoints.bi_encoder(tmp_path / "m", prompts={"query": "query: ", "document": "passage: "})
    want = references.sentence_encoder(directory, QUERY, DOCUMENTS)
    edit_json(directory / "config_sentence_transformers.json", prompts={"query": "query: ", "passage": "passage: "})
    np.testing.assert_allclose(score(directory), want, atol=FLOAT32 * scale(want), rtol=0)
