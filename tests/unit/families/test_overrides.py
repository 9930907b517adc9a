"""Options beside tokenizer.json that change what text becomes, held against transformers' and sentence-transformers' own reading."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertModel,
    BertTokenizer,
    PreTrainedTokenizerBase,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaTokenizer,
)

from batching.families.detect import detect
from batching.families.encode import Encoder
from tests.checkpoints.byte_level import QWEN_REGEX, bpe
from tests.checkpoints.encoders import bert, write_sentence_modules
from tests.checkpoints.vocab import bert_tokenizer
from tests.checkpoints.weights import edit_json, save
from tests.unit.families.test_pair_ids import rows

QUERY = "Is PARIS or the Élan the bigger fox?"
DOCUMENTS = ["PARIS Élan naïve 京都 fox", "Paris paris PARIS", "a\u0301 À É é 東京 the quick brown fox", " led by a space", "x\t京 B42"]


def cased_tokenizer() -> PreTrainedTokenizerBase:
    """BERT's with words and letters of either case, with and without accents, and characters alone and together."""
    vocab = dict(bert_tokenizer().get_vocab())
    for word in (
        "P",
        "B",
        "Paris",
        "PARIS",
        "É",
        "é",
        "à",
        "À",
        "京",
        "都",
        "京都",
        "##都",
        "Élan",
        "élan",
        "##lan",
        "Is",
        "naïve",
        "naive",
    ):
        vocab.setdefault(word, len(vocab))
    return BertTokenizer(vocab=vocab, do_lower_case=False, model_max_length=512)


def reference(directory: Path) -> list[list[int]]:
    tokenizer = AutoTokenizer.from_pretrained(directory)
    found: list[list[int]] = tokenizer([QUERY] * len(DOCUMENTS), DOCUMENTS)["input_ids"]
    return found


@pytest.mark.parametrize("saved", [{}, {"do_lower_case": True}, {"strip_accents": True, "tokenize_chinese_chars": False}])
@pytest.mark.parametrize(
    "kind", ["BertTokenizer", "BertTokenizerFast", "DistilBertTokenizer", "ElectraTokenizerFast", "PreTrainedTokenizerFast"]
)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"do_lower_case": ..., "strip_accents": ..., "tokenize_chinese_chars": ...},
        {"do_lower_case": True},
        {"do_lower_case": False, "strip_accents": True},
        {"do_lower_case": True, "strip_accents": False},
        {"tokenize_chinese_chars": False},
    ],
)
def test_word_pieces(tmp_path: Path, saved: dict[str, object], kind: str, options: dict[str, object]) -> None:
    """Case, accents and Chinese characters are as tokenizer_config.json and its class say, whatever stands in tokenizer.json."""
    directory = bert(tmp_path / "m")
    tokenizer = cased_tokenizer()
    vocab = tokenizer.get_vocab()
    BertTokenizer(vocab=vocab, model_max_length=512, **({"do_lower_case": False} | saved)).save_pretrained(directory)
    edit_json(directory / "config.json", vocab_size=len(vocab))
    edit_json(directory / "tokenizer_config.json", tokenizer_class=kind, **options)
    assert rows(Encoder(detect(directory, "m")).encode(QUERY, DOCUMENTS)) == reference(directory)


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize("option", [True, False, ...])
@pytest.mark.parametrize("kind", ["RobertaTokenizer", "RobertaTokenizerFast", "PreTrainedTokenizerFast"])
def test_a_space_in_front(tmp_path: Path, saved: bool, option: object, kind: str) -> None:
    """RoBERTa's classes put a space before text where tokenizer_config.json says so."""
    pieces, merges = bpe(QWEN_REGEX)
    vocab = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    for piece in sorted(pieces, key=pieces.__getitem__):
        vocab.setdefault(piece, len(vocab))
    vocab["<mask>"] = len(vocab)
    tokenizer = RobertaTokenizer(vocab=vocab, merges=merges, add_prefix_space=saved, model_max_length=512)
    config = RobertaConfig(
        vocab_size=len(vocab) + 5, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48, num_labels=1,
        max_position_embeddings=514, type_vocab_size=1,
    )  # fmt: skip
    directory = save(tmp_path / "m", RobertaForSequenceClassification(config), tokenizer, 0)
    edit_json(directory / "tokenizer_config.json", add_prefix_space=option, tokenizer_class=kind)
    assert rows(Encoder(detect(directory, "m")).encode(QUERY, DOCUMENTS)) == reference(directory)


@pytest.mark.parametrize("cased", [True, False])
@pytest.mark.parametrize("lower", [True, False])
def test_lower_case_of_sentence_transformers(tmp_path: Path, cased: bool, lower: bool) -> None:
    """`do_lower_case` of sentence_bert_config.json puts all text into lower case, though not without its accents."""
    tokenizer = cased_tokenizer() if cased else bert_tokenizer()
    config = BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=48)
    directory = save(tmp_path / "m", BertModel(config), tokenizer, 0)
    write_sentence_modules(directory, 32, pooling="mean", normalize=True, max_length=128)
    edit_json(directory / "sentence_bert_config.json", do_lower_case=lower)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(directory), device="cpu")
        expected = [model.tokenize([text])["input_ids"][0].tolist() for text in (QUERY, *DOCUMENTS)]
    assert rows(Encoder(detect(directory, "m")).encode(QUERY, DOCUMENTS)) == expected
